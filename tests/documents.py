"""The project's pages and the shell blocks in them: which are run by a test, which can't be, and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN: Final = {
    "admission": ("a cluster", "tests/unit/test_admission_kubernetes.py"),
    "identity": ("a class with an attester, and credentials", "tests/integration/test_cli_examples_nodes.py"),
    "install": ("registries to install from", "tests/e2e/test_wheel.py"),
    "mcp": ("somebody who ends the server", "tests/integration/test_mcp_http.py"),
    "operations": ("root on a host with systemd", "tests/e2e/test_operate.py"),
    "operator": ("another host", "tests/e2e/test_operator_page.py"),
    "pipelines": ("most of a minute; quickstart/agent.md has the like", "tests/integration/test_pipeline.py"),
    "testnets": ("a public chain, and minutes of compiling", "tests/e2e/test_testnet.py"),
    "web": ("somebody who ends the servers", "tests/integration/test_web.py"),
}
"""Pages whose commands need what isn't here, and the test that does what they say."""
ELSEWHERE: Final = {
    "make demo": ("tests/e2e/test_demo.py", '"-m", "demo.cli", "--all"'),
    "make test": (".ci/run", "\nmake test "),
}
"""Lines of pages that are run for which another file does what they stand for, and in what words."""


class Block(NamedTuple):
    """A fenced block: its language and text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All of a page's."""
    return [Block(*found) for found in FENCE.findall(page.read_text("utf-8"))]


def shell(page: Path) -> list[str]:
    """The lines of a page's shell blocks."""
    return "".join(block.text for block in blocks(page) if block.language == "sh").splitlines()


def bare(line: str) -> str:
    """A line without its comment."""
    return line.partition("#")[0].strip()


RUN: Final = [page for page in PAGES if shell(page) and page.stem not in NOT_RUN]
"""Pages whose shell blocks are run."""
