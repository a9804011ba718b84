"""The money of sessions at the gateway: what was deposited, authorised, set aside for calls, and charged.

All sessions that aren't closed live in memory, each behind a lock of its own; the store holds the same, and a
charge is there, or in its log, before its receipt leaves (on the disk somewhat later, docs/gateway.md). What
calls in progress hold is in memory only: a call that the process didn't finish isn't charged.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count

from oracle.gateway.account import Account, AccountView
from oracle.gateway.book import Book, values
from oracle.gateway.chain import SessionChain, Sight
from oracle.gateway.charges import Charges, ReservationGone
from oracle.gateway.commits import Change, GroupCommit
from oracle.gateway.keys import Keys
from oracle.gateway.metrics import GatewayMetrics
from oracle.gateway.rates import RateCard
from oracle.gateway.refusals import (
    BadCredential,
    GatewayRefused,
    KeySpent,
    ModelRefused,
    NotServing,
    PaymentNeeded,
    SessionClosing,
    SessionRefused,
    TooManyCalls,
    UnknownSession,
    VoucherUsed,
)
from oracle.gateway.roster import Roster
from oracle.gateway.usage import (
    CallUsage,
    Credential,
    KeyCredential,
    Reservation,
    TokenBounds,
    VoucherCredential,
)
from oracle.logging import get
from oracle.store import NOBODY
from scrip.call_receipts import ReceiptWrong, SignedCallReceipt
from scrip.eip712 import Wallet
from scrip.errors import BadInput, BadSignature
from scrip.types_spending import SessionTerms
from scrip.vouchers import Voucher

__all__ = [
    "AccountView", "Accounts", "BadCredential", "CallUsage", "Credential", "GatewayRefused", "KeyCredential",
    "KeySpent", "ModelRefused", "NotServing", "PaymentNeeded", "Reservation",
    "ReservationGone", "SessionClosing", "SessionRefused", "SignedCallReceipt", "TokenBounds", "TooManyCalls",
    "UnknownSession", "Voucher", "VoucherCredential", "VoucherUsed",
]  # fmt: skip

_log = get(__name__)


class Accounts:
    """Accounts of all sessions of one provider. Thread-safe; only the node that leads serves.

    `signer` is the oracle key, None in a dry run: then nothing is served, as no receipt could be signed.
    """

    def __init__(
        self,
        *,
        book: Book,
        chain: SessionChain,
        rates: RateCard,
        signer: Wallet | None,
        metrics: GatewayMetrics,
        max_blind_s: float,
        max_keys: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_blind_s` is how long ago the chain may have been seen."""
        self.book, self.chain, self.rates, self.metrics = book, chain, rates, metrics
        self._signer, self._max_blind_s, self._clock = signer, max_blind_s, clock
        self._commits = GroupCommit(book.commit, book.keep, book.trim)
        self._looking = threading.Lock()
        self.roster = Roster(book, chain, self._commits.lacks)
        self._looked: tuple[float, int] | None = None
        self._process, self._numbers = secrets.token_hex(8), count()
        metrics.reserved.set_function(self.roster.reserved)
        metrics.unstored.set_function(self._commits.kept)
        self.keys = Keys(self, max_keys)
        self._charges = Charges(book, chain, self.roster, self._commits, metrics, self._key)

    # Sessions

    def open(self, terms: SessionTerms) -> AccountView:
        """Read the session from chain and remember it. A known one is read again.

        Raises GatewayRefused, ChainError, and the store's errors.
        """
        self.check_leads()
        session = self.chain.session_id(terms)
        if self.roster.knows(session):
            self.refresh([session])
        else:
            self.roster.admit(session, terms)
        return self.view(session)

    def view(self, session: bytes) -> AccountView:
        """The account as it is now, closed or not. Raises UnknownSession."""
        account = self.roster.account(session, closed=True)
        with account.lock:
            return account.view()

    def authorise(self, session: bytes, voucher: Voucher) -> None:
        """Take a voucher without a call. Durable when it returns; the same one again changes nothing.

        Raises BadCredential, UnknownSession.
        """
        account = self.roster.account(session)
        _check(account, voucher)
        with account.lock:
            self.roster.freshen(account)
            account.seen.add(voucher.units)
            account.raise_to(voucher)
            change = self._put(account)
        self._commits.wait(change)

    def restore(self, session: bytes, shown: SignedCallReceipt, voucher: Voucher) -> AccountView:
        """Go on from the last receipt that the client has, if it is newer than what we know: our state was
        lost. `voucher` must cover it. Older receipts change nothing.

        Raises ReceiptWrong unless we signed it for this session, BadCredential, PaymentNeeded.
        """
        account, receipt = self.roster.account(session), shown.receipt
        if receipt.session_id != session:
            raise ReceiptWrong(f"the receipt is of session 0x{receipt.session_id.hex()}")
        shown.check_signer(self._key().address, self.chain.chain_id, self.chain.contract)
        _check(account, voucher)
        with account.lock:
            self.roster.freshen(account)
            if receipt.total_units < account.charged or receipt.number <= account.calls:
                return account.view()
            account.cover(receipt.total_units, voucher)
            digest = receipt.digest(self.chain.chain_id, self.chain.contract)
            account.go_on(receipt.total_units, receipt.number, digest, self.book.store.now_ms())
            account.seen.add(voucher.units)
            change, found = self._put(account), account.view()
        self._commits.wait(change)
        _log.warning(
            "account restored from a client's receipt", session=session.hex()[:12], calls=found.calls
        )
        return found

    # Calls

    def reserve(
        self, credential: Credential, model: str, most: TokenBounds, *, waits: bool = True
    ) -> Reservation:
        """Set aside the most that a call can cost: at one moment, so that of many calls on a balance for one
        exactly one gets it. Raises GatewayRefused; nothing is held then. Unless it `waits`, NotAtHand where
        memory alone won't do.
        """
        try:
            return self._reserve(credential, model, most, waits)
        except GatewayRefused as refused:
            self.metrics.refused.labels(refused.code).inc()
            raise

    def _reserve(self, credential: Credential, model: str, most: TokenBounds, waits: bool) -> Reservation:
        now = self._check_serves()
        key = voucher = None
        if isinstance(credential, KeyCredential):
            key = self.keys.find(credential, waits=waits)
            account = self.roster.account(key.session, waits=waits)
        else:
            voucher = credential
            account = self.roster.account(voucher.session, waits=waits)
            _check(account, voucher)
        rate = self.rates.rate(account.terms.class_id, model)
        held = Reservation(
            call_id=f"{self._process}{next(self._numbers):016x}",
            session=account.session,
            model=model,
            rate=rate,
            units=rate.most(most.input, most.output),
            key_id="" if key is None else key.key_id,
            voucher=None if voucher is None else voucher.units,
        )
        account.take_lock(waits)
        try:
            self.roster.freshen(account)
            account.check_serving(now)
            if voucher is not None:
                account.show(voucher)
            if key is not None:
                self.keys.count(key)
                key.check(model, held.units, self.book.store.now_ms())
            account.reserve(held)
        finally:
            account.lock.release()
        return held

    def charge(self, held: Reservation, used: CallUsage, *, waits: bool = True) -> SignedCallReceipt:
        """Charge what a call used, at most what it holds, and free the rest. When it returns it is stored, or
        logged to be: whatever becomes of this process then, it is charged. On SQLite, a power cut may take
        the last ones back.

        A call that used more than it holds is charged what it holds: its bounds were ours to keep. Charging a
        call again returns its receipt; after an error of the store it may be tried again, or released.
        Raises ReservationGone, LeadLost, and the store's errors. Unless it `waits`, NotAtHand where it would:
        then it is to be called again, and may wait. After one that didn't wait somebody has to `catch_up`.
        """
        return self._charges.charge(held, used, waits=waits)

    def catch_up(self) -> None:
        """Store charges that didn't wait. Raises the store's errors; the charges are kept then, and it is to
        be tried again.
        """
        self._charges.catch_up()

    def settled(self, session: bytes) -> None:
        """See that the store has all charges of a session, before they are read there. Raises its errors."""
        account = self.roster.find(session)
        if account is not None and self._commits.lacks(account):
            self.catch_up()

    def release(self, held: Reservation) -> None:
        """Free what a call holds; nothing is charged. A call that holds nothing changes nothing."""
        account = self.roster.find(held.session)
        if account is None:
            return
        with account.lock:
            account.free(held)

    # The chain's news

    def begin(self) -> None:
        """Take up what the store holds, as this node begins to lead. Serves nothing before `looked`."""
        self._looked = None
        self.book.take_up()
        self.book.skip_lost()
        self.roster.load()
        self.book.begin()

    def end(self) -> None:
        """As this node stops: nothing is logged any more."""
        self._commits.keep_no_more(self.book.end)

    def refresh(self, sessions: Sequence[bytes]) -> None:
        """Take over what the chain says of sessions; unknown ones are left out. Durable when it returns."""
        self.catch_up()
        found = [account for one in sessions if (account := self.roster.find(one)) is not None]
        with self._looking:  # one at a time, so that no older look comes after a newer one
            changes = [
                change
                for account, sight in zip(found, self._sights(found), strict=True)
                if (change := self._take(account, sight)) is not None
            ]
            for change in changes:
                self._commits.wait(change)
            self.metrics.sessions.set(self.roster.forget_closed())

    def _sights(self, accounts: Sequence[Account]) -> Sequence[Sight]:
        return self.chain.read([account.session for account in accounts]) if accounts else ()

    def _take(self, account: Account, sight: Sight) -> Change | None:
        with account.lock:
            self.roster.freshen(account)
            claimed, label = account.claimed, account.session.hex()[:12]
            if not account.on_chain(sight.state, sight.close_at, self.book.store.now_ms()):
                return None
            if account.claimed != claimed:
                _log.info("claimed", session=label, units=account.claimed - claimed)
            if account.closed and account.owed:
                _log.error("session closed before its claim", session=label, units=account.owed)
                self.metrics.lost.inc(account.owed)
            return self._put(account)

    def looked(self, chain_now: int) -> None:
        """All sessions were compared with the chain, whose time is `chain_now`. Calls are served from now."""
        self._looked = (self._clock(), chain_now)
        self.metrics.seen.set_to_current_time()

    # Within

    def check_leads(self) -> None:
        """Raises NotServing unless this node leads and can sign."""
        if self.book.store.epoch == NOBODY:
            raise NotServing("another node leads. Ask that one, or again in a moment")
        self._key()

    def _key(self) -> Wallet:
        if self._signer is None:
            raise NotServing("dry run: no key to sign receipts with. Configure a keystore")
        return self._signer

    def _check_serves(self) -> int:
        """The chain's time now. Raises NotServing unless calls are served."""
        self.check_leads()
        if self._looked is None:
            raise NotServing("sessions haven't been compared with the chain yet. Try again in a moment")
        at, chain_now = self._looked
        blind_s = self._clock() - at
        if blind_s > self._max_blind_s:
            raise NotServing(
                f"the chain wasn't seen for {int(blind_s)} s: a close might be pending",
                int(blind_s), self._max_blind_s,
            )  # fmt: skip
        return chain_now + int(blind_s)

    def _put(self, account: Account) -> Change:
        return self._commits.put(Change(account, values(account)))


def _check(account: Account, voucher: Voucher) -> None:
    """Raises BadCredential unless the session's key signed the voucher."""
    if voucher.session != account.session:
        raise BadCredential("the voucher is of another session", "0x" + voucher.session.hex())
    try:
        account.checker.check(voucher.units, voucher.signature)
    except (BadSignature, BadInput) as bad:
        raise BadCredential(
            f"the voucher isn't signed by the session's key: {bad}", bad.given, bad.limit
        ) from None
