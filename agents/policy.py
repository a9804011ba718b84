"""Which listing to take. PURE: the same listings, need and means give the same choice, with its reasons.

Everything is counted in payment-token base units, in integers: a preference says what a second, a level of
assurance or a permille of reputation is worth, and the listing with the lowest sum is taken. A listing that
another one equals or beats in every respect is never taken before it, whatever the preferences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.market import Listing
from scrip.errors import BadInput, Refused
from scrip.redeem import FINISH_SECONDS
from scrip.spec import JobSpec
from scrip.types import Funding, Resource, region_text

TOP_ASSURANCE = 3
TOP_REPUTATION = 1_000


@dataclass(frozen=True, slots=True)
class Need:
    """A piece of work and what its buyer insists on.

    `max_units` are base units of the class taken, the most the job may cost. `region` "" and `sku` None mean
    any. Providers in `avoid` aren't taken. `seconds` is how long the work may take before the job's deadline
    gives the credits back. `key` names the need: however often it is asked for, it is bought once. With ""
    it is one of its own each time its result was handed out, and taken up where an equal one was left before.
    """

    spec: JobSpec
    resource: Resource
    max_units: int
    min_assurance: int = 0
    sku: bytes | None = None
    region: str = ""
    avoid: frozenset[str] = frozenset()
    seconds: int = FINISH_SECONDS
    key: str = ""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a buyer likes and what it never takes. Amounts are payment-token base units.

    `second_worth`, `assurance_worth` and `permille_worth` are what it would pay for a second less, a level of
    assurance more, and a permille of reputation more. `max_price` bounds the price of a need, `max_seconds`
    the time expected; `min_reputation` is permille. With none given the cheapest is taken.
    """

    second_worth: int = 0
    assurance_worth: int = 0
    permille_worth: int = 0
    max_price: int | None = None
    max_seconds: int | None = None
    min_reputation: int = 0

    def __post_init__(self) -> None:
        for name in ("second_worth", "assurance_worth", "permille_worth", "min_reputation"):
            if getattr(self, name) < 0:
                raise BadInput(f"preferences.{name}", getattr(self, name), "at least 0")

    @property
    def weighs(self) -> bool:
        """Whether anything beside the price counts."""
        return bool(self.second_worth or self.assurance_worth or self.permille_worth)


CHEAPEST = Preferences()


@dataclass(frozen=True, slots=True)
class Means:
    """What can be spent, in payment-token base units, and free credits by class id.

    `left` is what all charges together may come to, `each` the most of a single one (None: as `left`).
    `charges_credits` says that credits count at their price when they are used, held ones too, as a budget
    does it; otherwise only what is bought counts. `stock` tells for how much so many missing units of a class
    can be bought, None if they can't; by default at the reserve's price. `refused` says why a provider can't
    be paid, by address.
    """

    left: int
    credits: Mapping[int, int] = field(default_factory=dict)
    each: int | None = None
    charges_credits: bool = False
    stock: Callable[[int, int], int | None] | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """The listing to take: `to_buy` base units are missing and cost `cost`. `rejected`: why no other.

    `charge` is what the job adds to what is spent, at most, beside what its missing units cost.
    """

    listing: Listing
    to_buy: int
    cost: int
    reason: str
    rejected: tuple[str, ...]
    charge: int = 0


Money = Callable[[int], str]
"""Text of an amount in payment-token base units."""


def choose(
    listings: Sequence[Listing],
    need: Need,
    means: Means,
    money: Money = str,
    preferences: Preferences = CHEAPEST,
) -> Choice:
    """The best listing that fits the need, the means and the preferences; `money` words amounts in reasons.

    Price is that of all units the job may use, whether they must be bought or are held already: held credits
    could be sold. Ties go to the lower price, then to higher assurance, reputation and speed, to more stake,
    and to the lower class id and address. Raises Refused with every reason if nothing fits.
    """
    rejected, fitting = [], []
    # In an order of their own, so that the order they came in shows nowhere.
    for listing in sorted(listings, key=_identity):
        why = problem(listing, need, means, money, preferences)
        if why:
            rejected.append(f"{_name(listing)}: {why}")
        else:
            fitting.append(listing)
    if not fitting:
        raise Refused("; ".join(rejected) or "nothing is on offer", "policy")
    best = min(fitting, key=lambda listing: rank(listing, need, preferences))
    to_buy = _missing(best, need, means)
    return Choice(
        listing=best,
        to_buy=to_buy,
        cost=_cost(best, to_buy, means) or 0,
        reason=_reason(best, need, preferences, len(fitting), money),
        rejected=tuple(rejected),
        charge=best.cost(need.max_units) if means.charges_credits else 0,
    )


def problem(
    listing: Listing, need: Need, means: Means, money: Money = str, preferences: Preferences = CHEAPEST
) -> str:
    """Why a listing can't be taken, empty if it can."""
    return (
        _unfit(listing, need)
        or _unavailable(listing, need, means)
        or _unloved(listing, need, money, preferences)
        or _unaffordable(listing, need, means, money)
    )


