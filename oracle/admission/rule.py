"""Whether a workload may run: one rule for every orchestrator. Pure.

A workload is what a cluster runs: a Slurm job, a pod, a Kubernetes Job. It names the escrow job that pays for
it, and one escrow job pays for one workload at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from scrip.errors import Refused
from scrip.structs import ZERO_BYTES32
from scrip.types import ClassTerms, JobTerms, Resource, Status

System = Literal["slurm", "kubernetes"]
"""The orchestrators."""

_MILLI: Final = 1_000


class Why(StrEnum):
    """Why a workload isn't admitted."""

    FORM = "form"
    JOB = "job"
    PROVIDER = "provider"
    STATUS = "status"
    DEADLINE = "deadline"
    USER = "user"
    RESOURCE = "resource"
    SKU = "sku"
    UNITS = "units"
    HELD = "held"
    CHANGED = "changed"
    UNREADABLE = "unreadable"


class Denied(Refused):
    """A workload that isn't admitted: `why`, and a sentence that tells its user what to do."""

    def __init__(self, why: Why, reason: str) -> None:
        self.why = why
        super().__init__(reason, why.value)

    @property
    def passing(self) -> bool:
        """Whether the same workload may be admitted later, with nothing done about it."""
        return self.why in (Why.HELD, Why.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a workload asks for, and by which job.

    `workload` is the orchestrator's id of it, "" before it has one. `gpus` and `cpu_milli` (thousandths of a
    CPU; None if nothing bounds them) are upper bounds of what it holds at once, `seconds` of how long;
    `sku` is the hash of the label of that hardware, None where we know no label. `payers` are the accounts
    whose jobs its user may run, None for the node itself, which has accepted the job, limits it and knows
    what it needs. `slack_s` of `seconds` are the orchestrator's brake behind a limit that is kept by others.
    """

    system: System
    job_id: bytes
    workload: str
    gpus: int
    cpu_milli: int | None
    seconds: int
    sku: bytes | None
    payers: frozenset[str] | None
    slack_s: int = 0


@dataclass(frozen=True, slots=True)
class ChainJob:
    """A job as the chain has it. `status` is RUNNING only if it is that in the finalized state and at the
    head.
    """

    terms: JobTerms
    class_terms: ClassTerms
    status: Status


@dataclass(frozen=True, slots=True)
class Held:
    """The workload that a job was last admitted for; `workload` "" if it hasn't been seen yet."""

    system: str
    workload: str


def admit(
    claim: Claim, job: ChainJob | None, held: Held | None, provider: str, now: int, *, started: bool = False
) -> None:
    """Raise Denied unless the workload may run. `now` is the chain's time, unix seconds.

    `started` asks again about one that was admitted, as it begins: what it asks for was looked at before.
    """
    found = payable(job, provider, now)
    if not started:
        _check_user(claim, found.terms)
        _check_time(claim, found.terms, now)
        _check_resource(claim, found)
    if held is not None and not _is_same(held, claim):
        raise Denied(
            Why.HELD,
            f"the job runs as {held.system} workload {held.workload or 'that was just submitted'}: one job "
            "pays for one workload at a time. Wait for its end, or open another job",
        )


def payable(job: ChainJob | None, provider: str, now: int) -> ChainJob:
    """The job, if a workload for it can be paid. Raises Denied."""
    if job is None:
        raise Denied(Why.JOB, "no such job is open on chain: never opened, or it has ended")
    terms = job.terms
    if terms.provider != provider:
        raise Denied(Why.PROVIDER, f"the job is for provider {terms.provider}, this cluster is {provider}'s")
    if job.status is not Status.RUNNING:
        hint = "wait until it is accepted" if job.status is Status.OPEN else "open another job"
        raise Denied(Why.STATUS, f"the job is {job.status.name.lower()}, must be running: {hint}")
    if now >= terms.submit_by:
        raise Denied(Why.DEADLINE, f"the job's submitBy {terms.submit_by} has passed, now is {now}")
    return job


def _check_user(claim: Claim, terms: JobTerms) -> None:
    if claim.payers is not None and terms.payer not in claim.payers:
        raise Denied(
            Why.USER,
            f"you may not run jobs of payer {terms.payer}. Ask the cluster's operator to list it for you",
        )


def _check_time(claim: Claim, terms: JobTerms, now: int) -> None:
    left = terms.submit_by - now
    if claim.seconds - claim.slack_s > left:
        raise Denied(
            Why.DEADLINE,
            f"a time limit of {claim.seconds} s ends after the job's submitBy, at most {left} s are left",
        )


def _check_resource(claim: Claim, job: ChainJob) -> None:
    sold = job.class_terms
    if sold.resource is Resource.GPU_SECOND:
        if not claim.gpus:
            raise Denied(Why.RESOURCE, "the job pays for GPUs and none is asked for")
        _check_width(claim, job, "GPU(s)", claim.gpus * _MILLI)
    elif claim.gpus and (claim.payers is not None or sold.resource is Resource.CPU_SECOND):
        raise Denied(
            Why.RESOURCE, f"{claim.gpus} GPU(s) are asked for, the job pays for {sold.resource.label}s"
        )
    elif claim.payers is None:
        return  # what else it needs was settled when the node accepted it
    elif sold.resource is not Resource.CPU_SECOND:
        raise Denied(Why.RESOURCE, f"the job pays for {sold.resource.label}s, only its provider can run it")
    elif claim.cpu_milli is None:
        raise Denied(Why.RESOURCE, "the job pays for CPU-seconds and nothing bounds the CPUs asked for")
    else:
        _check_width(claim, job, "CPU(s)", claim.cpu_milli)
    if sold.sku not in (ZERO_BYTES32, claim.sku):
        raise Denied(
            Why.SKU, f"the job pays for SKU 0x{sold.sku.hex()}, other hardware is asked for: name the type"
        )


def _check_width(claim: Claim, job: ChainJob, what: str, milli: int) -> None:
    """Refuse more at once, or more in all, than the job locked."""
    terms = job.terms
    if milli > terms.resources * _MILLI:
        raise Denied(
            Why.RESOURCE, f"{_shown(milli)} {what} are asked for, the job allows {terms.resources} at once"
        )
    seconds = max(0, claim.seconds - claim.slack_s)
    needed = -(-milli * seconds * 10**job.class_terms.decimals // _MILLI)
    if needed > terms.max_units:
        raise Denied(
            Why.UNITS,
            f"{_shown(milli)} {what} for {seconds} s are {needed} units, the job locks {terms.max_units}: "
            "lower the time limit or ask for less",
        )


def _shown(milli: int) -> str:
    return str(milli // _MILLI) if milli % _MILLI == 0 else f"{milli}m"


def _is_same(held: Held, claim: Claim) -> bool:
    """Whether it is the workload that holds the job: by its id, or one that had none yet."""
    return bool(claim.workload) and held.system == claim.system and held.workload in ("", claim.workload)
