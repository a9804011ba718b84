"""Brings the store in line with the chain: new jobs from events, everything else from contract state.

Events only tell us that a job exists. What it is now is always read from its slot, at the finalized block, so
a missed event, a restart or somebody else's transaction can't leave a job behind. Only of a job that ended
after its acceptBy, whose slot is empty, the last event says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from oracle.facts import Facts
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.models import JobRow
from oracle.states import ACTIVE, BOUND, LIVE_STAGES, ON_CHAIN_FINAL, State
from oracle.store import StateConflict, Store
from scrip.errors import BadInput, NodeUnavailable
from scrip.logs import LogEvent, scan
from scrip.types import JobState, Status
from scrip.view import ChainView, terms_of

CURSOR: Final = "JobOpened"
SAVE_EVERY: Final = 500
"""Events between two saves of the cursor in a long catch-up."""

_WAITING: Final = frozenset({State.QUOTED, State.OPEN, State.ACCEPTING})
_WORKING: Final = frozenset({State.QUEUED, State.EXECUTING, State.METERED}) | BOUND

_log = get(__name__)


class Reconciler:
    """Chain to store. `outstanding` tells whether a transaction of ours with this label may still take
    effect; `ended` is told of each job that has ended.
    """

    def __init__(
        self,
        store: Store,
        facts: Facts,
        provider: str,
        metrics: Metrics,
        *,
        outstanding: Callable[[str], bool],
        ended: Callable[[bytes], None],
    ) -> None:
        self._store, self._facts, self._provider, self._metrics = store, facts, provider, metrics
        self._outstanding, self._ended = outstanding, ended

    def scan(self) -> int:
        """Take in jobs opened for us since the last scan, up to the finalized block. Returns how many
        were new.
        """
        view = self._facts.finalized()
        chain = self._facts.chain
        known = self._store.cursor(CURSOR)
        start = chain.deployment.block if known is None else known
        new = 0
        for count, event in enumerate(self._events(start, view.block), start=1):
            new += self._opened(event, view)
            if count % SAVE_EVERY == 0:
                self._store.set_cursor(CURSOR, event.block)  # its block may hold more of them
        if view.block >= start:
            # A head that the node only names would take the cursor past blocks still to come.
            self._facts.time(view)
            self._store.set_cursor(CURSOR, view.block + 1)
        self._metrics.head.set(view.block)
        return new

    def _events(self, start: int, end: int) -> Iterator[LogEvent]:
        chain = self._facts.chain
        with _one_of_several_nodes():
            yield from scan(chain, "JobMarket", "JobOpened", start, end, filters={"provider": self._provider})

    def reconcile(self) -> None:
        """Compare every job that hasn't ended with the chain."""
        view = self._facts.finalized()
        for job in self._store.jobs(ACTIVE):
            self._compare(job, view)

    def reconcile_job(self, job_id: bytes) -> None:
        """Compare one job with the chain."""
        self._compare(self._store.job(job_id), self._facts.finalized())

    def _opened(self, event: LogEvent, view: ChainView) -> int:
        terms, job_id = terms_of(event), bytes(event.args["jobId"])
        if self._facts.job_id(terms) != job_id:
            raise BadInput(
                "JobOpened",
                job_id,
                "the id of its own terms",
                "The node lies, or the deployment is another one",
            )
        job = self._store.find(job_id)
        if job is None:
            state = view.job_state(job_id)
            if state.status.final or state.status is Status.NONE:
                return 0
            if not self._store.add_job(
                job_id, terms, State.OPEN, opened_at=state.opened_at, nonce=state.nonce
            ):
                return 0
            _log.info("job opened", job="0x" + job_id.hex(), payer=terms.payer, units=terms.max_units)
        self._store.note(job_id, opened_block=event.block)
        self._compare(self._store.job(job_id), view)
        return 1

    def _compare(self, job: JobRow, view: ChainView) -> None:
        if job.at.final:
            return
        state = view.job_state(job.job_id)
        try:
            self._apply(job, state, view)
        except StateConflict as conflict:
            # A thread of ours moved it between the two reads; the next comparison sees the result.
            _log.debug("job moved meanwhile", job=job.label, reason=str(conflict))

    def _apply(self, job: JobRow, state: JobState, view: ChainView) -> None:
        if state.status.final:
            self._end(job, ON_CHAIN_FINAL[state.status])
        elif state.status is Status.NONE:
            self._absent(job, view)
        elif state.status is Status.OPEN:
            self._open(job, state)
        elif state.status is Status.RUNNING:
            self._running(job, state)
        elif state.status is Status.SUBMITTED:
            self._submitted(job, view)
        elif state.status is Status.DISPUTED:
            self._disputed(job, view)

    def _end(self, job: JobRow, state: State) -> None:
        """The chain has ended the job: whatever we were doing with it is over."""
        reason = "" if state is State.SETTLED else None  # what went wrong stays with a job that didn't settle
        ended = self._store.move(job.job_id, state, reason)
        self._metrics.settled.labels(state.value).inc()
        if job.exited_ms:
            self._metrics.exit_to_settled.observe((self._store.now_ms() - job.exited_ms) / 1000)
        _log.info("job ended", job=job.label, state=state.value, was=job.state, reason=ended.reason)
        self._ended(job.job_id)

    def _absent(self, job: JobRow, view: ChainView) -> None:
        """No slot: not opened yet, taken by a reorganisation, or ended past acceptBy, which empties it."""
        if self._facts.time(view) <= job.terms.accept_by:
            return
        with _one_of_several_nodes():
            ending = self._facts.ending(job.job_id, view, self._not_opened_before(job))
        if ending is not None:
            self._end(job, ON_CHAIN_FINAL[ending.status])
            return
        reason = "the quote wasn't used" if job.at is State.QUOTED else "the job left the chain"
        self._store.move(job.job_id, State.LAPSED, reason)
        self._ended(job.job_id)

    def _not_opened_before(self, job: JobRow) -> int:
        """A block before which the chain has nothing of the job."""
        if job.opened_block:
            return job.opened_block
        # An opening before the cursor would have been seen, and its block noted.
        known = self._store.cursor(CURSOR) if job.at is State.QUOTED else None
        return self._facts.chain.deployment.block if known is None else known

    def _open(self, job: JobRow, state: JobState) -> None:
        accepting = job.at is State.ACCEPTING and not self._outstanding(accept_label(job.job_id))
        if job.at in (State.QUOTED, State.QUEUED) or accepting:
            self._store.move(
                job.job_id,
                State.OPEN,
                None,
                since=(job.at,),
                opened_at=state.opened_at,
                nonce=state.nonce,
            )

    def _running(self, job: JobRow, state: JobState) -> None:
        if job.at in _WAITING:
            self._store.move(
                job.job_id, State.QUEUED, since=(job.at,), opened_at=state.opened_at, nonce=state.nonce,
                not_before_ms=0,
            )  # fmt: skip
        elif job.at in _WORKING and job.nonce != state.nonce:
            self._reopened(job, state)
        elif job.at in BOUND and not self._is_bound(job):
            self._store.move(job.job_id, State.METERED, None, since=(job.at,), settlement_id=None)

    def _reopened(self, job: JobRow, state: JobState) -> None:
        """A reorganisation opened the job again with another nonce: evidence made for the old one is
        worth nothing.
        """
        _log.warning("job reopened with another nonce", job=job.label, state=job.state)
        self._ended(job.job_id)
        if job.at in (State.QUEUED, State.METERED):
            self._store.move(
                job.job_id, State.QUEUED, "opened anew by a reorganisation", since=(job.at,),
                opened_at=state.opened_at, nonce=state.nonce, receipt=None,
            )  # fmt: skip

    def _is_bound(self, job: JobRow) -> bool:
        live = {item.id for item in self._store.settlements(LIVE_STAGES)}
        return job.settlement_id in live

    def _submitted(self, job: JobRow, view: ChainView) -> None:
        if job.at is State.SUBMITTED or self._is_finalizing(job):
            return
        finalize_at = self._facts.submission(job.job_id, view).finalize_at
        self._store.move(job.job_id, State.SUBMITTED, None, since=(job.at,), finalize_at=finalize_at)

    def _disputed(self, job: JobRow, view: ChainView) -> None:
        if job.at is State.DISPUTED or self._is_finalizing(job):
            return
        dispute = self._facts.dispute(job.job_id, view)
        reason = f"challenged by {dispute.challenger}"
        _log.warning("job disputed", job=job.label, challenger=dispute.challenger, until=dispute.decide_by)
        # Until then arbiters can decide; afterwards anyone can end it.
        self._store.move(
            job.job_id, State.DISPUTED, reason, since=(job.at,), finalize_at=dispute.decide_by + 1
        )

    def _is_finalizing(self, job: JobRow) -> bool:
        return job.at is State.FINALIZING and self._outstanding(finalize_label(job.job_id))


@contextmanager
def _one_of_several_nodes() -> Iterator[None]:
    """Behind one URL there may be several nodes; one that hasn't seen our block yet is asked again."""
    try:
        yield
    except BadInput as error:
        if error.field != "to_block":
            raise
        raise NodeUnavailable("", f"it is behind: {error}") from error


def accept_label(job_id: bytes) -> str:
    """Name of the intent to accept a job."""
    return f"accept 0x{job_id.hex()}"


def cancel_label(job_id: bytes) -> str:
    """Name of the intent to cancel a job."""
    return f"cancel 0x{job_id.hex()}"


def finalize_label(job_id: bytes) -> str:
    """Name of the intent to finalize a job."""
    return f"finalize 0x{job_id.hex()}"
