"""Listings for the agents' tests."""

from __future__ import annotations

from typing import Any

from agents.market import NO_EXPERIENCE, UNKNOWN, Experience, Listing
from agents.reputation import Record
from scrip.provider_client import Offer
from scrip.structs import ZERO_ADDRESS
from scrip.types import ClassInfo, ClassTerms, Funding, ProviderInfo, Resource, region_bytes, sku_id

TOKEN = "0x" + "11" * 20


def listing(
    class_id: int = 1,
    *,
    price: int = 1_000_000,
    assurance: int = 2,
    resource: Resource = Resource.OUTPUT_TOKEN,
    stake: int = 0,
    region: str = "eu",
    funding: Funding = Funding.SALE,
    supply: int = 0,
    max_supply: int = 10**9,
    templates: tuple[str, ...] = ("llm.generate",),
    reachable: bool = True,
    closed: bool = False,
    record: Record = UNKNOWN,
    experience: Experience = NO_EXPERIENCE,
    provider: str = "",
    **offered: Any,
) -> Listing:
    """A listing of `class_id`; `price` is payment-token base units per million credits, decimals 0.

    `offered` are other fields of its offer.
    """
    terms = ClassTerms(
        issuer=TOKEN, resource=resource, decimals=0, funding=funding, transferable=True, capacity_bound=False,
        min_assurance=assurance, watcher_set=1, challenge_window=0, max_rate=1000, expiry=0,
        max_supply=max_supply, max_per_holder=0, sku=sku_id("model"), region=bytes(12), payment_token=TOKEN,
        price_per_million=price, price_feed=ZERO_ADDRESS, max_price_age=0, eligibility=ZERO_ADDRESS,
        arbiter_set=0, stake_per_million=0, max_deviation_bps=0, name="L",
    )  # fmt: skip
    info = ClassInfo(class_id, terms, supply, 0, closed, closed)
    address = provider or f"0x{class_id:040x}"
    info_of = ProviderInfo(address, address, region_bytes(region), "http://x", stake, 0, 0)
    offer = Offer("p", "http://x", templates, simulated=False, **offered) if reachable else None
    return Listing(info, info_of, offer, price, record, experience)
