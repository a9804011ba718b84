"""Brings the store in line with the chain: new jobs from events, everything else from contract state.

Events only tell us that a job exists. What it is now is always read from its slot, at the finalized block, so
a missed event, a restart or somebody else's transaction can't leave a job behind. Only of a job that ended
after its acceptBy, whose slot is empty, the last event says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from oracle.facts import Facts
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.models import JobRow
from oracle.states import ACTIVE, BOUND, LIVE_STAGES, ON_CHAIN_FINAL, State
from oracle.store import Move, StateConflict, Store
from scrip.errors import BadInput, NodeUnavailable
from scrip.logs import LogEvent, Page, pages
from scrip.types import JobState, JobTerms, Status
from scrip.view import ChainView, terms_of

CURSOR: Final = "JobOpened"

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
        known = self._store.cursor(CURSOR)
        start = self._facts.chain.deployment.block if known is None else known
        if start <= view.block:
            self._facts.time(view)  # a head that the node only names would take us past blocks still to come
        new, unseen = 0, None
        for page in self._pages(start, view.block):
            if page.events:
                # After the view: what is quoted from here on opens in a later block.
                unseen = self._store.unseen() if unseen is None else unseen
                new += self._take_in(page.events, unseen, view)
            self._store.set_cursor(CURSOR, page.last + 1)
        self._metrics.head.set(view.block)
        return new

    def _pages(self, start: int, end: int) -> Iterator[Page]:
        chain = self._facts.chain
        with _one_of_several_nodes():
            yield from pages(
                chain, "JobMarket", "JobOpened", start, end, filters={"provider": self._provider}
            )

    def reconcile(self) -> None:
        """Compare every job that hasn't ended with the chain."""
        for jobs in self._store.walk(ACTIVE):
            self._compare(jobs)

    def reconcile_jobs(self, job_ids: Sequence[bytes]) -> None:
        """Compare some jobs with the chain."""
        self._compare(self._store.many(job_ids))

    def _take_in(self, events: Sequence[LogEvent], unseen: frozenset[bytes], view: ChainView) -> int:
        """Jobs that still have a slot, and those of ours whose opening we hadn't seen. Of most jobs of a long
        past only the opening event is left, so the store isn't asked for them.
        """
        opened = {bytes(event.args["jobId"]): event for event in events}
        statuses = dict(zip(opened, view.job_statuses(list(opened)), strict=True))
        going = {job for job, status in statuses.items() if status is not Status.NONE and not status.final}
        known = self._store.many([job for job in opened if job in going or job in unseen])
        fresh = going - {job.job_id for job in known}
        self._add([event for job_id, event in opened.items() if job_id in fresh], view)
        for job in known:
            if job.opened_block != opened[job.job_id].block:
                self._store.note(job.job_id, opened_block=opened[job.job_id].block)
        self._compare([*known, *self._store.many(list(fresh))])
        return len(fresh)

    def _add(self, events: Sequence[LogEvent], view: ChainView) -> None:
        rows = []
        states = view.job_states([bytes(event.args["jobId"]) for event in events])
        for event, state in zip(events, states, strict=True):
            terms, job_id = self._terms(event), bytes(event.args["jobId"])
            rows.append(
                {
                    "job_id": job_id, "terms": terms, "opened_block": event.block,
                    "state": State.QUEUED if state.status is Status.RUNNING else State.OPEN,
                    "opened_at": state.opened_at, "nonce": state.nonce,
                }
            )  # fmt: skip
            _log.info("job opened", job="0x" + job_id.hex(), payer=terms.payer, units=terms.max_units)
        if rows:
            self._store.add_jobs(rows)

    def _terms(self, event: LogEvent) -> JobTerms:
        terms, job_id = terms_of(event), bytes(event.args["jobId"])
        if self._facts.job_id(terms) != job_id:
            raise BadInput(
                "JobOpened",
                job_id,
                "the id of its own terms",
                "The node lies, or the deployment is another one",
            )
        return terms

    def _compare(self, found: Sequence[JobRow]) -> None:
        """Bring jobs in line with the chain as it is after they were read, so that none is set back by an
        older state of it; settlements in between, for the same reason.
        """
        jobs = [job for job in found if not job.at.final]
        if not jobs:
            return
        bound = any(job.at in BOUND for job in jobs)
        live = frozenset(item.id for item in self._store.settlements(LIVE_STAGES)) if bound else frozenset()
        view = self._facts.finalized()
        states = view.job_states([job.job_id for job in jobs])
        seen = list(zip(jobs, states, strict=True))
        self._end([(job, ON_CHAIN_FINAL[state.status]) for job, state in seen if state.status.final])
        for job, state in seen:
            try:
                self._apply(job, state, view, live)
            except StateConflict as conflict:
                # A thread of ours moved it between the two reads; the next comparison sees the result.
                _log.debug("job moved meanwhile", job=job.label, reason=str(conflict))

    def _apply(self, job: JobRow, state: JobState, view: ChainView, live: frozenset[int]) -> None:
        if state.status is Status.NONE:
            self._absent(job, view)
        elif state.status is Status.OPEN:
            self._open(job, state)
        elif state.status is Status.RUNNING:
            self._running(job, state, live)
        elif state.status is Status.SUBMITTED:
            self._submitted(job, view)
        elif state.status is Status.DISPUTED:
            self._disputed(job, view)

    def _end(self, ended: Sequence[tuple[JobRow, State]]) -> None:
        """The chain has ended these jobs: whatever we were doing with them is over."""
        # What went wrong stays with a job that didn't settle.
        moves = [Move(job.job_id, state, "" if state is State.SETTLED else None) for job, state in ended]
        moved = set(self._store.move_all(moves)) if moves else set()
        for job, state in ended:
            if job.job_id not in moved:
                continue  # somebody ended it since we looked
            self._metrics.settled.labels(state.value).inc()
            if job.exited_ms:
                self._metrics.exit_to_settled.observe((self._store.now_ms() - job.exited_ms) / 1000)
            reason = "" if state is State.SETTLED else job.reason
            _log.info("job ended", job=job.label, state=state.value, was=job.state, reason=reason)
            self._ended(job.job_id)

    def _absent(self, job: JobRow, view: ChainView) -> None:
        """No slot: not opened yet, taken by a reorganisation, or ended past acceptBy, which empties it."""
        if self._facts.time(view) <= job.terms.accept_by:
            return
        with _one_of_several_nodes():
            ending = self._facts.ending(job.job_id, view, self._not_opened_before(job))
        if ending is not None:
            self._end([(job, ON_CHAIN_FINAL[ending.status])])
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

    def _running(self, job: JobRow, state: JobState, live: frozenset[int]) -> None:
        if job.at in _WAITING:
            self._store.move(
                job.job_id, State.QUEUED, since=(job.at,), opened_at=state.opened_at, nonce=state.nonce,
                not_before_ms=0,
            )  # fmt: skip
        elif job.at in _WORKING and job.nonce != state.nonce:
            self._reopened(job, state)
        elif job.at in BOUND and job.settlement_id not in live:
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
