"""What a watcher remembers: its verdict on each receipt with its evidence, the one receipt of each job it
will ever sign, and the time of each GPU it has co-signed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from oracle.claims import GpuClaim, check_claim
from oracle.models import CommitmentRow, GpuClaimRow, ReviewRow
from oracle.store import REASON_CHARS, Store
from scrip.errors import Refused
from scrip.evidence import Check


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of one review. `check` and `reason` are empty if it passed; then `checks` are what passed and
    `claims` the GPUs that the job held.
    """

    job_id: bytes
    passed: bool
    check: str = ""
    reason: str = ""
    checks: tuple[Check, ...] = ()
    claims: tuple[GpuClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A verdict, the receipt it is on, and the hash of the evidence it was reached on."""

    receipt_hash: bytes
    evidence: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Binding:
    """A receipt about to be signed. `sku` is its class's, which bounds what a board can draw."""

    job_id: bytes
    receipt_hash: bytes
    sku: bytes
    claims: tuple[GpuClaim, ...]


class Reviews:
    """Verdicts, bound receipts and GPU claims. Safe to share between threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, receipt_hash: bytes, evidence: bytes) -> Verdict | None:
        """The verdict on this receipt with this evidence, if it was reviewed."""
        with self._store.reading() as session:
            row = session.get(ReviewRow, (receipt_hash, evidence))
            return None if row is None else _verdict(row)

    def passed(self, receipt_hash: bytes) -> Reviewed | None:
        """The verdict on this receipt if it passed with any evidence."""
        with self._store.reading() as session:
            query = select(ReviewRow).where(ReviewRow.receipt_hash == receipt_hash, ReviewRow.passed)
            row = session.scalars(query.limit(1)).first()
            return None if row is None else Reviewed(receipt_hash, row.evidence_hash, _verdict(row))

    def keep(self, provider: str, reviewed: Reviewed, *, bind: bool = False) -> None:
        """Store a verdict; the first one stands. `bind`: no other receipt of the job is ever signed."""
        verdict, key = reviewed.verdict, (reviewed.receipt_hash, reviewed.evidence)
        with self._store.writing() as session:
            if session.get(ReviewRow, key) is None:
                session.add(
                    ReviewRow(
                        receipt_hash=reviewed.receipt_hash,
                        evidence_hash=reviewed.evidence,
                        job_id=verdict.job_id,
                        provider=provider,
                        passed=verdict.passed,
                        check=verdict.check[:64],
                        reason=verdict.reason[:REASON_CHARS],
                        at_ms=self._store.now_ms(),
                        checks=json.dumps([[check.name, check.detail] for check in verdict.checks]),
                        claims=json.dumps([claim.to_json() for claim in verdict.claims]),
                    )
                )
            if bind and session.get(CommitmentRow, verdict.job_id) is None:
                session.add(self._commitment(verdict.job_id, reviewed.receipt_hash))

    def bound(self, job_id: bytes) -> bytes | None:
        """Hash of the only receipt of the job that may be signed, None if that is open."""
        with self._store.reading() as session:
            row = session.get(CommitmentRow, job_id)
            return None if row is None else row.receipt_hash

    def bind(self, rows: Sequence[Binding], tolerance_ms: int) -> dict[bytes, Refused]:
        """Commit to sign these receipts, and to the GPU time they claim: all of them or none.

        Returns what speaks against it, by job: another receipt of the job, or another job on the same GPU.
        """
        against: dict[bytes, Refused] = {}
        with self._store.writing() as session:
            for row in rows:
                try:
                    self._bind(session, row, tolerance_ms)
                except Refused as refused:
                    against[row.job_id] = refused
            if against:
                session.rollback()
        return against

    def _bind(self, session: Session, row: Binding, tolerance_ms: int) -> None:
        known = session.get(CommitmentRow, row.job_id)
        if known is not None:
            check_bound(known.receipt_hash, row.receipt_hash)
            return
        for claim in row.claims:
            # Those that ended before are needed for the counter, but only the last of them.
            query = select(GpuClaimRow).where(GpuClaimRow.gpu == claim.gpu, GpuClaimRow.job_id != row.job_id)
            before = (
                query.where(GpuClaimRow.end_ms <= claim.start_ms).order_by(GpuClaimRow.end_ms.desc()).limit(1)
            )
            near = query.where(GpuClaimRow.end_ms > claim.start_ms).order_by(GpuClaimRow.end_ms)
            others = [_claim(other) for part in (before, near) for other in session.scalars(part)]
            check_claim(claim, others, tolerance_ms, row.sku)
            session.add(GpuClaimRow(job_id=row.job_id, **claim.to_json()))
        session.add(self._commitment(row.job_id, row.receipt_hash))
        session.flush()

    def _commitment(self, job_id: bytes, receipt_hash: bytes) -> CommitmentRow:
        return CommitmentRow(job_id=job_id, receipt_hash=receipt_hash, at_ms=self._store.now_ms())


def check_bound(bound: bytes, receipt_hash: bytes) -> None:
    """Raise Refused("receipt.equivocation") if another receipt of the job is the one that may be signed."""
    if bound != receipt_hash:
        raise Refused(f"receipt 0x{bound.hex()} of this job was decided on before", "receipt.equivocation")


def _verdict(row: ReviewRow) -> Verdict:
    checks = tuple(Check(name, detail) for name, detail in json.loads(row.checks))
    claims = tuple(GpuClaim(**claim) for claim in json.loads(row.claims))
    return Verdict(row.job_id, row.passed, row.check, row.reason, checks, claims)


def _claim(row: GpuClaimRow) -> GpuClaim:
    return GpuClaim(row.gpu, row.start_ms, row.end_ms, row.share_ppm, row.first_mj, row.last_mj)
