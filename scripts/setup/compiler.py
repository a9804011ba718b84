"""The Solidity compiler and the compiled contracts."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

from scripts.setup.progress import Step, StepFailed, say

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".solcx"
WRAPPER = ROOT / "scripts" / "solc.cjs"
VENV_PYTHON = ROOT / ".venv" / "bin" / "python"
# Listing the versions tells whether downloads work at all, before the long time-out of a download is risked.
PROBE_SECONDS = 6.0
DOWNLOAD_SECONDS = 90.0
PROBE = "import solcx; solcx.get_installable_solc_versions()"
DOWNLOAD = "import solcx, sys; solcx.install_solc(sys.argv[1])"


def version(root: Path) -> str:
    """The compiler version, from foundry.toml's `solc = ".solcx/solc-v<version>"`."""
    path: str = tomllib.loads((root / "foundry.toml").read_text())["profile"]["default"]["solc"]
    return path.rpartition("solc-v")[2]


def install(step: Step) -> None:
    """Put a compiler at .solcx/solc-v<version>: native through py-solc-x, otherwise npm's WebAssembly one."""
    wanted = version(ROOT)
    target = FOLDER / f"solc-v{wanted}"
    FOLDER.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    env = {**os.environ, "SOLCX_BINARY_PATH": str(FOLDER)}
    try:
        step.run([VENV_PYTHON, "-c", PROBE], env=env, timeout=PROBE_SECONDS)
        step.run([VENV_PYTHON, "-c", DOWNLOAD, wanted], env=env, timeout=DOWNLOAD_SECONDS)
        say(f"solidity compiler: native {wanted}")
    except StepFailed:
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(WRAPPER, FOLDER))
        say(f"solidity compiler: no native build can be downloaded here, using npm's {wanted}")
    step.run([target, "--version"], env=env)


def compile_contracts(step: Step) -> None:
    """Compile everything with Brownie, then export the ABIs.

    Nothing is kept from before: what a contract compiles to must not depend on the edits that led to it.
    """
    shutil.rmtree(ROOT / "build" / "brownie", ignore_errors=True)
    step.run([VENV_PYTHON, "-m", "scripts.brownie_local", "compile"])
    step.run([VENV_PYTHON, "-m", "scripts.export_abi"])
