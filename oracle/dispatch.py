"""Looks at every job that hasn't ended and starts what comes next. Decides nothing twice: each task moves
the job itself, from a state it names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Final

from oracle import intake
from oracle.desk import Desk
from oracle.executors.base import ExecutorError
from oracle.facts import Facts
from oracle.intake import Declined, Why
from oracle.logging import get
from oracle.models import JobRow
from oracle.outbox import Outbox
from oracle.reconcile import accept_label, cancel_label, finalize_label
from oracle.settle import Settler
from oracle.states import ACTIVE, State
from oracle.store import StateConflict, Store
from oracle.tasks import Tasks
from oracle.tracing import span
from oracle.worker import Worker
from scrip.errors import Reverted
from scrip.types import Status

WORK: Final = "work"
SEND: Final = "send"
SETTLE: Final = "settle"
PAY: Final = "pay"
RETRY_MS: Final = 5_000
CONSIDERED: Final = 200
"""Jobs nobody has taken that are considered in one pass."""
SENDING: Final = 64
"""Transactions that are being sent or wait for a thread; with more, the next ones only take up memory."""
SENT: Final = frozenset({
    State.OPEN, State.METERED, State.ACCEPTING, State.CANCELLING, State.SUBMITTED, State.DISPUTED,
})  # fmt: skip
"""Where a transaction is due, or may be once the pass has looked at the job."""

_log = get(__name__)


class Dispatcher:
    """One pass over the store per cycle of the daemon."""

    def __init__(
        self,
        *,
        store: Store,
        facts: Facts,
        desk: Desk,
        worker: Worker,
        settler: Settler,
        outbox: Outbox,
        tasks: Tasks,
        reconcile_jobs: Callable[[Sequence[bytes]], None],
        dry: bool,
    ) -> None:
        self._store, self._facts, self._desk, self._worker = store, facts, desk, worker
        self._settler, self._outbox, self._tasks, self._dry = settler, outbox, tasks, dry
        self._reconcile_jobs = reconcile_jobs
        self._provider = desk.policy.provider
        self._considered: JobRow | None = None

    def recover(self) -> None:
        """Queue again what an earlier process was executing. Also heals a store that was full when an
        attempt ended.
        """
        for seen in self._store.oldest([State.EXECUTING]):
            if self._worker.is_active(seen.job_id):
                continue
            # A worker leaves its job only after storing what came of it: what counts is the row as it is now.
            job = self._store.job(seen.job_id)
            if job.at is State.EXECUTING and not self._worker.is_active(job.job_id):
                try:
                    self._worker.recover(job)
                except StateConflict:
                    pass  # it ended between the two looks
                except ExecutorError as problem:  # an engine that doesn't answer holds up this job only
                    _log.warning("not recovered yet", job=job.label, reason=str(problem))

    def dispatch(self) -> None:
        """Start the next step of every job, as far as there is room."""
        # Most passes find nothing: one look at the store tells.
        now, there = self._facts.now(), self._store.present(ACTIVE)
        if State.EXECUTING in there:
            self.recover()
        if State.OPEN in there:
            self._consider_open(now)
        if there & {State.EXECUTING, State.QUEUED}:
            self._start_runs()
        if State.METERED in there:
            self._settler.form(now)
        for settlement in self._store.settlements():
            self._tasks.start(SETTLE, settlement.id, partial(self._settler.step, settlement.id))
        if there & SENT:
            self._start_sends(now)

    def follow_open(self) -> None:
        """Find out about open transactions, and wait beside the loop for those that are pending."""
        for item in self._outbox.reconcile():
            self._tasks.start(SEND, item.label, partial(self._outbox.follow, item))

    # Jobs nobody has taken

    def _consider_open(self, now: int) -> None:
        # Some at a time: while no place is free, all of them wait, and there may be many.
        page = self._store.oldest([State.OPEN], CONSIDERED, after=self._considered, waiting=False)
        self._considered = page[-1] if len(page) == CONSIDERED else None
        for job in page:
            with suppress(StateConflict):  # the chain ended it between the two looks
                try:
                    self._consider(job, now)
                except Declined as declined:
                    self._declined(job, declined, now)

    def _consider(self, job: JobRow, now: int) -> None:
        spec = self._store.spec(job.terms.spec_hash)
        if spec is None:
            if job.terms.accept_by - now > self._provider.accept_margin_s:
                self._note(job, "waiting for its spec")
                return
            raise Declined(
                Why.SPEC, "its spec was never sent", "nothing", "PUT /specs/{specHash} before acceptBy"
            )
        planned = self._desk.plan(job.terms, spec)
        intake.check_time(job.terms, planned, self._desk.policy, now, to_accept=True)
        self._desk.check_load(self._desk.load())
        if self._dry:
            self._note(job, "dry run: would accept")
            return
        self._store.move(job.job_id, State.ACCEPTING, since=(State.OPEN,))
        self._tasks.start(SEND, job.job_id, partial(self._accept, job))

    def _declined(self, job: JobRow, declined: Declined, now: int) -> None:
        soon = job.terms.accept_by - now <= self._provider.accept_margin_s
        if declined.passing and not soon:
            self._note(job, str(declined))
            return
        _log.warning("job declined", job=job.label, why=declined.why.value, reason=str(declined))
        if self._provider.cancel_declined and not self._dry:
            self._store.move(
                job.job_id, State.CANCELLING, str(declined), since=(State.OPEN,), not_before_ms=0
            )
        else:
            # Anyone may expire it after acceptBy; until then there is nothing more to do here.
            self._store.note(job.job_id, reason=str(declined), not_before_ms=job.terms.submit_by * 1000)

    def _note(self, job: JobRow, reason: str) -> None:
        if job.reason != reason:
            _log.info("job waits", job=job.label, reason=reason)
            self._store.note(job.job_id, reason=reason)

    # Runs

    def _start_runs(self) -> None:
        slots = self._provider.slots
        if self._tasks.running(WORK) >= slots:
            return
        # Those that run are still queued while they wait for a GPU.
        for page in self._store.walk([State.QUEUED], 2 * slots, waiting=False):
            for job in page:
                self._tasks.start(WORK, job.job_id, partial(self._worker.run, job.job_id))
                if self._tasks.running(WORK) >= slots:
                    return

    # Sends

    def _start_sends(self, now: int) -> None:
        if self._dry:
            return
        steps = {
            State.ACCEPTING: self._accept,
            State.CANCELLING: self._cancel,
            State.SUBMITTED: self._finalize,
            State.DISPUTED: self._finalize,
        }
        for page in chain(
            self._store.walk([State.ACCEPTING, State.CANCELLING], waiting=False),
            self._store.walk([State.SUBMITTED, State.DISPUTED], waiting=False, finalize_by=now),
        ):
            for job in page:
                if self._tasks.running(SEND) >= SENDING:
                    return
                self._tasks.start(SEND, job.job_id, partial(steps[job.at], job))

    def _accept(self, job: JobRow) -> None:
        self._send(job, accept_label(job.job_id), "accept", Status.OPEN)

    def _cancel(self, job: JobRow) -> None:
        self._send(job, cancel_label(job.job_id), "cancel", Status.OPEN, Status.RUNNING)

    def _finalize(self, job: JobRow) -> None:
        self._store.move(job.job_id, State.FINALIZING, None, since=(State.SUBMITTED, State.DISPUTED))
        self._send(job, finalize_label(job.job_id), "finalize", Status.SUBMITTED, Status.DISPUTED)

    def _send(self, job: JobRow, label: str, function: str, *expected: Status) -> None:
        """Send a call that takes the job's terms, unless it was sent or the chain is past it. Then
        compare.
        """
        if self._outbox.outstanding(label):
            return
        with span(function, job.job_id):
            self._send_and_compare(job, label, function, expected)

    def _send_and_compare(self, job: JobRow, label: str, function: str, expected: tuple[Status, ...]) -> None:
        if self._facts.job(job.job_id).status in expected:
            try:
                self._outbox.send(label, "JobMarket", function, job.terms.to_abi())
            except Reverted as reverted:
                self._reverted(job, function, reverted)
        self._reconcile_jobs([job.job_id])

    def _reverted(self, job: JobRow, function: str, reverted: Reverted) -> None:
        _log.warning("call reverts", job=job.label, call=function, reason=str(reverted))
        later = self._store.now_ms() + RETRY_MS
        self._store.note(job.job_id, reason=str(reverted)[:500], not_before_ms=later)
        if function == "accept":
            self._store.move(job.job_id, State.OPEN, str(reverted), since=(State.ACCEPTING,))
