"""From usage to receipt: refusals first, then units, cuts and time anchoring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attribution import attribute
from oracle.receipt import (
    Attempt,
    Cut,
    JobFacts,
    anchor_interval,
    check_telemetry,
    cut_units,
    make_receipt,
    metered_units,
    rate_limit,
    with_assurance,
)
from scrip.errors import EvidenceInvalid, Refused
from scrip.evidence import Result, Sample, evidence_root, output_hash, seal
from scrip.types import ClassTerms, Outcome, Resource
from tests.unit.evidence_factory import (
    CHAIN_ID,
    ENDED_AT,
    GPU,
    GPU_SKU,
    MARKET,
    OK,
    OPENED_AT,
    OUTPUT,
    SKU,
    STARTED_AT,
    STATE,
    TOKEN_SAMPLES,
    gpu_samples,
    make_class,
    make_terms,
    rows,
)

FAILED = Result(1, None, "failed")
GPU_CLASS = make_class(Resource.GPU_SECOND, 3, sku=bytes(32))


def facts_of(terms: ClassTerms, *, local: bool = True, **job: Any) -> JobFacts:
    return JobFacts(CHAIN_ID, MARKET, make_terms(**job), terms, STATE, local)


def attempt_of(
    samples: tuple[Sample, ...] = TOKEN_SAMPLES, result: Result = OK, sku: str = SKU, **changes: Any
) -> Attempt:
    sealed = seal(samples, result=result, attempt=1, sku=sku)
    usage = attribute(bytes(32), sealed)
    return replace(Attempt(sealed, usage, result, OUTPUT, STARTED_AT, ENDED_AT), **changes)


def without(metric: str) -> tuple[Sample, ...]:
    return tuple(sample for sample in TOKEN_SAMPLES if sample.metric != metric)


# --- refusals


@pytest.mark.parametrize(
    ("resource", "metric"),
    [
        (Resource.CPU_SECOND, "cpu_us"),
        (Resource.OUTPUT_TOKEN, "output_tokens"),
        (Resource.INPUT_TOKEN, "input_tokens"),
        (Resource.GB_HOUR, "stored_bytes"),
        (Resource.GB_TRANSFER, "moved_bytes"),
    ],
)
def test_make_receipt__resource_not_metered__refused(resource: Resource, metric: str) -> None:
    with pytest.raises(Refused, match=metric) as error:
        make_receipt(facts_of(make_class(resource)), attempt_of(without(metric)))
    assert error.value.check == "usage.telemetry"


def test_make_receipt__resource_without_meter__refused() -> None:
    with pytest.raises(Refused, match="nothing meters") as error:
        make_receipt(facts_of(make_class(Resource.NONE)), attempt_of())
    assert error.value.check == "usage.telemetry"


def test_make_receipt__gpu_class_without_gpu__refused() -> None:
    with pytest.raises(Refused, match="no GPU was leased"):
        make_receipt(facts_of(GPU_CLASS), attempt_of())


@pytest.mark.parametrize("edge", ["start", "end"])
def test_make_receipt__gpu_without_reading_at_an_edge__refused(edge: str) -> None:
    kept = tuple(s for s in gpu_samples() if not (s.source == "nvml" and s.edge == edge))
    with pytest.raises(Refused, match=GPU) as error:
        make_receipt(facts_of(GPU_CLASS), attempt_of(kept))
    assert error.value.check == "usage.telemetry"


def test_make_receipt__gpu_leased_for_a_token_job_and_unread__refused() -> None:
    lease = rows((0, "start", "lease_ms", 0, "lease", GPU), (9, "end", "lease_ms", 9, "lease", GPU))
    with pytest.raises(Refused, match="nothing shows it was there"):
        check_telemetry(make_class(), seal(lease, result=OK, attempt=1, sku=SKU))


def test_make_receipt__another_sku__refused() -> None:
    with pytest.raises(Refused, match="sells another SKU") as error:
        make_receipt(facts_of(make_class()), attempt_of(sku="gpt2"))
    assert error.value.check == "class.sku"


def test_make_receipt__tokens_of_another_model__refused() -> None:
    swapped = tuple(replace(s, device="gpt2") if s.source == "tokens" else s for s in TOKEN_SAMPLES)
    with pytest.raises(Refused, match="gpt2") as error:
        make_receipt(facts_of(make_class()), attempt_of(swapped))
    assert error.value.check == "class.sku"


def test_make_receipt__unsealed_samples__refused() -> None:
    with pytest.raises(EvidenceInvalid, match="SKU label"):
        make_receipt(facts_of(make_class()), replace(attempt_of(), samples=TOKEN_SAMPLES))


def test_make_receipt__simulated_off_the_local_chain__refused() -> None:
    with pytest.raises(Refused, match="isn't local") as error:
        make_receipt(facts_of(GPU_CLASS, local=False), attempt_of(gpu_samples("nvml-replay")))
    assert error.value.check == "simulated.chain"


def test_make_receipt__simulated_where_the_class_needs_assurance__refused() -> None:
    strict = replace(GPU_CLASS, min_assurance=1)
    with pytest.raises(Refused, match="needs 1") as error:
        make_receipt(facts_of(strict), attempt_of(gpu_samples("nvml-replay")))
    assert error.value.check == "simulated.assurance"


@pytest.mark.parametrize(("started", "ended"), [(OPENED_AT - 1, ENDED_AT), (ENDED_AT, STARTED_AT)])
def test_make_receipt__times_out_of_order__refused(started: int, ended: int) -> None:
    with pytest.raises(Refused, match="out of order") as error:
        make_receipt(facts_of(make_class()), attempt_of(started_at=started, ended_at=ended))
    assert error.value.check == "receipt.time"


@pytest.mark.parametrize(("level", "wanted"), [(0, 1), (0, 2), (1, 0), (1, 4), (2, 0)])
def test_with_assurance__not_allowed__refused(level: int, wanted: int) -> None:
    receipt = replace(make_receipt(facts_of(make_class()), attempt_of()).receipt, assurance=level)
    with pytest.raises(Refused) as error:
        with_assurance(receipt, wanted)
    assert error.value.check == "receipt.assurance"


# --- receipts


def test_make_receipt__tokens__every_field() -> None:
    facts, attempt = facts_of(make_class()), attempt_of()
    draft = make_receipt(facts, attempt)
    receipt = draft.receipt
    assert (draft.metered, draft.cuts) == (9, ())
    assert (receipt.job_id, receipt.outcome, receipt.units) == (facts.job_id, Outcome.COMPLETED, 9)
    assert (receipt.gpu_millijoules, receipt.input_tokens, receipt.output_tokens) == (0, 12, 9)
    assert (receipt.started_at, receipt.ended_at, receipt.assurance) == (STARTED_AT, ENDED_AT, 1)
    assert receipt.output_hash == output_hash(OUTPUT)
    root = evidence_root(CHAIN_ID, MARKET, facts.job_id, STATE.nonce, attempt.samples)
    assert receipt.evidence_root == root


@pytest.mark.parametrize(
    ("resource", "decimals", "units"),
    [
        (Resource.CPU_SECOND, 0, 2),  # 2.700001 s
        (Resource.CPU_SECOND, 3, 2_700),
        (Resource.CPU_SECOND, 6, 2_700_001),
        (Resource.GPU_SECOND, 0, 2),  # 2.9 s
        (Resource.GPU_SECOND, 3, 2_900),
        (Resource.GPU_SECOND, 6, 2_900_000),
    ],
)
def test_metered_units__seconds__rounded_down(resource: Resource, decimals: int, units: int) -> None:
    usage = attribute(bytes(32), gpu_samples())
    assert metered_units(usage, make_class(resource, decimals)) == units


@pytest.mark.parametrize(
    ("resource", "decimals", "units"),
    [(Resource.OUTPUT_TOKEN, 0, 9), (Resource.OUTPUT_TOKEN, 2, 900), (Resource.INPUT_TOKEN, 1, 120)],
)
def test_metered_units__tokens__scaled(resource: Resource, decimals: int, units: int) -> None:
    assert metered_units(attribute(bytes(32), TOKEN_SAMPLES), make_class(resource, decimals)) == units


def test_make_receipt__hardware_gpu__energy_and_assurance_1() -> None:
    gpu_class = replace(GPU_CLASS, sku=make_class().sku, min_assurance=1)
    receipt = make_receipt(facts_of(gpu_class, local=False), attempt_of(gpu_samples())).receipt
    assert (receipt.units, receipt.gpu_millijoules, receipt.assurance) == (2_900, 870_000, 1)


def test_make_receipt__simulated_gpu_on_a_local_chain__assurance_0() -> None:
    receipt = make_receipt(facts_of(GPU_CLASS), attempt_of(gpu_samples("nvml-replay"), sku=GPU_SKU)).receipt
    assert (receipt.units, receipt.assurance, receipt.outcome) == (2_900, 0, Outcome.COMPLETED)


@pytest.mark.parametrize(
    "terms", [make_class(), GPU_CLASS, make_class(sku=bytes(31) + b"\x01", min_assurance=2)]
)
def test_make_receipt__failed_job__free_whatever_is_missing(terms: ClassTerms) -> None:
    samples = tuple(sample for sample in TOKEN_SAMPLES if sample.source == "lease")
    draft = make_receipt(facts_of(terms), attempt_of(samples, FAILED, output=b""))
    receipt = draft.receipt
    assert (receipt.outcome, receipt.units, draft.metered, draft.cuts) == (Outcome.FAILED, 0, 0, ())
    assert receipt.output_hash == output_hash(b"")


@pytest.mark.parametrize(
    "result", [Result(None, 9, "timeout"), Result(0, None, "output"), Result(None, None, "killed")]
)
def test_make_receipt__ended_by_us__failed(result: Result) -> None:
    assert make_receipt(facts_of(make_class()), attempt_of(result=result)).receipt.outcome == Outcome.FAILED


def test_make_receipt__more_than_the_job_allows__cut_and_recorded() -> None:
    facts = facts_of(make_class(max_rate=1), max_units=8)
    draft = make_receipt(facts, attempt_of())
    assert (draft.metered, draft.receipt.units) == (9, 4)
    assert draft.cuts == (Cut("max_units", 9, 8), Cut("max_rate", 8, 4))
    assert draft.receipt.output_tokens == 9


@given(
    metered=st.integers(0, 2**80),
    most=st.integers(0, 2**70),
    resources=st.integers(0, 64),
    rate=st.integers(0, 2**40),
    seconds=st.integers(0, 10**6),
)
def test_cut_units__any__what_the_contract_accepts_and_no_less(
    metered: int, most: int, resources: int, rate: int, seconds: int
) -> None:
    facts = facts_of(make_class(max_rate=rate), max_units=most, resources=resources)
    units, cuts = cut_units(metered, facts, STARTED_AT, STARTED_AT + seconds)
    assert units == min(metered, most, (seconds + 1) * resources * rate)
    assert rate_limit(facts, STARTED_AT, STARTED_AT + seconds) == (seconds + 1) * resources * rate
    assert (units < metered) == bool(cuts)
    if cuts:
        assert cuts[0].claimed == metered
        assert cuts[-1].allowed == units


def test_with_assurance__quorum_agrees_or_not__raised_and_back() -> None:
    receipt = make_receipt(facts_of(make_class()), attempt_of()).receipt
    assert with_assurance(receipt, 1) is receipt
    raised = with_assurance(receipt, 2)
    assert raised.assurance == 2
    assert with_assurance(raised, 1) == receipt


# --- time anchoring


def test_anchor__run_ends_before_it_starts__refused() -> None:
    with pytest.raises(Refused, match="before its start") as error:
        anchor_interval(0, 100, 5_001, 5_000, 6_000)
    assert error.value.check == "receipt.time"


def test_anchor__job_opened_after_chain_now__refused() -> None:
    with pytest.raises(Refused, match="before the job was opened") as error:
        anchor_interval(101, 100, 1, 2, 3)
    assert error.value.check == "receipt.time"


T = 1_760_000_000


@pytest.mark.parametrize(
    ("case", "given_", "expected"),
    [
        ("clocks agree", (T, T + 20, T + 2, T + 12, T + 20), (T + 2, T + 12)),
        ("chain 1 h ahead", (T + 3600, T + 3620, T + 2, T + 12, T + 20), (T + 3602, T + 3612)),
        ("chain behind", (T - 60, T - 40, T + 2, T + 12, T + 20), (T - 58, T - 48)),
        ("chain jumped ahead before opening only", (T + 50, T + 51, T + 1, T + 11, T + 12), (T + 50, T + 51)),
        ("nothing mined since opening, stale head", (T, T, T + 2, T + 12, T + 13), (T, T)),
        ("wall clock set forward an hour afterwards", (T, T + 20, T + 2, T + 12, T + 3620), (T, T + 10)),
        ("wall clock set back an hour afterwards", (T, T + 20, T + 2, T + 12, T - 3580), (T + 10, T + 20)),
        ("instant", (T, T, T, T, T), (T, T)),
    ],
)  # fmt: skip
def test_anchor__clocks_apart__expected(
    case: str, given_: tuple[int, ...], expected: tuple[int, int]
) -> None:
    opened_at, chain_now, start, end, now = given_
    assert anchor_interval(opened_at, chain_now, start * 1000, end * 1000, now * 1000) == expected, case


@given(
    opened=st.integers(0, 2**33),
    since=st.integers(0, 10**6),
    start=st.integers(0, 2**43),
    length=st.integers(0, 10**9),
    waited=st.integers(-(10**7), 10**7),
)
def test_anchor__any_clocks__within_the_contracts_bounds(
    opened: int, since: int, start: int, length: int, waited: int
) -> None:
    now = opened + since
    started, ended = anchor_interval(opened, now, start, start + length, start + length + waited)
    assert opened <= started <= ended <= now
    assert ended - started <= length // 1000 + 1
    if since * 1000 >= length and waited == 0 and ended < now:
        assert (ended - started + 1) * 1000 > length
