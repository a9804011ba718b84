"""Charging calls: the receipt, its place in the session's chain, and storing both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from oracle import measuring
from oracle.gateway.account import Account
from oracle.gateway.book import Book, values
from oracle.gateway.chain import SessionChain
from oracle.gateway.commits import Change, GroupCommit
from oracle.gateway.metrics import GatewayMetrics
from oracle.gateway.refusals import NotAtHand
from oracle.gateway.roster import Roster
from oracle.gateway.usage import CallUsage, Reservation
from oracle.logging import get
from scrip.call_receipts import CallReceipt, SignedCallReceipt, model_id
from scrip.eip712 import Wallet, sign
from scrip.errors import ScripError

_log = get(__name__)


class ReservationGone(ScripError):
    """A call is charged that holds nothing: it was released, or another process reserved for it."""


@dataclass(frozen=True, slots=True)
class _Charge:
    """A charge that is made and may not be stored yet."""

    account: Account
    change: Change
    signed: SignedCallReceipt
    due: int


class Charges:
    """Charges of calls. Thread-safe. `key` signs receipts."""

    def __init__(
        self,
        book: Book,
        chain: SessionChain,
        roster: Roster,
        commits: GroupCommit,
        metrics: GatewayMetrics,
        key: Callable[[], Wallet],
    ) -> None:
        self._book, self._chain, self._roster, self._commits = book, chain, roster, commits
        self._metrics, self._key = metrics, key
        self._made: dict[str, _Charge] = {}
        self._left: deque[Callable[[], None]] = deque()

    def charge(self, held: Reservation, used: CallUsage, *, waits: bool) -> SignedCallReceipt:
        """As `oracle.gateway.accounts.Accounts.charge`."""
        if not waits and not self._book.keeps:
            raise NotAtHand("charges wait for the store")
        made = self._made.get(held.call_id) or self._make(held, used, waits)
        if made is None:
            return self._charged_before(held)
        if made.change.kept:
            del self._made[held.call_id]
            self._left.append(partial(self._count, held, used, made))
            return made.signed
        if not waits:
            raise NotAtHand("the charge can't be logged")
        try:
            self._commits.wait(made.change)
        except BaseException:
            with made.account.lock:
                del self._made[held.call_id]
                made.account.hold(held)
            raise
        del self._made[held.call_id]
        self._count(held, used, made)
        return made.signed

    def catch_up(self) -> None:
        """As `oracle.gateway.accounts.Accounts.catch_up`."""
        while self._left:
            with suppress(IndexError):  # another thread has taken it
                self._left.popleft()()
        self._commits.catch_up()

    def _make(self, held: Reservation, used: CallUsage, waits: bool) -> _Charge | None:
        """Charge in memory, and queue it for the store. None if the call holds nothing."""
        account = self._roster.account(held.session, waits=waits)
        if waits and account.stale:
            self._commits.catch_up()
        due = held.rate.units(used.input, used.cached, used.output)
        account.take_lock(waits)
        try:
            self._roster.freshen(account)
            if held.call_id not in account.held:
                if not waits:
                    raise NotAtHand("the receipt must be read")
                return None
            receipt = self._receipt(account, held, used, account.chargeable(held, due))
            digest = receipt.digest(self._chain.chain_id, self._chain.contract)
            signed = SignedCallReceipt(receipt, sign(digest, self._key()))
            made = _Charge(account, self._change(account, held, used, signed, digest), signed, due)
            self._queue(account, made.change, waits)
            self._made[held.call_id] = made
        finally:
            account.lock.release()
        return made

    def _queue(self, account: Account, change: Change, waits: bool) -> None:
        try:
            if waits or not self._commits.keep(change):
                self._commits.put(change)
        except BaseException:
            account.stale = True  # memory is ahead of what will ever be stored
            raise

    def _receipt(self, account: Account, held: Reservation, used: CallUsage, units: int) -> CallReceipt:
        return CallReceipt(
            session_id=account.session,
            number=account.calls + 1,
            previous=account.last,
            model=model_id(held.model),
            request_hash=used.request_hash,
            response_hash=used.response_hash,
            input_tokens=used.input,
            cached_tokens=used.cached,
            output_tokens=used.output,
            units=units,
            total_units=account.charged + units,
            started_ms=used.started_ms,
            ended_ms=used.ended_ms,
        )

    def _change(
        self,
        account: Account,
        held: Reservation,
        used: CallUsage,
        signed: SignedCallReceipt,
        digest: bytes,
    ) -> Change:
        receipt, now_ms = signed.receipt, self._book.store.now_ms()
        account.free(held)
        owed_ms = account.owed_ms
        # What failed may be in the store's files all the same: nothing leaves before it is written over.
        synced = account.charge(held, receipt.units, digest, now_ms) or account.unsure
        whole = account.unsure or account.owed_ms != owed_ms
        account.unsure = False
        where = {"session_id": account.session, "number": receipt.number, "at_ms": now_ms}
        call = where | {
            "call_id": held.call_id, "model": held.model, "voucher": held.voucher, "key_id": held.key_id,
            "receipt": signed.header(), "digest": digest,
        }  # fmt: skip
        body = where | {"request": used.request, "response": used.response}
        key = account.keys.get(held.key_id)
        return Change(
            account,
            values(account),
            call,
            body if used.deterministic else None,
            None if key is None else {"key_id": key.key_id, "spent": key.spent},
            synced,
            whole,
        )

    def _charged_before(self, held: Reservation) -> SignedCallReceipt:
        self._commits.catch_up()
        found = self._book.receipt_of(held.call_id)
        if found is None:
            raise ReservationGone(f"call {held.call_id} holds nothing: it was released, or not reserved here")
        return found

    def _count(self, held: Reservation, used: CallUsage, made: _Charge) -> None:
        m, units = self._metrics, made.signed.receipt.units
        m.calls.labels(held.model).inc()
        measuring.call(held.model, used.input, used.output, (used.ended_ms - used.started_ms) / 1_000)
        for kind, count in (("input", used.input), ("cached", used.cached), ("output", used.output)):
            m.tokens.labels(kind).inc(count)
        m.units.inc(units)
        if made.due > units:
            m.over.inc()
            _log.warning(
                "call used more than it had reserved", call=held.call_id, due=made.due, charged=units
            )
