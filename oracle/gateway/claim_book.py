"""What the store holds of claims, and which sessions are due for one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from oracle.gateway.tables import ClaimRow, SessionRow
from oracle.store import REASON_CHARS, StateConflict, Store
from scrip.errors import NotFound
from scrip.types_spending import Claim, SessionTerms

MOST_DOUBLINGS: Final = 8
"""How often the pause before a failed session is claimed again doubles."""


class ClaimStage(StrEnum):
    """Where a claim is. DONE was decided by the chain, DROPPED was never sent."""

    FORMED = "formed"
    SENDING = "sending"
    DONE = "done"
    DROPPED = "dropped"


LIVE: Final = (ClaimStage.FORMED, ClaimStage.SENDING)


@dataclass(frozen=True, slots=True)
class Row:
    """One session in a claim: cumulative `units`, and the voucher over `authorised` that covers them."""

    session: bytes
    terms: SessionTerms
    units: int
    authorised: int
    signature: bytes

    def claim(self) -> tuple[Any, ...]:
        """As the contract takes it."""
        return Claim(self.terms, self.units, self.authorised, self.signature).to_abi()


class ClaimBook:
    """Rows of claims. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.now_ms: Callable[[], int] = store.now_ms

    def due(
        self, units: int, age_ms: int, chain_now: int, limit: int
    ) -> tuple[Sequence[SessionRow], Sequence[SessionRow]]:
        """Sessions to claim now: those that failed before, each for itself, and the others by class.

        Due is what waits `units` or `age_ms`, at once where a close is pending or the end is near.
        """
        now_ms, row = self.now_ms(), SessionRow
        due = or_(
            row.owed_units >= units,
            row.owed_ms <= now_ms - age_ms,
            row.close_at != 0,
            row.urgent_at <= chain_now,
        )
        query = (
            select(row)
            .where(row.claim_id.is_(None), row.owed_ms > 0, row.closed.is_(False))
            .where(row.claim_after_ms <= now_ms, due)
            .order_by(row.owed_ms)
            .limit(limit)
        )
        with self._store.reading() as db:
            found = db.scalars(query).all()
        alone = [one for one in found if one.claim_tries]
        together = [one for one in found if not one.claim_tries]
        # Rows of one class that follow each other are burned and paid in one go.
        return alone, sorted(together, key=lambda one: one.class_id)

    def form(self, sessions: Sequence[SessionRow]) -> ClaimRow:
        """Bind sessions into a claim over what they are charged now. Raises StateConflict if one was bound
        meanwhile.
        """
        with self._store.writing() as db:
            rows = [db.get_one(SessionRow, seen.session_id, with_for_update=True) for seen in sessions]
            for row in rows:
                if row.claim_id is not None:
                    raise StateConflict(row.session_id, f"in claim {row.claim_id}", "in another claim")
            claim = ClaimRow(
                stage=ClaimStage.FORMED.value,
                rows_json=json.dumps([_to_json(row) for row in rows]),
                created_ms=self.now_ms(),
                tries=0,
                after_ms=0,
                reason="",
                tx_hash=None,
            )
            db.add(claim)
            db.flush()
            for row in rows:
                row.claim_id = claim.id
            return claim

    def live(self) -> Sequence[int]:
        """Ids of the claims that aren't decided, oldest first."""
        with self._store.reading() as db:
            query = select(ClaimRow.id).where(ClaimRow.stage.in_([stage.value for stage in LIVE]))
            return db.scalars(query.order_by(ClaimRow.id)).all()

    def claim(self, claim_id: int) -> ClaimRow:
        """One claim. Raises NotFound."""
        with self._store.reading() as db:
            row = db.get(ClaimRow, claim_id)
        if row is None:
            raise NotFound("claim", claim_id)
        return row

    def rows(self, claim: ClaimRow) -> list[Row]:
        """The claim's rows, in their order."""
        given = [(bytes.fromhex(item["sessionId"][2:]), item) for item in json.loads(claim.rows_json)]
        with self._store.reading() as db:
            query = select(SessionRow.session_id, SessionRow.terms)
            wanted = query.where(SessionRow.session_id.in_([session for session, _ in given]))
            terms = {session: found for session, found in db.execute(wanted)}
        return [
            Row(
                session, terms[session], int(item["units"]), int(item["authorised"]),
                bytes.fromhex(item["signature"][2:]),
            )
            for session, item in given
        ]  # fmt: skip

    def advance(self, claim: ClaimRow, stage: ClaimStage) -> ClaimRow:
        """Take a claim one step on. Raises StateConflict if somebody else did."""
        with self._store.writing() as db:
            row = _same(db, claim)
            row.stage = stage.value
            return row

    def again(self, claim: ClaimRow, pause_ms: int, reason: str) -> None:
        """Send the same rows again, later and under a new label."""
        with self._store.writing() as db:
            row = _same(db, claim)
            row.stage, row.tries, row.reason = ClaimStage.FORMED.value, row.tries + 1, reason
            row.after_ms = self.now_ms() + pause_ms

    def close(
        self,
        claim: ClaimRow,
        stage: ClaimStage,
        bad: dict[bytes, str],
        pause_ms: int,
        reason: str,
        tx_hash: bytes | None,
    ) -> None:
        """End a claim and let go of its sessions. Those in `bad` are tried again by themselves, later each
        time.
        """
        with self._store.writing() as db:
            row = _same(db, claim)
            row.stage, row.reason, row.tx_hash = stage.value, reason[:REASON_CHARS], tx_hash
            for session in db.scalars(select(SessionRow).where(SessionRow.claim_id == row.id)):
                session.claim_id = None
                why = bad.get(session.session_id)
                if why is None:
                    session.claim_tries, session.claim_after_ms, session.claim_reason = 0, 0, ""
                    continue
                pause = pause_ms * 2 ** min(session.claim_tries, MOST_DOUBLINGS)
                session.claim_tries += 1
                session.claim_after_ms = self.now_ms() + pause
                session.claim_reason = why[:REASON_CHARS]


def _same(db: Session, known: ClaimRow) -> ClaimRow:
    row = db.get(ClaimRow, known.id, with_for_update=True)
    if row is None or row.stage != known.stage:
        found = "gone" if row is None else row.stage
        raise StateConflict(known.id.to_bytes(32), f"a claim that is {found}", f"one step past {known.stage}")
    return row


def _to_json(row: SessionRow) -> dict[str, str]:
    return {
        "sessionId": "0x" + row.session_id.hex(),
        "units": str(row.charged),
        "authorised": str(row.authorised),
        "signature": "0x" + row.signature.hex(),
    }
