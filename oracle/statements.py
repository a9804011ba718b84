"""What watchers have signed, as this node was shown it: commitments are kept, and two that contradict each
other are a proof to publish. Providers and watchers both keep them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from oracle.logging import get
from oracle.models import EquivocationRow, SeenCommitmentRow
from oracle.store import Store
from scrip.ballots import Equivocation, SignedCommitment, SignedReveal
from scrip.types import Commitment

_log = get(__name__)


class Statements:
    """Commitments seen, and proofs. Safe to share between threads."""

    def __init__(self, store: Store, chain_id: int, verifier: str) -> None:
        self._store, self._chain_id, self._verifier = store, chain_id, verifier

    def note(self, signed: SignedCommitment, watcher: str) -> bool:
        """Keep a commitment that `watcher` signed. False if it contradicts an earlier one: that is proof."""
        told = signed.commitment
        key = (told.subject, told.evidence, watcher)
        with self._store.writing() as session:
            row = session.get(SeenCommitmentRow, key)
            if row is None:
                session.add(
                    SeenCommitmentRow(
                        subject=told.subject, evidence=told.evidence, watcher=watcher, seal=told.seal,
                        signature=signed.signature, at_ms=self._store.now_ms(),
                    )
                )  # fmt: skip
                return True
            known = SignedCommitment(Commitment(told.subject, told.evidence, row.seal), row.signature)
        return not self.compare(known, signed)

    def compare(self, first: SignedCommitment, second: SignedCommitment | SignedReveal) -> bool:
        """Whether the two contradict each other; if so, the proof is kept."""
        proof = Equivocation.of(first, second, self._chain_id, self._verifier)
        if proof is None:
            return False
        told = first.commitment
        _log.warning("watcher equivocates", watcher=proof.watcher, subject="0x" + told.subject.hex())
        with self._store.writing() as session:
            if session.get(EquivocationRow, (told.subject, told.evidence, proof.watcher)) is None:
                session.add(
                    EquivocationRow(
                        subject=told.subject, evidence=told.evidence, watcher=proof.watcher,
                        proof=json.dumps(proof.to_json()), at_ms=self._store.now_ms(),
                    )
                )  # fmt: skip
        return True


def equivocations(store: Store, limit: int) -> list[dict[str, Any]]:
    """The latest proofs, newest first, as JSON: `scrip.ballots.Equivocation` and when it was found."""
    with store.reading() as session:
        query = select(EquivocationRow).order_by(EquivocationRow.at_ms.desc()).limit(limit)
        rows: Sequence[EquivocationRow] = session.scalars(query).all()
    return [json.loads(row.proof) | {"atMs": row.at_ms} for row in rows]
