"""What a client of a session knows and signs: which vouchers it has used, what it was charged, by receipts.

Nothing of it trusts the provider: what is charged is what verified receipts add up to, each the next of its
session's chain, at the offered rates; what is authorised stays within what the session's owner allows. The
state is kept in a file, so that a restart neither signs too much nor forgets what a provider has signed.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from scrip.call_receipts import CallReceipt, ReceiptWrong, SignedCallReceipt, check_follows, check_units
from scrip.eip712 import DigestSigner
from scrip.errors import BadInput, ScripError
from scrip.rates import Rate
from scrip.vouchers import Voucher, sign_voucher

USED_KEPT: Final = 256
"""With more numbers of vouchers than that in memory, those that can't come up again are forgotten."""


class OverCap(ScripError):
    """A call needs a voucher over more than the owner of the session allows. Nothing was signed."""


@dataclass(slots=True)
class Pending:
    """A call in progress: its voucher, and the most it may cost as far as we know."""

    voucher: Voucher
    most: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a payer goes by: the session, its contract's domain, the provider's oracle key, its rates by
    `CallReceipt.model`, and the owner's limits in base units: `cap` in all, `call_cap` for one call.
    """

    session: bytes
    chain_id: int
    sessions: str
    oracle: str
    rates: Mapping[bytes, Rate]
    cap: int
    call_cap: int


@dataclass(slots=True)
class SessionPayer:
    """Signs vouchers for calls of one session and checks their receipts. Thread-safe.

    `behind` says that a call may have been charged whose receipt we haven't seen: ask for it (`after`).
    """

    terms: Terms
    key: DigestSigner
    path: Path | None = None
    last: SignedCallReceipt | None = None
    base: int = 0
    voucher: Voucher | None = None
    behind: bool = False
    wrong: ReceiptWrong | None = None
    _used: set[int] = field(default_factory=set)
    _early: dict[int, SignedCallReceipt] = field(default_factory=dict)
    _flying: dict[int, Pending] = field(default_factory=dict)
    _count: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            self._load(self.path)

    @property
    def charged(self) -> int:
        """Base units of verified receipts, those out of order included."""
        early = sum(one.receipt.units for one in self._early.values())
        return (self.base if self.last is None else self.last.receipt.total_units) + early

    @property
    def after(self) -> int:
        """Number of the last receipt before which none is missing."""
        return 0 if self.last is None else self.last.receipt.number

    @property
    def idle(self) -> bool:
        """Whether no call is in progress."""
        return not self._flying

    # Calls

    def begin(self, most: int) -> Pending:
        """A voucher for a call that may cost about `most` units, never used before; the provider says if
        that isn't enough. Raises OverCap, and ReceiptWrong once a receipt was wrong.
        """
        with self._lock:
            self.check()
            least = min(self._in_use() + most, self.terms.cap)
            return self._fly(self._sign(self._unused(least)), most)

    def correct(self, pending: Pending, needed: int, guess: int) -> Pending:
        """A voucher over at least `needed` units, as the provider asked, for a call that it refused. More if
        our other calls in progress need it, which cost about `guess`. Raises OverCap.
        """
        with self._lock:
            self._flying.pop(pending.number, None)
            in_use = self._in_use()
            if needed > in_use + self.terms.call_cap:
                raise OverCap(
                    f"the provider asks for a voucher over {needed} units: {in_use} are in use, and a call "
                    f"may cost {self.terms.call_cap}. Allow more for a call, or ask for less"
                )
            most = max(needed - in_use, guess)
            about = max(needed, min(in_use + most, self.terms.cap))
            return self._fly(self._sign(self._unused(about)), most)

    def end(
        self, pending: Pending, signed: SignedCallReceipt | None, request_hash: bytes | None = None
    ) -> None:
        """A call is over. Without a receipt it wasn't charged, as far as we know. Raises ReceiptWrong."""
        with self._lock:
            self._flying.pop(pending.number, None)
            if signed is not None:
                self.take(signed, request_hash)
            if self._early and self.idle:
                self.behind = True

    def take(self, signed: SignedCallReceipt, request_hash: bytes | None = None) -> None:
        """Check a receipt and count it. Out of order ones wait for those before them. Raises ReceiptWrong:
        from then on nothing more is signed.
        """
        with self._lock:
            try:
                self._check(signed, request_hash)
                if signed.receipt.number > self.after:
                    self._early[signed.receipt.number] = signed
                self._advance()
            except ReceiptWrong as wrong:
                self.wrong = wrong
                raise
            finally:
                self.save()

    def leap(self, signed: SignedCallReceipt) -> None:
        """The provider says that this receipt is the next one. If numbers are missing before it, the provider
        has lost what it signed under them, in a power cut, and must not charge for it. Raises ReceiptWrong.
        """
        receipt = signed.receipt
        with self._lock:
            if self.last is None or receipt.number <= self.after + 1:
                return
            self._check(signed, None)
            known = self.last.receipt.total_units
            if receipt.total_units > known + receipt.units:
                self.wrong = ReceiptWrong(
                    f"receipt {receipt.number} is charged after {receipt.total_units - receipt.units} units, "
                    f"receipts up to {self.after} are over {known}, and the provider shows none between"
                )
                raise self.wrong
            self.last = signed
            self._early = {number: one for number, one in self._early.items() if number > receipt.number}
            self._advance()
            self.save()

    def check(self) -> None:
        """Raises what was wrong with a receipt before."""
        if self.wrong is not None:
            raise self.wrong

    def start_from(self, claimed: int) -> None:
        """The provider has no receipts of this session, and has claimed so much of it before."""
        with self._lock:
            if self.last is None:
                self.base = claimed
                self.save()

    # Within

    def _in_use(self) -> int:
        return self.charged + sum(one.most for one in self._flying.values())

    def _unused(self, about: int) -> int:
        """A number for a voucher: from `about` on where the cap allows, otherwise the next one below."""
        above = max(about, self.charged + 1)
        while above in self._used:
            above += 1
        if above <= self.terms.cap:
            return above
        below = about
        while below in self._used:
            below -= 1
        return below if below > self.charged else above

    def _sign(self, units: int) -> Voucher:
        if units > self.terms.cap:
            raise OverCap(
                f"the call needs a voucher over {units} units, {self.terms.cap} are allowed. "
                "Allow more, or ask for less"
            )
        terms = self.terms
        signed = sign_voucher(terms.session, units, self.key, terms.chain_id, terms.sessions)
        self._used.add(units)
        if len(self._used) > USED_KEPT:
            # Lower numbers than what is charged are never signed again.
            self._used = {one for one in self._used if one > self.charged}
        if self.voucher is None or units > self.voucher.units:
            self.voucher = signed
        self.save()
        return signed

    def _fly(self, voucher: Voucher, most: int) -> Pending:
        self._count += 1
        pending = Pending(voucher, most, self._count)
        self._flying[pending.number] = pending
        return pending

    def _check(self, signed: SignedCallReceipt, request_hash: bytes | None) -> None:
        receipt, terms = signed.receipt, self.terms
        where = f"receipt {receipt.number}"
        if receipt.session_id != terms.session:
            raise ReceiptWrong(f"{where} is of another session: 0x{receipt.session_id.hex()}")
        signed.check_signer(terms.oracle, terms.chain_id, terms.sessions)
        if receipt.model not in terms.rates:
            raise ReceiptWrong(f"{where} is for a model without a rate: 0x{receipt.model.hex()}")
        check_units(receipt, terms.rates[receipt.model])
        if request_hash is not None and receipt.request_hash != request_hash:
            raise ReceiptWrong(f"{where} is for another request: 0x{receipt.request_hash.hex()}")
        known = self._early.get(receipt.number)
        if receipt.number == self.after and self.last is not None:
            known = self.last
        if known is not None and known.receipt != receipt:
            raise ReceiptWrong(f"{where}: the provider signed two receipts with this number")

    def _advance(self) -> None:
        while (following := self._early.pop(self.after + 1, None)) is not None:
            before: CallReceipt | None = None if self.last is None else self.last.receipt
            terms = self.terms
            check_follows(following.receipt, before, terms.chain_id, terms.sessions, base=self.base)
            self.last = following
        if not self._early:
            self.behind = False

    # The file

    def save(self) -> None:
        """Replace the file. It survives the end of this process at any time."""
        if self.path is None:
            return
        content = json.dumps(self._state())
        draft = self.path.with_name(self.path.name + ".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(content)
        draft.replace(self.path)

    def _state(self) -> dict[str, Any]:
        return {
            "session": "0x" + self.terms.session.hex(),
            "voucher": None if self.voucher is None else self.voucher.to_json(),
            "used": sorted(self._used),
            "base": str(self.base),
            "receipt": None if self.last is None else self.last.to_json(),
            "early": [one.to_json() for one in self._early.values()],
        }

    def _load(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text("utf-8"))
            self.voucher = None if data["voucher"] is None else Voucher.from_json(data["voucher"])
            self._used = {int(number) for number in data["used"]}
            self.base = int(data["base"])
            self.last = None if data["receipt"] is None else SignedCallReceipt.from_json(data["receipt"])
            early = [SignedCallReceipt.from_json(one) for one in data["early"]]
            session = str(data["session"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise BadInput(
                str(path), type(error).__name__, "the state of a session, as this client wrote it"
            ) from error
        if session != "0x" + self.terms.session.hex():
            raise BadInput(str(path), session, f"the state of session 0x{self.terms.session.hex()}")
        self._early = {one.receipt.number: one for one in early}
        self.behind = True  # a call may have been on its way when the process ended
