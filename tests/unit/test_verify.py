"""A watcher's checks: each forgery is refused, by the check that is meant to refuse it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.catalogue import Catalogue, Template
from oracle.jobs.params import Params
from oracle.receipt import with_assurance
from oracle.verify import Rerun, VerifyReport, VerifyRequest, verify_request
from scrip.errors import BadInput, EvidenceInvalid, Refused
from scrip.evidence import Bundle, Sample
from scrip.spec import JobSpec
from scrip.types import JobState, Outcome, Receipt, Status, sku_id
from tests.unit.evidence_factory import (
    ENDED_AT,
    GPU_SKU,
    NONCE,
    NOW,
    OPENED_AT,
    OUTPUT,
    SKU,
    SPEC,
    STARTED_AT,
    TOKEN_SAMPLES,
    change,
    gpu_samples,
    make_bundle,
    make_class,
    make_terms,
    renumber,
    row,
)  # fmt: skip
from tests.unit.verify_factory import (
    CATALOGUE,
    HASHES,
    MATMUL,
    PLATFORM,
    facts_of,
    failed,
    forge,
    hashes,
    honest,
    matmul,
    of_class,
    resign,
    signed,
    tokens,
)  # fmt: skip


def refusal(request: VerifyRequest) -> str:
    """Name of the check that refuses."""
    with pytest.raises(Refused) as error:
        verify_request(request)
    assert error.value.reason
    return error.value.check


def names(report: VerifyReport) -> list[str]:
    return [check.name for check in report.checks]


# --- the tamper table: bundles changed after the receipt was signed

T, SAMPLES = tokens(), tokens().bundle.samples
ADDED = row(3, 1_500, "tick", "cpu_us", 1_200_000, "cpu-rusage", "cpu")


def tampered(**changes: Any) -> VerifyRequest:
    return replace(T, bundle=replace(T.bundle, **changes))


TAMPERED: dict[str, tuple[VerifyRequest, str]] = {
    "one sample value": (tampered(samples=change(SAMPLES, 6, value=10)), "evidence.root"),
    "one sample removed": (tampered(samples=SAMPLES[:2] + SAMPLES[3:]), "evidence.chain"),
    "one sample removed, renumbered": (
        tampered(samples=renumber(SAMPLES[:2] + SAMPLES[3:])),
        "evidence.root",
    ),
    "inserted": (tampered(samples=(*SAMPLES[:3], ADDED, *SAMPLES[3:])), "evidence.chain"),
    "inserted, renumbered": (
        tampered(samples=renumber((*SAMPLES[:3], ADDED, *SAMPLES[3:]))),
        "evidence.root",
    ),
    "reordered": (tampered(samples=(*SAMPLES[:2], SAMPLES[3], SAMPLES[2], *SAMPLES[4:])), "evidence.chain"),
    "reordered, renumbered": (
        tampered(samples=renumber((SAMPLES[1], SAMPLES[0], *SAMPLES[2:]))),
        "evidence.root",
    ),
    "one output byte": (tampered(output=OUTPUT[:-1] + b"!"), "output.hash"),
    "clock moved": (tampered(samples=change(SAMPLES, 3, at_ms=SAMPLES[3].at_ms + 60_000)), "evidence.clock"),
    "clock moved a little": (
        tampered(samples=change(SAMPLES, 3, at_ms=SAMPLES[3].at_ms + 1)),
        "evidence.root",
    ),
    "nonce changed": (tampered(nonce=NONCE + 1), "bundle.nonce"),
    "spec changed": (tampered(spec=replace(SPEC, params={"question": "?"})), "spec.hash"),
    "another job's bundle": (replace(T, bundle=make_bundle(terms=make_terms(salt=8))), "bundle.terms"),
    "another chain": (tampered(chain_id=1), "bundle.chain"),
    "receipt units +1": (replace(T, receipt=replace(T.receipt, units=10)), "bundle.receipt"),
    "one token more": (replace(T, receipt=replace(T.receipt, output_tokens=10)), "bundle.receipt"),
    "receipt of another job": (replace(T, receipt=replace(T.receipt, job_id=bytes(32))), "receipt.jobId"),
}


@pytest.mark.parametrize(("request_", "check"), TAMPERED.values(), ids=TAMPERED.keys())
def test_verify__tampered_after_signing__refused_by(request_: VerifyRequest, check: str) -> None:
    assert refusal(request_) == check


# --- a provider that forges first and signs then

H, M, HARD = hashes(), matmul(), matmul("nvml")
HOT = change(gpu_samples(), 5, value=9_000_000)
TWO_GPUS = tuple(sorted((*gpu_samples(), *gpu_samples(gpu="GPU-2")), key=lambda sample: sample.mono_ns))
UNREAD = tuple(sample for sample in HARD.bundle.samples if sample.source != "nvml")
GPT2 = tuple(replace(s, device="gpt2") if s.source == "tokens" else s for s in TOKEN_SAMPLES)


def on_gpu(samples: tuple[Sample, ...]) -> VerifyRequest:
    """The matmul job with other telemetry, everything else made to fit by the provider's own code."""
    return honest(HARD.facts.class_terms, renumber(samples), MATMUL, HARD.bundle.output, GPU_SKU)


