"""Receipts of calls: what a provider signs for each call it served and charged.

The receipts of a session form a chain: `number` goes up from 1, `previous` is the digest of the receipt
before, `total_units` what was charged up to and with this call. So whoever has the last one knows that none
is missing, and no two can be signed for one place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, Self

from scrip.eip712 import DigestSigner, digest, domain_separator, hash_struct, recover, sign
from scrip.eip712_sessions import SESSIONS_DOMAIN
from scrip.errors import BadInput, ScripError
from scrip.rates import Rate
from scrip.structs import ZERO_BYTES32, Bytes32, Struct, Uint64, Uint128, to_bytes
from scrip.types import sku_id

RECEIPT_HEADER: Final = "Scrip-Receipt"
"""Header with the receipt of a call, as JSON on one line."""
RECEIPT_EVENT: Final = "scrip.receipt"
"""Server-sent event after a stream's `[DONE]`, with the same as its data."""

_COMPACT: Final = json.JSONEncoder(separators=(",", ":"))


class ReceiptWrong(ScripError):
    """A provider's receipt isn't what it must be. Keep it: signed, it proves what the provider did."""


@dataclass(frozen=True, slots=True)
class CallReceipt(Struct):
    """One call of a session. Times are unix milliseconds, units base units of the session's class.

    `model` is `model_id` of the model's name, the hashes are keccak256 of the body that was received and of
    the bytes that were answered; `input_tokens` includes `cached_tokens`.
    """

    session_id: Bytes32
    number: Uint64
    previous: Bytes32
    model: Bytes32
    request_hash: Bytes32
    response_hash: Bytes32
    input_tokens: Uint64
    cached_tokens: Uint64
    output_tokens: Uint64
    units: Uint128
    total_units: Uint128
    started_ms: Uint64
    ended_ms: Uint64

    def digest(self, chain_id: int, sessions: str) -> bytes:
        """What the provider's oracle key signs: EIP-712 in the domain of the contract `sessions`."""
        struct = hash_struct(CALL_RECEIPT_TYPE, self.abi_types(), self.to_abi())
        return digest(domain_separator(SESSIONS_DOMAIN, chain_id, sessions), struct)


CALL_RECEIPT_TYPE: Final = CallReceipt.type_string()


@lru_cache(maxsize=256)
def model_id(name: str) -> bytes:
    """`CallReceipt.model` of a model's name: its keccak256, as of a SKU's label."""
    return sku_id(name)


@dataclass(frozen=True)
class SignedCallReceipt:
    """A receipt with the signature of the provider's oracle key."""

    receipt: CallReceipt
    signature: bytes

    @classmethod
    def signed(cls, receipt: CallReceipt, key: DigestSigner, chain_id: int, sessions: str) -> Self:
        """Sign `receipt`."""
        return cls(receipt, sign(receipt.digest(chain_id, sessions), key))

    def to_json(self) -> dict[str, Any]:
        """The receipt and its signature."""
        return {"receipt": self.receipt.to_json(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises BadInput."""
        if not isinstance(data, dict) or set(data) != {"receipt", "signature"}:
            raise BadInput("call receipt", data, "an object with receipt and signature")
        return cls(CallReceipt.from_json(data["receipt"]), to_bytes("signature", data["signature"], 65))

    def header(self) -> str:
        """Value of `RECEIPT_HEADER`."""
        return self._text

    @cached_property
    def _text(self) -> str:
        return _COMPACT.encode(self.to_json())

    @classmethod
    def parse(cls, header: str) -> Self:
        """Inverse of `header`. Raises BadInput."""
        try:
            return cls.from_json(json.loads(header))
        except ValueError:
            raise BadInput(RECEIPT_HEADER, header, "a call receipt as JSON") from None

    def check_signer(self, oracle: str, chain_id: int, sessions: str) -> None:
        """Raise ReceiptWrong unless `oracle` signed it. Raises BadSignature for a malformed signature."""
        signer = recover(self.receipt.digest(chain_id, sessions), self.signature)
        if signer != oracle:
            raise ReceiptWrong(f"{_name(self.receipt)}: signed by {signer}, must be the oracle key {oracle}")


def check_units(receipt: CallReceipt, rate: Rate) -> None:
    """Raise ReceiptWrong if the units are more than the tokens cost at this rate, or the tokens can't be."""
    try:
        due = rate.units(receipt.input_tokens, receipt.cached_tokens, receipt.output_tokens)
    except BadInput as error:
        raise ReceiptWrong(f"{_name(receipt)}: {error}") from None
    if receipt.units > due:
        raise ReceiptWrong(
            f"{_name(receipt)}: {receipt.units} units, its tokens cost {due} at the offered rate"
        )


def check_follows(
    receipt: CallReceipt, before: CallReceipt | None, chain_id: int, sessions: str, *, base: int = 0
) -> None:
    """Raise ReceiptWrong unless `receipt` is the next of its session's chain after `before`. None: it is the
    first, and `base` units were claimed before it, by a provider that has lost the receipts for them.

    Digests and totals show that no receipt is missing. Numbers may be: a provider that has lost its last
    receipts gives no number twice.
    """
    number, previous, total = 0, ZERO_BYTES32, base
    if before is not None:
        number, previous, total = before.number, before.digest(chain_id, sessions), before.total_units
        if receipt.session_id != before.session_id:
            raise ReceiptWrong(f"{_name(receipt)}: of another session than the receipt before it")
    if receipt.number <= number or receipt.previous != previous:
        raise ReceiptWrong(f"{_name(receipt)}: doesn't follow receipt {number} of its session")
    if receipt.total_units != total + receipt.units:
        raise ReceiptWrong(
            f"{_name(receipt)}: totalUnits {receipt.total_units}, must be {total} + {receipt.units}"
        )


def check_chain(receipts: Iterable[CallReceipt], chain_id: int, sessions: str) -> CallReceipt | None:
    """Check that receipts follow each other, from any first one on. Returns the last. Raises ReceiptWrong."""
    before = None
    for receipt in receipts:
        if before is not None:
            check_follows(receipt, before, chain_id, sessions)
        before = receipt
    return before


def _name(receipt: CallReceipt) -> str:
    return f"receipt {receipt.number} of session 0x{receipt.session_id.hex()[:8]}.."
