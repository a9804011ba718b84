"""What a whole plan may cost, and whom it would be bought from. PURE: nothing is asked, nothing is spent.

Each stage's choice is the policy's (`agents.policy.choose`), with what the stages before it leave. A stage's
most covers its retries too: a failed job gives its credits back, but the next provider may sell another
class, whose credits must be bought besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from agents.market import Listing
from agents.pipeline import fit
from agents.pipeline.plan import Plan, Stage
from agents.policy import CHEAPEST, Choice, Means, Money, Preferences, choose
from scrip.errors import Refused, ScripError


class NotAffordable(ScripError):
    """A plan can't be bought now: nothing fits a stage, or the means don't suffice. Nothing was spent."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        shown = "; ".join(f"stage {name}: {problem}" for name, problem in problems.items())
        super().__init__(f"the plan can't be bought: {shown}")


@dataclass(frozen=True, slots=True)
class StageQuote:
    """What a stage would take: `choices` in the order they would be tried, the first one is the plan.

    `price` is that of all its units at the dearest choice, `most` what it may add to what is spent, retries
    included, both in payment-token base units. `problem` says why it can't be bought, empty if it can.
    """

    stage: Stage
    choices: tuple[Choice, ...]
    price: int
    most: int
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON object."""
        return {
            "stage": self.stage.name,
            "template": self.stage.template,
            "maxUnits": str(self.stage.max_units),
            "price": str(self.price),
            "most": str(self.most),
            "problem": self.problem or None,
            "choices": [_choice_json(choice) for choice in self.choices],
        }


@dataclass(frozen=True, slots=True)
class Quote:
    """Every stage's quote in the plan's order. `total` is the most that the plan may spend."""

    stages: tuple[StageQuote, ...]

    @property
    def total(self) -> int:
        """What to set aside for the plan, payment-token base units."""
        return sum(each.most for each in self.stages)

    @property
    def problems(self) -> dict[str, str]:
        """Why stages can't be bought, by name."""
        return {each.stage.name: each.problem for each in self.stages if each.problem}

    def check(self) -> None:
        """Raise NotAffordable with every stage that can't be bought."""
        if self.problems:
            raise NotAffordable(self.problems)

    def of(self, name: str) -> StageQuote:
        """The quote of a stage."""
        return next(each for each in self.stages if each.stage.name == name)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON object."""
        return {"total": str(self.total), "stages": [each.to_json() for each in self.stages]}


def quote(
    plan: Plan,
    listings: Sequence[Listing],
    means: Means,
    money: Money = str,
    preferences: Preferences = CHEAPEST,
) -> Quote:
    """The quote of a plan: what each stage may cost with what the stages before it leave of the means."""
    found = []
    for name in plan.order():
        quoted, means = _stage(plan.stage(name), listings, means, money, preferences)
        found.append(quoted)
    return Quote(tuple(found))


def usable(stage: Stage, listings: Sequence[Listing], most: int | None = None) -> list[Listing]:
    """Those listings that a stage may be bought from at all, at a price of at most `most`."""
    wanted = {address.lower() for address in stage.providers}
    return [
        item
        for item in listings
        if stage.class_id in (None, item.info.class_id)
        and (not wanted or item.provider.address.lower() in wanted)
        and (most is None or item.price is None or item.cost(stage.max_units) <= most)
    ]


def _stage(
    stage: Stage, listings: Sequence[Listing], means: Means, money: Money, preferences: Preferences
) -> tuple[StageQuote, Means]:
    """The stage's quote and what is left for the next one if everything it may take is gone."""
    try:
        choices = _choices(stage, usable(stage, listings), means, money, preferences)
    except Refused as refused:
        return StageQuote(stage, (), 0, 0, refused.reason), means
    misfits = fit.known_problems(stage, choices[0].listing)
    if misfits:
        problem = f"{stage.template} doesn't take this: {'; '.join(misfits)}"
        return StageQuote(stage, choices, 0, 0, problem), means
    bought = accumulate(choice.cost for choice in choices)
    # What was bought for a failed try stays; what a budget was charged for it comes back.
    most = max(cost + choice.charge for cost, choice in zip(bought, choices, strict=True))
    price = max(choice.listing.cost(stage.max_units) for choice in choices)
    return StageQuote(stage, choices, price, most), _left(means, choices, stage.max_units, most)


def _choices(
    stage: Stage, offered: Sequence[Listing], means: Means, money: Money, preferences: Preferences
) -> tuple[Choice, ...]:
    """The first choice and those that would follow if it failed. Raises Refused if there is no first one."""
    need = stage.need()
    found: list[Choice] = []
    while len(found) < stage.tries:
        try:
            choice = choose(offered, need, means, money, preferences)
        except Refused:
            if not found:
                raise
            break
        found.append(choice)
        means = _after_failure(means, choice)
        need = replace(need, avoid=need.avoid | {choice.listing.provider.address})
    return tuple(found)


def _after_failure(means: Means, choice: Choice) -> Means:
    """A failed job costs nothing, but what was bought for it stays bought."""
    class_id = choice.listing.info.class_id
    held = means.credits.get(class_id, 0) + choice.to_buy
    return replace(means, left=means.left - choice.cost, credits={**means.credits, class_id: held})


def _left(means: Means, choices: Sequence[Choice], units: int, most: int) -> Means:
    """What is surely left: whichever of the choices it will be, its credits are counted as used."""
    credits = dict(means.credits)
    for class_id in {choice.listing.info.class_id for choice in choices}:
        credits[class_id] = max(0, credits.get(class_id, 0) - units)
    return replace(means, left=means.left - most, credits=credits)


def _choice_json(choice: Choice) -> dict[str, Any]:
    listing = choice.listing
    return {
        "provider": listing.provider.address,
        "class": str(listing.info.class_id),
        "toBuy": str(choice.to_buy),
        "cost": str(choice.cost),
        "reason": choice.reason,
    }
