"""Which listing to take. PURE: the same listings, need and means give the same choice, with its reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.market import Listing
from scrip.amounts import cost
from scrip.errors import Refused
from scrip.spec import JobSpec
from scrip.types import Funding, Resource, region_text


@dataclass(frozen=True, slots=True)
class Need:
    """A piece of work and what its buyer insists on.

    `max_units` are base units of the class taken, the most the job may cost. `region` "" and `sku` None mean
    any.
    """

    spec: JobSpec
    resource: Resource
    max_units: int
    min_assurance: int = 0
    sku: bytes | None = None
    region: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """What can be spent: `left` of the limit, in payment-token base units, and free credits by class id."""

    left: int
    credits: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """The listing to take: `to_buy` base units are missing and cost `cost`. `rejected`: why no other."""

    listing: Listing
    to_buy: int
    cost: int
    reason: str
    rejected: tuple[str, ...]


Money = Callable[[int], str]
"""Text of an amount in payment-token base units."""


def choose(listings: Sequence[Listing], need: Need, means: Means, money: Money = str) -> Choice:
    """The cheapest listing that fits the need and the means; `money` words the amounts in its reasons.

    Price is that of all units the job may use, whether they must be bought or are held already: held credits
    could be sold. Ties go to higher assurance, then to more stake, then to the lower class id and address.
    Raises Refused with every reason if nothing fits.
    """
    rejected = []
    fitting = []
    for listing in listings:
        why = problem(listing, need, means, money)
        if why:
            rejected.append(f"{_name(listing)}: {why}")
        else:
            fitting.append(listing)
    if not fitting:
        raise Refused("; ".join(rejected) or "nothing is on offer", "policy")
    best = min(fitting, key=lambda listing: _rank(listing, need))
    to_buy = _missing(best, need, means)
    price = _price(best, need.max_units)
    offered = f"{money(price)} for up to {need.max_units} units"
    reason = f"{_name(best)}: {offered} is the lowest of {len(fitting)} that fit"
    return Choice(best, to_buy, _price(best, to_buy), reason, tuple(rejected))


def problem(listing: Listing, need: Need, means: Means, money: Money = str) -> str:
    """Why a listing can't be taken, empty if it can."""
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
    if listing.offer is None:
        return "its provider can't be reached"
    if need.spec.template not in listing.offer.templates:
        return f"its provider doesn't offer {need.spec.template}"
    missing = _missing(listing, need, means)
    if missing and (terms.funding is not Funding.SALE or listing.info.wound_down):
        return "not for sale"
    if missing + listing.info.supply > terms.max_supply:
        return f"only {terms.max_supply - listing.info.supply} units left to sell"
    price = _price(listing, missing)
    if price > means.left:
        return f"costs {money(price)}, {money(means.left)} of the limit is left"
    return ""


def _missing(listing: Listing, need: Need, means: Means) -> int:
    return max(0, need.max_units - means.credits.get(listing.info.class_id, 0))


def _price(listing: Listing, units: int) -> int:
    terms = listing.info.terms
    return cost(units, terms.price_per_million, terms.decimals)


def _rank(listing: Listing, need: Need) -> tuple[int, int, int, int, str]:
    terms, provider = listing.info.terms, listing.provider
    price = _price(listing, need.max_units)
    return price, -terms.min_assurance, -provider.stake, listing.info.class_id, provider.address


def _name(listing: Listing) -> str:
    return f"class {listing.info.class_id} at {listing.provider.address[:10]}"
