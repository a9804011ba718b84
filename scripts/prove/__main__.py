"""`make prove`: runs the proofs and prints one table.

Exit status 1 if a bound is missed, 2 if a tool failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

from rich.console import Console

from scripts.prove import campaigns, coverage, findings, shell, symbolic
from scripts.prove.mutation import campaign, workspace
from scripts.prove.result import Row, render, say
from scripts.prove.scale import BadScale, chosen


def main() -> int:
    """Run the sections named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m scripts.prove", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write surviving mutants into docs/mutants.md")
    names = (findings.NAME, symbolic.NAME, coverage.NAME, campaign.NAME, campaigns.NAME)
    parser.add_argument("section", nargs="*", help=f"of {', '.join(names)}; all if none is given")
    arguments = parser.parse_args()
    if unknown := set(arguments.section) - set(names):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    try:
        scale = chosen(os.environ.get("SCALE") or "full")
    except BadScale as error:
        print(f"[prove] {error}", file=sys.stderr)
        return 2
    sections: dict[str, Callable[[], Row]] = {
        findings.NAME: findings.run,
        symbolic.NAME: symbolic.run,
        coverage.NAME: coverage.run,
        campaign.NAME: lambda: campaign.run(scale, arguments.record),
        campaigns.NAME: lambda: campaigns.run(scale),
    }
    rows = [
        _timed(name, sections[name]) for name in names if name in arguments.section or not arguments.section
    ]
    # As wide as the figures need, whatever the terminal: a table in a log must not be cut.
    render(rows, Console(width=None if sys.stdout.isatty() else 140))
    return 1 if any(row.problems for row in rows) else 0


def _timed(name: str, section: Callable[[], Row]) -> Row:
    started = time.monotonic()
    try:
        row = section()
    except (shell.ToolFailed, workspace.TestsBroken) as error:
        row = Row(name, problems=[str(error)])
    row.seconds = time.monotonic() - started
    say(name, f"{row.result} in {row.seconds:.0f} s")
    return row


if __name__ == "__main__":
    sys.exit(main())
