"""Runs the tools: forge, and those of `make prove` alone, which have a virtual environment of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "prove"
FORGE = ROOT / ".venv" / "bin" / "forge"
VENV = ROOT / "build" / "prove-venv"


class ToolFailed(Exception):
    """A tool ended in a way that says nothing about the contracts."""


def requirements() -> list[str]:
    """What the extra `prove` of pyproject.toml names.

    It is not part of the set-up: its pins clash with Brownie's.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted: list[str] = project["optional-dependencies"]["prove"]
    return wanted


def ensure_venv(report: Callable[[str], None]) -> None:
    """Make build/prove-venv, once for each change of the requirements."""
    wanted = requirements()
    key = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    stamp = VENV / "stamp"
    if stamp.is_file() and stamp.read_text() == key:
        return
    report(f"installing {', '.join(wanted)} into {VENV.relative_to(ROOT)}")
    stamp.unlink(missing_ok=True)
    python = VENV / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    options = ("--quiet", "--disable-pip-version-check", "--no-input")
    result = subprocess.run([str(python), "-m", "pip", "install", *options, *wanted], check=False)
    if result.returncode != 0:
        raise ToolFailed("pip could not install the tools: see above")
    stamp.write_text(key)


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a tool: the proofs' tools and the project's first, no colours."""
    path = os.pathsep.join([str(VENV / "bin"), str(FORGE.parent), os.environ.get("PATH", "")])
    return {
        **os.environ,
        "PATH": path,
        "NO_COLOR": "1",
        "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1",
        **(settings or {}),
    }


def stream(
    argv: Sequence[str | Path],
    settings: Mapping[str, str],
    on_line: Callable[[str], None],
) -> tuple[int, str]:
    """Run a tool, pass on its lines as they come, and return exit status and whole output."""
    lines = []
    with subprocess.Popen(
        [str(part) for part in argv],
        cwd=ROOT,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                on_line(line.rstrip())
        except BaseException:
            process.kill()
            raise
    return process.returncode, "".join(lines)


def build_settings(name: str) -> dict[str, str]:
    """Forge's folders for one section: sections with other settings don't undo each other's builds."""
    folder = BUILD / name
    return {"FOUNDRY_OUT": str(folder / "out"), "FOUNDRY_CACHE_PATH": str(folder / "cache")}
