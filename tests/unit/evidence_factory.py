"""Honest jobs, evidence and receipts for the evidence tests, and the means to forge them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scrip.eip712 import job_id
from scrip.evidence import Bundle, Result, Sample, evidence_root, output_hash, seal
from scrip.spec import JobSpec, spec_hash
from scrip.types import ClassTerms, Funding, JobState, JobTerms, Outcome, Receipt, Resource, Status, sku_id

CHAIN_ID = 31337
MARKET = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
NONCE = 0x0123456789ABCDEF01234567
OPENED_AT = 1_760_000_000
STARTED_AT = OPENED_AT + 2
ENDED_AT = STARTED_AT + 3
NOW = ENDED_AT + 5
SKU = "smollm2-135m-instruct-q4_1"
SPEC = JobSpec("llm.generate", {"question": "What is a receipt?", "max_tokens": 16})
OUTPUT = b"A receipt says what was used."
OK = Result(exit_code=0, signal=None, reason="ok")


def make_terms(spec: JobSpec = SPEC, **changes: Any) -> JobTerms:
    """Terms of a job of class 3 that asks for `spec`."""
    terms = JobTerms(
        payer="0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        provider="0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        class_id=3,
        max_units=1_000_000,
        resources=1,
        accept_by=OPENED_AT + 60,
        submit_by=OPENED_AT + 600,
        spec_hash=spec_hash(spec),
        budget_id=0,
        salt=7,
    )
    return replace(terms, **changes)


def make_class(resource: Resource = Resource.OUTPUT_TOKEN, decimals: int = 0, **changes: Any) -> ClassTerms:
    """Terms of a class without limits of its own beyond 1000 base units a second."""
    terms = ClassTerms(
        issuer=make_terms().provider,
        resource=resource,
        decimals=decimals,
        funding=Funding.SALE,
        transferable=True,
        capacity_bound=False,
        min_assurance=0,
        watcher_set=1,
        challenge_window=0,
        max_rate=1_000,
        expiry=0,
        max_supply=10**12,
        max_per_holder=0,
        sku=sku_id(SKU),
        region=bytes(12),
        payment_token=MARKET,
        price_per_million=1_000_000,
        price_feed="0x" + "00" * 20,
        max_price_age=0,
        eligibility="0x" + "00" * 20,
        arbiter_set=0,
        stake_per_million=0,
        max_deviation_bps=0,
        name="a class",
    )
    return replace(terms, **changes)


STATE = JobState(status=Status.RUNNING, opened_at=OPENED_AT, nonce=NONCE)


def row(
    seq: int, at: int, edge: str, metric: str, value: int, source: str = "tokens", device: str = SKU
) -> Sample:
    """Sample `at` milliseconds after the lease started."""
    return Sample(seq, STARTED_AT * 1000 + at, at * 1_000_000, edge, source, device, metric, value)


def rows(*readings: tuple[Any, ...]) -> tuple[Sample, ...]:
    """Samples numbered from 0, each from the arguments of `row` after `seq`."""
    return tuple(row(seq, *reading) for seq, reading in enumerate(readings))


def renumber(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """What a forger does after dropping or inserting a sample."""
    return tuple(replace(sample, seq=seq) for seq, sample in enumerate(samples))


TOKEN_SAMPLES = rows(
    (0, "start", "lease_ms", 0, "lease", "cpu"),
    (0, "start", "cpu_us", 1_000, "cpu-rusage", "cpu"),
    (1_000, "tick", "cpu_us", 900_000, "cpu-rusage", "cpu"),
    (2_000, "tick", "cpu_us", 1_800_000, "cpu-rusage", "cpu"),
    (2_900, "end", "cpu_us", 2_700_000, "cpu-rusage", "cpu"),
    (2_900, "end", "input_tokens", 12),
    (2_900, "end", "output_tokens", 9),
    (2_900, "end", "lease_ms", 2_900, "lease", "cpu"),
)

GPU = "GPU-5f3c9a1e"
GPU_SKU = "nvidia-h100-80gb"


def gpu_samples(source: str = "nvml", gpu: str = GPU) -> tuple[Sample, ...]:
    """A lease of one GPU for 2900 ms at 300 W, metered by `source`."""
    return rows(
        (0, "start", "lease_ms", 0, "lease", gpu),
        (0, "start", "energy_mj", 5_000_000, source, gpu),
        (0, "start", "cpu_us", 0, "cpu-rusage", "cpu"),
        (1_000, "tick", "energy_mj", 5_300_000, source, gpu),
        (2_900, "end", "lease_ms", 2_900, "lease", gpu),
        (2_900, "end", "energy_mj", 5_870_000, source, gpu),
        (2_900, "end", "cpu_us", 2_700_001, "cpu-rusage", "cpu"),
    )


def make_bundle(
    samples: tuple[Sample, ...] = TOKEN_SAMPLES,
    *,
    terms: JobTerms | None = None,
    spec: JobSpec = SPEC,
    output: bytes = OUTPUT,
    result: Result = OK,
    simulated: bool = False,
    sku: str = SKU,
    **receipt: Any,
) -> Bundle:
    """A bundle whose parts belong together; keyword arguments change its receipt."""
    terms = terms or make_terms(spec)
    job = job_id(terms, CHAIN_ID, MARKET)
    sealed = seal(samples, result=result, attempt=1, sku=sku)
    made = Receipt(
        job_id=job,
        outcome=Outcome.COMPLETED if result.completed else Outcome.FAILED,
        units=9 if result.completed else 0,
        gpu_millijoules=0,
        input_tokens=12,
        output_tokens=9,
        started_at=STARTED_AT,
        ended_at=ENDED_AT,
        output_hash=output_hash(output),
        evidence_root=evidence_root(CHAIN_ID, MARKET, job, NONCE, sealed),
        assurance=0 if simulated else 1,
    )
    return Bundle(
        CHAIN_ID,
        MARKET,
        job,
        NONCE,
        terms,
        spec,
        sealed,
        output,
        result,
        replace(made, **receipt),
        simulated,
        1,
    )


def reseal(bundle: Bundle, **changes: Any) -> Bundle:
    """A forger's bundle: `changes` made, then root and output hash of the receipt recomputed to fit."""
    forged = replace(bundle, **changes)
    root = evidence_root(forged.chain_id, forged.market, forged.job_id, forged.nonce, forged.samples)
    receipt = replace(forged.receipt, evidence_root=root, output_hash=output_hash(forged.output))
    return replace(forged, receipt=receipt)


def change(samples: tuple[Sample, ...], index: int, **changes: Any) -> tuple[Sample, ...]:
    """The samples with one of them changed."""
    return (*samples[:index], replace(samples[index], **changes), *samples[index + 1 :])
