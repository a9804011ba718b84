"""Jobs by their events: what the slot of a job no longer tells.

The market empties a job's slot when the job ends after its acceptBy, because then nothing can open the same
terms again. How it ended is in its last event, and what the slot held is as the opening left it. A job
without a slot and without an ending was never opened, or a reorganisation took it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from scrip.errors import ChainError, NodeDeclined, NotFound
from scrip.structs import to_bytes
from scrip.types import JobState, JobTerms, Status
from scrip.view import terms_of

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.logs import LogEvent
    from scrip.view import ChainView

ENDINGS: Final[Mapping[str, Status]] = {
    "JobSettled": Status.SETTLED,
    "JobRefunded": Status.REFUNDED,
    "JobCancelled": Status.CANCELLED,
    "JobExpired": Status.EXPIRED,
}
"""The event that ends a job, and the status it stands for."""

NONCE_BITS: Final = 96


@dataclass(frozen=True, slots=True)
class Opening:
    """How a job began: its terms, and the block and transaction that opened it."""

    job_id: bytes
    terms: JobTerms
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
    """How a job ended, None if it hasn't by the view's block, or was never opened."""
    return endings(view, [to_bytes("job_id", job, 32)], since).get(job)


def status(view: ChainView, job: bytes, since: int | None = None) -> Status:
    """The job's status, told by its ending where the slot is emptied; NONE if it was never opened."""
    known = view.job_state(job).status
    if known is not Status.NONE:
        return known
    end = ending(view, job, since)
    return Status.NONE if end is None else end.status


def states(view: ChainView, jobs: Iterable[Opening]) -> dict[bytes, JobState]:
    """State of each job, complete even where its slot is emptied."""
    found = {job: view.job_state(job.job_id) for job in jobs}
    empty = [job for job, state in found.items() if state.status is Status.NONE]
    ends = endings(view, [job.job_id for job in empty], min((job.block for job in empty), default=None))
    for job in empty:
        if job.job_id in ends:
            found[job] = replace(at_opening(view.chain, job), status=ends[job.job_id].status, charge=0)
    return {job.job_id: state for job, state in found.items()}


def nonce(view: ChainView, job: bytes, since: int | None = None) -> int:
    """What the chain drew for a job as it was opened. Raises NotFound, and as `at_opening`."""
    slot = view.job_state(job)
    if slot.status is not Status.NONE:
        return slot.nonce
    return at_opening(view.chain, opening(view, job, since)).nonce


def at_opening(chain: Chain, job: Opening) -> JobState:
    """The slot as it was right after the opening.

    A node that forgot the state of that block has its header still, and all but the charge follows from it.
    Raises ChainError where it doesn't: on chains whose contracts see the block numbers of another chain.
    """
    try:
        slot = chain.at(job.block).job_state(job.job_id)
    except NodeDeclined:
        slot = JobState(Status.NONE, 0, 0)
    return slot if slot.status is not Status.NONE else _from_header(chain, job.block)


def _from_header(chain: Chain, block: int) -> JobState:
    header = chain.header(block)
    if "l1BlockNumber" in header:
        raise ChainError(f"the node has forgotten the state of block {block}: use one that keeps it")
    # JobMarket draws the hash of the block before, cut to the nonce's size.
    drawn = int.from_bytes(bytes(header["parentHash"]), "big") % (1 << NONCE_BITS)
    return JobState(Status.OPEN, int(header["timestamp"]), drawn)


def _opening(event: LogEvent) -> Opening:
    return Opening(bytes(event.args["jobId"]), terms_of(event), event.block, event.tx_hash)


def _ending(event: LogEvent) -> Ending:
    return Ending(
        status=ENDINGS[event.name],
        units=int(event.args.get("units", 0)),
        receipt_hash=bytes(event.args.get("receiptHash", b"")),
        tx_hash=event.tx_hash,
        block=event.block,
    )
