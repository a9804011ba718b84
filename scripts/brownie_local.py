"""Brownie with its data folder inside the clone.

Brownie keeps networks, accounts and packages in ~/.brownie, and adds every package found there to the
compiler's remappings, which changes the bytecode's metadata. So it runs here with a home of its own: the same
result for everybody, and nothing written to the user's home.

    python -m scripts.brownie_local compile            # any Brownie command
    from scripts.brownie_local import load_project     # from Python, before `import brownie`
"""

from __future__ import annotations

import fcntl
import importlib
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".brownie-home"
PROJECT_NAME = "Scrip"


def environment(base: dict[str, str]) -> dict[str, str]:
    """`base` with the clone's compiler folder and, first on the path, its Foundry binaries."""
    path = os.pathsep.join([str(ROOT / ".venv" / "bin"), base.get("PATH", os.defpath)])
    return {**base, "SOLCX_BINARY_PATH": str(ROOT / ".solcx"), "PATH": path}


def load_brownie() -> Any:
    """Import Brownie with its home inside the clone; the process's own HOME is restored afterwards.

    Raises RuntimeError when Brownie was imported before, with another home.
    """
    if "brownie" not in sys.modules:
        _import_with_home()
    config = importlib.import_module("brownie._config")
    if config.DATA_FOLDER.parent != HOME:
        raise RuntimeError(
            f"Brownie was imported with its data in {config.DATA_FOLDER}:"
            " call load_brownie() before anything else imports it"
        )
    return importlib.import_module("brownie")


def load_project() -> Any:
    """The compiled Brownie project (compiles what changed). Loading it twice returns the same one.

    One process at a time: while it loads, Brownie removes artefacts and writes them again.
    """
    load_brownie()
    project = importlib.import_module("brownie.project")
    HOME.mkdir(exist_ok=True)
    with (HOME / "loading.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return project.load(ROOT, name=PROJECT_NAME, raise_if_loaded=False)


def _import_with_home() -> None:
    HOME.mkdir(exist_ok=True)
    os.environ.update(environment(dict(os.environ)))
    previous = os.environ.get("HOME")
    os.environ["HOME"] = str(HOME)
    try:
        importlib.import_module("brownie")
    finally:
        if previous is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = previous


def main() -> None:
    """Run Brownie's command line with the given arguments, in the clone and with its home there."""
    HOME.mkdir(exist_ok=True)
    os.chdir(ROOT)
    env = {**environment(dict(os.environ)), "HOME": str(HOME)}
    brownie = str(Path(sys.executable).with_name("brownie"))
    os.execve(brownie, [brownie, *sys.argv[1:]], env)  # noqa: S606 - Brownie's own program, no shell


if __name__ == "__main__":
    main()
