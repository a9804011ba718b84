"""Attribution: exact in integers always, and close to the truth on the two-tenant trace."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attribution import (
    AttributionError,
    Read,
    Span,
    Split,
    Tenant,
    Usage,
    Weight,
    apportion,
    attribute,
    slices,
    split_board,
    split_energy,
)
from oracle.telemetry.base import HOST, Lease
from oracle.telemetry.nvml import Nvml, NvmlMeter
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.replay.build import STEADY_TRACE
from oracle.telemetry.replay.generate import IDLE_MW, TENANT_A, TENANT_B, TENANT_GPU, two_tenant
from scrip.evidence import Result, Sample, seal
from tests.unit.replay_gpu import HandClock, simulated

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32
GPU, GPU2 = "GPU-0", "GPU-1"
MS = 1_000_000


def job(*rows: tuple[str, str, str, int, int], source: str = "nvml") -> list[Sample]:
    """Samples from (edge, device, metric, ms, value)."""
    return [
        Sample(seq, 1_700_000_000_000 + ms, ms * MS, edge, source, device, metric, value)
        for seq, (edge, device, metric, ms, value) in enumerate(rows)
    ]


def gpu_job(*energies: int, gpu: str = GPU, source: str = "nvml") -> list[Sample]:
    """A lease of one GPU whose counter is read every 1000 ms."""
    last = (len(energies) - 1) * 1000
    edges = ["start", *["tick"] * (len(energies) - 2), "end"]
    rows = [("start", gpu, "lease_ms", 0, 0)]
    rows += [
        (edge, gpu, "energy_mj", i * 1000, mj)
        for i, (edge, mj) in enumerate(zip(edges, energies, strict=True))
    ]
    return job(*rows, ("end", gpu, "lease_ms", last, last), source=source)


HOST_JOB = job(("start", HOST, "lease_ms", 0, 0), ("end", HOST, "lease_ms", 900, 900))


# REFUSALS


def test_attribute__no_samples__raises() -> None:
    with pytest.raises(AttributionError, match="no samples"):
        attribute(A, [])


@pytest.mark.parametrize(
    ("samples", "detail"),
    [
        (job(("end", HOST, "cpu_us", 1, 1)), "no lease_ms"),
        (HOST_JOB[:1], "'end': 0"),
        (HOST_JOB[1:], "'start': 0"),
        ([*HOST_JOB, *HOST_JOB], "'start': 2"),
        (job(("start", HOST, "lease_ms", 0, 5), ("end", HOST, "lease_ms", 9, 4)), "backwards"),
        ([*HOST_JOB, *job(("tick", HOST, "cpu_us", 1, 1))], "not read at the end edge"),
        ([*HOST_JOB, *job(("start", "m", "output_tokens", 1, 1))], "not read at the end edge"),
        ([*HOST_JOB, *job(("tick", HOST, "cpu_us", 1, 9), ("end", HOST, "cpu_us", 2, 8))], "went down"),
    ],
)
def test_attribute__edges_missing_or_totals_falling__raises(samples: list[Sample], detail: str) -> None:
    with pytest.raises(AttributionError, match=detail):
        attribute(A, samples)


def test_attribute__board_divided_without_this_job__raises() -> None:
    with pytest.raises(AttributionError, match="divided without this job"):
        attribute(A, gpu_job(0, 1), [Split(GPU, {B: 1}, 0, 0, shared=True)])


def test_split_board__tenant_without_that_board__raises() -> None:
    with pytest.raises(AttributionError, match=GPU2):
        split_board(GPU2, [Tenant(A, 0, tuple(gpu_job(0, 1)))])


# ONE JOB


def test_attribute__nothing_but_a_lease__the_rest_is_unknown_not_zero() -> None:
    assert attribute(A, HOST_JOB) == Usage(0, 0, None, None, None, None, 0, "none", simulated=False)


def test_attribute__all_there__end_values_and_counter_difference() -> None:
    samples = [
        *gpu_job(5000, 5400, 6000),
        *gpu_job(7, 7, 9, gpu=GPU2),
        *job(
            ("start", HOST, "cpu_us", 0, 40),
            ("end", HOST, "cpu_us", 2000, 900),
            ("end", "model", "input_tokens", 2000, 12),
            ("end", "model", "cached_tokens", 2000, 3),
            ("end", "model", "output_tokens", 2000, 80),
            ("end", "other", "output_tokens", 2000, 5),
        ),
    ]
    assert attribute(A, samples) == Usage(4000, 1002, 900, 12, 3, 85, 0, "exclusive", simulated=False)


def test_attribute__sealed_samples__same_usage() -> None:
    samples = gpu_job(0, 500)
    sealed = seal(samples, result=Result(0, None, "ok"), attempt=1, sku="nvidia-h100-80gb")
    assert attribute(A, sealed) == attribute(A, samples)


def test_attribute__simulated_source__is_labelled() -> None:
    assert attribute(A, gpu_job(0, 500, source="nvml-replay")).simulated
    assert not attribute(A, gpu_job(0, 500)).simulated


@pytest.mark.parametrize("missing", ["start", "end", "both", "one of two boards"])
def test_attribute__counter_unread_at_an_edge__energy_is_none_but_time_counts(missing: str) -> None:
    samples = gpu_job(100, 200, 300)
    gone = {"start", "end"} if missing == "both" else {missing}
    samples = [s for s in samples if s.metric != "energy_mj" or s.edge not in gone]
    if missing == "one of two boards":
        samples += [s for s in gpu_job(1, 2, 3, gpu=GPU2) if s.metric == "lease_ms"]
    usage = attribute(A, samples)
    assert (usage.energy, usage.gpu_millijoules) == ("none", 0)
    assert usage.gpu_ms == (4000 if missing == "one of two boards" else 2000)


def test_attribute__counter_reset__parts_before_and_after_are_added_and_flagged() -> None:
    usage = attribute(A, gpu_job(10_000, 10_400, 50, 250))
    assert (usage.gpu_millijoules, usage.energy_resets, usage.energy) == (400 + 200, 1, "exclusive")


def test_attribute__reading_races_the_counter__small_step_back_adds_nothing() -> None:
    usage = attribute(A, gpu_job(10_000, 10_400, 10_390, 10_500))
    assert (usage.gpu_millijoules, usage.energy_resets) == (500, 0)


# SHARING, BY HAND


def test_split__alone_then_together__idle_by_share_and_rest_by_weight() -> None:
    """1 s alone at 400 W, then 1 s together at 570 W with weights 60:40; idle is 70 W, shares 3:1."""
    reads = [Read(0, 0), Read(1000 * MS, 400_000), Read(2000 * MS, 970_000)]
    spans = [Span(A, 0, 2000 * MS, 3), Span(B, 1000 * MS, 2000 * MS, 1)]
    weights = [Weight(900 * MS, A, 90), Weight(1500 * MS, A, 60), Weight(1500 * MS, B, 40)]
    split = split_energy(GPU, reads, spans, weights, idle_mw=70_000)
    assert split.by_job == {A: 400_000 + 52_500 + 300_000, B: 17_500 + 200_000}
    assert (split.unattributed_mj, split.resets, split.shared) == (0, 0, True)


def test_split__nobody_there__stays_unattributed() -> None:
    reads = [Read(0, 100), Read(1000, 200), Read(2000, 300), Read(3000, 400)]
    split = split_energy(GPU, reads, [Span(A, 1000, 2000)])
    assert split == Split(GPU, {A: 100}, 200, 0, shared=False)


def test_split__job_comes_within_a_slice__slice_is_cut_there() -> None:
    split = split_energy(GPU, [Read(0, 0), Read(1000, 1000)], [Span(A, 250, 1000)])
    assert (split.by_job, split.unattributed_mj) == ({A: 750}, 250)


def test_split__no_sample_in_a_slice__last_weights_hold() -> None:
    reads = [Read(0, 0), Read(1000, 100), Read(2000, 200)]
    spans = [Span(A, 0, 2000), Span(B, 0, 2000)]
    weights = [Weight(500, A, 30), Weight(500, B, 10)]
    assert split_energy(GPU, reads, spans, weights).by_job == {A: 150, B: 50}


def test_split__process_left_out_of_some_rounds__used_nothing_in_them() -> None:
    spans = [Span(A, 0, 1000), Span(B, 0, 1000)]
    weights = [Weight(100, A, 50), Weight(200, A, 50), Weight(200, B, 50), Weight(0, B, 99)]
    assert split_energy(GPU, [Read(0, 0), Read(1000, 300)], spans, weights).by_job == {A: 200, B: 100}


@pytest.mark.parametrize("reads", [[], [Read(5, 100)]])
def test_split__fewer_than_two_readings__nothing_to_divide(reads: list[Read]) -> None:
    assert split_energy(GPU, reads, [Span(A, 0, 9)]) == Split(GPU, {A: 0}, 0, 0, shared=False)


def test_split_board__two_recordings__edges_of_each_are_readings_for_both() -> None:
    a, b = gpu_job(0, 100, 200, 300), gpu_job(150, 250)
    tenants = [Tenant(A, 0, tuple(a)), Tenant(B, 1500 * MS, tuple(b))]
    split = split_board(GPU, tenants)
    assert split.by_job == {A: 250, B: 50}
    usage = attribute(A, a, [split])
    assert (usage.gpu_millijoules, usage.energy, usage.unattributed_mj) == (250, "shared", 0)
    assert attribute(B, b, [split, Split(GPU2, {}, 9, 0, shared=True)]).gpu_millijoules == 50


# EXACTNESS


@given(total=st.integers(0, 10**15), weights=st.lists(st.integers(0, 10**9), max_size=8))
def test_apportion__any_split__sums_exactly_and_is_within_one_of_the_share(
    total: int, weights: list[int]
) -> None:
    parts = apportion(total, weights)
    assert len(parts) == len(weights)
    assert all(part >= 0 for part in parts)
    if weights:
        assert sum(parts) == total
    if any(weights):
        whole = sum(weights)
        assert all(abs(part * whole - total * w) < whole for part, w in zip(parts, weights, strict=True))


@given(total=st.integers(0, 1000), weight=st.integers(1, 10), count=st.integers(1, 9))
def test_apportion__equal_weights__differ_by_one_at_most(total: int, weight: int, count: int) -> None:
    parts = apportion(total, [weight] * count)
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


times = st.integers(0, 10**11)
energies = st.integers(0, 10**13)
jobs = st.sampled_from([A, B, C])
spans_of_jobs = st.lists(
    st.tuples(jobs, times, times, st.integers(0, 4)).map(
        lambda t: Span(t[0], min(t[1:3]), max(t[1:3]), t[3])
    ),
    max_size=3,
    unique_by=lambda span: span.job_id,
)
weight_lists = st.lists(st.builds(Weight, times, jobs, st.integers(0, 100)), max_size=12)


@given(
    start=energies,
    steps=st.lists(st.tuples(times, st.integers(0, 10**7)), max_size=10, unique_by=lambda step: step[0]),
    spans=spans_of_jobs,
    weights=weight_lists,
    idle_mw=st.integers(0, 10**6),
)
def test_split__counter_only_rises__jobs_and_rest_sum_to_the_difference(
    start: int, steps: list[tuple[int, int]], spans: list[Span], weights: list[Weight], idle_mw: int
) -> None:
    counter, reads = start, []
    for at, step in sorted(steps):
        counter += step
        reads.append(Read(at, counter))
    split = split_energy(GPU, reads, spans, weights, idle_mw=idle_mw)
    difference = reads[-1].energy_mj - reads[0].energy_mj if reads else 0
    assert sum(split.by_job.values()) + split.unattributed_mj == difference
    assert split.resets == 0
    assert all(mj >= 0 for mj in (*split.by_job.values(), split.unattributed_mj))
    assert set(split.by_job) == {span.job_id for span in spans}


@given(
    segments=st.lists(st.lists(st.integers(1, 10**6), max_size=5), min_size=1, max_size=4),
    spans=spans_of_jobs,
    weights=weight_lists,
)
def test_split__counter_resets__sums_to_what_was_counted_between_resets(
    segments: list[list[int]], spans: list[Span], weights: list[Weight]
) -> None:
    """Each segment begins at a third of where the last one ended, as after a driver reload."""
    reads: list[Read] = []
    expected = 0
    for steps in segments:
        first = counter = reads[-1].energy_mj // 3 if reads else 10**7
        for step in (0, *steps):
            counter += step
            reads.append(Read(len(reads) * 10**9, counter))
        expected += counter - first
    split = split_energy(GPU, reads, spans, weights)
    assert split.resets == len(segments) - 1
    assert sum(split.by_job.values()) + split.unattributed_mj == expected


@given(st.lists(st.builds(Read, times, energies), max_size=12))
def test_slices__any_readings__never_negative_and_never_more_than_the_rises(reads: list[Read]) -> None:
    found = slices(reads)
    ordered = [read.energy_mj for read in sorted(reads, key=lambda read: read.at_ns)]
    rises = sum(max(0, after - before) for before, after in pairwise(ordered))
    assert all(counted >= 0 for _, _, counted, _ in found)
    assert sum(counted for _, _, counted, _ in found) <= rises


# AGAINST THE TRACE


def record_tenants(nvml: Nvml, clock: HandClock, tick_ms: int) -> tuple[list[Tenant], list[Weight]]:
    """As a daemon would: a recorder per job, edges as jobs come and go, ticks at a phase of their own."""
    leases = {pid: (A if pid == TENANT_A.pid else B) for pid in (TENANT_A.pid, TENANT_B.pid)}
    recorders: dict[int, Recorder] = {}
    tenants: list[Tenant] = []
    weights: list[Weight] = []
    seen_us = 0
    starts = {tenant.start_ms: tenant for tenant in (TENANT_A, TENANT_B)}
    ends = {tenant.end_ms: tenant for tenant in (TENANT_A, TENANT_B)}
    for ms in sorted({*starts, *ends, *range(37, TENANT_A.end_ms, tick_ms)}):
        clock.set(ms)
        if ms in ends:
            pid = ends[ms].pid
            ended = SimpleNamespace(reason="ok", duration_ns=(ms - ends[ms].start_ms) * MS, rusage=(0, 0, 0))
            recorder = recorders.pop(pid)
            tenants.append(Tenant(leases[pid], recorder.started_mono_ns, tuple(recorder.end(ended))))
        for recorder in recorders.values():
            recorder.tick()
        if ms in starts:
            pid = starts[ms].pid
            lease = Lease(leases[pid], pid, 2**22 + 1, None, (TENANT_GPU,), Path("/nonexistent"))
            recorders[pid] = Recorder(lease, [NvmlMeter(nvml)], clock, period_s=None)
            recorders[pid].start()
        for util in nvml.process_utils(TENANT_GPU, seen_us):
            seen_us = max(seen_us, util.at_us)
            weights.append(Weight(util.at_us * 1000, leases[util.pid], util.sm_pct))
    return tenants, weights


@pytest.mark.parametrize("tick_ms", [100, 1000, 5000])
def test_two_tenants__each_tick_rate__energy_within_5_percent_of_truth(tmp_path: Path, tick_ms: int) -> None:
    truth = two_tenant()[1]
    with simulated(tmp_path, STEADY_TRACE.with_name("two_tenant.trace")) as (nvml, clock):
        tenants, weights = record_tenants(nvml, clock, tick_ms)
    split = split_board(TENANT_GPU, tenants, weights, idle_mw=IDLE_MW)
    usages = {tenant.job_id: attribute(tenant.job_id, tenant.samples, [split]) for tenant in tenants}
    for tenant, job_id in ((TENANT_A, A), (TENANT_B, B)):
        usage = usages[job_id]
        error = usage.gpu_millijoules / truth[tenant.pid] - 1
        assert abs(error) < 0.05, f"{error:+.2%}, {usage}"
        assert usage.gpu_ms == tenant.end_ms - tenant.start_ms
        assert (usage.energy, usage.simulated) == ("shared", True)
    reads = [s.value for tenant in tenants for s in tenant.samples if s.metric == "energy_mj"]
    assert sum(usage.gpu_millijoules for usage in usages.values()) + split.unattributed_mj == max(
        reads
    ) - min(reads)


def test_two_tenants__alone_on_the_board__is_exclusive(tmp_path: Path) -> None:
    with simulated(tmp_path, STEADY_TRACE.with_name("two_tenant.trace")) as (nvml, clock):
        tenants, _ = record_tenants(nvml, clock, 1000)
    split = split_board(TENANT_GPU, [replace(tenants[1])])
    assert not split.shared
    assert attribute(A, tenants[1].samples, [split]).energy == "exclusive"
