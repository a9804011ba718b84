"""What a watcher's audits know, in its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select

from oracle.audits.recount import DIFFERS, HONEST, INFLATED, Found
from oracle.audits.tables import AuditedSessionRow, AuditRow
from oracle.store import Store
from scrip.call_receipts import CallReceipt, SignedCallReceipt
from scrip.structs import ZERO_BYTES32
from scrip.types_spending import SessionTerms

OVERCLAIMED: Final = "claims.exceed"
WHOLE: Final = 0
"""Number of what is found about a session's claims as a whole."""
JUDGED: Final = frozenset({HONEST, INFLATED, DIFFERS, OVERCLAIMED})
"""Outcomes that running a call again wouldn't change."""


class AuditBook:
    """Rows of sessions and audits. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def add(self, session: bytes, terms: SessionTerms) -> None:
        """Remember a session to audit, unless it is known."""
        with self.store.writing() as db:
            if db.get(AuditedSessionRow, session) is None:
                db.add(AuditedSessionRow(session_id=session, terms=terms))

    def sessions(self) -> Sequence[AuditedSessionRow]:
        """Sessions that may still be punished."""
        with self.store.reading() as db:
            return db.scalars(select(AuditedSessionRow).where(AuditedSessionRow.done.is_(False))).all()

    def last(self, row: AuditedSessionRow) -> CallReceipt | None:
        """The receipt up to which a session was audited."""
        return SignedCallReceipt.parse(row.last).receipt if row.last else None

    def note(self, session: bytes, **values: Any) -> None:
        """Set columns of a session."""
        with self.store.writing() as db:
            row = db.get_one(AuditedSessionRow, session)
            for name, value in values.items():
                setattr(row, name, value)

    def record(self, session: bytes, number: int, found: Found, digest: bytes = ZERO_BYTES32) -> None:
        """Keep what an audit of the call with this receipt came to. Of two receipts for one place in a
        session the costlier finding stays.
        """
        with self.store.writing() as db:
            row = db.get(AuditRow, (session, number))
            if row is not None and row.digest != digest and row.units > found.units:
                return
            values = {"check": found.check, "reason": found.reason, "units": found.units}
            now_ms = self.store.now_ms()
            db.merge(AuditRow(session_id=session, number=number, digest=digest, at_ms=now_ms, **values))

    def is_judged(self, session: bytes, number: int, digest: bytes) -> bool:
        """Whether the call with this receipt was run again, so that it needn't be once more."""
        with self.store.reading() as db:
            row = db.get(AuditRow, (session, number))
        return row is not None and row.digest == digest and row.check in JUDGED

    def found(self, session: bytes, number: int) -> Found:
        """What the audit of a call came to."""
        with self.store.reading() as db:
            row = db.get_one(AuditRow, (session, number))
        return Found(row.check, row.reason, row.units)

    def overcharged(self, session: bytes) -> Mapping[int, int]:
        """Units that were charged and not due, by call."""
        query = select(AuditRow).where(AuditRow.session_id == session, AuditRow.check.in_(JUDGED))
        with self.store.reading() as db:
            return {row.number: row.units for row in db.scalars(query) if row.units}

    def findings(self, limit: int) -> list[dict[str, Any]]:
        """The latest audits. Of what was asked and answered they hold nothing."""
        query = select(AuditRow).order_by(AuditRow.at_ms.desc(), AuditRow.number).limit(limit)
        with self.store.reading() as db:
            return [
                {
                    "sessionId": "0x" + row.session_id.hex(),
                    "number": row.number,
                    "check": row.check,
                    "reason": row.reason,
                    "units": str(row.units),
                    "atMs": row.at_ms,
                }
                for row in db.scalars(query)
            ]

    def unaudited(self, limit: int) -> list[dict[str, str]]:
        """Sessions that can't be audited now, and why."""
        query = select(AuditedSessionRow).where(
            AuditedSessionRow.reason != "", AuditedSessionRow.done.is_(False)
        )
        with self.store.reading() as db:
            return [
                {"sessionId": "0x" + row.session_id.hex(), "reason": row.reason}
                for row in db.scalars(query.limit(limit))
            ]
