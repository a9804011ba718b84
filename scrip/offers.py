"""Signed offers of the exchange, for those who take them: read, checked against the chain, filled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from web3.logs import DISCARD

from scrip.eip712 import recover
from scrip.eip712_credits import offer_digest
from scrip.errors import BadInput, BadSignature, ChainError
from scrip.structs import ZERO_ADDRESS, to_bytes
from scrip.types_spending import Offer

if TYPE_CHECKING:
    from web3.types import TxReceipt

    from scrip.chain import Chain
    from scrip.sender import Sender
    from scrip.view import ChainView


@dataclass(frozen=True, slots=True)
class SignedOffer:
    """A maker's offer and its signature, as makers hand them around."""

    offer: Offer
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        """Plain JSON object."""
        return {"offer": self.offer.to_json(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput."""
        if not isinstance(data, Mapping) or set(data) != {"offer", "signature"}:
            raise BadInput("offer", data, "an object with exactly the keys offer and signature")
        return cls(Offer.from_json(data["offer"]), to_bytes("offer.signature", data["signature"]))

    def cost(self, units: int) -> int:
        """Token base units a buyer pays for `units` of it, rounded up as by `CreditExchange._price`."""
        return -(-units * self.offer.price // self.offer.units)


@dataclass(frozen=True, slots=True)
class Lot:
    """A sell offer that can be filled now, and how many base units of it."""

    signed: SignedOffer
    units: int


def load(path: Path) -> tuple[SignedOffer, ...]:
    """Offers from a JSON file: a list of `SignedOffer.to_json`. Raises BadInput."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"offers {path}", str(error), "a JSON file") from None
    if not isinstance(data, list):
        raise BadInput(f"offers {path}", type(data).__name__, "a list")
    return tuple(SignedOffer.from_json(item) for item in data)


def lots(view: ChainView, offers: Sequence[SignedOffer], buyer: str, token: str) -> tuple[Lot, ...]:
    """Those offers that sell credits for `token` and that `buyer` can fill now, with what is left of each.

    An offer that can't be filled is left out, whatever the reason: a maker gives no promise.
    """
    now = view.time()
    found = [Lot(one, _open_units(view, one, buyer, token, now)) for one in offers]
    return tuple(lot for lot in found if lot.units > 0)


def save(path: Path, offers: Sequence[SignedOffer]) -> None:
    """Write offers to a new JSON file, as `load` reads it. Raises BadInput."""
    text = json.dumps([one.to_json() for one in offers], indent=2) + "\n"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(f"offers {path}", str(error.strerror), "a new file that can be written") from None


def standing(view: ChainView, signed: SignedOffer) -> tuple[str, int]:
    """Why an offer can't be filled now, "" if it can; and how many of its base units are left.

    Of an offer to buy, it isn't known here whether its maker holds the tokens' price of all that is left.
    """
    offer, exchange = signed.offer, view.chain.address("CreditExchange")
    digest = offer_digest(offer, view.chain.chain_id, exchange)
    left = offer.units - int(view.read("CreditExchange", "filledOf", digest))
    if not _signed(view, signed, digest):
        return "not signed by its maker", left
    if view.read("CreditExchange", "isCancelled", digest):
        return "cancelled", left
    if offer.epoch != int(view.read("CreditExchange", "epochOf", offer.maker)):
        return "cancelled with all of its epoch", left
    if left == 0:
        return "filled", left
    if view.time() > offer.expiry:
        return "expired", left
    return _lacking(view, offer, exchange), left


def _lacking(view: ChainView, offer: Offer, exchange: str) -> str:
    """What its maker lacks to give."""
    if not offer.selling:
        approved = view.token_allowance(offer.token, offer.maker, exchange)
        return "" if approved and view.token_balance(offer.token, offer.maker) else "its maker can't pay"
    if not view.read("ComputeCredits", "isApprovedForAll", offer.maker, exchange):
        return "its maker hasn't approved the exchange"
    return "" if view.available(offer.maker, offer.class_id) else "its maker has no free credits"


def fill(
    chain: Chain, sender: Sender, signed: SignedOffer, units: int, limit: int, label: str
) -> tuple[int, bytes]:
    """Fill `units` of an offer as its taker; the price and the transaction's hash.

    `limit` is the most a buyer pays, or the least a seller takes. Raises as `Sender.send`.
    """
    order = (signed.offer.to_abi(), signed.signature, units, limit)
    receipt = sender.send(chain.contract("CreditExchange").functions.fill(order), label=label)
    return _paid(chain, receipt), bytes(receipt["transactionHash"])


def fill_for(
    chain: Chain, sender: Sender, budget_id: int, signed: SignedOffer, units: int, most: int, label: str
) -> int:
    """Buy `units` of an offer for a budget's owner, as its spender, for at most `most`; the price paid.

    Raises as `Sender.send`.
    """
    order = (signed.offer.to_abi(), signed.signature, units, most)
    receipt = sender.send(
        chain.contract("CreditExchange").functions.fillFor(budget_id, order),
        label=label,
    )
    return _paid(chain, receipt)


def _open_units(view: ChainView, signed: SignedOffer, buyer: str, token: str, now: int) -> int:
    offer, exchange = signed.offer, view.chain.address("CreditExchange")
    if not offer.selling or offer.token != token or offer.taker not in (ZERO_ADDRESS, buyer):
        return 0
    if now > offer.expiry or offer.units == 0:
        return 0
    digest = offer_digest(offer, view.chain.chain_id, exchange)
    if not _signed(view, signed, digest) or view.read("CreditExchange", "isCancelled", digest):
        return 0
    if offer.epoch != int(view.read("CreditExchange", "epochOf", offer.maker)):
        return 0
    if not view.read("ComputeCredits", "isApprovedForAll", offer.maker, exchange):
        return 0
    rest = offer.units - int(view.read("CreditExchange", "filledOf", digest))
    return max(0, min(rest, view.available(offer.maker, offer.class_id)))


def _signed(view: ChainView, signed: SignedOffer, digest: bytes) -> bool:
    try:
        if recover(digest, signed.signature) == signed.offer.maker:
            return True
    except BadSignature:
        pass
    return view.is_valid_signature(signed.offer.maker, digest, signed.signature)


def _paid(chain: Chain, receipt: TxReceipt) -> int:
    event = chain.contract("CreditExchange").events.OfferFilled()
    for found in event.process_receipt(receipt, errors=DISCARD):
        if found["address"] == chain.address("CreditExchange"):
            return int(found["args"]["price"])
    raise ChainError("the fill was mined without an OfferFilled event")
