"""Keeps workloads and jobs in step: what runs without a running job is ended, what has ended is released.

The orchestrator's own list is the truth about workloads, the chain about jobs. A filter that was down, a
store that was lost, a job that was cancelled, an operator's override: all are found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from oracle.admission.book import Admission
from oracle.admission.office import Office
from oracle.admission.rule import ChainJob, Denied, System, payable
from oracle.logging import get
from scrip.errors import ScripError

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Live:
    """A workload that waits or runs, as its orchestrator lists it. `job_id` None: it names none."""

    workload: str
    job_id: bytes | None


class Cluster(Protocol):
    """An orchestrator whose workloads can be listed and ended."""

    system: System

    def live(self) -> Sequence[Live]:
        """Workloads under admission, oldest first. Raises ScripError."""

    def evict(self, workload: str) -> None:
        """End a workload; one that has ended is fine. Raises ScripError."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done: (job, workload) to note, to forget, and (workload, reason) to end."""

    bind: tuple[tuple[bytes, str], ...] = ()
    release: tuple[tuple[bytes, str], ...] = ()
    evict: tuple[tuple[str, str], ...] = ()


def compare(
    live: Sequence[Live], jobs: Mapping[bytes, ChainJob | None], held: Mapping[bytes, Admission],
    system: System, provider: str, now: int, since_ms: int,
) -> Steps:  # fmt: skip
    """What brings an orchestrator's workloads and all admissions in step. Pure. `jobs` has every job that a
    live workload names.

    What was noted at `since_ms` or later is let be: its workload may be too new for the list.
    """
    running = {one.workload for one in live}
    bind, evict = [], []
    holder = {
        job: one.workload for job, one in held.items() if one.system != system or one.workload in running
    }
    for one in live:
        if one.job_id is None:
            evict.append((one.workload, "names no job"))
            continue
        try:
            payable(jobs[one.job_id], provider, now)
        except Denied as denied:
            evict.append((one.workload, denied.reason))
            continue
        if holder.setdefault(one.job_id, one.workload) != one.workload:
            evict.append((one.workload, f"its job pays for workload {holder[one.job_id]}"))
        elif one.job_id not in held or held[one.job_id].workload != one.workload:
            bind.append((one.job_id, one.workload))
    release = [(job, one.workload) for job, one in held.items() if job not in holder and one.at_ms < since_ms]
    return Steps(tuple(bind), tuple(release), tuple(evict))


class Keeper:
    """Compares, and acts on what it finds. `hold_s` is how long an admission may wait for its workload."""

    def __init__(self, office: Office, cluster: Cluster, hold_s: int) -> None:
        self._office, self._cluster, self._hold_ms = office, cluster, hold_s * 1_000

    def __call__(self) -> Steps:
        """One pass. Raises ScripError if the cluster or the chain can't be read; then nothing was done."""
        office, system, now_ms = self._office, self._cluster.system, self._office.book.now_ms()
        held = office.book.all()  # before the list: what is noted later is newer than the list
        steps = plan(office, system, held, self._cluster.live(), now_ms - self._hold_ms)
        for job, workload in steps.bind:
            office.book.bind(job, system, workload, held.get(job))
        for job, workload in steps.release:
            office.book.release(job, system, workload)
        for workload, reason in steps.evict:
            _log.warning("workload evicted", system=system, workload=workload, reason=reason)
            self._cluster.evict(workload)
            office.metrics.evicted.labels(system).inc()
        office.metrics.compared.labels(system).set_to_current_time()
        return steps

    def quietly(self) -> None:
        """One pass; what can't be read now is logged, and done at the next one."""
        try:
            self()
        except (ScripError, SQLAlchemyError) as problem:
            _log.warning("workloads not compared", system=self._cluster.system, reason=str(problem))


def plan(
    office: Office, system: System, held: Mapping[bytes, Admission], live: Sequence[Live], since_ms: int
) -> Steps:
    """`compare` with what the chain says now. Raises ChainError."""
    jobs = {job: office.job(job) for job in _named(live)}
    return compare(live, jobs, held, system, office.provider, office.facts.now(), since_ms)


def _named(live: Iterable[Live]) -> set[bytes]:
    return {one.job_id for one in live if one.job_id is not None}
