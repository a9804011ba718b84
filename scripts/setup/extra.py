"""Environments of their own for tools whose pins clash with the project's (`make extras`).

An extra of pyproject.toml of the same name says what goes into it. A test that needs one asks `python_of` and
skips, by name, where it was never made; CI makes them all first.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".extras"
FOR_TESTS = ("agent-framework", "attestation-samples", "focus", "nvtools", "ray", "schemathesis")
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


def _key(wanted: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([sys.version, str(FOLDER), *wanted]).encode()).hexdigest()


def main() -> int:
    """`python -m scripts.setup.extra [NAME ...]`: make these, or all that the tests use."""
    try:
        for name in sys.argv[1:] or FOR_TESTS:
            ensure(name, lambda text: print(f"[extras] {text}", flush=True))
    except (ExtraFailed, KeyError) as error:
        print(f"[extras] failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
