"""A watcher's audits: its parts, and what they do each time they are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from oracle.audits.auditor import Auditor
from oracle.audits.book import AuditBook
from oracle.audits.brought import Brought
from oracle.audits.odds import AuditProblem, check_rate
from oracle.audits.tables import AuditedSessionRow
from oracle.audits.verdicts import CONTRACT, Asked, Verdicts
from oracle.facts import Facts
from oracle.logging import get
from oracle.outbox import Outbox
from oracle.rerun import Unable
from oracle.sampling import BudgetSpent, Draw
from oracle.settings_audits import AuditSettings
from oracle.store import Store
from scrip.call_receipts import ReceiptWrong
from scrip.eip712 import Wallet
from scrip.errors import BadSignature, Refused
from scrip.sessions import id_of, terms_of
from scrip.view import ChainView

AUDIT: Final = "audit"
"""Pool of tasks that audit, beside the loop."""
CURSOR: Final = "audits"
PAGE: Final = 500
"""Sessions that are compared with the chain at once."""

_log = get(__name__)


@dataclass(slots=True)
class Audits:
    """What a watcher audits. `clock` is monotonic seconds."""

    facts: Facts
    book: AuditBook
    auditor: Auditor
    verdicts: Verdicts
    outbox: Outbox
    settings: AuditSettings
    clock: Callable[[], float] = time.monotonic
    _due: float = field(default=float("-inf"), init=False)
    _period_s: int = field(default=0, init=False)

    @classmethod
    def of(
        cls, settings: AuditSettings, *, facts: Facts, store: Store, secret: bytes, outbox: Outbox,
        account: Wallet | None,
    ) -> Audits:  # fmt: skip
        """Join the parts. Raises AuditProblem for classes that can't be audited like this."""
        if account is None:
            raise AuditProblem("audits: need a keystore, providers show calls to watchers only")
        for class_id in settings.classes:
            check_rate(facts, class_id, settings.rate_ppm)
            if not facts.judges(account.address, class_id):
                raise AuditProblem(
                    f"audits.classes: {account.address} is no watcher or arbiter of class {class_id}"
                )
        book = AuditBook(store)
        auditor = Auditor(facts, book, Draw(secret, settings.rate_ppm), settings, account)
        verdicts = Verdicts(facts, book, auditor, outbox, settings, account)
        return cls(facts, book, auditor, verdicts, outbox, settings)

    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return self.clock() >= self._due

    def step(self) -> None:
        """Look for sessions, audit what was claimed in them, and have what was found punished."""
        for item in self.outbox.reconcile():
            self.outbox.follow(item)
        view = self.facts.finalized()
        self._discover(view)
        rows = self.book.sessions()
        for at in range(0, len(rows), PAGE):
            page = rows[at : at + PAGE]
            states = view.sessions([row.session_id for row in page])
            for row, state in zip(page, states, strict=True):
                if state.closed and self._is_over(view, state.close_at):
                    self.book.note(row.session_id, done=True)
                elif state.claimed:
                    self._audit(row, state.claimed)
        self._due = self.clock() + self.settings.interval_s

    def sign(self, asked: Asked) -> dict[str, Any]:
        """Sign another's verdict; see `Verdicts.sign`."""
        return {"signature": "0x" + self.verdicts.sign(asked).hex()}

    def hear(self, brought: Brought) -> dict[str, str]:
        """Audit a call that its buyer brings. Raises Refused, Unable, BudgetSpent, ReceiptWrong."""
        terms, session = brought.terms, id_of(self.facts.chain, brought.terms)
        if terms.class_id not in self.settings.classes or session != brought.signed.receipt.session_id:
            raise Refused(
                "the receipt must be of the session, in a class that is audited here", "audit.class"
            )
        claimed = self.facts.finalized().session(session).claimed
        if not claimed:  # nor is anything remembered of sessions that don't exist
            raise Refused("nothing was claimed in this session", "audit.claimed")
        self.book.add(session, terms)
        found = self.auditor.hear(terms, brought.signed, brought.body, claimed)
        return {"check": found.check, "reason": found.reason, "units": str(found.units)}

    def shown(self, limit: int) -> dict[str, Any]:
        """What was found, newest first, and what can't be audited now."""
        return {"audits": self.book.findings(limit), "unaudited": self.book.unaudited(limit)}

    def _discover(self, view: ChainView) -> None:
        """Remember sessions that were opened in our classes."""
        since = self.book.store.cursor(CURSOR)
        if since is not None and since > view.block:
            return
        for event in view.events(CONTRACT, "SessionOpened", since=since):
            terms = terms_of(event)
            if terms.class_id in self.settings.classes:
                self.book.add(id_of(self.facts.chain, terms), terms)
        self.book.store.set_cursor(CURSOR, view.block + 1)

    def _audit(self, row: AuditedSessionRow, claimed: int) -> None:
        try:
            if claimed > row.claimed:
                self.auditor.audit(row, claimed)
        except (Unable, BudgetSpent, ReceiptWrong, BadSignature) as error:
            # What can't be seen proves nothing. It is published, and looked at again.
            self.book.note(row.session_id, reason=str(error))
            _log.warning("session not audited", session="0x" + row.session_id.hex(), reason=str(error))
        self.verdicts.pursue(row.session_id, row.terms, claimed)

    def _is_over(self, view: ChainView, ended_at: int) -> bool:
        if not self._period_s:
            self._period_s = int(view.read(CONTRACT, "AUDIT_PERIOD"))
        return self.facts.time(view) > ended_at + self._period_s
