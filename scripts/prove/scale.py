"""How much is run. `full` is what a release asks for; whatever is less says so in the table."""

from __future__ import annotations

from dataclasses import dataclass, replace


class BadScale(ValueError):
    """A setting that isn't one."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one run.

    `runs` campaigns of `depth` calls for each invariant function. `mutants` are tried at most; None is all of them.
    """

    name: str
    runs: int
    depth: int
    mutants: int | None


FULL = Scale("full", 10_000, 500, None)
SCALES = {
    scale.name: scale
    for scale in (FULL, Scale("medium", 1_000, 500, 400), Scale("small", 100, 200, 200), Scale("smoke", 2, 20, 6))
}


def chosen(name: str, mutants: str) -> Scale:
    """The scale of that name, with another number of mutants if one is given ("all" or a number)."""
    if name not in SCALES:
        raise BadScale(f"SCALE={name}: not one of {', '.join(SCALES)}")
    scale = SCALES[name]
    if not mutants:
        return scale
    if mutants == "all":
        return replace(scale, mutants=None)
    if not mutants.isdigit() or int(mutants) == 0:
        raise BadScale(f"MUTANTS={mutants}: neither `all` nor a number above 0")
    return replace(scale, mutants=int(mutants))
