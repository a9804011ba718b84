"""The list of mutants that no test notices, each with a reason: docs/mutants.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scripts.prove.mutation.mutant import Mutant

EQUIVALENT, ACCEPTED = "equivalent", "accepted"
CELL = re.compile(r"(?<!\\)\|")
HEADING = "| id | where | operator | line | change | verdict | reason |\n|---|---|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Known:
    """A line of the list.

    `equivalent`: no test could notice it; `accepted`: one could, and isn't worth having.
    """

    id: str
    verdict: str
    reason: str


def read(text: str) -> dict[str, Known]:
    """Lines of the list by the mutant's id."""
    known = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in CELL.split(line)[1:-1]]
        if len(cells) == 7 and re.fullmatch(r"[0-9a-f]{10}", cells[0]):
            known[cells[0]] = Known(cells[0], cells[5], cells[6])
    return known


def problems(
    known: Mapping[str, Known], every: Iterable[str], survived: Iterable[str], killed: Iterable[str]
) -> list[str]:
    """Survivors without a reason, and entries that aren't true any more."""
    existing, dead = set(every), set(killed)
    return [
        *(
            f"survived and has no reason in docs/mutants.md: {name}"
            for name in survived
            if name not in known
            or not known[name].reason
            or known[name].verdict not in (EQUIVALENT, ACCEPTED)
        ),
        *(
            f"listed in docs/mutants.md and no mutant any more: {name}"
            for name in known
            if name not in existing
        ),
        *(f"listed in docs/mutants.md and killed now: {name}" for name in known if name in dead),
    ]


def row(mutant: Mutant, line: str, known: Known | None) -> str:
    """A line of the list; what is to be filled in by hand is left empty."""
    verdict, reason = (known.verdict, known.reason) if known else ("", "")
    cells = (
        mutant.id,
        f"`{mutant.where}`",
        mutant.operator,
        _code(line),
        _code(mutant.change),
        verdict,
        reason,
    )
    return f"| {' | '.join(cells)} |\n"


def write(text: str, rows: Iterable[str]) -> str:
    """The document with another table."""
    head, _, _ = text.partition(HEADING)
    return head + HEADING + "".join(rows)


def _code(text: str) -> str:
    escaped = text.strip().replace("|", "\\|")
    return f"`{escaped}`"
