"""One session account: PURE arithmetic over what was deposited, authorised, reserved and charged.

Always: charged + reserved <= min(authorised, deposit), whatever order calls, vouchers and news of the chain
come in. (A chain that takes back a finalized deposit breaks it; then nothing more is reserved.) The caller
holds `lock`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

from oracle.gateway.refusals import (
    BadCredential,
    KeySpent,
    ModelRefused,
    NotAtHand,
    PaymentNeeded,
    SessionClosing,
    SessionRefused,
    VoucherUsed,
)
from oracle.gateway.seen import Seen
from oracle.gateway.usage import Reservation
from scrip.types_spending import SessionState, SessionTerms
from scrip.vouchers import Voucher, VoucherChecker

NUMBERS_AHEAD: Final = 1_000
"""So many receipts are numbered before the next numbers are set aside on the disk."""
MOST_OWED: Final = (1 << 63) - 1
NEVER: Final = (1 << 62) - 1
"""A time that doesn't come."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """A session account as it is now. All numbers are base units but `calls`, a count.

    `deposit` and `claimed` are the chain's, finalized; `authorised` is the highest voucher, `charged` what
    calls have cost, `reserved` what calls in progress hold. `last` is the digest of the last call's receipt,
    `close_at` unix seconds, 0 while nobody asked for a close.
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
        """As the API shows it: numbers of units as decimal text."""
        return {
            "sessionId": "0x" + self.session.hex(),
            "terms": self.terms.to_json(),
            "deposit": str(self.deposit),
            "claimed": str(self.claimed),
            "authorised": str(self.authorised),
            "charged": str(self.charged),
            "reserved": str(self.reserved),
            "available": str(self.available),
            "calls": self.calls,
            "last": "0x" + self.last.hex(),
            "closeAt": self.close_at,
            "closed": self.closed,
        }


@dataclass(slots=True)
class KeyState:
    """An API key in use. `cap` and `spent` are base units, `expires_ms` unix milliseconds, 0 never."""

    key_id: str
    session: bytes
    cap: int
    spent: int
    models: tuple[str, ...]
    expires_ms: int
    per_minute: int
    revoked: bool = False
    reserved: int = 0

    def check(self, model: str, units: int, now_ms: int) -> None:
        """Raises BadCredential, ModelRefused, KeySpent."""
        if self.revoked:
            raise BadCredential(f"API key {self.key_id} was revoked. Use another one", self.key_id)
        if self.expires_ms and now_ms >= self.expires_ms:
            raise BadCredential(
                f"API key {self.key_id} has expired. Make a new one", now_ms // 1000, self.expires_ms // 1000
            )
        if self.models and model not in self.models:
            allowed = ", ".join(self.models)
            raise ModelRefused(
                f"API key {self.key_id} may use {allowed}, not {model[:100]!r}", model[:100], allowed, "model"
            )
        left = self.cap - self.spent - self.reserved
        if units > left:
            raise KeySpent(
                f"API key {self.key_id} has {left} of {self.cap} units left, the call can cost {units}. "
                "Ask for less, or use another key",
                units, left,
            )  # fmt: skip


