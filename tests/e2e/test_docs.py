"""The pages' shell blocks, run as written, in order, in one shell a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from demo import stack
from demo.stack import Stack
from demo.stack_config import Options
from tests.documents import ELSEWHERE, ROOT, RUN, bare, shell

ROLE: Final = re.compile(r"^<!-- shell: (\S+) -->$", re.MULTILINE)
A_BUDGET: Final = "scrip budget create $ME --lifetime 1"
BEFORE: Final = {"agents": A_BUDGET, "chargeback": A_BUDGET}
"""What a page takes for granted: there is a budget 1."""
SECONDS: Final = 300


@pytest.fixture(scope="module")
def place() -> Iterator[Stack]:
    """What `make demo KEEP=1` leaves running, and the provider sells inference by the call."""
    with stack.running(Options(gateway=True, more_providers=1)) as up:
        up.start_nodes()
        yield up


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_page__its_shell_blocks__run_as_written(page: Path, place: Stack, tmp_path: Path) -> None:
    role = ROLE.search(page.read_text("utf-8"))
    assert role, "the page says whose shell it is: <!-- shell: buyer -->"
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    lines = [line for line in shell(page) if bare(line) not in ELSEWHERE]
    source = f"source {place.layout.environment(role[1])}"
    text = "\n".join([source, "set -euo pipefail", BEFORE.get(page.stem, ""), *lines])
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
