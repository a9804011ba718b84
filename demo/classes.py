"""The credit classes of the demonstration: LLM output tokens, CPU-seconds and GPU-seconds.

Prices are payment-token base units (1 dUSD = 1,000,000) per 1,000,000 credits, in the order of what such
capacity costs: $10 per million tokens, $0.0001 per CPU-second, $0.00083 per H100-second ($2.99 an hour).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from web3.logs import DISCARD

from scrip.chain import Chain
from scrip.errors import ChainError
from scrip.sender import Sender
from scrip.structs import ZERO_ADDRESS
from scrip.types import ClassTerms, Funding, Resource, region_bytes, sku_id

LLM_SKU: Final = "smollm2-135m-instruct-q4_1"
CPU_SKU: Final = "cpu"
GPU_SKU: Final = "nvidia-h100-80gb"
SKUS: Final = (LLM_SKU, CPU_SKU, GPU_SKU)
"""Labels of what the demonstration's provider serves: the catalogue's model, any core, an H100."""

MILLI = 3
"""Decimals of time classes: the base unit is a millisecond."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What differs between the classes. `max_supply` is base units, `max_rate` base units per second,
    `challenge_window` seconds.
    """

    name: str
    resource: Resource
    decimals: int
    sku: str
    price_per_million: int
    max_rate: int
    max_supply: int
    min_assurance: int
    challenge_window: int = 0


LLM: Final = Offer(
    name="SmolLM2-135M output tokens",
    resource=Resource.OUTPUT_TOKEN,
    decimals=0,
    sku=LLM_SKU,
    price_per_million=10_000_000,
    max_rate=1_000,
    max_supply=10**12,
    min_assurance=2,
)
CPU: Final = Offer(
    name="CPU-seconds",
    resource=Resource.CPU_SECOND,
    decimals=MILLI,
    sku=CPU_SKU,
    price_per_million=100_000_000,
    max_rate=1_000,
    max_supply=10**12,
    min_assurance=2,
)
CPU_OF_ONE: Final = Offer(
    name="CPU-seconds of one provider",
    resource=Resource.CPU_SECOND,
    decimals=MILLI,
    sku=CPU_SKU,
    price_per_million=80_000_000,
    max_rate=1_000,
    max_supply=10**12,
    min_assurance=2,
)
"""What a provider may sell beside the class that is open to all: cheaper, and only it may serve it."""
# Assurance 0: without a GPU its telemetry is simulated, and simulated telemetry proves nothing.
GPU: Final = Offer(
    name="GPU-seconds, H100 80 GB",
    resource=Resource.GPU_SECOND,
    decimals=MILLI,
    sku=GPU_SKU,
    price_per_million=830_000_000,
    max_rate=1_000,
    max_supply=10**12,
    min_assurance=0,
)


@dataclass(frozen=True, slots=True)
class DemoClasses:
    """Ids of the demonstration's classes."""

    llm: int
    cpu: int
    gpu: int


def terms_of(offer: Offer, *, issuer: str, payment_token: str, watcher_set: int) -> ClassTerms:
    """Complete terms: sold at a fixed price, transferable, in any region, for ever, without stake behind it.

    The watchers decide disputes as well, where there is a window for them.
    """
    return ClassTerms(
        issuer=issuer,
        resource=offer.resource,
        decimals=offer.decimals,
        funding=Funding.SALE,
        transferable=True,
        capacity_bound=False,
        min_assurance=offer.min_assurance,
        watcher_set=watcher_set if offer.min_assurance >= 2 else 0,
        challenge_window=offer.challenge_window,
        max_rate=offer.max_rate,
        expiry=0,
        max_supply=offer.max_supply,
        max_per_holder=0,
        sku=sku_id(offer.sku),
        region=region_bytes("any"),
        payment_token=payment_token,
        price_per_million=offer.price_per_million,
        price_feed=ZERO_ADDRESS,
        max_price_age=0,
        eligibility=ZERO_ADDRESS,
        arbiter_set=watcher_set if offer.challenge_window else 0,
        stake_per_million=0,
        max_deviation_bps=0,
        name=offer.name,
    )


def create_class(chain: Chain, issuer: Sender, terms: ClassTerms, providers: Iterable[str] = ()) -> int:
    """Create one class and return its id. `issuer` needs ISSUER_ROLE. Raises Reverted, as the sender does."""
    credit_token = chain.contract("ComputeCredits")
    call = credit_token.functions.createClass(terms.to_abi(), list(providers))
    receipt = issuer.send(call, label=f"create class {terms.name}")
    for event in credit_token.events.ClassCreated().process_receipt(receipt, errors=DISCARD):
        return int(event["args"]["classId"])
    raise ChainError(f"createClass emitted no ClassCreated in {receipt['transactionHash'].to_0x_hex()}")


def create_demo_classes(chain: Chain, issuer: Sender, *, payment_token: str, watcher_set: int) -> DemoClasses:
    """Create the three classes, issued by `issuer`'s account and open to any provider of their SKU."""
    ids = (
        create_class(
            chain,
            issuer,
            terms_of(offer, issuer=issuer.address, payment_token=payment_token, watcher_set=watcher_set),
        )
        for offer in (LLM, CPU, GPU)
    )
    return DemoClasses(*ids)
