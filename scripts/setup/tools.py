"""The programs that the set-up needs from the machine, and one line for each that is missing or too old."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass

OLDEST_NODE = 20


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: how it is called, the oldest major version that works, and what to install."""

    command: str
    oldest_major: int
    hint: str


TOOLS = (
    Tool("node", OLDEST_NODE, "install Node.js 20 or newer (Debian: apt-get install nodejs)"),
    Tool("npm", 9, "install npm 9 or newer (Debian: apt-get install npm)"),
    Tool("gcc", 9, "install gcc 9 or newer (Debian: apt-get install gcc libc6-dev)"),
)


def problems() -> list[str]:
    """One line for each thing that is missing or too old; an empty list when the set-up can start."""
    found = [problem for tool in TOOLS if (problem := _problem(tool))]
    if importlib.util.find_spec("ensurepip") is None:
        found.append("Python's venv module is missing: install it (Debian: apt-get install python3-venv)")
    return found


def version_of(command: str) -> str:
    """The first line that `command --version` prints; raises OSError when it cannot run."""
    result = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    if result.returncode != 0:
        raise OSError(f"{command} --version exited with {result.returncode}")
    return (result.stdout or result.stderr).strip().splitlines()[0]


def _problem(tool: Tool) -> str | None:
    if shutil.which(tool.command) is None:
        return f"{tool.command} is missing: {tool.hint}"
    try:
        line = version_of(tool.command)
    except (OSError, IndexError, subprocess.TimeoutExpired) as error:
        return f"{tool.command} does not run ({error}): {tool.hint}"
    match = re.search(r"(\d+)\.\d+", line)
    if match is None or int(match.group(1)) < tool.oldest_major:
        return f"{tool.command} is too old ({line}): {tool.hint}"
    return None
