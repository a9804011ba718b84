"""How long evidence is kept, and what happens when the room for it runs out.

Evidence is a provider's only defence in a dispute and a buyer's only proof, so it goes by time alone: never
before anybody could still ask for it, and never to make room. Where room runs out, new jobs are declined.
"""

from __future__ import annotations

import threading
from typing import Final

from oracle.evidence import EvidenceStore, StorageFailed, StorageFull
from oracle.facts import Facts
from oracle.intake import Declined, Why
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.models import JobRow
from oracle.settings import EvidenceSettings
from oracle.store import Store
from scrip.bundle import MAX_BUNDLE_BYTES
from scrip.errors import NotFound

DISPUTE_S: Final = 7 * 86_400
"""`JobRules.DISPUTE_PERIOD`: how long arbiters have from a challenge on."""
PRUNE: Final = "prune"
"""Name of the task that prunes, and of its pool."""
EXPECTED_BYTES: Final = 2**20
"""What a job taken is counted with until its evidence is there."""

_log = get(__name__)


class Retention:
    """Prunes evidence, and says whether there is room for more. `room` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        facts: Facts,
        evidence: EvidenceStore,
        settings: EvidenceSettings,
        metrics: Metrics,
        stopping: threading.Event,
    ) -> None:
        self._store, self._facts, self._evidence = store, facts, evidence
        self._settings, self._metrics, self._stopping = settings, metrics, stopping
        self._quota = settings.quota_mib * 2**20
        metrics.evidence_quota.set(self._quota)

    def kept_until(self, job: JobRow) -> int | None:
        """Unix seconds until which the evidence of a job is kept; None while the job goes on.

        From its end or its submitBy, whichever is later: the class's challenge window, the arbiters' time,
        and the margin that is set. No receipt comes after submitBy, so even if our clock was wrong at the
        end, the first two cover any dispute. Raises NotFound if the chain doesn't know the class.
        """
        if not job.at.final:
            return None
        window = self._facts.class_terms(job.terms.class_id).challenge_window
        ended = max(-(-job.updated_ms // 1000), job.terms.submit_by)
        return ended + window + DISPUTE_S + self._settings.margin_s

    def prune(self) -> int:
        """Delete what nobody can ask for any more. Returns of how many jobs.

        A clock that jumps deletes nothing: time has passed only if both ours and the chain's say so. Evidence
        of jobs that the store doesn't know stays. Raises what reading the chain raises.
        """
        now, pruned = min(self._store.now_ms() // 1000, self._facts.now()), 0
        # Written before its job ended: whatever is younger than this isn't due, and needs no look.
        for job_id in self._evidence.untouched_since(now - DISPUTE_S - self._settings.margin_s):
            if self._stopping.is_set():
                break
            pruned += self._prune_one(job_id, now)
        self._metrics.evidence_bytes.set(self._evidence.used_bytes())
        return pruned

    def _prune_one(self, job_id: bytes, now: int) -> bool:
        job = self._store.find(job_id)
        if job is None:
            return False
        try:
            until = self.kept_until(job)
            if until is None or now <= until:
                return False
            self._evidence.forget(job_id)
        except (NotFound, StorageFailed) as problem:
            _log.warning("evidence not deleted", job=job.label, reason=str(problem))
            return False
        self._metrics.evidence_pruned.inc()
        _log.info("evidence deleted", job=job.label, state=job.state, kept_until=until)
        return True

    def room(self, taken: int) -> None:
        """Raise Declined unless there is room for the evidence of one more job beside `taken` others."""
        needed = (taken + 1) * EXPECTED_BYTES
        used = self._evidence.used_bytes()
        if used + needed > self._quota:
            raise Declined(
                Why.CAPACITY,
                "the room for evidence is used up",
                f"{used >> 20} MiB of evidence, {taken} jobs under way",
                f"evidence.quota_mib is {self._settings.quota_mib}",
            )
        free = self._evidence.free_bytes()
        if free < MAX_BUNDLE_BYTES + needed:
            raise Declined(
                Why.CAPACITY, "the disk is nearly full", f"{free >> 20} MiB free", "evidence needs room"
            )

    def probe(self) -> str:
        """For readiness: how much is used. Raises StorageFull if no new job could be taken."""
        used = self._evidence.used_bytes()
        try:
            self.room(0)
        except Declined as declined:
            raise StorageFull(self._evidence.root, str(declined)) from declined
        free = self._evidence.free_bytes()
        return f"{used >> 20} of {self._settings.quota_mib} MiB, {free >> 20} MiB free on the disk"
