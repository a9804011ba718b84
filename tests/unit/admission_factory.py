"""Admissions on a real store, with a chain that is told what its jobs are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from oracle.admission.office import Office
from oracle.admission.rule import ChainJob, Claim
from oracle.store import Store
from scrip.errors import NodeUnavailable
from scrip.types import JobTerms, Resource, Status, sku_id
from tests.unit.oracle_market import PAYER, PROVIDER, cpu_class

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "admission"
JOB = b"\x11" * 32
OTHER = b"\x22" * 32
NOW = 1_800_000_000
GPU, CPU = "nvidia-h100-80gb", "lab-cpu"
HOUR = 3_600


def job_terms(**changes: Any) -> JobTerms:
    """Terms of one GPU for an hour."""
    made = JobTerms(
        payer=PAYER, provider=PROVIDER, class_id=1, max_units=HOUR * 1_000, resources=1, accept_by=NOW,
        submit_by=NOW + 2 * HOUR, spec_hash=b"\x01" * 32, budget_id=0, salt=1,
    )  # fmt: skip
    return replace(made, **changes)


def chain_job(
    status: Status = Status.RUNNING, resource: Resource = Resource.GPU_SECOND, sku: str = GPU, **changes: Any
) -> ChainJob:
    """A job that is accepted, of a class with three decimals."""
    sold = cpu_class(resource=resource, sku=sku_id(sku), decimals=3)
    return ChainJob(job_terms(**changes), sold, status)


def claim(**changes: Any) -> Claim:
    """A workload of one GPU for an hour."""
    made = Claim(
        system="slurm", job_id=JOB, workload="", gpus=1, cpu_milli=None, seconds=HOUR, sku=sku_id(GPU),
        payers=frozenset({PAYER}),
    )  # fmt: skip
    return replace(made, **changes)


class _Facts:
    def now(self) -> int:
        return NOW


class ToldOffice(Office):
    """An office whose chain is `jobs`; None is a chain that doesn't answer."""

    def __init__(self, store: Store) -> None:
        super().__init__(_Facts(), store, PROVIDER)  # type: ignore[arg-type]
        self.jobs: dict[bytes, ChainJob] | None = {JOB: chain_job()}

    def job(self, job_id: bytes) -> ChainJob | None:
        if self.jobs is None:
            raise NodeUnavailable("node.example", "no answer")
        return self.jobs.get(job_id)


def vector(name: str, job_id: bytes = JOB) -> dict[str, Any]:
    """A recorded AdmissionReview, of this job."""
    text = (VECTORS / f"{name}.json").read_text().replace("0x" + JOB.hex(), "0x" + job_id.hex())
    made: dict[str, Any] = json.loads(text)
    return made