STRETCHED = tuple(
    replace(sample, at_ms=sample.at_ms + 19 * (sample.mono_ns // 1_000_000), mono_ns=sample.mono_ns * 20)
    for sample in gpu_samples()
)


DATED_BACK = tuple(replace(sample, at_ms=sample.at_ms - 3_600_000) for sample in gpu_samples())


def flipped(output: bytes, at: int) -> bytes:
    return output[:at] + bytes([output[at] ^ 1]) + output[at + 1 :]


def slow_model(_: bytes, template: Template, params: Params) -> Rerun:
    return Rerun("timeout", b"", None, None, PLATFORM)


FORGED: dict[str, tuple[Callable[[], VerifyRequest], str]] = {
    "units +1": (lambda: resign(T, units=10), "usage.units"),
    "units -1": (lambda: resign(T, units=8), "usage.units"),
    "one token more": (lambda: resign(T, output_tokens=10), "usage.tokens"),
    "one token more, sampled and charged too": (
        lambda: forge(T, change(SAMPLES, 6, value=10), output_tokens=10, units=10),
        "output.recompute",
    ),
    "one prompt token more, sampled too": (
        lambda: forge(T, change(SAMPLES, 5, value=13), input_tokens=13),
        "output.recompute",
    ),
    "more tokens than the parameters allow": (
        lambda: forge(T, change(SAMPLES, 6, value=17), output_tokens=17, units=17),
        "bounds.output",
    ),
    "energy +1": (lambda: resign(HARD, gpu_millijoules=870_001), "usage.energy"),
    "one answer byte": (lambda: forge(T, output=flipped(OUTPUT, 3)), "output.recompute"),
    "one checkpoint byte": (lambda: forge(H, output=flipped(H.bundle.output, -40)), "output.spots"),
    "one product byte": (lambda: forge(HARD, output=flipped(HARD.bundle.output, -1)), "output.freivalds"),
    "no output": (lambda: forge(HARD, output=b""), "output.freivalds"),
    "output over the limit": (lambda: forge(H, output=bytes(65_537)), "bounds.output"),
    "rerun fails": (lambda: replace(T, reexecute=slow_model), "output.recompute"),
    "clock moved": (
        lambda: forge(T, change(SAMPLES, 3, at_ms=SAMPLES[3].at_ms + 60_000)), "evidence.clock"),
    "sample dropped": (lambda: forge(T, SAMPLES[:2] + SAMPLES[3:]), "evidence.chain"),
    "total going down": (lambda: forge(T, change(SAMPLES, 2, value=0)), "usage.samples"),
    "no end of the lease": (lambda: forge(T, renumber(SAMPLES[:7] + SAMPLES[8:])), "usage.samples"),
    "tokens not metered": (
        lambda: forge(T, renumber(SAMPLES[:6] + SAMPLES[7:]), output_tokens=0, units=0), "usage.telemetry"),
    "GPU never read": (lambda: forge(HARD, renumber(UNREAD), gpu_millijoules=0), "usage.telemetry"),
    "simulated claims assurance 1": (lambda: resign(M, assurance=1), "simulated.assurance"),
    "simulated hidden": (
        lambda: signed(M, replace(M.bundle, simulated=False, receipt=replace(M.receipt, assurance=1))),
        "simulated.label",
    ),
    "simulated off the local chain": (lambda: facts_of(M, local=False), "simulated.chain"),
    "assurance 3 without a report": (lambda: resign(T, assurance=3), "receipt.assurance"),
    "below the class's assurance": (lambda: of_class(T, min_assurance=2), "receipt.assurance"),
    "started before it was opened": (lambda: resign(T, started_at=OPENED_AT - 1), "receipt.time"),
    "ended before it started": (lambda: resign(T, ended_at=STARTED_AT - 1), "receipt.time"),
    "ended in the future": (lambda: resign(T, ended_at=NOW + 31), "receipt.time"),
    "longer than the evidence": (lambda: resign(T, ended_at=ENDED_AT + 3), "bounds.time"),
    "lease longer than the evidence": (lambda: on_gpu(change(gpu_samples(), 4, value=3_500)), "bounds.time"),
    "evidence of a run longer than the job is open": (
        lambda: replace(on_gpu(STRETCHED), now=ENDED_AT), "bounds.time"),
    "dated to another hour, off the local chain": (
        lambda: facts_of(on_gpu(DATED_BACK), local=False),
        "bounds.clock",
    ),
    "two GPUs, one allowed": (lambda: on_gpu(TWO_GPUS), "bounds.time"),
    "more energy than the board can draw": (lambda: on_gpu(HOT), "bounds.power"),
    "more than locked": (lambda: resign(T, units=1_000_001), "bounds.units"),
    "more than the rate allows": (lambda: of_class(T, max_rate=2), "bounds.rate"),
    "another model": (lambda: of_class(T, sku=sku_id("gpt2")), "class.sku"),
    "a model the template doesn't serve": (
        lambda: honest(make_class(sku=bytes(32)), GPT2, SPEC, OUTPUT, "gpt2"),
        "spec.resource",
    ),
    "a resource the template isn't paid in": (
        lambda: honest(make_class(), TOKEN_SAMPLES, HASHES, H.bundle.output, SKU),
        "spec.resource",
    ),
    "unknown template": (
        lambda: honest(make_class(), TOKEN_SAMPLES, JobSpec("rm.rf", {}), OUTPUT, SKU), "spec.params"),
    "parameters out of range": (
        lambda: honest(make_class(), TOKEN_SAMPLES, JobSpec("llm.generate", {"question": ""}), OUTPUT, SKU),
        "spec.params",
    ),
    "failed job charges": (lambda: resign(failed(), units=1), "receipt.outcome"),
    "failed job called completed": (lambda: resign(failed(), outcome=Outcome.COMPLETED), "receipt.outcome"),
    "past its deadline": (lambda: replace(T, now=OPENED_AT + 601), "job.state"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "check"), FORGED.values(), ids=FORGED.keys())
def test_verify__forged_before_signing__refused_by(make: Callable[[], VerifyRequest], check: str) -> None:
    assert refusal(make()) == check


@pytest.mark.parametrize("status", [status for status in Status if status != Status.RUNNING])
def test_verify__job_not_running__refused(status: Status) -> None:
    assert refusal(facts_of(T, state=JobState(status, OPENED_AT, NONCE))) == "job.state"


def test_verify__short_challenge__a_caller_error() -> None:
    with pytest.raises(BadInput, match="challenge"):
        verify_request(replace(HARD, challenge=b"guessable"))


def test_verify__rerun_raises__not_a_verdict() -> None:
    def broken(*_: object) -> Rerun:
        raise ConnectionError("no executor")

    with pytest.raises(ConnectionError):
        verify_request(replace(T, reexecute=broken))


# --- properties

DECIDED = (
    "jobId",
    "outcome",
    "units",
    "gpuMillijoules",
    "inputTokens",
    "outputTokens",
    "outputHash",
    "evidenceRoot",
)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(DECIDED), data=st.data())
def test_verify__any_receipt_field_resigned__refused(name: str, data: st.DataObject) -> None:
    wire = T.receipt.to_json()
    if wire[name].startswith("0x"):
        wire[name] = "0x" + data.draw(st.binary(min_size=32, max_size=32)).hex()
    else:
        wire[name] = str(data.draw(st.integers(0, 2**63)))
    try:
        receipt = Receipt.from_json(wire)
    except BadInput:
        return  # not a receipt at all
    if receipt != T.receipt:
        refusal(signed(T, replace(T.bundle, receipt=receipt)))


def _paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(data, (dict, list)):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        return [leaf for key, value in items for leaf in _paths(value, (*path, key))]
    return [path]


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(_paths(T.bundle.to_json())), data=st.data())
def test_verify__any_bundle_member_mutated__refused(path: tuple[Any, ...], data: st.DataObject) -> None:
    tree = T.bundle.to_json()
    parent: Any = tree
    for step in path[:-1]:
        parent = parent[step]
    old = parent[path[-1]]
    if isinstance(old, str):
        at = data.draw(st.integers(0, len(old) - 1))
        other = data.draw(st.sampled_from("09afAFzZ ").filter(lambda char: char != old[at]))
        parent[path[-1]] = old[:at] + other + old[at + 1 :]
    elif old is None or isinstance(old, bool):
        parent[path[-1]] = not old
    else:
        parent[path[-1]] = data.draw(st.integers(-1, 2**53).filter(lambda value: value != old))
    try:
        bundle = Bundle.from_json(tree)
    except EvidenceInvalid:
        return  # refused on arrival
    refusal(replace(T, bundle=bundle))


