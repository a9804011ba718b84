"""From metered jobs to settled ones: group, sign, send, and find out what became of it.

A settlement is one `submit` (one job) or one `submitBatch`. Its rows are fixed before anyone signs, its
signatures are stored before anything is sent, and its transaction is looked for before anything is sent
again. What ends a job is the chain's word alone. A row that a watcher refuses or the contract skips goes back
and is tried by itself.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from web3.logs import DISCARD

from oracle.evidence import EvidenceStore
from oracle.facts import Facts
from oracle.intake import WATCHED
from oracle.logging import get
from oracle.models import JobRow, SettlementRow
from oracle.outbox import Outbox
from oracle.quorum import Outcome, Quorum, Row, digest
from oracle.receipt import TELEMETRY, with_assurance
from oracle.settings import Settings
from oracle.states import Stage, State
from oracle.store import Store
from oracle.tracing import span
from scrip.eip712 import DigestSigner, sign
from scrip.errors import EvidenceInvalid, NotFound, Reverted, ScripError
from scrip.types import Attestation, JobState, Receipt, Status

MAX_TRIES: Final = 12
"""How often a job goes back before it is given up, whatever its deadline."""
SOON_MS: Final = 1_500
SWEEP_S: Final = 2.0
MAX_LIVE: Final = 8
"""Settlements that are worked on at once; more would only wait for each other."""

_log = get(__name__)


class Settler:
    """Forms settlements and takes each one step at a time. `signer` None is a dry run: nothing is formed."""

    def __init__(
        self,
        *,
        store: Store,
        facts: Facts,
        outbox: Outbox,
        quorum: Quorum,
        evidence: EvidenceStore,
        signer: DigestSigner | None,
        settings: Settings,
        decided: Callable[[Sequence[bytes]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`decided` is told of the jobs that the chain has ended or taken into their challenge window."""
        self._store, self._facts, self._outbox, self._quorum = store, facts, outbox, quorum
        self._evidence, self._signer, self._settings = evidence, signer, settings
        self._decided = decided
        self._clock, self._swept = clock, float("-inf")
        self._margin_s = settings.of_provider().submit_margin_s

    # Forming

    def form(self, now: int) -> None:
        """Group the metered jobs that are due, once a group is full or old enough, and give back those that
        are late. `now` is chain time.

        Only as many as can be worked on, oldest first: the rest is looked at once these are on their way.
        """
        if self._signer is None:
            return
        self._sweep(now)
        room = MAX_LIVE - self._store.live_settlements()
        if room <= 0:
            return
        now_ms, most = self._store.now_ms(), self._settings.settle.max_batch
        groups: dict[int, list[JobRow]] = defaultdict(list)
        for job in self._store.oldest([State.METERED], room * most, waiting=False):
            if self._given_back(job, now):
                continue
            if job.alone or most == 1:
                self._bind([job], self._watcher_set(job))
            else:
                groups[self._watcher_set(job)].append(job)
        for watcher_set, jobs in groups.items():
            for rows in self._ripe(jobs, now_ms, now):
                self._bind(rows, watcher_set)

    def _bind(self, rows: Sequence[JobRow], watcher_set: int) -> None:
        ids = [job.job_id for job in rows]
        self._store.add_settlement(ids, batched=len(rows) > 1, watcher_set=watcher_set)

    def _ripe(self, jobs: list[JobRow], now_ms: int, now: int) -> list[list[JobRow]]:
        """The parts of a group to send now: full ones, and the rest once it is old or a deadline is near."""
        rules = self._settings.settle
        # Rows of one class in a row are burned and paid in one go.
        jobs.sort(key=lambda job: (job.terms.class_id, job.exited_ms))
        parts = [jobs[i : i + rules.max_batch] for i in range(0, len(jobs), rules.max_batch)]
        old = min(job.exited_ms for job in parts[-1]) + rules.max_age_s * 1000 <= now_ms
        urgent = any(job.terms.submit_by - now < 2 * self._margin_s for job in parts[-1])
        return parts if len(parts[-1]) == rules.max_batch or old or urgent else parts[:-1]

    def _watcher_set(self, job: JobRow) -> int:
        """The set that must co-sign the job's receipt, 0 for none."""
        if _receipt(job).assurance < WATCHED:
            return 0
        return self._facts.class_terms(job.terms.class_id).watcher_set

    # One step

    def step(self, settlement_id: int) -> None:
        """Take a settlement as far as it goes now. Raises what the world around raises; see
        `oracle.tasks`.
        """
        settlement = self._store.settlement(settlement_id)
        if settlement.stage == Stage.COLLECTING:
            with span("sign", *settlement.jobs, settlement=settlement.id):
                settlement = self._collect(settlement)
        if settlement.stage == Stage.SIGNED and settlement.not_before_ms <= self._store.now_ms():
            with span("submit", *settlement.jobs, settlement=settlement.id):
                settlement = self._send(settlement)
        if settlement.stage == Stage.SENDING:
            with span("settle", *settlement.jobs, settlement=settlement.id):
                self._resolve(settlement)

    # Signing

    def _collect(self, settlement: SettlementRow) -> SettlementRow:
        if self._signer is None:
            return settlement
        jobs = self._store.many(settlement.jobs)
        receipts = [_receipt(job) for job in jobs]
        message = digest(
            receipts, self._facts.chain.chain_id, self._facts.verifier, batched=settlement.batched
        )
        ours, watchers = sign(message, self._signer), tuple[bytes, ...]()
        if settlement.watcher_set:
            rows = [Row(_receipt(job), job.terms, self.bundle_url(job.job_id)) for job in jobs]
            outcome = self._quorum.collect(
                rows, settlement.watcher_set, batched=settlement.batched, signature=ours
            )
            if not outcome.enough:
                self._without_quorum(settlement, jobs, outcome)
                return self._store.settlement(settlement.id)
            watchers = outcome.signatures
        attestation = Attestation(ours, watchers)
        return self._store.advance(settlement, Stage.SIGNED, State.SIGNED, attestation=attestation)

    def bundle_url(self, job_id: bytes) -> str:
        """Where watchers find the evidence of a job."""
        return f"{self._settings.api.public_url}/jobs/0x{job_id.hex()}/evidence"

    def _without_quorum(self, settlement: SettlementRow, jobs: Sequence[JobRow], outcome: Outcome) -> None:
        """Dissolve: refused rows go on by themselves; a single job falls back, waits, or is given back."""
        back: dict[bytes, Mapping[str, Any]] = {}
        for job in jobs:
            if settlement.batched and job.job_id not in outcome.hopeless:
                # It goes into another batch, at once if others were the problem, later if watchers were away.
                back[job.job_id] = {} if outcome.hopeless else self._later(job)
            elif settlement.batched:
                back[job.job_id] = {"alone": True, "reason": outcome.hopeless[job.job_id]}
            else:
                back[job.job_id] = self._fall_back(job, outcome)
        self._store.close_settlement(settlement, Stage.DROPPED, back, outcome.reason)
        for job in jobs if not settlement.batched else ():
            self._give_back_if_hopeless(job, outcome)

    def _fall_back(self, job: JobRow, outcome: Outcome) -> Mapping[str, Any]:
        """What a single job without a quorum becomes: the same receipt at assurance 1 where its class
        takes that.
        """
        if self._facts.class_terms(job.terms.class_id).min_assurance >= WATCHED:
            return self._later(job)
        lowered = with_assurance(_receipt(job), TELEMETRY)
        try:
            bundle = replace(self._evidence.get(job.job_id, job.attempt), receipt=lowered)
            # Only while we lead: another node may be settling what the watchers have signed meanwhile.
            with self._store.writing():
                self._evidence.put(bundle)
        except (NotFound, EvidenceInvalid) as lost:
            # Without its evidence a receipt proves nothing to anybody: the job is given back.
            return {"tries": MAX_TRIES, "reason": str(lost)}
        _log.warning("settles without watchers", job=job.label, reason=outcome.reason)
        return {"receipt": lowered}

    def _give_back_if_hopeless(self, job: JobRow, outcome: Outcome) -> None:
        needs = self._facts.class_terms(job.terms.class_id).min_assurance >= WATCHED
        refused = outcome.hopeless.get(job.job_id)
        if needs and refused is not None:
            self._give_back(job, refused)

    def _later(self, job: JobRow) -> dict[str, Any]:
        pause_ms = self._settings.settle.retry_s * 1000 * 2 ** min(job.tries, 5)
        return {"tries": job.tries + 1, "not_before_ms": self._store.now_ms() + pause_ms}

    def _soon(self) -> dict[str, Any]:
        return {"not_before_ms": self._store.now_ms() + SOON_MS}

    # Sending

    def _send(self, settlement: SettlementRow) -> SettlementRow:
        label, jobs = self._label(settlement), self._store.many(settlement.jobs)
        states = self._facts.jobs(settlement.jobs)
        if any(self._opened_anew(job, states[job.job_id]) for job in jobs):
            # A reorganisation opened the job anew: this evidence isn't for it. The next comparison runs it
            # again.
            back = {job.job_id: self._soon() for job in jobs}
            self._store.close_settlement(settlement, Stage.DROPPED, back, "a job was opened anew")
            return self._store.settlement(settlement.id)
        ended = any(state.status is not Status.RUNNING for state in states.values())
        sent = ended or self._outbox.outstanding(label)
        settlement = self._store.advance(settlement, Stage.SENDING, State.SUBMITTING)
        if sent:
            # Somebody else ended a row, or we sent this already: what is known decides, nothing is sent.
            return settlement
        try:
            self._outbox.send(label, "JobMarket", *_call(settlement, jobs))
        except Reverted as reverted:
            self._reverted(settlement, jobs, reverted)
            return self._store.settlement(settlement.id)
        _log.info("sent", settlement=settlement.id, rows=len(settlement.jobs))
        return settlement

    def _opened_anew(self, job: JobRow, state: JobState) -> bool:
        """Whether the opening we worked for is gone. A job that ended past acceptBy has no slot either."""
        ended = state.status is Status.NONE and self._facts.now() > job.terms.accept_by
        return not ended and state.nonce != job.nonce

    def _reverted(self, settlement: SettlementRow, jobs: Sequence[JobRow], reverted: Reverted) -> None:
        """The whole call fails: a batch is taken apart, a single job waits or is given back."""
        _log.warning("settlement reverts", settlement=settlement.id, reason=str(reverted))
        back: dict[bytes, Mapping[str, Any]] = {}
        for job in jobs:
            if settlement.batched:
                back[job.job_id] = {"alone": True}
            elif is_early(reverted):
                back[job.job_id] = self._soon()
            else:
                back[job.job_id] = self._later(job)
        self._store.close_settlement(settlement, Stage.DROPPED, back, str(reverted))

    # Finding out

    def _resolve(self, settlement: SettlementRow) -> None:
        """Ask the chain what became of each row; close the settlement once all are decided."""
        label = self._label(settlement)
        if self._outbox.outstanding(label):
            return
        states = self._facts.finalized().job_states(settlement.jobs)
        undecided = [
            job_id
            for job_id, state in zip(settlement.jobs, states, strict=True)
            if state.status is Status.RUNNING
        ]
        mined = self._outbox.mined(label)
        if mined is None and len(undecided) == len(settlement.jobs):
            # Never mined, and nothing in flight: the same signatures are sent again.
            again = self._store.advance(settlement, Stage.SIGNED, State.SIGNED)
            reason = "the transaction never took effect"
            _log.warning("settlement sent again", settlement=settlement.id, reason=reason)
            self._store.delay_settlement(again, self._store.now_ms() + SOON_MS, reason)
            return
        back = self._left_out(label, undecided) if mined is not None else {job_id: {} for job_id in undecided}
        self._store.close_settlement(settlement, Stage.DONE, back, "another row ended meanwhile", mined)
        self._decided([job_id for job_id in settlement.jobs if job_id not in back])

    def _left_out(self, label: str, undecided: Sequence[bytes]) -> dict[bytes, Mapping[str, Any]]:
        """Rows that our transaction skipped: each goes on by itself, later, with the contract's reason."""
        if not undecided:
            return {}
        receipt = self._outbox.receipt(label)
        reasons = {} if receipt is None else self._skipped(receipt)
        return {
            job.job_id: self._later(job)
            | {"alone": True, "reason": reasons.get(job.job_id, "skipped by the contract")}
            for job in self._store.many(undecided)
        }

    def _skipped(self, receipt: Any) -> dict[bytes, str]:
        """Why the contract left rows out, by job."""
        event = self._facts.chain.contract("JobMarket").events.RowSkipped()
        found = {}
        for log in event.process_receipt(receipt, errors=DISCARD):
            args = log["args"]
            entry = self._facts.chain.errors.get(bytes(args["reason"]), {"name": "unknown"})
            found[bytes(args["jobId"])] = f"{entry['name']}: given {args['given']}, limit {args['limit']}"
        return found

    def _label(self, settlement: SettlementRow) -> str:
        return f"settlement {settlement.id}.{settlement.tries}"

    # Giving up

    def _sweep(self, now: int) -> None:
        """Give back what is late among the jobs that wait for another try; at times, as they may be many."""
        if self._clock() < self._swept + SWEEP_S:
            return
        for jobs in self._store.walk([State.METERED], waiting=True):
            for job in jobs:
                self._given_back(job, now)
        self._swept = self._clock()

    def _given_back(self, job: JobRow, now: int) -> bool:
        """Return a metered job to its payer if it can't settle in time any more, or went back too often.
        True if so.
        """
        late = now > job.terms.submit_by - (self._margin_s if job.tries else 0)
        if not late and job.tries < MAX_TRIES:
            return False
        self._give_back(job, f"not settled in time: {job.reason or 'submitBy has passed'}")
        return True

    def _give_back(self, job: JobRow, reason: str) -> None:
        _log.warning("job given back", job=job.label, reason=reason)
        self._store.move(job.job_id, State.CANCELLING, reason, since=(State.METERED,), not_before_ms=0)


