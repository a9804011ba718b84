"""Evidence: the bundle that backs a receipt, and its stand-alone verification. Pure, no I/O.

Samples form a hash chain that starts from the job's on-chain nonce, its links are the leaves of a Merkle
tree, and the root is in the signed receipt. So once a receipt is signed no sample can be changed, dropped,
inserted, moved or reused for another job. Whether a sample was true when it was taken is another question,
for the checks of watchers (`oracle.verify`) and assurance 2 and 3. `docs/evidence.md` has the encoding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from eth_utils.address import to_checksum_address

from scrip.bundle import MAX_BUNDLE_BYTES, MAX_OUTPUT_BYTES, Bundle
from scrip.eip712 import job_id as job_id_of
from scrip.errors import EvidenceInvalid
from scrip.merkle import merkle_proof, merkle_root, verify_proof
from scrip.samples import (
    CLOSING_METRICS,
    EDGES,
    METRICS,
    REASONS,
    SIMULATED_SOURCES,
    SOURCES,
    Check,
    Result,
    Sample,
    chain_links,
    evidence_root,
    is_simulated,
    leased_gpus,
    output_hash,
    require,
    seal,
    sealed_sku,
    seed,
)
from scrip.spec import spec_hash
from scrip.types import JobTerms, Outcome, Receipt

__all__ = [
    "CLOSING_METRICS", "EDGES", "MAX_BUNDLE_BYTES", "MAX_OUTPUT_BYTES", "METRICS", "REASONS",
    "SIMULATED_SOURCES", "SOURCES", "Bundle", "Check", "Result", "Sample", "chain_links", "evidence_root",
    "is_simulated", "leased_gpus", "merkle_proof", "merkle_root", "output_hash", "seal", "sealed_sku", "seed",
    "verify_bundle", "verify_proof",
]  # fmt: skip

CLOCK_TOLERANCE_MS: Final = 2_000  # between a job's wall and monotonic clocks, plus ...
CLOCK_DRIFT_DIVISOR: Final = 1_000  # ... 1/1000 of the time passed: twice the fastest slew of NTP (500 ppm)


class _Facts(NamedTuple):
    """What the verifier knows from the chain, not from the bundle."""

    chain_id: int
    market: str
    job_nonce: int
    terms: JobTerms
    receipt: Receipt


def verify_bundle(
    bundle: Bundle, *, chain_id: int, market: str, job_nonce: int, terms: JobTerms, receipt: Receipt
) -> tuple[Check, ...]:
    """Check that a bundle is the evidence of this receipt for this job on this chain. Cheap checks first.

    `job_nonce` and `terms` are the chain's (job slot, JobOpened), `receipt` the signed one. Returns the
    checks passed, in order. Raises EvidenceInvalid(check, detail) at the first that fails.
    """
    facts = _Facts(chain_id, to_checksum_address(market), job_nonce, terms, receipt)
    return tuple(Check(name, check(bundle, facts)) for name, check in _CHECKS)


def _check_chain(bundle: Bundle, facts: _Facts) -> str:
    given, expected = (bundle.chain_id, bundle.market), (facts.chain_id, facts.market)
    require(given == expected, "bundle.chain", f"made for chain and market {given}, not {expected}")
    return f"chain {facts.chain_id}, market {facts.market}"


def _check_terms(bundle: Bundle, facts: _Facts) -> str:
    require(
        bundle.terms == facts.terms, "bundle.terms", "the terms differ from those the job was opened with"
    )
    return "as opened on chain"


def _check_job(bundle: Bundle, facts: _Facts) -> str:
    expected = job_id_of(facts.terms, facts.chain_id, facts.market)
    detail = f"0x{bundle.job_id.hex()} is not the id of these terms, 0x{expected.hex()}"
    require(bundle.job_id == expected, "bundle.jobId", detail)
    return f"0x{expected.hex()}"


def _check_nonce(bundle: Bundle, facts: _Facts) -> str:
    detail = f"nonce {bundle.nonce}, the chain drew {facts.job_nonce}"
    require(bundle.nonce == facts.job_nonce, "bundle.nonce", detail)
    return str(bundle.nonce)


def _check_receipt(bundle: Bundle, facts: _Facts) -> str:
    signed = facts.receipt.job_id
    require(signed == bundle.job_id, "receipt.jobId", f"the receipt is for job 0x{signed.hex()}")
    ours, theirs = bundle.receipt.to_json(), facts.receipt.to_json()
    odd = sorted(name for name in ours if ours[name] != theirs[name])
    require(
        not odd, "bundle.receipt", f"the bundle's receipt differs from the signed one in {', '.join(odd)}"
    )
    return "the signed receipt"


def _check_spec(bundle: Bundle, facts: _Facts) -> str:
    found = spec_hash(bundle.spec)
    detail = f"the spec hashes to 0x{found.hex()}, the job asks for 0x{facts.terms.spec_hash.hex()}"
    require(found == facts.terms.spec_hash, "spec.hash", detail)
    return f"template {bundle.spec.template}"


def _check_sequence(bundle: Bundle, _: _Facts) -> str:
    for index, sample in enumerate(bundle.samples):
        if sample.seq != index:
            raise EvidenceInvalid(
                "evidence.chain", f"sample {index} has seq {sample.seq}: a gap or a reordering"
            )
    return f"{len(bundle.samples)} samples without a gap"


def _check_edges(bundle: Bundle, _: _Facts) -> str:
    order = [EDGES.index(sample.edge) for sample in bundle.samples]
    require(order == sorted(order), "evidence.edges", "samples are not in the order start, tick, end")
    require(order[0] == 0 and order[-1] == 2, "evidence.edges", "a start or an end edge is missing")
    return f"{order.count(0)} start, {order.count(1)} tick, {order.count(2)} end"


def _check_clock(bundle: Bundle, _: _Facts) -> str:
    first, previous = bundle.samples[0], bundle.samples[0]
    for sample in bundle.samples:
        if sample.mono_ns < previous.mono_ns:
            raise EvidenceInvalid("evidence.clock", f"the monotonic clock of sample {sample.seq} goes back")
        passed = (sample.mono_ns - first.mono_ns) // 1_000_000
        apart = abs(sample.at_ms - first.at_ms - passed)
        if apart > (allowed := CLOCK_TOLERANCE_MS + passed // CLOCK_DRIFT_DIVISOR):
            detail = f"the clocks of sample {sample.seq} are {apart} ms apart, {allowed} ms allowed"
            raise EvidenceInvalid("evidence.clock", detail)
        previous = sample
    return f"{(previous.mono_ns - first.mono_ns) // 1_000_000} ms, clocks agree"


def _check_seal(bundle: Bundle, _: _Facts) -> str:
    recorded = [sample for sample in bundle.samples if sample.metric not in CLOSING_METRICS]
    require(recorded, "evidence.seal", "closing samples only")
    sku = sealed_sku(bundle.samples)
    reports = [report.digest() for report in bundle.gpu_reports]
    expected = seal(recorded, result=bundle.result, attempt=bundle.attempt, sku=sku, reports=reports)
    detail = "the closing samples don't say the exit, attempt, SKU and GPU reports that the bundle says"
    require(expected == bundle.samples, "evidence.seal", detail)
    reported = f", {len(reports)} GPU report(s)" if reports else ""
    return f"attempt {bundle.attempt}, {bundle.result.reason}, {sku}{reported}"


def _check_outcome(bundle: Bundle, facts: _Facts) -> str:
    expected = Outcome.COMPLETED if bundle.result.completed else Outcome.FAILED
    detail = f"the process ended {bundle.result}, the receipt says {facts.receipt.outcome.name}"
    require(facts.receipt.outcome == expected, "receipt.outcome", detail)
    free = expected == Outcome.COMPLETED or facts.receipt.units == 0
    require(free, "receipt.outcome", f"a failed job charges {facts.receipt.units} units")
    return expected.name.lower()


def _check_simulated(bundle: Bundle, facts: _Facts) -> str:
    found = is_simulated(bundle.samples)
    require(
        bundle.simulated == found, "simulated.label", f"labelled {bundle.simulated}, the samples say {found}"
    )
    level = facts.receipt.assurance
    require(
        not found or level == 0, "simulated.assurance", f"simulated telemetry claims assurance {level}, not 0"
    )
    return "simulated" if found else f"not simulated, assurance {level}"


def _check_root(bundle: Bundle, facts: _Facts) -> str:
    found = merkle_root(bundle.links())
    detail = f"the samples give root 0x{found.hex()}, the receipt has 0x{facts.receipt.evidence_root.hex()}"
    require(found == facts.receipt.evidence_root, "evidence.root", detail)
    return f"0x{found.hex()}"


def _check_output(bundle: Bundle, facts: _Facts) -> str:
    found = output_hash(bundle.output)
    detail = f"the output hashes to 0x{found.hex()}, the receipt has 0x{facts.receipt.output_hash.hex()}"
    require(found == facts.receipt.output_hash, "output.hash", detail)
    return f"{len(bundle.output)} bytes"


_CHECKS: Final[tuple[tuple[str, Callable[[Bundle, _Facts], str]], ...]] = (
    ("bundle.chain", _check_chain),
    ("bundle.terms", _check_terms),
    ("bundle.jobId", _check_job),
    ("bundle.nonce", _check_nonce),
    ("bundle.receipt", _check_receipt),
    ("spec.hash", _check_spec),
    ("evidence.chain", _check_sequence),
    ("evidence.edges", _check_edges),
    ("evidence.clock", _check_clock),
    ("evidence.seal", _check_seal),
    ("receipt.outcome", _check_outcome),
    ("simulated.assurance", _check_simulated),
    ("evidence.root", _check_root),
    ("output.hash", _check_output),
)
