"""What a dishonest provider can try, each way against a watcher's whole API, and the check that refuses it.

A forger here has the provider's oracle key and signs whatever it makes up. The name of a test says the check.
What no check can refuse, a forger that is consistent and does the work, is the last test (docs/trust.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account

from oracle import watcher
from oracle.sampling import Draw, Risk
from oracle.settings import WatcherSettings
from oracle.verify import VerifyRequest
from scrip.evidence import Sample
from scrip.types import sku_id
from tests.unit.evidence_factory import (
    ENDED_AT,
    GPU_SKU,
    NONCE,
    OPENED_AT,
    OUTPUT,
    SKU,
    STARTED_AT,
    TOKEN_SAMPLES,
    change,
    gpu_samples,
    make_class,
    renumber,
    row,
)
from tests.unit.oracle_market import PAYER
from tests.unit.verify_factory import MATMUL, forge, hashes, honest, matmul, of_class, resign, signed, tokens
from tests.unit.watcher_bench import SECRET, WATCHERS, Bench, FakeExecutor, check_of, renamed

T, H, GPU, SIMULATED = tokens(), hashes(), matmul("nvml"), matmul("nvml-replay")
SAMPLES = T.bundle.samples
UNREAD = tuple(one for one in GPU.bundle.samples if one.metric != "energy_mj")
OTHER_CHAIN = bytes(byte ^ 1 for byte in H.bundle.output)
"""Wrong in every segment, so that whichever is picked shows it."""
ADDED = row(3, 1_500, "tick", "cpu_us", 1_200_000, "cpu-rusage", "cpu")
RECORDED_MJ = 900_000_000_000
"""What the counter of a board that has worked for weeks says."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.close()


def with_bundle(request: VerifyRequest, **changes: Any) -> VerifyRequest:
    """The evidence changed after the receipt was signed."""
    return replace(request, bundle=replace(request.bundle, **changes))


def on_gpu(samples: tuple[Sample, ...], **job: Any) -> VerifyRequest:
    """A matmul with made-up telemetry and everything else made to fit by the provider's own code."""
    return honest(GPU.facts.class_terms, renumber(samples), MATMUL, GPU.bundle.output, GPU_SKU, **job)


