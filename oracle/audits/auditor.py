"""Audits sessions: checks that their receipts are a chain and cover what was claimed, and has drawn calls run
again.

Only what was claimed is audited, since nothing else can be punished: calls up to the last receipt whose
`totalUnits` the chain has seen claimed. Each call is drawn by the watcher's secret, which no provider can
foresee, and the same way after a restart. If a provider claimed more than its own newest receipt says it had
charged, the rest wasn't due. If it shows no receipts at all, or not from the first on, that proves nothing:
one that has lost its store looks the same.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Final

from eth_utils.crypto import keccak

from oracle.audits.book import OVERCLAIMED, WHOLE, AuditBook
from oracle.audits.provider import ProviderBooks
from oracle.audits.recount import Found, judge
from oracle.audits.tables import AuditedSessionRow
from oracle.facts import Facts
from oracle.logging import get
from oracle.rerun import Unable
from oracle.sampling import Budget, Draw
from oracle.settings_audits import AuditSettings
from scrip.call_receipts import CallReceipt, SignedCallReceipt, check_follows
from scrip.eip712 import Wallet
from scrip.errors import Refused
from scrip.session_api import CallBody
from scrip.types_spending import SessionTerms

MOST_RECEIPTS: Final = 10_000
"""Receipts of a session that are looked at in one go."""
_NUMBER_BYTES: Final = 8
_log = get(__name__)


class Auditor:
    """Audits calls with the watcher's own servers. Safe to share between threads: calls are run again one at
    a time.
    """

    def __init__(
        self, facts: Facts, book: AuditBook, draw: Draw, settings: AuditSettings, account: Wallet
    ) -> None:
        self._facts, self._book, self._draw = facts, book, draw
        self._settings, self._account = settings, account
        self._budget = Budget(settings.rerun_s_per_hour)
        self._place = facts.chain.chain_id, facts.chain.address("MeteredSessions")
        self._running = threading.Lock()

    def audit(self, row: AuditedSessionRow, claimed: int) -> None:
        """Audit what was claimed since the last time. Raises Unable, BudgetSpent and ReceiptWrong, from which
        it goes on the next time.
        """
        before, session = self._book.last(row), row.session_id
        with ProviderBooks(self._facts, self._account, session, row.terms) as books:
            shown = books.receipts(before.number if before else 0)
            for signed in itertools.islice(shown, MOST_RECEIPTS):
                self._check_follows(signed.receipt, before)
                if signed.receipt.total_units > claimed:
                    break  # charged, but not claimed yet
                if self._draw.picks(_draw_key(signed.receipt), self._settings.rate_ppm):
                    self._run(books, row.terms, signed)
                before = signed.receipt
                self._book.note(session, last=signed.header())
            else:
                if next(shown, None) is not None:
                    return  # more the next time, so that no provider keeps us from the others
                if before is not None and before.total_units < claimed:
                    self._check_claimed(books, session, claimed)
        self._book.note(session, claimed=claimed, reason="")

    def recheck(
        self, session: bytes, terms: SessionTerms, numbers: Sequence[int], claimed: int
    ) -> dict[int, int]:
        """Units overcharged in the calls of these numbers, as we find ourselves. Raises as `audit`."""
        with ProviderBooks(self._facts, self._account, session, terms) as books:
            known = self._book.overcharged(session)
            for number in numbers:
                if number in known:
                    continue
                if number == WHOLE:
                    self._check_claimed(books, session, claimed)
                    continue
                shown = next(books.receipts(number - 1), None)
                if shown is None or shown.receipt.number != number or shown.receipt.total_units > claimed:
                    raise Unable(f"call {number} of the session isn't shown, or wasn't claimed")
                self._run(books, terms, shown)
        found = self._book.overcharged(session)
        return {number: found[number] for number in numbers if number in found}

    def hear(self, terms: SessionTerms, signed: SignedCallReceipt, body: CallBody, claimed: int) -> Found:
        """Audit a call that its buyer brings. Raises as `audit`, Refused for one that wasn't claimed yet."""
        session = signed.receipt.session_id
        if signed.receipt.total_units > claimed:
            raise Refused(f"call {signed.receipt.number} isn't claimed yet, ask again then", "audit.claimed")
        with ProviderBooks(self._facts, self._account, session, terms) as books:
            books.check_signer(signed)
            self._run(books, terms, signed, body)
        return self._book.found(session, signed.receipt.number)

    def _run(
        self,
        books: ProviderBooks,
        terms: SessionTerms,
        signed: SignedCallReceipt,
        body: CallBody | None = None,
    ) -> None:
        """Run a call again, unless that was done. `body` None is asked of the provider."""
        receipt = signed.receipt
        session, number, digest = receipt.session_id, receipt.number, receipt.digest(*self._place)
        with self._running:  # from the look to the record, or what isn't shown could replace what was found
            if self._book.is_judged(session, number, digest):
                return
            self._budget.check()
            started = time.monotonic()
            try:
                shown = books.body(number) if body is None else body
                found = judge(receipt, shown, books.rate(receipt.model), self._settings)
            finally:
                self._budget.charge(time.monotonic() - started)
            self._book.record(session, number, found, digest)
        _log.info(
            "call audited", session="0x" + session.hex(), number=number, check=found.check,
            reason=found.reason, units=found.units, provider=terms.provider,
        )  # fmt: skip

    def _check_follows(self, receipt: CallReceipt, before: CallReceipt | None) -> None:
        """Raise ReceiptWrong unless the chain of receipts goes on. It may begin anywhere: with the store a
        provider may have lost receipts, which their buyers have.
        """
        if before is not None:
            check_follows(receipt, before, *self._place)

    def _check_claimed(self, books: ProviderBooks, session: bytes, claimed: int) -> None:
        """Compare claims with all receipts that are shown, from the first on: a provider that lost its store
        and went on has begun to count them anew, and then these are audited too.
        """
        last, most = None, 0
        for signed in books.receipts(0):
            last, most = signed.receipt, max(most, signed.receipt.total_units)
        if last is None:
            raise Unable(f"the provider shows no receipts and has claimed {claimed} units")
        if most >= claimed:
            self._book.note(session, last="")
            raise Unable("the provider's receipts have begun anew")
        reason = f"claimed {claimed} units, its newest receipt says {most}"
        self._book.record(session, WHOLE, Found(OVERCLAIMED, reason, claimed - most))


def _draw_key(receipt: CallReceipt) -> bytes:
    """What a call is drawn by: its place, so that another receipt for it isn't another try."""
    return keccak(receipt.session_id + receipt.number.to_bytes(_NUMBER_BYTES, "big"))
