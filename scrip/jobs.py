"""Jobs by their events: what the slot of a job no longer tells.

The market empties a job's slot when the job ends after its acceptBy, because then nothing can open the same
terms again. How it ended is in its last event, what the slot held in its first one. A job without a slot and
without an ending was never opened, or a reorganisation took it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrip.errors import NotFound
from scrip.structs import to_bytes
from scrip.types import JobState, JobTerms, Status
from scrip.view import terms_of

if TYPE_CHECKING:
    from scrip.logs import LogEvent
    from scrip.view import ChainView

ENDINGS: Final[Mapping[str, Status]] = {
    "JobSettled": Status.SETTLED,
    "JobRefunded": Status.REFUNDED,
    "JobCancelled": Status.CANCELLED,
    "JobExpired": Status.EXPIRED,
}
"""The event that ends a job, and the status it stands for."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a job began: its terms, the nonce drawn for it, and the block and transaction that opened it."""

    job_id: bytes
    terms: JobTerms
    nonce: int
    block: int
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended on chain: `units` burned (base units), block and transaction of the ending event.

    `receipt_hash` is empty for a job that ended without a receipt.
    """

    status: Status
    units: int
    receipt_hash: bytes
    tx_hash: bytes
    block: int


def openings(view: ChainView, **filters: object) -> list[Opening]:
    """Jobs opened up to the view's block, in order; `filters` are payer, provider or jobId."""
    return [_opening(event) for event in view.events("JobMarket", "JobOpened", since=None, **filters)]


def opening(view: ChainView, job: bytes, since: int | None = None) -> Opening:
    """How a job began. `since` is a block it wasn't opened before. Raises NotFound."""
    job = to_bytes("job_id", job, 32)
    for event in view.events("JobMarket", "JobOpened", since=since, jobId=job):
        return _opening(event)
    raise NotFound("job", job, "No such job was opened by this block. See: scrip job list")


def endings(view: ChainView, jobs: Sequence[bytes], since: int | None = None) -> dict[bytes, Ending]:
    """How those of `jobs` ended that have ended by the view's block, with one scan from block `since`."""
    if not jobs:
        return {}
    found = view.events("JobMarket", list(ENDINGS), since=since, jobId=list(jobs))
    return {bytes(event.args["jobId"]): _ending(event) for event in found}


def ending(view: ChainView, job: bytes, since: int | None = None) -> Ending | None:
    """How a job ended, None if it hasn't by the view's block, or was never opened.

    Scans no further than its ending.
    """
    found = view.events("JobMarket", list(ENDINGS), since=since, jobId=[to_bytes("job_id", job, 32)])
    return next((_ending(event) for event in found), None)


def status(view: ChainView, job: bytes, since: int | None = None) -> Status:
    """The job's status, told by its ending where the slot is emptied; NONE if it was never opened."""
    known = view.job_state(job).status
    if known is not Status.NONE:
        return known
    end = ending(view, job, since)
    return Status.NONE if end is None else end.status


def states(view: ChainView, jobs: Iterable[Opening]) -> dict[bytes, JobState]:
    """State of each job, of one that ended as well, but for what its budget was charged."""
    found = {job: view.job_state(job.job_id) for job in jobs}
    empty = [job for job, state in found.items() if state.status is Status.NONE]
    ends = endings(view, [job.job_id for job in empty], min((job.block for job in empty), default=None))
    for job in empty:
        if job.job_id in ends:
            opened_at = view.chain.block_time(job.block)
            found[job] = JobState(ends[job.job_id].status, opened_at, job.nonce)
    return {job.job_id: state for job, state in found.items()}


def nonce(view: ChainView, job: bytes, since: int | None = None) -> int:
    """What the chain drew for a job as it was opened. Raises NotFound."""
    slot = view.job_state(job)
    return opening(view, job, since).nonce if slot.status is Status.NONE else slot.nonce


def _opening(event: LogEvent) -> Opening:
    args = event.args
    return Opening(bytes(args["jobId"]), terms_of(event), int(args["nonce"]), event.block, event.tx_hash)


def _ending(event: LogEvent) -> Ending:
    return Ending(
        status=ENDINGS[event.name],
        units=int(event.args.get("units", 0)),
        receipt_hash=bytes(event.args.get("receiptHash", b"")),
        tx_hash=event.tx_hash,
        block=event.block,
    )