@dataclass(slots=True)
class Account:
    """The account of one session. `stale` says that memory may differ from what is stored, `unsure` that it
    was so and not all of it was stored since; `held` are the calls in progress. `calls` is the last receipt's
    number, `numbers_to` the highest that is set aside. `urgent_at` is chain time from which charges are
    claimed at once, `ends_at` from which nothing is served.
    """

    session: bytes
    terms: SessionTerms
    checker: VoucherChecker
    deposit: int
    claimed: int
    authorised: int
    signature: bytes
    charged: int
    calls: int
    last: bytes
    close_at: int
    closed: bool
    urgent_at: int
    ends_at: int
    owed_ms: int = 0
    opened_ms: int = 0
    numbers_to: int = 0
    seen: Seen = field(default_factory=Seen)
    keys: dict[str, KeyState] = field(default_factory=dict)
    held: dict[str, Reservation] = field(default_factory=dict)
    reserved: int = 0
    stale: bool = False
    unsure: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ceiling(self) -> int:
        """The most that may ever be charged as things are."""
        return min(self.authorised, self.deposit)

    @property
    def owed(self) -> int:
        """Charged and not yet claimed."""
        return max(0, self.charged - self.claimed)

    def take_lock(self, waits: bool) -> None:
        """Take `lock`, which the caller releases. Unless it `waits`, raises NotAtHand where somebody else has
        it, or the store must be read first; it isn't taken then.
        """
        if not self.lock.acquire(blocking=waits):
            raise NotAtHand
        if self.stale and not waits:
            self.lock.release()
            raise NotAtHand

    def view(self) -> AccountView:
        """A snapshot."""
        return AccountView(
            self.session, self.terms, self.deposit, self.claimed, self.authorised, self.charged,
            self.reserved, self.calls, self.last, self.close_at, self.closed,
        )  # fmt: skip

    def on_chain(self, state: SessionState, close_at: int, now_ms: int) -> bool:
        """Take over what the chain says: `state` finalized, `close_at` of the head, where a close shows
        first. True if that changed anything.
        """
        before = (self.deposit, self.claimed, self.close_at, self.closed)
        self.deposit, self.claimed, self.closed = state.deposit, state.claimed, state.closed
        self.close_at = close_at
        if self.claimed > self.charged:
            # Only we claim, and only what was charged under a voucher: so we forgot some of both.
            self.charged = self.claimed
            self.authorised = max(self.authorised, self.claimed)
        if self.claimed != before[1]:
            self.owed_ms = now_ms if self.owed else 0
        return before != (self.deposit, self.claimed, self.close_at, self.closed)

    def check_serving(self, chain_now: int) -> None:
        """Raises SessionClosing or SessionRefused unless calls of this session are served."""
        if self.closed:
            raise SessionClosing("the session is closed. Open another one")
        if self.close_at:
            raise SessionClosing(
                f"a close of the session is pending, it ends at {self.close_at}. Open another one",
                chain_now, self.close_at,
            )  # fmt: skip
        if chain_now >= self.ends_at:
            raise SessionRefused(
                f"the session, or the time in which its class pays, has ended at {self.ends_at}. "
                "Open another one",
                chain_now, self.ends_at,
            )  # fmt: skip

    def show(self, voucher: Voucher) -> None:
        """Take in a voucher whose signature was checked. It may be over more than the deposit, of which no
        more than the deposit is spent. Raises VoucherUsed.
        """
        if not self.seen.add(voucher.units):
            needed = self.seen.unused(self.charged + self.reserved)
            raise VoucherUsed(
                f"a voucher over {voucher.units} units was shown before: each call needs one of its own. "
                f"Sign one over {needed}, or another number above that wasn't shown",
                **self._numbers(needed),
            )
        self.raise_to(voucher)

    def raise_to(self, voucher: Voucher) -> None:
        """Authorise what a voucher says, if that is more."""
        if voucher.units > self.authorised:
            self.authorised, self.signature = voucher.units, voucher.signature

    def reserve(self, held: Reservation) -> None:
        """Set units aside. Raises PaymentNeeded."""
        needed = self.charged + self.reserved + held.units
        if needed > self.ceiling:
            least = self.seen.unused(needed)
            what = "Sign a voucher over that" if least <= self.deposit else "Top the session up first"
            raise PaymentNeeded(
                f"the call can cost {held.units} units, so {least} must be authorised; vouchers are over "
                f"{self.authorised} of {self.deposit} deposited. {what}",
                **self._numbers(least),
            )
        self._hold(held)

    def chargeable(self, held: Reservation, due: int) -> int:
        """What a call is charged that costs `due`: no more than it holds, and never more than is authorised
        and deposited.
        """
        return min(due, held.units, max(0, self.ceiling - self.charged))

    def free(self, held: Reservation) -> None:
        """Give back what a call holds, if it holds anything."""
        if self.held.pop(held.call_id, None) is None:
            return
        self.reserved -= held.units
        if held.key_id in self.keys:
            self.keys[held.key_id].reserved -= held.units

    def charge(self, held: Reservation, units: int, digest: bytes, now_ms: int) -> bool:
        """Charge at most what the call holds, which the caller has freed. The receipt's digest is the chain's
        new end. Returns whether this must be on the disk before the receipt is out: its number wasn't set
        aside, so that after a power cut another receipt could get it.
        """
        self.charged += units
        self.calls += 1
        beyond = self.calls > self.numbers_to
        if beyond:
            self.numbers_to = self.calls + NUMBERS_AHEAD
        self.last = digest
        if self.owed and not self.owed_ms:
            self.owed_ms = now_ms
        if held.key_id in self.keys:
            self.keys[held.key_id].spent += units
        return beyond

    def hold(self, held: Reservation) -> None:
        """Set aside again what a charge has freed that wasn't stored."""
        if held.call_id not in self.held:
            self._hold(held)

    def cover(self, total: int, voucher: Voucher) -> None:
        """See that a voucher authorises what was charged before our state was lost. Raises PaymentNeeded,
        with nothing changed.
        """
        needed = total + self.reserved
        if needed > min(max(self.authorised, voucher.units), self.deposit):
            raise PaymentNeeded(
                f"receipts of this session add up to {total} units: a voucher over {needed} is needed",
                **self._numbers(needed),
            )
        self.raise_to(voucher)

    def go_on(self, total: int, number: int, digest: bytes, now_ms: int) -> None:
        """Take the place in the receipts' chain that a client has shown."""
        self.charged, self.calls, self.last = total, number, digest
        if self.owed and not self.owed_ms:
            self.owed_ms = now_ms

    def reload(self, charged: int, calls: int, numbers_to: int, last: bytes, owed_ms: int) -> None:
        """Take back charges that weren't stored. Vouchers are kept, and what the chain said."""
        self.charged, self.calls, self.numbers_to = charged, calls, numbers_to
        self.last, self.owed_ms = last, owed_ms

    def _hold(self, held: Reservation) -> None:
        self.held[held.call_id] = held
        self.reserved += held.units
        if held.key_id in self.keys:
            self.keys[held.key_id].reserved += held.units

    def _numbers(self, needed: int) -> dict[str, int]:
        return {
            "needed": needed,
            "authorised": self.authorised,
            "charged": self.charged,
            "deposit": self.deposit,
        }
