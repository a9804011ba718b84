"""What a watcher remembers: its verdict on each receipt with its evidence, and the one receipt of each job it
has committed to sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from oracle.models import CommitmentRow, ReviewRow
from oracle.store import REASON_CHARS, Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of one review; `check` and `reason` are empty if it passed."""

    job_id: bytes
    passed: bool
    check: str = ""
    reason: str = ""


class Reviews:
    """Verdicts and commitments. Safe to share between threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, receipt_hash: bytes, evidence_hash: bytes) -> Verdict | None:
        """The verdict on this receipt with this evidence, if it was reviewed."""
        with self._store.reading() as session:
            row = session.get(ReviewRow, (receipt_hash, evidence_hash))
            return None if row is None else Verdict(row.job_id, row.passed, row.check, row.reason)

    def passed(self, receipt_hash: bytes) -> Verdict | None:
        """The verdict on this receipt if it passed with any evidence."""
        with self._store.reading() as session:
            query = select(ReviewRow).where(ReviewRow.receipt_hash == receipt_hash, ReviewRow.passed)
            row = session.scalars(query.limit(1)).first()
            return None if row is None else Verdict(row.job_id, True)

    def keep(self, receipt_hash: bytes, evidence_hash: bytes, provider: str, verdict: Verdict) -> None:
        """Store a verdict. The first one stands."""
        with self._store.writing() as session:
            if session.get(ReviewRow, (receipt_hash, evidence_hash)) is None:
                session.add(
                    ReviewRow(
                        receipt_hash=receipt_hash,
                        evidence_hash=evidence_hash,
                        job_id=verdict.job_id,
                        provider=provider,
                        passed=verdict.passed,
                        check=verdict.check[:64],
                        reason=verdict.reason[:REASON_CHARS],
                        at_ms=self._store.now_ms(),
                    )
                )

    def commit(self, receipts: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Commit to sign these receipts (hash by job id), all or none.

        Returns the jobs for which another receipt was committed to before, with that receipt's hash; if there
        is one, nothing is stored and nothing may be signed.
        """
        with self._store.writing() as session:
            known = {job_id: session.get(CommitmentRow, job_id) for job_id in receipts}
            others = {
                job_id: row.receipt_hash
                for job_id, row in known.items()
                if row and row.receipt_hash != receipts[job_id]
            }
            for job_id, receipt_hash in receipts.items() if not others else ():
                if known[job_id] is None:
                    at_ms = self._store.now_ms()
                    session.add(CommitmentRow(job_id=job_id, receipt_hash=receipt_hash, at_ms=at_ms))
            return others

    def refusals(self, limit: int) -> Sequence[ReviewRow]:
        """The latest refusals, newest first."""
        with self._store.reading() as session:
            query = select(ReviewRow).where(~ReviewRow.passed).order_by(ReviewRow.at_ms.desc()).limit(limit)
            return session.scalars(query).all()
