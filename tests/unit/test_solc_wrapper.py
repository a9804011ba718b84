"""The npm compiler behind solc's command line: what it answers, and that it reads inside the project only."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRAPPER = ROOT / "scripts" / "solc.cjs"


def solc(*arguments: str | Path, source: str = "") -> subprocess.CompletedProcess[str]:
    """Run the wrapper in the project root."""
    argv = [str(part) for part in (WRAPPER, *arguments)]
    return subprocess.run(
        argv, cwd=ROOT, input=source, capture_output=True, text=True, timeout=60, check=False
    )


def compiled(source: str, *arguments: str | Path) -> dict[str, Any]:
    """Compile one source and return solc's JSON."""
    settings = {"outputSelection": {"*": {"*": ["abi"]}}}
    request = {"language": "Solidity", "sources": {"a.sol": {"content": source}}, "settings": settings}
    result = solc("--standard-json", *arguments, source=json.dumps(request))
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def importing(path: str | Path) -> str:
    """A source that imports `path`."""
    return f'// SPDX-License-Identifier: MIT\npragma solidity ^0.8.30;\nimport "{path}";\ncontract A {{}}\n'


def errors(answer: dict[str, Any]) -> str:
    """All error messages in one text."""
    return "\n".join(e["message"] for e in answer.get("errors", ()) if e["severity"] == "error")


@pytest.mark.parametrize("arguments", [(), ("--optimize",), ("--standard-json", "--base-path")])
def test_solc__unusable_arguments__fail_in_one_line(arguments: tuple[str, ...]) -> None:
    result = solc(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("solc (npm wrapper): ")
    assert len(result.stderr.splitlines()) == 1


def test_solc__import_outside_the_project__is_refused_even_if_allowed(tmp_path: Path) -> None:
    outside = tmp_path / "Outside.sol"
    outside.write_text("// SPDX-License-Identifier: MIT\npragma solidity ^0.8.30;\ncontract Outside {}\n")
    answer = compiled(importing("Outside.sol"), "--base-path", tmp_path, "--allow-paths", tmp_path)
    assert "File outside of the project" in errors(answer)
    assert "File outside of the project" in errors(compiled(importing(outside)))


def test_solc__import_missing__is_reported() -> None:
    assert "File not found" in errors(compiled(importing("contracts/Nowhere.sol")))


def test_solc__import_from_base_and_include_path__is_found() -> None:
    name = "@openzeppelin/contracts/token/ERC20/IERC20.sol"
    assert errors(compiled(importing(f"node_modules/{name}"), "--base-path", ".")) == ""
    assert errors(compiled(importing(name), "--base-path=.", "--include-path", "node_modules")) == ""


def test_solc__version__is_the_pinned_one_as_solc_prints_it() -> None:
    wanted = json.loads((ROOT / "package.json").read_text())["devDependencies"]["solc"]
    assert f"Version: {wanted}+commit." in solc("--version").stdout
