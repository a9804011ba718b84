"""Shared GPUs: each job's own evidence gives its part, close to the truth, and a watcher finds the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attribution import AttributionError, attribute
from oracle.jobs import matmul_int8
from oracle.jobs.params import MatmulParams
from oracle.sharing import Part, split
from oracle.tdp import tenants_of
from oracle.telemetry.base import Lease, Reading
from oracle.telemetry.boards import Board, SharedGpuMeter
from oracle.telemetry.replay import generate as shipped
from oracle.telemetry.replay.build import STEADY_TRACE
from oracle.verify import VerifyRequest, verify_request
from scrip.errors import Refused
from scrip.evidence import Sample
from scrip.types import Resource, sku_id
from tests.unit.board_place import Place
from tests.unit.evidence_factory import GPU_SKU, gpu_samples, make_class
from tests.unit.replay_gpu import GPU, simulated
from tests.unit.tenant_trace import (
    IDLE_MW,
    A,
    B,
    Load,
    Recording,
    Tenant,
    record,
    steady,
    swinging,
    trace,
    uneven,
)
from tests.unit.verify_factory import CATALOGUE, MATMUL, honest, resign

# PARTS


@pytest.mark.parametrize(
    "part", [Part(-1, 0, 1), Part(1, -1, 1), Part(0, 0, 0), Part(2, 0, 1), Part(1, 1, 1)]
)
def test_part__not_part_of_anything__is_not_sound(part: Part) -> None:
    assert not part.sound


@given(
    amount=st.integers(0, 10**15),
    weights=st.lists(st.integers(0, 10**9), min_size=1, max_size=8).filter(any),
)
def test_split__any_weights__sums_exactly_and_each_is_within_one_of_its_share(
    amount: int, weights: list[int]
) -> None:
    parts, whole = split(weights), sum(weights)
    found = [part.of(amount) for part in parts]
    assert all(part.sound for part in parts)
    assert sum(found) == amount
    for mj, weight in zip(found, weights, strict=True):
        assert abs(mj * whole - amount * weight) < whole


# FORGED OR DAMAGED EVIDENCE


def evidence() -> tuple[Sample, ...]:
    place = Place(slots=2, idle_mw=10_000)
    place.come(A)
    place.come(B)
    place.fake.pass_ms(1000, 110_000, A=60, B=40)
    place.go(A)
    place.go(B)
    return place.samples[A]


def without(*metrics: str) -> Callable[[Sample], Sample | None]:
    return lambda sample: None if sample.metric in metrics else sample


def with_value(metric: str, value: int) -> Callable[[Sample], Sample | None]:
    return lambda sample: replace(sample, value=value) if sample.metric == metric else sample


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (without("share", "share_before", "share_total"), "places on|doesn't say its share"),
        (without("idle_mw"), "doesn't say its share and idle power"),
        (without("slice_us"), "how long its slice was"),
        (without("sm_weight_total"), "own, before and total"),
        (without("share_before"), "own, before and total"),
        (with_value("sm_weight", 10**12), "add up"),
        (with_value("share", 2), "add up"),
        (with_value("share_slots", 0), "beyond its limits"),
        (with_value("share_slots", 65), "places on"),
        (with_value("share_slots", 1), "beyond its limits"),
        (with_value("slice_us", 3_000_000), "beyond its limits"),
    ],
)
def test_attribute__evidence_of_a_shared_board_is_damaged__raises(
    change: Callable[[Sample], Sample | None], detail: str
) -> None:
    samples = [found for sample in evidence() if (found := change(sample)) is not None]
    with pytest.raises(AttributionError, match=detail):
        attribute(A.job_id, samples)


def test_attribute__a_row_twice_in_one_reading__raises() -> None:
    samples = list(evidence())
    at = next(i for i, sample in enumerate(samples) if sample.metric == "idle_mw")
    with pytest.raises(AttributionError, match="twice in one reading"):
        attribute(A.job_id, [*samples[:at], samples[at], *samples[at:]])


# AGAINST THE TRUTH


def measured(tmp_path: Path, load: Load, tick_ms: int, b: Tenant = B) -> tuple[Recording, dict[str, float]]:
    """A recording of both jobs, and the error of each one's energy."""
    tenants = (A, b)
    text, truth = trace(load, tenants)
    with simulated(tmp_path, text) as (nvml, clock):
        recording = record(nvml, clock, tick_ms, tenants)
    usages = {t.job_id: attribute(t.job_id, recording.samples[t.job_id]) for t in tenants}
    for tenant in tenants:
        usage = usages[tenant.job_id]
        assert (usage.energy, usage.simulated) == ("shared", True)
        assert usage.gpu_ms == (tenant.end_ms - tenant.start_ms) // 2
    names = {"A": A.job_id, "B": B.job_id}
    return recording, {name: usages[key].gpu_millijoules / truth[key] - 1 for name, key in names.items()}


