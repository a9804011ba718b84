"""Which accounts are in memory: all sessions that aren't closed, from the store or, when new, from chain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from oracle.gateway.account import Account
from oracle.gateway.book import Book
from oracle.gateway.chain import SessionChain
from oracle.gateway.refusals import NotAtHand, NotServing, SessionClosing, UnknownSession
from oracle.gateway.seen import Seen
from oracle.gateway.tables import SessionRow
from oracle.logging import get
from scrip.structs import ZERO_BYTES32
from scrip.types_spending import SessionTerms
from scrip.vouchers import VoucherChecker

NO_SIGNATURE: Final = b""

_log = get(__name__)


class Roster:
    """Accounts by session. Thread-safe; what is in an account is guarded by its own lock."""

    def __init__(self, book: Book, chain: SessionChain, lacks: Callable[[Account], bool]) -> None:
        """`lacks` says whether the store lacks charges of an account."""
        self._book, self._chain, self._lacks = book, chain, lacks
        self._lock = threading.Lock()
        self._accounts: dict[bytes, Account] = {}

    def load(self) -> None:
        """Take up all that the store holds. What is in memory already is read again."""
        for account in tuple(self._accounts.values()):
            with account.lock:
                account.stale = True
        for session in self._book.live():
            self._account(session, closed=False)

    def sessions(self) -> Sequence[bytes]:
        """Ids of the sessions in memory."""
        return tuple(self._accounts)

    def find(self, session: bytes) -> Account | None:
        """The account, if it is in memory."""
        return self._accounts.get(session)

    def account(self, session: bytes, *, closed: bool = False, waits: bool = True) -> Account:
        """The account, from the store if need be. Raises UnknownSession; SessionClosing if it is closed,
        unless `closed` ones will do; unless it `waits`, NotAtHand if it isn't in memory. NotServing until
        charges that an earlier process logged are taken up.
        """
        if not self._book.ready:
            raise NotServing("this node begins: logged charges are being taken up. Ask again in a moment")
        found = self._accounts.get(session)
        if found is not None:
            return found
        if not waits:
            raise NotAtHand("the account must be read")
        return self._account(session, closed)

    def _account(self, session: bytes, closed: bool) -> Account:
        found = self._accounts.get(session)
        if found is not None:
            return found
        row = self._book.session(session)
        if row is None:
            raise UnknownSession(
                f"session 0x{session.hex()} isn't known here. POST its terms to /v1/scrip/sessions"
            )
        if not row.closed:
            return self._remember(self._loaded(row))
        if not closed:
            raise SessionClosing("the session is closed. Open another one")
        return self._loaded(row)

    def knows(self, session: bytes) -> bool:
        """Whether the session was taken in. Raises SessionClosing if it is closed."""
        try:
            self.account(session)
        except UnknownSession:
            return False
        return True

    def admit(self, session: bytes, terms: SessionTerms) -> None:
        """Take a session in from chain. Raises as `SessionChain.admit`.

        What was claimed was charged, and authorised, before: nothing more is known of a new session, or of
        one whose state was lost.
        """
        sight, times = self._chain.admit(session, terms), self._chain.times(terms)
        claimed = sight.state.claimed
        account = Account(
            session=session, terms=terms, checker=self._checker(session, terms), deposit=sight.state.deposit,
            claimed=claimed, authorised=claimed, signature=NO_SIGNATURE, charged=claimed, calls=0,
            last=ZERO_BYTES32, close_at=sight.close_at, closed=False, urgent_at=times.urgent_at,
            ends_at=times.ends_at, opened_ms=self._book.store.now_ms(),
        )  # fmt: skip
        self._book.add(account)
        self._remember(account)
        _log.info("session taken in", session=session.hex()[:12], payer=terms.payer, deposit=account.deposit)

    def freshen(self, account: Account) -> None:
        """Read an account again after a failure of the store: what failed may be stored or not. The caller
        holds its lock. Raises NotServing while the store doesn't have all of its charges.
        """
        if not account.stale:
            return
        if self._lacks(account):
            raise NotServing("charges of this session aren't stored yet. Ask again in a moment")
        row = self._book.session(account.session)
        if row is None:
            raise UnknownSession(f"session 0x{account.session.hex()} has left the store")
        account.reload(row.charged, row.calls, row.numbers_to, row.last, row.owed_ms)
        for call_id in self._book.charged(list(account.held)):
            account.free(account.held[call_id])
        for known in self._book.keys(account.session):
            if known.key_id in account.keys:
                account.keys[known.key_id].spent = known.spent
        account.stale, account.unsure = False, True

    def reserved(self) -> int:
        """Base units that calls in progress hold, of whatever class."""
        return sum(account.reserved for account in tuple(self._accounts.values()))

    def forget_closed(self) -> int:
        """Closed ones stay in the store; in memory those whose calls haven't all ended. Returns how many
        remain.
        """
        with self._lock:
            kept = {
                one: found
                for one, found in self._accounts.items()
                if not found.closed or found.held or self._lacks(found)
            }
            self._accounts = kept
        return len(kept)

    def _remember(self, account: Account) -> Account:
        with self._lock:
            return self._accounts.setdefault(account.session, account)

    def _loaded(self, row: SessionRow) -> Account:
        times = self._chain.times(row.terms)
        return Account(
            session=row.session_id, terms=row.terms, checker=self._checker(row.session_id, row.terms),
            deposit=row.deposit, claimed=row.claimed, authorised=row.authorised, signature=row.signature,
            charged=row.charged, calls=row.calls, last=row.last, close_at=row.close_at, closed=row.closed,
            urgent_at=times.urgent_at, ends_at=times.ends_at, owed_ms=row.owed_ms, opened_ms=row.opened_ms,
            numbers_to=row.numbers_to,
            seen=Seen([*self._book.vouchers(row.session_id), row.authorised]),
        )  # fmt: skip

    def _checker(self, session: bytes, terms: SessionTerms) -> VoucherChecker:
        return VoucherChecker(session, terms.key, self._chain.chain_id, self._chain.contract)
