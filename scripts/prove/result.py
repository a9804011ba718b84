"""How one section of `make prove` ended, and the table of all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

OK, FAILED, REDUCED = "ok", "FAILED", "ok, reduced"


@dataclass(slots=True)
class Row:
    """One line of the table.

    `reduced` says that less was run than a full proof asks for, and is empty otherwise: a smaller run never
    looks
    like a full one. `problems` are what made it fail, one a line.
    """

    name: str
    figures: str = ""
    reduced: str = ""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def result(self) -> str:
        """What the table says of it."""
        if self.problems:
            return FAILED
        return REDUCED if self.reduced else OK


def render(rows: Sequence[Row], console: Console) -> None:
    """Print the table, and below it what is wrong and what was left out."""
    table = Table(title="make prove", title_justify="left", title_style="bold")
    for heading in ("proof", "result"):
        table.add_column(heading, no_wrap=True)
    table.add_column("figures", overflow="fold")
    table.add_column("seconds", justify="right", no_wrap=True)
    colours = {OK: "green", FAILED: "red", REDUCED: "yellow"}
    for row in rows:
        colour = colours[row.result]
        table.add_row(row.name, f"[{colour}]{row.result}[/]", row.figures, f"{row.seconds:.0f}")
    console.print(table)
    for row in rows:
        if row.reduced:
            console.print(f"{row.name}: {row.reduced}", markup=False, highlight=False)
        for problem in row.problems:
            console.print(f"{row.name}: {problem}", markup=False, highlight=False)


def say(section: str, text: str) -> None:
    """One line of progress."""
    print(f"[{time.strftime('%H:%M:%S')} {section}] {text}", flush=True)
