"""Runs the tools: forge, and those of `make prove` alone, which have a virtual environment of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scripts.setup import extra

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "prove"
FORGE = ROOT / ".venv" / "bin" / "forge"
VENV = extra.FOLDER / "prove"


class ToolFailed(Exception):
    """A tool ended in a way that says nothing about the contracts."""


def ensure_venv(report: Callable[[str], None]) -> None:
    """Make the environment of the proofs' tools. Raises ToolFailed."""
    try:
        extra.ensure("prove", report)
    except extra.ExtraFailed as error:
        raise ToolFailed(str(error)) from error


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
