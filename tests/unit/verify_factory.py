"""Honest receipts of each kind of job, ready for a watcher, and the means to forge and sign others."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from oracle.attribution import attribute
from oracle.catalogue import Catalogue, Template
from oracle.jobs import hash_chain, matmul_int8
from oracle.jobs.params import HashParams, MatmulParams, Params
from oracle.receipt import Attempt, JobFacts, make_receipt
from oracle.verify import Rerun, VerifyRequest
from scrip.evidence import Bundle, Result, Sample, seal
from scrip.spec import JobSpec
from scrip.types import ClassTerms, Resource, sku_id
from tests.unit.evidence_factory import (
    CHAIN_ID,
    ENDED_AT,
    GPU_SKU,
    MARKET,
    NONCE,
    NOW,
    OK,
    OUTPUT,
    SKU,
    SPEC,
    STARTED_AT,
    STATE,
    TOKEN_SAMPLES,
    gpu_samples,
    make_class,
    make_terms,
    renumber,
    reseal,
)  # fmt: skip

CATALOGUE = Catalogue.load()
CHALLENGE = bytes(range(32))
SEED = "0x" + "ab" * 32
MATMUL = JobSpec("matmul.int8", {"seed": SEED, "size": 64, "rounds": 3})
HASHES = JobSpec("hash.chain", {"seed": SEED, "steps": 1_000, "segments": 4})
FAILED = Result(1, None, "failed")
CPU_SKU = "cpu-x86-64"
PLATFORM = "x86_64 avx2 fma"


def rerun(job_id: bytes, template: Template, params: Params) -> Rerun:
    """What an honest watcher's own machine gives."""
    del job_id
    assert template.deterministic
    if isinstance(params, HashParams):
        return Rerun("ok", hash_chain.compute(params).output, None, None, PLATFORM)
    return Rerun("ok", OUTPUT, 12, 9, PLATFORM)


def honest(
    class_terms: ClassTerms,
    samples: tuple[Sample, ...],
    spec: JobSpec,
    output: bytes,
    sku: str,
    result: Result = OK,
    **job: Any,
) -> VerifyRequest:
    """A receipt made by the provider's own code, and the request to check it."""
    facts = JobFacts(CHAIN_ID, MARKET, make_terms(spec, **job), class_terms, STATE, local=True)
    sealed = seal(samples, result=result, attempt=1, sku=sku)
    usage = attribute(facts.job_id, sealed)
    receipt = make_receipt(facts, Attempt(sealed, usage, result, output, STARTED_AT, ENDED_AT)).receipt
    job, simulated = (CHAIN_ID, MARKET, facts.job_id, NONCE, facts.terms), usage.simulated
    bundle = Bundle(*job, spec, sealed, output, result, receipt, simulated, attempt=1)
    return VerifyRequest(bundle, receipt, facts, NOW, CATALOGUE, rerun, CHALLENGE)


@cache
def tokens() -> VerifyRequest:
    return honest(make_class(), TOKEN_SAMPLES, SPEC, OUTPUT, SKU)


@cache
def hashes() -> VerifyRequest:
    params = CATALOGUE.parse(HASHES)
    assert isinstance(params, HashParams)
    cpu = tuple(sample for sample in TOKEN_SAMPLES if sample.source != "tokens")
    terms = make_class(Resource.CPU_SECOND, 3, sku=sku_id(CPU_SKU))
    return honest(terms, renumber(cpu), HASHES, hash_chain.compute(params).output, CPU_SKU)


@cache
def matmul(source: str = "nvml-replay") -> VerifyRequest:
    params = CATALOGUE.parse(MATMUL)
    assert isinstance(params, MatmulParams)
    terms = make_class(Resource.GPU_SECOND, 3, sku=sku_id(GPU_SKU))
    return honest(terms, gpu_samples(source), MATMUL, matmul_int8.compute(params).output, GPU_SKU)


def failed() -> VerifyRequest:
    only_lease = renumber(tuple(sample for sample in TOKEN_SAMPLES if sample.source == "lease"))
    return honest(make_class(), only_lease, SPEC, b"", SKU, FAILED)


def signed(request: VerifyRequest, bundle: Bundle) -> VerifyRequest:
    """The forger signs the receipt in its bundle."""
    return replace(request, bundle=bundle, receipt=bundle.receipt)


def resign(request: VerifyRequest, **receipt: Any) -> VerifyRequest:
    """The forger signs another receipt over the same evidence."""
    return signed(request, replace(request.bundle, receipt=replace(request.receipt, **receipt)))


def forge(
    request: VerifyRequest,
    samples: tuple[Sample, ...] | None = None,
    output: bytes | None = None,
    **receipt: Any,
) -> VerifyRequest:
    """The forger rebuilds root and hashes around other samples or another output, and signs that."""
    samples = request.bundle.samples if samples is None else samples
    bundle = reseal(
        request.bundle, samples=samples, output=request.bundle.output if output is None else output
    )
    return signed(request, replace(bundle, receipt=replace(bundle.receipt, **receipt)))


def facts_of(request: VerifyRequest, **changes: Any) -> VerifyRequest:
    """The same request where the chain says otherwise."""
    return replace(request, facts=replace(request.facts, **changes))


def of_class(request: VerifyRequest, **changes: Any) -> VerifyRequest:
    """The same request for a class with other terms."""
    return facts_of(request, class_terms=replace(request.facts.class_terms, **changes))
