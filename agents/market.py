"""What is on offer: classes and providers from the chain, and what the providers say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scrip.chain import Chain
from scrip.provider_client import Offer, ProviderUnreachable, discover
from scrip.types import ClassInfo, ProviderInfo


@dataclass(frozen=True, slots=True)
class Listing:
    """A class that a provider can serve. `offer` is None if the provider can't be reached now."""

    info: ClassInfo
    provider: ProviderInfo
    offer: Offer | None


def listings(
    chain: Chain, *, discover_offer: Callable[[ProviderInfo], Offer] = discover
) -> tuple[Listing, ...]:
    """Every pair of a class and a provider that may serve it, at one block. Asks each provider once.

    Raises ChainError. A provider that can't be reached is listed without an offer.
    """
    view = chain.at()
    providers = [(provider, _offer(provider, discover_offer)) for provider in view.providers()]
    found = []
    for class_id in view.class_ids():
        info = view.class_info(class_id)
        found += [
            Listing(info, provider, offer)
            for provider, offer in providers
            if view.can_serve(provider.address, class_id)
        ]
    return tuple(found)


def _offer(provider: ProviderInfo, discover_offer: Callable[[ProviderInfo], Offer]) -> Offer | None:
    try:
        return discover_offer(provider)
    except ProviderUnreachable:
        return None
