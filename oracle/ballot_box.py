"""A watcher's own votes: sealed and signed once, stored before they are shown, opened when it is time."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.crypto import keccak
from sqlalchemy import or_, select

from oracle.models import BallotRow
from oracle.reviews import Reviewed
from oracle.store import Store
from scrip.ballots import SignedCommitment, SignedReveal, findings_hash, seal_of
from scrip.eip712 import DigestSigner, sign
from scrip.eip712_watchers import commitment_digest, reveal_digest
from scrip.errors import NotFound
from scrip.types import Commitment, Reveal

SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Ballot:
    """A sealed vote on `subject`, and what opens it. `age_ms` is since it was cast."""

    watcher_set: int
    passed: bool
    findings: dict[str, Any]
    commitment: SignedCommitment
    reveal: SignedReveal
    age_ms: int


class BallotBox:
    """Votes of one watcher key. Safe to share between threads."""

    def __init__(self, store: Store, chain_id: int, verifier: str) -> None:
        self._store, self._chain_id, self._verifier = store, chain_id, verifier

    def known(self, subject: bytes, evidence: bytes) -> Ballot | None:
        """The vote on this subject with this evidence, if there is one."""
        with self._store.reading() as session:
            row = session.get(BallotRow, (subject, evidence))
        return None if row is None else self._ballot(row)

    def find(self, subject: bytes, evidence: bytes) -> Ballot:
        """The vote on this subject with this evidence. Raises NotFound."""
        found = self.known(subject, evidence)
        if found is None:
            raise NotFound("commitment", subject, "Ask for one first: POST /commitments")
        return found

    def cast(
        self, subject: bytes, watcher_set: int, rows: Sequence[Reviewed], signer: DigestSigner, address: str
    ) -> Ballot:
        """Seal a vote, sign commitment and reveal, and store both. The first vote stands and is returned."""
        evidence = joint_evidence(rows)
        findings = findings_of(rows)
        reveal = Reveal(subject, evidence, findings_hash(findings), secrets.token_bytes(SALT_BYTES))
        commitment = Commitment(subject, evidence, seal_of(reveal, address))
        place = self._chain_id, self._verifier
        with self._store.writing() as session:
            row = session.get(BallotRow, (subject, evidence))
            if row is None:
                row = BallotRow(
                    subject=subject, evidence=evidence, watcher_set=watcher_set,
                    passed=all(one.verdict.passed for one in rows), findings=json.dumps(findings),
                    salt=reveal.salt, seal=commitment.seal,
                    commitment_signature=sign(commitment_digest(commitment, *place), signer),
                    reveal_signature=sign(reveal_digest(reveal, *place), signer),
                    at_ms=self._store.now_ms(), revealed_ms=0,
                )  # fmt: skip
                session.add(row)
        return self._ballot(row)

    def opened(self, ballot: Ballot) -> None:
        """Note that a vote was shown, so that it is published if it is a refusal."""
        told = ballot.commitment.commitment
        with self._store.writing() as session:
            row = session.get(BallotRow, (told.subject, told.evidence))
            if row is not None and row.revealed_ms == 0:
                row.revealed_ms = self._store.now_ms()

    def refusals(self, limit: int, secret_ms: int) -> list[dict[str, Any]]:
        """Receipts refused in votes that were opened or are older than `secret_ms`, newest first.

        Each with the signed statement that says so: its findings are the whole vote's.
        """
        old_ms = self._store.now_ms() - secret_ms
        with self._store.reading() as session:
            shown = or_(BallotRow.revealed_ms > 0, BallotRow.at_ms <= old_ms)
            query = select(BallotRow).where(~BallotRow.passed, shown).order_by(BallotRow.at_ms.desc())
            rows = session.scalars(query.limit(limit)).all()
        found = []
        for row in rows:
            ballot = self._ballot(row)
            statement = ballot.reveal.to_json() | {"findings": ballot.findings}
            refused = [item for item in ballot.findings["rows"] if not item["passed"]]
            found += [{**item, "atMs": row.at_ms, "statement": statement} for item in refused]
        return found[:limit]

    def _ballot(self, row: BallotRow) -> Ballot:
        findings = json.loads(row.findings)
        commitment = Commitment(row.subject, row.evidence, row.seal)
        reveal = Reveal(row.subject, row.evidence, findings_hash(findings), row.salt)
        return Ballot(
            row.watcher_set, row.passed, findings, SignedCommitment(commitment, row.commitment_signature),
            SignedReveal(reveal, row.reveal_signature), self._store.now_ms() - row.at_ms,
        )  # fmt: skip


def joint_evidence(rows: Sequence[Reviewed]) -> bytes:
    """Hash of the evidence of all rows, in order."""
    return bytes(keccak(b"".join(row.evidence for row in rows)))


def findings_of(rows: Sequence[Reviewed]) -> dict[str, Any]:
    """What a vote says, receipt by receipt, as JSON."""
    return {
        "rows": [
            {
                "jobId": "0x" + row.verdict.job_id.hex(),
                "receiptHash": "0x" + row.receipt_hash.hex(),
                "evidence": "0x" + row.evidence.hex(),
                "passed": row.verdict.passed,
                "check": row.verdict.check,
                "reason": row.verdict.reason,
                "checks": [{"name": check.name, "detail": check.detail} for check in row.verdict.checks],
            }
            for row in rows
        ]
    }