def real(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Samples of the replay library, said to be of the driver's."""
    return tuple(replace(one, source="nvml") if one.source == "nvml-replay" else one for one in samples)


def counting_from(first_mj: int) -> tuple[Sample, ...]:
    """The readings of a GPU job whose counter starts at `first_mj`."""
    moved = first_mj - 5_000_000
    return tuple(
        replace(one, value=one.value + moved) if one.metric == "energy_mj" else one for one in gpu_samples()
    )


def flipped(output: bytes, at: int) -> bytes:
    return output[:at] + bytes([output[at] ^ 1]) + output[at + 1 :]


Forgery = Callable[[], VerifyRequest]
FORGERIES: dict[str, tuple[Forgery, str]] = {
    # Telemetry of a library that isn't NVIDIA's
    "forged library, mark taken off the bundle": (
        lambda: signed(
            SIMULATED,
            replace(SIMULATED.bundle, simulated=False, receipt=replace(SIMULATED.receipt, assurance=1)),
        ),
        "simulated.label",
    ),
    "forged library, mark taken off the samples": (
        lambda: with_bundle(SIMULATED, simulated=False, samples=real(SIMULATED.bundle.samples)),
        "evidence.root",
    ),
    "forged library, said to be simulated and paid as real": (
        lambda: resign(SIMULATED, assurance=1),
        "simulated.assurance",
    ),
    "forged library without readings at the edges": (
        lambda: forge(GPU, renumber(UNREAD), gpu_millijoules=0),
        "usage.telemetry",
    ),
    # Evidence of something else
    "replayed bundle of an older job": (
        lambda: replace(T, bundle=renamed(T, salt=8).bundle),
        "bundle.terms",
    ),
    "replayed bundle of an older job, its terms rewritten": (
        lambda: replace(T, bundle=replace(renamed(T, salt=8).bundle, terms=T.bundle.terms)),
        "bundle.jobId",
    ),
    "replayed bundle of an older job, its id rewritten too": (
        lambda: with_bundle(T, samples=renamed(T, salt=8).bundle.samples[:-1]),
        "evidence.seal",
    ),
    "replayed samples, seeded by an older nonce": (
        lambda: with_bundle(T, nonce=NONCE - 1),
        "bundle.nonce",
    ),
    "another job's receipt": (
        lambda: replace(T, receipt=replace(renamed(T, salt=8).receipt, job_id=T.receipt.job_id)),
        "bundle.receipt",
    ),
    # Samples
    "sample dropped": (lambda: with_bundle(T, samples=SAMPLES[:2] + SAMPLES[3:]), "evidence.chain"),
    "sample dropped, the rest renumbered": (
        lambda: with_bundle(T, samples=renumber(SAMPLES[:2] + SAMPLES[3:])),
        "evidence.root",
    ),
    "sample inserted": (
        lambda: with_bundle(T, samples=(*SAMPLES[:3], ADDED, *SAMPLES[3:])),
        "evidence.chain",
    ),
    "sample inserted, the rest renumbered": (
        lambda: with_bundle(T, samples=renumber((*SAMPLES[:3], ADDED, *SAMPLES[3:]))),
        "evidence.root",
    ),
    "last reading dropped and signed": (
        lambda: forge(T, renumber(SAMPLES[:6] + SAMPLES[7:]), output_tokens=0, units=0),
        "usage.telemetry",
    ),
    # Clocks
    "wall clock moved": (
        lambda: forge(T, change(SAMPLES, 3, at_ms=SAMPLES[3].at_ms + 60_000)),
        "evidence.clock",
    ),
    "monotonic clock set back": (
        lambda: forge(T, change(SAMPLES, 3, mono_ns=SAMPLES[2].mono_ns - 1)),
        "evidence.clock",
    ),
    "both clocks stretched beyond the job's life": (
        lambda: on_gpu(
            tuple(
                replace(one, at_ms=one.at_ms + 19 * (one.mono_ns // 1_000_000), mono_ns=one.mono_ns * 20)
                for one in gpu_samples()
            )
        ),
        "bounds.time",
    ),
    "started before it was opened": (lambda: resign(T, started_at=OPENED_AT - 1), "receipt.time"),
    "longer than the evidence": (lambda: resign(T, ended_at=ENDED_AT + 3), "bounds.time"),
    # Amounts
    "units inflated": (lambda: resign(T, units=10), "usage.units"),
    "units beyond the class's rate": (lambda: of_class(T, max_rate=2), "bounds.rate"),
    "GPU-seconds inflated": (lambda: on_gpu(change(gpu_samples(), 4, value=3_500)), "bounds.time"),
    "energy inflated": (lambda: resign(GPU, gpu_millijoules=870_001), "usage.energy"),
    "energy inflated in the samples too": (
        lambda: on_gpu(change(gpu_samples(), 5, value=9_000_000)),
        "bounds.power",
    ),
    "tokens inflated": (lambda: resign(T, output_tokens=10), "usage.tokens"),
    "tokens inflated in the samples too": (
        lambda: forge(T, change(SAMPLES, 6, value=10), output_tokens=10, units=10),
        "output.recompute",
    ),
    # Work
    "wrong model": (lambda: of_class(T, sku=sku_id("llama-3-70b")), "class.sku"),
    "wrong model, the right one named": (
        lambda: forge(T, output=b"from a smaller model"),
        "output.recompute",
    ),
    "wrong model for the template": (
        lambda: honest(
            make_class(sku=bytes(32)),
            tuple(replace(one, device="gpt2") if one.device == SKU else one for one in TOKEN_SAMPLES),
            T.bundle.spec,
            OUTPUT,
            "gpt2",
        ),
        "spec.resource",
    ),
    "wrong output": (lambda: with_bundle(T, output=b"another"), "output.hash"),
    "wrong output, signed": (lambda: forge(T, output=flipped(OUTPUT, 3)), "output.recompute"),
    "wrong hash chain, signed": (lambda: forge(H, output=OTHER_CHAIN), "output.spots"),
    "wrong product, signed": (lambda: forge(GPU, output=flipped(GPU.bundle.output, -1)), "output.freivalds"),
}


@pytest.mark.parametrize(("forgery", "check"), FORGERIES.values(), ids=FORGERIES.keys())
def test_fraud__refused_by_its_check(bench: Bench, forgery: Forgery, check: str) -> None:
    request = forgery()
    answer = bench.ask(request)
    assert check_of(answer) == check
    assert answer.json().get("cosignature") is None


def test_fraud__simulated_telemetry_off_a_local_chain__refused_by_simulated_chain(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = bench.facts.job_facts
    monkeypatch.setattr(bench.facts, "job_facts", lambda *asked: replace(facts(*asked), local=False))
    assert check_of(bench.ask(SIMULATED)) == "simulated.chain"


def test_fraud__ended_in_the_future__refused_by_receipt_time(bench: Bench) -> None:
    request = resign(T, ended_at=ENDED_AT + 3_600)
    answer = bench.ask(request)
    assert (answer.status_code, check_of(answer)) == (409, "receipt.time")


def test_fraud__receipt_signed_by_a_stranger__refused_by_receipt_signer(bench: Bench) -> None:
    assert check_of(bench.ask(key=Account.from_key(b"\x09" * 32))) == "receipt.signer"
    assert bench.fetched == []


def test_fraud__evidence_of_another_server__refused_by_bundle_origin(bench: Bench) -> None:
    assert check_of(bench.ask(url="http://169.254.169.254/latest/meta-data")) == "bundle.origin"


def test_fraud__output_fitted_to_the_challenge__cant_be_since_it_is_drawn_after_the_output_is_fixed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, bytes]] = []

    def token_bytes(size: int) -> bytes:
        drawn.append((len(bench.fetched), secrets.token_bytes(size)))
        return drawn[-1][1]

    monkeypatch.setattr(watcher, "secrets", SimpleNamespace(token_bytes=token_bytes))
    for salt in (8, 9):
        assert check_of(bench.ask(forge(renamed(GPU, salt=salt), output=flipped(GPU.bundle.output, -1)))) == (
            "output.freivalds"
        )
    assert [fetched for fetched, _ in drawn] == [1, 2]
    assert drawn[0][1] != drawn[1][1]


# One GPU, two jobs


def test_fraud__two_providers_claim_one_gpu_at_once__refused_by_gpu_overlap(bench: Bench) -> None:
    bench.facts.oracles[PAYER] = WATCHERS[2].address
    assert check_of(bench.ask(GPU)) == ""
    second = renamed(GPU, salt=8, provider=PAYER)
    assert check_of(bench.ask(second, key=WATCHERS[2])) == "gpu.overlap"


def test_fraud__two_jobs_claim_one_gpu_in_one_batch__refused_by_gpu_overlap(bench: Bench) -> None:
    rows = [bench.row(GPU), bench.row(renamed(GPU, salt=8))]
    answer = bench.ballot(bench.body(*rows, batched=True))[0].json()
    assert answer["cosignature"] is None
    assert [one["check"] for one in answer["findings"]["rows"]] == ["", "gpu.overlap"]


def test_fraud__receipt_shortened_to_hide_the_overlap__refused_by_gpu_overlap(bench: Bench) -> None:
    assert check_of(bench.ask(GPU)) == ""
    hidden = resign(renamed(GPU, salt=8), started_at=ENDED_AT)
    assert check_of(bench.ask(of_class(hidden, max_rate=10**6))) == "gpu.overlap"


def test_fraud__recorded_trace_played_as_a_real_gpu__refused_by_gpu_counter(bench: Bench) -> None:
    """The library starts its recording anew with every process; a counter can't."""
    played = counting_from(RECORDED_MJ)
    assert check_of(bench.ask(on_gpu(played))) == ""
    bench.facts.at += 3_600
    an_hour_on = tuple(replace(one, at_ms=one.at_ms + 3_000_000) for one in played)
    later = on_gpu(an_hour_on, salt=8, submit_by=OPENED_AT + 10_000)
    moved = resign(later, started_at=STARTED_AT + 3_000, ended_at=ENDED_AT + 3_000)
    assert check_of(bench.ask(moved)) == "gpu.counter"


# What nobody can see


def test_fraud__consistent_forger_that_does_the_work__isnt_refused_below_assurance_3(bench: Bench) -> None:
    """Telemetry made up from the start, within every bound, around a right output: docs/trust.md says so."""
    assert check_of(bench.ask(on_gpu(counting_from(7_000_000)))) == ""


def test_fraud__wrong_output_of_a_job_not_drawn__isnt_seen_by_that_watcher(bench: Bench) -> None:
    """That is what the odds and the stake are for (`oracle.sampling`); another watcher draws others."""
    node = bench.nodes[0]
    node.settings, node.executor = WatcherSettings(re_execute_floor_ppm=1), FakeExecutor(b"the right output")
    bench.facts.stakes = Risk(1, 10**9)
    assert not Draw(SECRET, 1).picks(T.receipt.job_id, 1)
    assert check_of(bench.ask()) == ""
    assert node.executor.runs == 0


def test_forgeries__all_honest_counterparts__pass(bench: Bench) -> None:
    for request in (T, GPU):
        assert check_of(bench.ask(request)) == ""
    bench.nodes[0].executor = FakeExecutor(H.bundle.output)
    assert check_of(bench.ask(H)) == ""
