"""Attribution: what one job's samples say, and nothing where they say nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attribution import AttributionError, Usage, attribute, slices
from oracle.telemetry.base import HOST
from scrip.evidence import Result, Sample, seal

A = b"a" * 32
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


# ONE JOB


def test_attribute__nothing_but_a_lease__the_rest_is_unknown_not_zero() -> None:
    assert attribute(A, HOST_JOB) == Usage(0, 0, None, None, None, None, "none", simulated=False)


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
    assert attribute(A, samples) == Usage(4000, 1002, 900, 12, 3, 85, "exclusive", simulated=False)


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


# MIG


def test_attribute__mig_slices_that_repeat_the_boards_counter__count_time_but_no_energy() -> None:
    """As dcgm-exporter does (NVIDIA/dcgm-exporter#317): adding them up would bill the board once a slice."""
    board, one, two = "GPU-0", "MIG-1a", "MIG-1b"
    samples = [*gpu_job(0, 500, 900, gpu=one), *gpu_job(0, 500, 900, gpu=two)]
    samples += [s for s in gpu_job(0, 500, 900, gpu=board) if s.metric == "energy_mj"]
    usage = attribute(A, samples)
    assert (usage.gpu_ms, usage.gpu_millijoules, usage.energy) == (4000, 0, "none")


def test_attribute__a_mig_slice_beside_a_whole_board__energy_is_unknown_not_half_known() -> None:
    usage = attribute(A, [*gpu_job(0, 500, 900), *gpu_job(0, 500, 900, gpu="MIG-1a")])
    assert (usage.gpu_millijoules, usage.energy) == (0, "none")


# KEPT AND MOVED


def stored(*rows: tuple[str, int, int]) -> list[Sample]:
    """Samples of `stored_bytes` from (edge, ms, bytes), with a lease around them."""
    return HOST_JOB + job(*((edge, "content", "stored_bytes", ms, value) for edge, ms, value in rows))


@pytest.mark.parametrize("rows", [[("start", 0, 5)], [("start", 0, 5), ("tick", 9, 5)], [("end", 9, 5)]])
def test_stored__an_edge_missing__raises(rows: list[tuple[str, int, int]]) -> None:
    with pytest.raises(AttributionError, match="stored_bytes of content was not read at both edges"):
        attribute(A, stored(*rows))


def test_stored__comes_grows_and_goes__counts_the_smaller_of_two_readings_times_time() -> None:
    samples = stored(
        ("start", 0, 0), ("tick", 100, 70), ("tick", 200, 50), ("tick", 300, 50), ("end", 500, 0)
    )
    assert attribute(A, samples).stored_byte_ns == (50 + 50) * 100 * MS


def test_stored__beyond_64_bits__is_exact() -> None:
    """A petabyte for a month, near what a sample can hold."""
    month_ms, size = 30 * 86_400_000, 10**15 + 1
    samples = stored(("start", 0, size), ("end", month_ms, size))
    assert attribute(A, samples).stored_byte_ns == size * month_ms * MS


def test_moved__is_the_end_value() -> None:
    samples = HOST_JOB + job(("start", "m", "moved_bytes", 0, 0), ("end", "m", "moved_bytes", 9, 123))
    assert attribute(A, samples).moved_bytes == 123


# THE COUNTER


@given(st.lists(st.integers(0, 10**13), max_size=12))
def test_slices__any_readings__never_negative_and_never_more_than_the_rises(readings: list[int]) -> None:
    found = slices(readings)
    rises = sum(max(0, after - before) for before, after in pairwise(readings))
    assert len(found) == max(0, len(readings) - 1)
    assert all(counted >= 0 for counted, _ in found)
    assert sum(counted for counted, _ in found) <= rises


@given(segments=st.lists(st.lists(st.integers(1, 10**6), max_size=5), min_size=1, max_size=4))
def test_slices__counter_resets__sums_to_what_was_counted_between_resets(segments: list[list[int]]) -> None:
    """Each segment begins at a third of where the last one ended, as after a driver reload."""
    readings: list[int] = []
    expected = 0
    for steps in segments:
        first = counter = readings[-1] // 3 if readings else 10**7
        for step in (0, *steps):
            counter += step
            readings.append(counter)
        expected += counter - first
    found = slices(readings)
    assert sum(counted for counted, _ in found) == expected
    assert sum(was_reset for _, was_reset in found) == len(segments) - 1
