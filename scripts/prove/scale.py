"""How much is run. `full` is what a release asks for; whatever is less says so in the table."""

from __future__ import annotations

from dataclasses import dataclass


class BadScale(ValueError):
    """A setting that isn't one."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one run.

    `runs` campaigns of `depth` calls for each invariant function. `mutants` are tried at most; None is all
    of them.
    """

    name: str
    runs: int
    depth: int
    mutants: int | None


FULL = Scale("full", 10_000, 500, None)
QUICK = Scale("quick", 4, 500, 30)


def chosen(name: str) -> Scale:
    """`quick`, `full`, or a number: that many mutants, and that many campaigns of full depth."""
    for scale in (QUICK, FULL):
        if name == scale.name:
            return scale
    if not name.isdigit() or int(name) == 0:
        raise BadScale(f"SCALE={name}: neither quick nor full nor a number above 0")
    return Scale(name, int(name), FULL.depth, int(name))
