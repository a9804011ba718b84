"""README and quickstarts: each shell block is run as written, in order, in one shell a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from demo import stack
from demo.stack import Stack
from demo.stack_config import Options

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs" / "quickstart").glob("*.md")))
FENCE: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROLE: Final = re.compile(r"^<!-- shell: (\S+) -->$", re.MULTILINE)
LANGUAGES: Final = {"sh", "python", "ts", "toml", "json", "text", "mermaid"}
ELSEWHERE: Final = {
    "make demo": "tests/e2e/test_demo.py",
    "make demo KEEP=1": "tests/e2e/test_demo.py",
    "make test": ".ci/run",
    "make bench": "scripts/gate.py",
    "make check": ".ci/run",
}
"""Lines that aren't run here, because these run what they stand for."""
SECONDS: Final = 300


class Block(NamedTuple):
    """A fenced block: its language and text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def script(page: Path) -> str:
    """The page's shell blocks as one script, less what is run elsewhere."""
    lines = "".join(block.text for block in blocks(page) if block.language == "sh").splitlines()
    wanted = [line for line in lines if line.partition("#")[0].strip() not in ELSEWHERE]
    return "\n".join(["set -euo pipefail", *wanted])


@pytest.fixture(scope="module")
def place() -> Iterator[Stack]:
    """What `make demo KEEP=1` leaves running, and the provider sells inference by the call."""
    with stack.running(Options(gateway=True, more_providers=1)) as up:
        up.start_nodes()
        yield up


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__every_block__says_its_language(page: Path) -> None:
    unknown = [block for block in blocks(page) if block.language not in LANGUAGES]
    assert unknown == []
    text = page.read_text()
    assert text.count("```") == 2 * len(blocks(page)), (
        "a block that isn't closed, or isn't at the line's start"
    )
    for block in blocks(page):
        typed = [
            line for line in block.text.splitlines() if re.match(r"(scrip|make|npm|pip|python -m) ", line)
        ]
        assert block.language == "sh" or not typed, "commands stand in sh blocks"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__its_shell_blocks__run_as_written(page: Path, place: Stack, tmp_path: Path) -> None:
    role = ROLE.search(page.read_text())
    assert role, "the page says whose shell it is: <!-- shell: buyer -->"
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    text = f"source {place.layout.environment(role[1])}\n{script(page)}"
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(("line", "file"), ELSEWHERE.items())
def test_line_run_elsewhere__that_file__runs_it(line: str, file: str) -> None:
    words = {"make demo": "demo.cli", "make demo KEEP=1": "demo.cli", "make bench": '"bench"'}
    assert words.get(line, line) in (ROOT / file).read_text()