# --- honest receipts

CHAIN = ["job.state", "receipt.jobId", "receipt.time", "receipt.assurance", "bounds.units", "bounds.rate"]
EVIDENCE = [
    "bundle.chain", "bundle.terms", "bundle.jobId", "bundle.nonce", "bundle.receipt", "spec.hash",
    "evidence.chain", "evidence.edges", "evidence.clock", "evidence.seal", "receipt.outcome",
    "simulated.assurance", "evidence.root", "output.hash",
]  # fmt: skip
USAGE = ["usage.units", "usage.tokens", "usage.energy", "bounds.time", "bounds.clock", "bounds.power"]
SPEC_CHECKS = ["spec.resource", "bounds.output"]


@pytest.mark.parametrize(
    ("request_", "work"),
    [
        (T, ["output.recompute"]),
        (resign(T, assurance=2), ["output.recompute"]),
        (H, ["output.spots", "output.recompute"]),
        (M, ["output.freivalds"]),
        (HARD, ["output.freivalds"]),
        (facts_of(HARD, local=False), ["output.freivalds"]),
        (failed(), ["output.recompute"]),
    ],
    ids=["tokens", "assurance 2", "CPU-seconds", "simulated GPU", "GPU", "GPU off the local chain", "failed"],
)
def test_verify__honest__every_check_in_order(request_: VerifyRequest, work: list[str]) -> None:
    report = verify_request(request_)
    assert names(report) == CHAIN + EVIDENCE + USAGE + SPEC_CHECKS + work
    assert report.job_id == request_.facts.job_id
    assert report.to_json()["checks"][0] == {"name": "job.state", "detail": f"running since {OPENED_AT}"}


