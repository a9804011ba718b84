"""`make demo` as a stranger runs it: exit status, what it shows, and that nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOWN = (
    "output tokens used",
    "SIMULATED GPU",
    "an agent stops at its limit",
    "a pipeline has one receipt",
    "checks passed, 2 providers",
    "% of the summary is in its passages",
    "a failed job is refunded",
    "a replayed receipt reverts",
    "usage.units",
    "TooFewWatchers",
    "TooManyUnits",
    "expired by a stranger",
    "the reserve adds up",
)


def processes_with(mark: str) -> list[str]:
    """Command lines of running processes whose environment holds the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_demo__whole_story__shown_and_nothing_left(tmp_path: Path) -> None:
    mark = f"DEMO_TEST={tmp_path.name}-{os.getpid()}"
    name, _, value = mark.partition("=")
    env = {**os.environ, name: value, "TMPDIR": str(tmp_path), "COLUMNS": "200", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "demo.cli", "--all"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for line in SHOWN:
        assert line in done.stdout, f"missing {line!r} in:\n{done.stdout}"
    assert processes_with(mark) == []
    assert list(tmp_path.glob("scrip-*")) == []
