"""A seller's side of `credit-escrow`: register it with an `x402ResourceServer` of the SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from x402.interfaces import PaymentFlowConfig
from x402.schemas import AssetAmount, PaymentRequirements, Price, SettleContext, SupportedKind

from scrip.errors import BadInput
from scrip.types import JobTerms
from scrip.x402.escrow import SCHEME, TRANSFER_METHOD, JobPayment, Kind

Quoter = Callable[[JobTerms], bytes]
"""The provider's signature over the acceptance of a job, made when its payment is about to be settled."""
_NEEDED: Final[Mapping[object, tuple[str, ...]]] = {
    Kind.JOB: ("tokenId", "provider", "resources", "specHash", "runSeconds"),
    Kind.VOUCHER: ("tokenId", "provider"),
}


class CreditEscrowServer:
    """Prices in credits: an amount of base units with the asset and all of `extra`, as the requirements of a
    `JobOffer` or `VoucherOffer` have them.

    The credits are locked, or charged to a session, before anything is served. `quoter` makes jobs start at
    once; without one they wait for the provider to accept them.
    """

    scheme = SCHEME
    default_asset_transfer_method = TRANSFER_METHOD
    payment_flows: Final[Mapping[str, PaymentFlowConfig]] = {
        TRANSFER_METHOD: {"supported": ("upfront", "authorization"), "default": "upfront"}
    }

    def __init__(self, quoter: Quoter | None = None) -> None:
        self._quoter = quoter

    def parse_price(self, price: Price | Mapping[str, Any], network: str) -> AssetAmount:
        """The price as given: credits have no exchange rate that a server could look up. Raises BadInput."""
        if isinstance(price, AssetAmount):
            return price
        if not isinstance(price, Mapping) or not {"amount", "asset", "extra"} <= set(price):
            raise BadInput("price", price, "amount (base units), asset and extra of a credit class")
        return AssetAmount(amount=price["amount"], asset=price["asset"], extra=dict(price["extra"]))

    def enhance_payment_requirements(
        self, requirements: PaymentRequirements, supported_kind: SupportedKind, extensions: list[str]
    ) -> PaymentRequirements:
        """Add what the facilitator says of its contracts. Raises BadInput if `extra` lacks something."""
        kind = requirements.extra.get("kind")
        if kind not in _NEEDED:
            raise BadInput("extra.kind", kind, f"one of {[one.value for one in Kind]}")
        known = (supported_kind.extra or {}).get(str(kind), {})
        extra = {**known, **requirements.extra}
        missing = [name for name in _NEEDED[kind] if name not in extra]
        if missing:
            raise BadInput("extra", sorted(extra), f"complete, {', '.join(missing)} missing")
        return requirements.model_copy(update={"extra": extra})

    def enrich_settlement_payload(self, context: SettleContext) -> dict[str, Any] | None:
        """The provider's quote, beside what the payer signed. Raises what the quoter raises."""
        payload = context.payment_payload.payload
        if self._quoter is None or payload.get("kind") != Kind.JOB or "quote" in payload:
            return None
        return {"quote": "0x" + self._quoter(JobPayment.from_json(payload).terms).hex()}
