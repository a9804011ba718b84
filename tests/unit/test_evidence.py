"""Samples, sealing and the verification of a bundle against facts of the chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrip.errors import BadInput, EvidenceInvalid
from scrip.evidence import (
    Bundle,
    Result,
    Sample,
    seal,
    sealed_sku,
    seed,
    verify_bundle,
)
from scrip.types import Outcome, Receipt
from tests.unit.evidence_factory import (
    CHAIN_ID,
    MARKET,
    NONCE,
    OK,
    TOKEN_SAMPLES,
    change,
    make_bundle,
    make_terms,
    renumber,
    reseal,
    row,
)


def verify(bundle: Bundle, honest: Bundle | None = None, receipt: Receipt | None = None) -> list[str]:
    """Verify `bundle` against the chain facts of `honest`; the receipt is the bundle's own if not given."""
    terms = (honest or bundle).terms
    checks = verify_bundle(
        bundle,
        chain_id=CHAIN_ID,
        market=MARKET,
        job_nonce=NONCE,
        terms=terms,
        receipt=receipt or bundle.receipt,
    )
    return [check.name for check in checks]


# --- samples


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", -1), ("seq", True), ("at_ms", 1.0), ("mono_ns", 2**53), ("value", -1), ("value", "1"),
        ("value", None), ("edge", "middle"), ("edge", None), ("source", "guess"), ("source", []),
        ("metric", "watts"), ("device", ""), ("device", " x"), ("device", "é"), ("device", "x" * 129),
        ("device", "a\nb"), ("device", 3),
    ],
)  # fmt: skip
def test_sample__value_outside_the_vocabulary__refused(field: str, value: object) -> None:
    with pytest.raises(EvidenceInvalid) as error:
        replace(TOKEN_SAMPLES[0], **{field: value})
    assert error.value.check == "evidence.sample"
    assert field in error.value.detail


@pytest.mark.parametrize("data", [None, [], {}, {**TOKEN_SAMPLES[0].to_json(), "extra": 1}])
def test_sample_from_json__not_exactly_its_members__refused(data: object) -> None:
    with pytest.raises(EvidenceInvalid) as error:
        Sample.from_json(data)
    assert error.value.check == "evidence.sample"


@pytest.mark.parametrize(
    ("chain_id", "job", "nonce"),
    [(-1, bytes(32), 0), (2**256, bytes(32), 0), (1, bytes(31), 0), (1, bytes(32), 2**96)],
)
def test_seed__out_of_range__refused(chain_id: int, job: bytes, nonce: int) -> None:
    with pytest.raises(BadInput, match="evidence seed"):
        seed(chain_id, MARKET, job, nonce)


# --- sealing


def test_seal__no_sample__refused() -> None:
    with pytest.raises(BadInput, match="at least one"):
        seal((), result=OK, attempt=1, sku="x")


def test_seal__killed_job__binds_signal_and_reason() -> None:
    sealed = seal(TOKEN_SAMPLES, result=Result(None, 9, "timeout"), attempt=2, sku="h100")
    closing = [(sample.device, sample.metric, sample.value) for sample in sealed[len(TOKEN_SAMPLES) :]]
    assert closing == [
        ("job", "attempt", 2),
        ("h100", "sku", 1),
        ("timeout", "exit_reason", 1),
        ("job", "exit_signal", 9),
    ]
    assert [sample.seq for sample in sealed] == list(range(len(sealed)))
    assert sealed_sku(sealed) == "h100"


def test_sealed_sku__unsealed__refused() -> None:
    with pytest.raises(EvidenceInvalid, match="0 SKU labels"):
        sealed_sku(TOKEN_SAMPLES)


@pytest.mark.parametrize(
    ("code", "signal", "reason"),
    [
        (-1, None, "ok"),
        (256, None, "ok"),
        (True, None, "ok"),
        (0, 0.5, "ok"),
        (0, None, "fine"),
        (0, None, None),
    ],
)
def test_result__out_of_range__refused(code: Any, signal: Any, reason: Any) -> None:
    with pytest.raises(EvidenceInvalid) as error:
        Result(code, signal, reason)
    assert error.value.check == "bundle.format"


