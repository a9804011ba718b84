"""The money of sessions at the gateway: what was deposited, authorised, set aside for calls, and charged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from oracle.gateway.refusals import (
    BadCredential,
    GatewayRefused,
    KeySpent,
    ModelRefused,
    NotServing,
    OverDeposit,
    PaymentNeeded,
    SessionClosing,
    SessionRefused,
    TooManyCalls,
    UnknownSession,
    VoucherUsed,
)
from oracle.gateway.usage import (
    CallUsage,
    Credential,
    KeyCredential,
    Reservation,
    TokenBounds,
    VoucherCredential,
)
from scrip.call_receipts import SignedCallReceipt
from scrip.types_spending import SessionTerms
from scrip.vouchers import Voucher

__all__ = [
    "AccountView", "Accounts", "BadCredential", "CallUsage", "Credential", "GatewayRefused", "KeyCredential",
    "KeySpent", "ModelRefused", "NotServing", "OverDeposit", "PaymentNeeded", "Reservation", "SessionClosing",
    "SessionRefused", "SignedCallReceipt", "TokenBounds", "TooManyCalls", "UnknownSession", "Voucher",
    "VoucherCredential", "VoucherUsed",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountView:
    """A session account as it is now. All numbers are base units but `calls`, a count.

    `deposit` and `claimed` are the chain's, finalized; `authorised` is the highest voucher, `charged` what
    calls have cost, `reserved` what calls in progress hold. `last` is the digest of the last call's receipt.
    """

    session: bytes
    terms: SessionTerms
    deposit: int
    claimed: int
    authorised: int
    charged: int
    reserved: int
    calls: int
    last: bytes
    close_at: int
    closed: bool

    @property
    def available(self) -> int:
        """What a call can still be given."""
        return max(0, min(self.authorised, self.deposit) - self.charged - self.reserved)

    def to_json(self) -> dict[str, Any]:
        """As the API shows it."""
        raise NotImplementedError


class Accounts(Protocol):
    """Accounts of all sessions. Thread-safe; only the node that leads serves."""

    def open(self, terms: SessionTerms) -> AccountView:
        """Read the session from chain and remember it. Known ones are read again. Raises GatewayRefused."""

    def authorise(self, session: bytes, voucher: Voucher) -> None:
        """Take a voucher without a call. Durable when it returns. Raises GatewayRefused."""

    def reserve(self, credential: Credential, model: str, most: TokenBounds) -> Reservation:
        """Set aside the most that a call can cost. Raises GatewayRefused; nothing is held then."""

    def charge(self, held: Reservation, used: CallUsage) -> SignedCallReceipt:
        """Charge what a call used and free the rest. Durable when it returns."""

    def release(self, held: Reservation) -> None:
        """Free what a call held; nothing is charged."""