def test_verify__not_sampled_for_rerun__said_so() -> None:
    report = verify_request(replace(T, reexecute=lambda *_: None))
    assert report.checks[-1].detail == "skipped: not in the sample that is run again"


def test_verify__runs_nothing_again__said_so() -> None:
    report = verify_request(replace(T, reexecute=None))
    assert report.checks[-1].detail == "skipped: this watcher runs nothing again"


def test_verify__not_deterministic__said_so_and_not_run() -> None:
    def never(*_: object) -> Rerun:
        raise AssertionError("ran a job that can't be compared")

    class Loose(Catalogue):
        def template(self, name: str) -> Template:
            return replace(super().template(name), deterministic=False)

    loose = Loose({each.name: each for each in CATALOGUE})
    report = verify_request(replace(T, catalogue=loose, reexecute=never))
    assert "isn't deterministic" in report.checks[-1].detail


def test_verify__failed__nothing_run_again() -> None:
    assert verify_request(failed()).checks[-1].detail == "skipped: a failed job charges nothing"


def test_verify__units_cut_by_the_job__accepted_and_said() -> None:
    request = honest(make_class(), TOKEN_SAMPLES, SPEC, OUTPUT, SKU, max_units=8)
    detail = next(check.detail for check in verify_request(request).checks if check.name == "usage.units")
    assert (request.receipt.units, detail) == (8, "8 units, cut from 9 by max_units")


def test_verify__through_json__same_report() -> None:
    again = replace(HARD, bundle=Bundle.decode(HARD.bundle.encode()))
    assert verify_request(again) == verify_request(HARD)


def test_verify__receipt_for_the_watchers__level_2_of_the_same_evidence() -> None:
    raised = with_assurance(T.receipt, 2)
    request = signed(T, replace(T.bundle, receipt=raised))
    assert "level 2" in next(
        c.detail for c in verify_request(request).checks if c.name == "receipt.assurance"
    )