# --- verification


def test_verify_bundle__honest__every_check_named() -> None:
    assert verify(make_bundle()) == [
        "bundle.chain", "bundle.terms", "bundle.jobId", "bundle.nonce", "bundle.receipt", "spec.hash",
        "evidence.chain", "evidence.edges", "evidence.clock", "evidence.seal", "receipt.outcome",
        "simulated.assurance", "evidence.root", "output.hash",
    ]  # fmt: skip


def test_verify_bundle__failed_job_without_output__passes() -> None:
    bundle = make_bundle(output=b"", result=Result(None, 9, "timeout"), input_tokens=0, output_tokens=0)
    assert bundle.receipt.outcome == Outcome.FAILED
    assert "output.hash" in verify(bundle)


def test_verify_bundle__simulated_at_assurance_0__passes() -> None:
    samples = change(TOKEN_SAMPLES, 1, source="nvml-replay")
    assert "simulated.assurance" in verify(make_bundle(samples, simulated=True))


HONEST = make_bundle()
SEALED = HONEST.samples
OTHER = make_bundle(terms=make_terms(salt=8))
TICK = row(3, 1_500, "tick", "cpu_us", 1_200_000, "cpu-rusage", "cpu")
DROPPED = SEALED[:2] + SEALED[3:]
INSERTED = (*SEALED[:3], TICK, *SEALED[3:])
SWAPPED = (*SEALED[:2], SEALED[3], SEALED[2], *SEALED[4:])

NAIVE = {
    "chain": (replace(HONEST, chain_id=1), "bundle.chain"),
    "market": (replace(HONEST, market="0x" + "11" * 20), "bundle.chain"),
    "terms": (replace(HONEST, terms=make_terms(salt=8)), "bundle.terms"),
    "job id": (replace(HONEST, job_id=bytes(32)), "bundle.jobId"),
    "nonce": (replace(HONEST, nonce=NONCE + 1), "bundle.nonce"),
    "another job's bundle": (OTHER, "bundle.terms"),
    "spec": (replace(HONEST, spec=replace(HONEST.spec, template="hash.chain")), "spec.hash"),
    "sample value": (replace(HONEST, samples=change(SEALED, 6, value=10)), "evidence.root"),
    "sample device": (replace(HONEST, samples=change(SEALED, 2, device="cpu1")), "evidence.root"),
    "sample removed": (replace(HONEST, samples=DROPPED), "evidence.chain"),
    "sample removed, renumbered": (replace(HONEST, samples=renumber(DROPPED)), "evidence.root"),
    "sample inserted": (replace(HONEST, samples=INSERTED), "evidence.chain"),
    "sample inserted, renumbered": (replace(HONEST, samples=renumber(INSERTED)), "evidence.root"),
    "samples swapped": (replace(HONEST, samples=SWAPPED), "evidence.chain"),
    "output byte": (replace(HONEST, output=HONEST.output[:-1] + b"!"), "output.hash"),
    "exit code": (replace(HONEST, result=Result(1, None, "failed")), "evidence.seal"),
    "attempt": (replace(HONEST, attempt=2), "evidence.seal"),
    "simulated": (replace(HONEST, simulated=True), "simulated.label"),
}  # fmt: skip


@pytest.mark.parametrize(("forged", "check"), NAIVE.values(), ids=NAIVE.keys())
def test_verify_bundle__tampered_after_signing__refused_by(forged: Bundle, check: str) -> None:
    with pytest.raises(EvidenceInvalid) as error:
        verify(forged, HONEST, HONEST.receipt if forged is not OTHER else None)
    assert error.value.check == check


LATE_TICK = replace(TICK, mono_ns=SEALED[5].mono_ns, at_ms=SEALED[5].at_ms)
AFTER_END = renumber((*SEALED[:6], LATE_TICK, *SEALED[6:]))
WALL_MOVED = change(SEALED, 3, at_ms=SEALED[3].at_ms + 2_003)
ONLY_SEAL = renumber((replace(SEALED[-1], edge="start"), *SEALED[8:]))
FAILED = Result(1, None, "failed")
SIMULATED = change(TOKEN_SAMPLES, 1, source="nvml-replay")

