"""Environments of their own for tools whose pins clash with the project's (`make extras`).

An extra of pyproject.toml of the same name says what goes into it. A test that needs one asks `python_of` and
skips, by name, where it was never made; CI makes them all first.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".extras"
WHEELHOUSE = "wheelhouse"
"""A folder instead of an environment: what an installation of our wheel with its extras draws from."""
WHEEL_EXTRAS = ("agents", "oracle")
FOR_TESTS = (WHEELHOUSE, "agent-framework", "attestation-samples", "focus", "nvtools", "ray", "schemathesis")
"""What `make extras` makes."""

_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")


class ExtraFailed(Exception):
    """pip could not make an environment."""


def python_of(name: str) -> Path | None:
    """The interpreter of an environment that is made and up to date, else None."""
    folder = FOLDER / name
    stamp = folder / "stamp"
    current = stamp.is_file() and stamp.read_text() == _key(requirements(name))
    return folder / "bin" / "python" if current else None


def requirements(name: str) -> list[str]:
    """What the extra of this name asks for. Raises KeyError if pyproject.toml has none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted: list[str] = project["optional-dependencies"][name]
    return wanted


def ensure(name: str, report: Callable[[str], None]) -> Path:
    """Make the environment if it isn't current. Returns its interpreter. Raises ExtraFailed."""
    if (made := python_of(name)) is not None:
        return made
    wanted, folder = requirements(name), FOLDER / name
    report(f"installing {', '.join(wanted)} into {folder.relative_to(ROOT)}")
    (folder / "stamp").unlink(missing_ok=True)
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    if subprocess.run([str(python), *_PIP, *wanted], check=False).returncode != 0:
        raise ExtraFailed(f"{name}: pip could not install it, see above")
    (folder / "stamp").write_text(_key(wanted))
    return python


def wheelhouse() -> Path | None:
    """The folder of wheels, if it is made and up to date, else None."""
    folder = FOLDER / WHEELHOUSE
    stamp = folder / "stamp"
    return folder if stamp.is_file() and stamp.read_text() == _key(_wheel_requirements()) else None


def ensure_wheelhouse(report: Callable[[str], None]) -> None:
    """Fill the folder of wheels if it isn't current, with the pinned versions. Raises ExtraFailed."""
    if wheelhouse() is not None:
        return
    folder, wanted = FOLDER / WHEELHOUSE, _wheel_requirements()
    report(f"collecting the wheels that scrip[{','.join(WHEEL_EXTRAS)}] needs")
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", *_PIP[3:], "--wheel-dir", str(folder)]
    command += ["--constraint", str(ROOT / "constraints.txt"), *wanted]
    if subprocess.run(command, check=False).returncode != 0:
        raise ExtraFailed(f"{WHEELHOUSE}: pip could not fill it, see above")
    (folder / "stamp").write_text(_key(wanted))


def _wheel_requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (wanted for name in WHEEL_EXTRAS for wanted in project["optional-dependencies"][name])
    return [*project["dependencies"], *extras]


def _key(wanted: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([sys.version, str(FOLDER), *wanted]).encode()).hexdigest()


def _report(text: str) -> None:
    print(f"[extras] {text}", flush=True)


def main() -> int:
    """`python -m scripts.setup.extra [NAME ...]`: make these, or all that the tests use."""
    try:
        for name in sys.argv[1:] or FOR_TESTS:
            if name == WHEELHOUSE:
                ensure_wheelhouse(_report)
            else:
                ensure(name, _report)
    except (ExtraFailed, KeyError) as error:
        print(f"[extras] failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