def is_early(reverted: Reverted) -> bool:
    """Whether a receipt ends after the chain's present time: it settles as soon as the next block is
    mined.
    """
    if reverted.name != "JobMarket_BadInterval":
        return False
    return int(reverted.params.get("given", 0)) > int(reverted.params.get("limit", 0))


def _receipt(job: JobRow) -> Receipt:
    if job.receipt is None:
        raise MissingReceipt(job)
    return job.receipt


def _call(settlement: SettlementRow, jobs: Sequence[JobRow]) -> tuple[Any, ...]:
    """Function and arguments that settle these jobs."""
    attestation = settlement.attestation
    if attestation is None:
        raise ValueError(f"settlement {settlement.id} is {settlement.stage} without signatures")
    if not settlement.batched:
        return "submit", jobs[0].terms.to_abi(), _receipt(jobs[0]).to_abi(), attestation.to_abi()
    terms, receipts = [job.terms.to_abi() for job in jobs], [_receipt(job).to_abi() for job in jobs]
    return "submitBatch", terms, receipts, settlement.watcher_set, attestation.to_abi()


class MissingReceipt(ScripError):
    """A job beyond `metered` has no receipt: the store was changed by other hands."""

    def __init__(self, job: JobRow) -> None:
        super().__init__(
            f"job {job.label} is {job.state} without a receipt. Restore the database from a backup"
        )