RESEALED = {
    "gap": (reseal(HONEST, samples=DROPPED), "evidence.chain"),
    "no start": (reseal(HONEST, samples=renumber(SEALED[2:])), "evidence.edges"),
    "no end": (reseal(HONEST, samples=TOKEN_SAMPLES[:3]), "evidence.edges"),
    "tick after end": (reseal(HONEST, samples=AFTER_END), "evidence.edges"),
    "wall clock moved": (reseal(HONEST, samples=WALL_MOVED), "evidence.clock"),
    "monotonic clock back": (reseal(HONEST, samples=change(SEALED, 3, mono_ns=1)), "evidence.clock"),
    "unsealed": (reseal(HONEST, samples=TOKEN_SAMPLES), "evidence.seal"),
    "sealed twice": (reseal(HONEST, samples=seal(SEALED, result=OK, attempt=1, sku="x")), "evidence.seal"),
    "only a seal": (reseal(HONEST, samples=ONLY_SEAL), "evidence.seal"),
    "sealed as failed": (
        reseal(HONEST, samples=seal(TOKEN_SAMPLES, result=FAILED, attempt=1, sku="x"), result=FAILED),
        "receipt.outcome",
    ),
    "failed but charged": (make_bundle(result=FAILED, units=1), "receipt.outcome"),
    "exit 0 for another reason": (
        make_bundle(result=Result(0, None, "output"), outcome=Outcome.COMPLETED),
        "receipt.outcome",
    ),
    "simulated claims assurance 1": (
        make_bundle(SIMULATED, simulated=True, assurance=1),
        "simulated.assurance",
    ),
    "simulated not labelled": (make_bundle(SIMULATED), "simulated.label"),
    "receipt of another job": (
        replace(HONEST, receipt=replace(HONEST.receipt, job_id=bytes(32))),
        "receipt.jobId",
    ),
}


@pytest.mark.parametrize(("forged", "check"), RESEALED.values(), ids=RESEALED.keys())
def test_verify_bundle__forged_before_signing__refused_by(forged: Bundle, check: str) -> None:
    with pytest.raises(EvidenceInvalid) as error:
        verify(forged)
    assert error.value.check == check


def _leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(data, (dict, list)):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        return [leaf for key, value in items for leaf in _leaves(value, (*path, key))]
    return [path]


MUTABLE = _leaves(HONEST.to_json())


def _mutated(value: Any, draw: st.DataObject) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return draw.draw(st.integers(0, 2**53).filter(lambda other: other != value))
    text = str(value)
    if text.isdigit():
        return str(draw.draw(st.integers(0, 2**40).filter(lambda other: other != int(text))))
    index = draw.draw(st.integers(0, len(text) - 1))
    return (
        text[:index]
        + draw.draw(st.sampled_from("0aZ9=/ ").filter(lambda c: c != text[index]))
        + text[index + 1 :]
    )


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(MUTABLE), data=st.data())
def test_verify_bundle__any_single_member_mutated__refused(
    path: tuple[Any, ...], data: st.DataObject
) -> None:
    tree = HONEST.to_json()
    target: Any = tree
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = _mutated(target[path[-1]], data)
    with pytest.raises(EvidenceInvalid):
        verify(Bundle.from_json(tree), HONEST, HONEST.receipt)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(HONEST.receipt.to_json())), data=st.data())
def test_verify_bundle__any_receipt_member_mutated__refused(name: str, data: st.DataObject) -> None:
    wire = HONEST.receipt.to_json()
    wire[name] = _mutated(wire[name], data)
    try:
        receipt = Receipt.from_json(wire)
    except BadInput:
        return  # not a receipt at all
    with pytest.raises(EvidenceInvalid):
        verify(HONEST, HONEST, receipt)