@pytest.mark.parametrize("load", [steady, swinging])
@pytest.mark.parametrize("tick_ms", [100, 1000, 5000])
@pytest.mark.parametrize("overlap", [(4000, 7000), (4100, 7300), (2500, 8900), (3600, 7700)])
def test_two_tenants__each_tick_rate__energy_within_5_percent_of_truth(
    tmp_path: Path, load: Load, tick_ms: int, overlap: tuple[int, int], record_property: Callable[..., None]
) -> None:
    """Measured over all of these: 0.7 % at most at 100 ms, 3.2 % at 1 s, 4.1 % at 5 s."""
    _, errors = measured(tmp_path, load, tick_ms, replace(B, start_ms=overlap[0], end_ms=overlap[1]))
    stated = ", ".join(f"{name} {error:+.2%}" for name, error in errors.items())
    record_property("energy error", stated)
    print(f"{load.__name__} at {tick_ms} ms, B in {overlap}: {stated}")
    assert all(abs(error) < 0.05 for error in errors.values()), stated


@pytest.mark.parametrize("tick_ms", [100, 1000, 5000])
def test_two_tenants__the_trace_that_is_shipped__energy_within_5_percent_of_truth(
    tmp_path: Path, tick_ms: int
) -> None:
    """Measured: A -0.1 %, B +0.4 % at most."""
    truth = {A.job_id: shipped.two_tenant()[1][A.pid], B.job_id: shipped.two_tenant()[1][B.pid]}
    with simulated(tmp_path, STEADY_TRACE.with_name("two_tenant.trace")) as (nvml, clock):
        tenants = (A, replace(B, start_ms=shipped.TENANT_B.start_ms, end_ms=shipped.TENANT_B.end_ms))
        recording = record(nvml, clock, tick_ms, tenants, shipped.TENANT_GPU)
    for job, samples in recording.samples.items():
        error = attribute(job, samples).gpu_millijoules / truth[job] - 1
        print(f"shipped trace at {tick_ms} ms: {error:+.2%}")
        assert abs(error) < 0.05


def test_two_tenants__unlike_power_per_sm_percent__is_beyond_the_model(tmp_path: Path) -> None:
    """What SM use can't show, no tick rate brings back: the figure is labelled an estimate for that reason.
    Measured: A +5 to +9 %, B -15 to -26 %."""
    fast, slow = (measured(tmp_path, uneven, tick)[1] for tick in (100, 5000))
    for errors in (fast, slow):
        assert 0.03 < errors["A"] < 0.10
        assert -0.30 < errors["B"] < -0.10


def test_two_tenants__sum_of_both_and_nobody__is_the_counters_difference(tmp_path: Path) -> None:
    recording, _ = measured(tmp_path, swinging, 1000)
    reads = [s.value for rows in recording.samples.values() for s in rows if s.metric == "energy_mj"]
    used = [attribute(key, rows).gpu_millijoules for key, rows in recording.samples.items()]
    assert sum(used) + recording.board.unattributed_mj == max(reads) - min(reads)