def expected_seconds(listing: Listing, need: Need) -> int:
    """How long the work will take: what the agent has measured, else what the provider says, else the worst.

    Never more than the need allows, since the job ends then.
    """
    if listing.experience.done:
        return min(listing.experience.seconds, need.seconds)
    said = listing.offer.details.get(need.spec.template, {}).get("seconds") if listing.offer else None
    return min(said, need.seconds) if type(said) is int and said > 0 else need.seconds


def rank(
    listing: Listing, need: Need, preferences: Preferences
) -> tuple[int, int, int, int, int, int, int, str]:
    """Sort key of a listing that fits, the best first. Each entry is monotonic in what is good."""
    price, seconds = listing.cost(need.max_units), expected_seconds(listing, need)
    assurance, reputation = listing.info.terms.min_assurance, listing.reputation
    total = (
        price
        + seconds * preferences.second_worth
        + (TOP_ASSURANCE - assurance) * preferences.assurance_worth
        + (TOP_REPUTATION - reputation) * preferences.permille_worth
    )
    class_id, address = _identity(listing)
    return total, price, -assurance, -reputation, seconds, -listing.provider.stake, class_id, address


# Why not


def _unfit(listing: Listing, need: Need) -> str:
    terms = listing.info.terms
    if terms.resource is not need.resource:
        return f"pays {terms.resource.label}s, not {need.resource.label}s"
    if terms.min_assurance < need.min_assurance:
        return f"settles at assurance {terms.min_assurance}, wanted {need.min_assurance}"
    if need.sku is not None and terms.sku != need.sku:
        return "another SKU"
    region = region_text(listing.provider.region)
    if need.region and region != need.region:
        return f"in region {region}, wanted {need.region}"
    if listing.provider.address in need.avoid:
        return "its provider is to be avoided, or has just failed this need"
    if listing.offer is None:
        return "its provider can't be reached"
    if not listing.offer.active:
        return "its provider says that it isn't active"
    if need.spec.template not in listing.offer.templates:
        return f"its provider doesn't offer {need.spec.template}"
    return ""


def _unavailable(listing: Listing, need: Need, means: Means) -> str:
    terms = listing.info.terms
    refused = means.refused.get(listing.provider.address)
    if refused:
        return refused
    if listing.price is None:
        return "its price feed gives no price now"
    missing = _missing(listing, need, means)
    if means.charges_credits:
        if listing.price == 0:
            return "a budget can't count a class without a price"
        if missing and _cost(listing, missing, means) is None:
            return (
                f"the budget's owner lacks {missing} units of it, and no offer sells them. It can buy some: "
                f"scrip buy {listing.info.class_id}"
            )
        return ""
    if missing and (terms.funding is not Funding.SALE or listing.info.wound_down):
        return "not for sale"
    if missing + listing.info.supply > terms.max_supply:
        return f"only {terms.max_supply - listing.info.supply} units left to sell"
    return ""


def _unloved(listing: Listing, need: Need, money: Money, preferences: Preferences) -> str:
    price, most = listing.cost(need.max_units), preferences.max_price
    if most is not None and price > most:
        return f"priced at {money(price)}, wanted at most {money(most)}"
    seconds = expected_seconds(listing, need)
    if preferences.max_seconds is not None and seconds > preferences.max_seconds:
        return f"expected to take {seconds} s, wanted at most {preferences.max_seconds}"
    if listing.reputation < preferences.min_reputation:
        return f"has a reputation of {listing.reputation} permille, wanted {preferences.min_reputation}"
    return ""


def _unaffordable(listing: Listing, need: Need, means: Means, money: Money) -> str:
    bought = _cost(listing, _missing(listing, need, means), means) or 0
    used = listing.cost(need.max_units) if means.charges_credits else 0
    if bought + used > means.left:
        return f"costs {money(bought + used)}, {money(means.left)} of the limit is left"
    if means.each is not None and max(bought, used) > means.each:
        return f"costs {money(max(bought, used))} at once, the budget allows {money(means.each)}"
    return ""


def _missing(listing: Listing, need: Need, means: Means) -> int:
    return max(0, need.max_units - means.credits.get(listing.info.class_id, 0))


def _cost(listing: Listing, missing: int, means: Means) -> int | None:
    """What the missing units cost, None if nobody sells them."""
    if missing == 0:
        return 0
    if means.stock is None:
        return listing.cost(missing)
    return means.stock(listing.info.class_id, missing)


# Words


def _reason(best: Listing, need: Need, preferences: Preferences, fitting: int, money: Money) -> str:
    offered = f"{money(best.cost(need.max_units))} for up to {need.max_units} units"
    if not preferences.weighs:
        return f"{_name(best)}: {offered} is the lowest of {fitting} that fit"
    seconds, assurance = expected_seconds(best, need), best.info.terms.min_assurance
    why = f"{seconds} s expected, assurance {assurance}, reputation {best.reputation} permille"
    return f"{_name(best)}: {offered}, {why}: the best of {fitting} that fit"


def _identity(listing: Listing) -> tuple[int, str]:
    return listing.info.class_id, listing.provider.address


def _name(listing: Listing) -> str:
    return f"class {listing.info.class_id} at {listing.provider.address[:10]}"
