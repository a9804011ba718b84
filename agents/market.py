"""What is on offer: classes and providers from the chain, and what the providers say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from agents.reputation import Record
from scrip.amounts import PRICE_SCALE, cost
from scrip.chain import Chain
from scrip.errors import Reverted
from scrip.provider_client import Offer, ProviderUnreachable, discover
from scrip.structs import ZERO_ADDRESS
from scrip.types import ClassInfo, ProviderInfo
from scrip.view import ChainView

ASKED_AT_ONCE = 8
"""Providers that are asked for their registration file at the same time."""

UNKNOWN = Record()


@dataclass(frozen=True, slots=True)
class Experience:
    """What the agent itself has seen of a provider. Times in seconds.

    `done` jobs came back verified, after `seconds` from opening to the end on average, rounded up.
    `unverified` ones were settled, and what came back didn't hold: nobody but the agent can know.
    """

    done: int = 0
    seconds: int = 0
    unverified: int = 0


NO_EXPERIENCE = Experience()


@dataclass(frozen=True, slots=True)
class Listing:
    """A class that a provider can serve.

    `offer` is None if the provider can't be reached now, `price` (payment-token base units per 1,000,000
    credits) is None where a price feed gives none. `record` is of the chain, `experience` the agent's own.
    """

    info: ClassInfo
    provider: ProviderInfo
    offer: Offer | None
    price: int | None
    record: Record = UNKNOWN
    experience: Experience = NO_EXPERIENCE

    def cost(self, units: int) -> int:
        """Payment-token base units that `units` base units cost. Raises TypeError without a price."""
        if self.price is None:
            raise TypeError("this listing has no price: ask `price` first")
        return cost(units, self.price, self.info.terms.decimals)

    @property
    def reputation(self) -> int:
        """Permille, from the chain's record and what the agent found not to hold."""
        return self.record.reputation(self.experience.unverified)


def listings(
    chain: Chain,
    *,
    discover_offer: Callable[[ProviderInfo], Offer] = discover,
) -> tuple[Listing, ...]:
    """Every pair of a class and a provider that may serve it, at one block. Asks each provider once.

    Raises ChainError. A provider that can't be reached is listed without an offer.
    """
    view = chain.at()
    providers = view.providers()
    # Each may take seconds to say nothing: together they take no longer than the slowest.
    with ThreadPoolExecutor(ASKED_AT_ONCE, "scrip-market") as pool:
        offers = list(pool.map(lambda provider: _offer(provider, discover_offer), providers))
    found = []
    for class_id in view.class_ids():
        info = view.class_info(class_id)
        price = price_now(view, info)
        found += [
            Listing(info, provider, offer, price)
            for provider, offer in zip(providers, offers, strict=True)
            if view.can_serve(provider.address, class_id)
        ]
    return tuple(found)


def known(
    found: Iterable[Listing], records: Mapping[str, Record], experience: Mapping[str, Experience]
) -> list[Listing]:
    """The listings with what is known of their providers, by address."""
    return [
        replace(
            item,
            record=records.get(item.provider.address, UNKNOWN),
            experience=experience.get(item.provider.address, NO_EXPERIENCE),
        )
        for item in found
    ]


def price_now(view: ChainView, info: ClassInfo) -> int | None:
    """What 1,000,000 credits cost, rounded up; None while the class's feed has no usable price."""
    if info.terms.price_feed == ZERO_ADDRESS:
        return info.terms.price_per_million
    try:
        return view.cost(info.class_id, 10**info.terms.decimals * PRICE_SCALE)
    except Reverted:
        return None


def paid_in(found: Iterable[Listing], token: str) -> list[Listing]:
    """Those listings whose class is paid in `token`: amounts in other tokens can't be compared."""
    return [item for item in found if item.info.terms.payment_token == token]


def _offer(provider: ProviderInfo, discover_offer: Callable[[ProviderInfo], Offer]) -> Offer | None:
    try:
        return discover_offer(provider)
    except ProviderUnreachable:
        return None