def test_one_tenant__on_a_board_that_others_may_hold__is_measured(tmp_path: Path) -> None:
    text, _ = trace(steady)
    with simulated(tmp_path, text) as (nvml, clock):
        recording = record(nvml, clock, 1000, (A,))
    usage = attribute(A.job_id, recording.samples[A.job_id])
    assert usage.energy == "shared"  # B's process is there, of no job of ours
    assert recording.board.unattributed_mj > 0


def test_readings__name_the_board_and_its_idle_power(tmp_path: Path) -> None:
    text, _ = trace(steady)
    with simulated(tmp_path, text) as (nvml, _):
        board = Board(GPU, nvml, slots=2, idle_mw=IDLE_MW)
        meter = SharedGpuMeter(nvml, {GPU: board})
        readings = meter.start(Lease(A.job_id, 1, 2**22 + 1, None, (GPU,), Path("/nonexistent")))
    assert Reading("nvml-replay", GPU, "idle_mw", IDLE_MW) in readings
    assert {reading.device for reading in readings} == {GPU}


# WHAT A WATCHER FINDS


def shared_receipt(**sku: str) -> VerifyRequest:
    """The receipt of a matmul on half a GPU, beside another job, and the request to check it."""
    params = CATALOGUE.parse(MATMUL)
    assert isinstance(params, MatmulParams)
    place = Place(slots=2, idle_mw=70_000)
    place.come(A)
    place.fake.pass_ms(900, 300_000, A=90)
    place.come(B)
    place.fake.pass_ms(2000, 900_000, A=60, B=40)
    place.go(A)
    label = sku.get("label", f"{GPU_SKU}-shared-2")
    terms = make_class(Resource.GPU_SECOND, 3, sku=sku_id(label))
    return honest(terms, place.samples[A], MATMUL, matmul_int8.compute(params).output, label)


def test_watcher__receipt_of_a_shared_gpu__derives_the_very_same_energy_and_units() -> None:
    request = shared_receipt()
    checks = dict(verify_request(request).checks)
    dynamic_mj = 900_000 - 140_000
    assert request.receipt.gpu_millijoules == 300_000 + 70_000 + dynamic_mj * 60 // 100
    assert checks["usage.energy"] == f"{request.receipt.gpu_millijoules} mJ, shared"
    assert request.receipt.units == 2900 // 2


@pytest.mark.parametrize("change", [{"gpu_millijoules": 1}, {"units": 2900}])
def test_watcher__other_figures_than_the_evidence_gives__are_refused(change: dict[str, int]) -> None:
    with pytest.raises(Refused) as error:
        verify_request(resign(shared_receipt(), **change))
    assert error.value.check in ("usage.energy", "usage.units")


def test_receipt__half_a_gpu_sold_as_a_whole_one__is_refused() -> None:
    with pytest.raises(Refused, match=r"takes \[2\] jobs at once by its evidence, 1 by the SKU") as error:
        shared_receipt(label=GPU_SKU)
    assert error.value.check == "class.sku"


def test_receipt__whole_gpu_time_charged_for_a_share__is_refused() -> None:
    """Evidence without a word of the others, under a SKU that says there are others."""
    params = CATALOGUE.parse(MATMUL)
    assert isinstance(params, MatmulParams)
    label = f"{GPU_SKU}-shared-2"
    terms = make_class(Resource.GPU_SECOND, 3, sku=sku_id(label))
    with pytest.raises(Refused, match="takes 1 jobs at once by its evidence, 2 by the SKU"):
        honest(terms, gpu_samples(), MATMUL, matmul_int8.compute(params).output, label)


@pytest.mark.parametrize(
    ("label", "tenants"),
    [("h100", 1), ("h100-shared-2", 2), ("h100-shared-64", 64), ("h100-shared-1", 1), ("h100-shared-2-x", 1)],
)
def test_label__says_how_many_share(label: str, tenants: int) -> None:
    assert tenants_of(label) == tenants
