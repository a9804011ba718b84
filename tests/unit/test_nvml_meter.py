"""What the meter reads of a GPU and a MIG device, and how it judges the energy counter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pynvml
import pytest

from oracle.attribution import attribute
from oracle.telemetry.nvml import GpuLost, NvmlMeter, fields
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.replay.build import STEADY_TRACE
from oracle.telemetry.replay.generate import CARD_GPU, TENANT_GPU
from tests.unit.replay_gpu import BUSY, GPU, HEAD, OK, HandClock, lease, reasons, simulated, values

BOARD_ONLY = {"energy_mj", "power_mw", "util_pct", "process_sm_pct", "accounting"}


def constant(power_mw: int, counted_pct: int, seconds: int = 20) -> str:
    """A board at constant power whose counter counts so many percent of it."""
    rows = [
        f"read {s * 1000} 0 {5000 + s * power_mw * counted_pct // 100} {power_mw} 9 9"
        for s in range(seconds + 1)
    ]
    return HEAD + "\n".join(rows) + "\n"


# READINGS


def test_meter__gpu_is_not_here__raises(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _), pytest.raises(GpuLost, match="GPU-elsewhere"):
        NvmlMeter(nvml).start(lease("GPU-elsewhere"))


def test_meter__exclusive_gpu__reads_counter_power_use_and_presence(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY + "read 1000 0 301000 310000 100 40\n") as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41}.__contains__)
        start = meter.start(lease(GPU))
        clock.set(1000)
        end = meter.end(OK)
        assert meter.simulated
    now = {"energy_mj": 1000, "power_mw": 300_000, "util_pct": 80, "memory_bytes": 1024}
    assert values(start) == {**now, "process_present": 1}
    later = {"energy_mj": 301_000, "power_mw": 310_000, "util_pct": 100, "memory_bytes": 1024}
    assert values(end) == later  # nobody has been sampled, accounting is off, and there are no GPM counters
    assert {(reading.source, reading.device) for reading in start + end} == {("nvml-replay", GPU)}
    assert {note.metric for note in meter.notes()} == {"energy_mj", "accounting", "gpm"}


def test_meter__processes_of_others__are_not_counted(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert values(NvmlMeter(nvml).start(lease(GPU)))["process_present"] == 0


def test_meter__two_gpus__counters_are_read_before_all_else(tmp_path: Path) -> None:
    trace = STEADY_TRACE.with_name("two_tenant.trace")
    with simulated(tmp_path, trace) as (nvml, _):
        readings = NvmlMeter(nvml).start(lease(TENANT_GPU, CARD_GPU))
    assert [(r.device, r.metric) for r in readings[:2]] == [
        (TENANT_GPU, "energy_mj"),
        (TENANT_GPU, "power_mw"),
    ]
    assert [r.device for r in readings if r.metric == "energy_mj"] == [TENANT_GPU]  # the card has no counter


def test_meter__counter_falls__raw_value_is_kept_and_noted(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY + "read 100 0 40 300000 80 40\nread 200 0 90 300000 80 40\n") as (
        nvml,
        clock,
    ):
        meter = NvmlMeter(nvml)
        meter.start(lease(GPU))
        read = []
        for ms in (100, 200):
            clock.set(ms)
            read.append(values(meter.tick())["energy_mj"])
        (reason,) = reasons(meter, "energy_mj")
    assert read == [40, 90]
    assert "fell from 1000 to 40" in reason


def test_meter__long_lease__energy_is_read_at_each_tick_and_all_else_once_a_span(tmp_path: Path) -> None:
    rows = "".join(f"proc {ms} 0 41 1024 {sm} 0\n" for ms, sm in [(5500, 20), (7500, 30), (9500, 40)])
    text = BUSY + rows + "gpm 0 0 - 10 0 0\ngpm 7500 0 - 50 0 0\nread 20000 0 1000 300000 80 40\n"
    ticks = [1003, 2001, 3004, 4001, 5002, 6001, 7001, 8001, 9001, 10_001, 11_001, 12_001, 16_001]
    with simulated(tmp_path, text) as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41}.__contains__, clock=clock)
        meter.start(lease(GPU))
        read = {}
        for ms in ticks:
            clock.set(ms)
            read[ms] = values(meter.tick())
        clock.set(16_500)
        end = values(meter.end(OK))
    assert all({"energy_mj", "power_mw"} <= set(found) for found in read.values())
    # Each tick of the first span, then the first tick of a span, however late or early in it.
    full = [ms for ms, found in read.items() if set(found) > {"energy_mj", "power_mw"}]
    assert full == [1003, 2001, 3004, 4001, 5002, 10_001, 16_001]
    assert all({"util_pct", "memory_bytes", "process_present", "gpm_sm_pct"} <= set(read[ms]) for ms in full)
    # What happened between two of them is in the later one.
    assert (read[10_001]["process_sm_pct"], read[10_001]["gpm_sm_pct"]) == (30, 30)
    assert {"util_pct", "memory_bytes"} <= set(end)


def test_board__driver_without_field_values__is_read_call_by_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        monkeypatch.setattr(fields, "SYMBOL", "nvmlNotInThisDriver")
        assert nvml.board(GPU) == (1000, 300_000)


def test_meter__mig_off__reads(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY + "mig 0 0 0\n") as (nvml, _):
        assert values(NvmlMeter(nvml).start(lease(GPU)))["energy_mj"] == 1000


def test_meter__no_gpu_leased__reads_nothing(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        meter = NvmlMeter(nvml)
        assert meter.start(lease()) + meter.tick() + meter.end(OK) == []


# GPM AND MIG

SLICES = "mig 0 0 1\nslice 0 3 0 1048576 MIG-a\nslice 0 5 0 2097152 MIG-b\n"


def test_gpm__activity__is_the_mean_since_the_last_sample(tmp_path: Path) -> None:
    rows = "gpm 0 0 - 10 0 30\ngpm 500 0 - 90 40 30\ngpm 1500 0 - 0 0 0\n"
    with simulated(tmp_path, BUSY + rows) as (nvml, clock):
        meter = NvmlMeter(nvml, clock=clock)
        assert not [metric for metric in values(meter.start(lease(GPU))) if metric.startswith("gpm")]
        seen = []
        for ms in (1000, 1050, 2000):
            clock.set(ms)
            seen.append({m: v for m, v in values(meter.tick()).items() if m.startswith("gpm")})
    assert seen[0] == {"gpm_sm_pct": 50, "gpm_tensor_pct": 20, "gpm_dram_pct": 30}
    assert seen[1] == {}  # too soon after the last one
    assert seen[2] == {"gpm_sm_pct": 45, "gpm_tensor_pct": 20, "gpm_dram_pct": 15}


def test_gpm__looped_trace__goes_on_over_the_seam(tmp_path: Path) -> None:
    text = HEAD + "loop 1000\nread 0 0 0 1 1 1\nread 1000 0 1 1 1 1\ngpm 0 0 - 80 0 0\ngpm 500 0 - 20 0 0\n"
    with simulated(tmp_path, text) as (nvml, clock):
        clock.set(900)
        meter = NvmlMeter(nvml, clock=clock)
        meter.start(lease(GPU))
        clock.set(2100)  # 100 ms of 20 %, a whole loop of 50 %, 100 ms of 80 %
        assert values(meter.tick())["gpm_sm_pct"] == 50


def test_gpm__end__frees_what_was_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live: list[Any] = []
    alloc, free = pynvml.nvmlGpmSampleAlloc, pynvml.nvmlGpmSampleFree
    monkeypatch.setattr(pynvml, "nvmlGpmSampleAlloc", lambda: live.append(sample := alloc()) or sample)
    monkeypatch.setattr(pynvml, "nvmlGpmSampleFree", lambda sample: (live.remove(sample), free(sample)))
    with simulated(tmp_path, BUSY + "gpm 0 0 - 1 1 1\nlost 500 0 15\n") as (nvml, clock):
        for ms in (0, 500):
            meter = NvmlMeter(nvml, clock=clock)
            meter.start(lease(GPU))
            assert len(live) == 2
            clock.set(500)
            if ms == 0:
                with pytest.raises(GpuLost):
                    meter.end(OK)
            else:
                meter.end(OK)
            assert live == []


def test_mig__board__board_figures_are_left_out(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY + "acct 0 0 1\n" + SLICES) as (nvml, _):
        meter = NvmlMeter(nvml)
        read = values(meter.start(lease(GPU)) + meter.end(OK))
        assert set(read) == {"memory_bytes", "process_present"}
        assert {note.metric for note in meter.notes() if "MIG" in note.reason} == BOARD_ONLY


def test_mig__device__has_its_own_processes_memory_and_activity(tmp_path: Path) -> None:
    rows = "proc 0 0 41 1000 9 9 3\nproc 0 0 42 500 9 9 5\ngpm 0 0 3 60 10 20\ngpm 0 0 5 5 5 5\n"
    with simulated(tmp_path, HEAD + "read 0 0 1000 300000 80 40\n" + SLICES + rows) as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41, 42}.__contains__, clock=clock)
        start = values(meter.start(lease("MIG-a")))
        clock.set(1000)
        end = values(meter.end(OK))
    assert start == {"memory_bytes": 1000, "process_present": 1}
    assert end == {"memory_bytes": 1000, "gpm_sm_pct": 60, "gpm_tensor_pct": 10, "gpm_dram_pct": 20}
    assert {note.metric for note in meter.notes()} == BOARD_ONLY


def test_mig__lease__has_readings_at_both_edges_and_no_energy(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "read 0 0 1000 300000 80 40\n" + SLICES) as (nvml, clock):
        samples = recorded(NvmlMeter(nvml, clock=clock), clock, 3, "MIG-a")
    edges = {sample.edge for sample in samples if sample.source == "nvml-replay"}
    usage = attribute(b"\x11" * 32, samples)
    assert edges >= {"start", "end"}
    assert (usage.energy, usage.gpu_millijoules, usage.gpu_ms) == ("none", 0, 3000)


# ENERGY AGAINST POWER


def recorded(meter: NvmlMeter, clock: HandClock, seconds: int, *gpus: str) -> list[Any]:
    """The samples of a lease with a tick a second."""
    recorder = Recorder(lease(*gpus), [meter], clock, period_s=None)
    recorder.start()
    for second in range(1, seconds):
        clock.set(second * 1000)
        recorder.tick()
    clock.set(seconds * 1000)
    return recorder.end(OK)


@pytest.mark.parametrize("counted_pct", [95, 100, 105])
def test_energy__counter_agrees_with_power__is_taken_without_a_remark(
    tmp_path: Path, counted_pct: int
) -> None:
    with simulated(tmp_path, constant(400_000, counted_pct)) as (nvml, clock):
        meter = NvmlMeter(nvml, clock=clock)
        usage = attribute(b"\x11" * 32, recorded(meter, clock, 20, GPU))
    assert (usage.energy, usage.gpu_millijoules) == ("exclusive", 20 * 400_000 * counted_pct // 100)
    assert reasons(meter, "energy_mj") == []


def test_energy__counter_somewhat_off__is_taken_with_a_remark(tmp_path: Path) -> None:
    with simulated(tmp_path, constant(400_000, 75)) as (nvml, clock):
        meter = NvmlMeter(nvml, clock=clock)
        usage = attribute(b"\x11" * 32, recorded(meter, clock, 20, GPU))
    assert usage.gpu_millijoules == 6_000_000
    (reason,) = reasons(meter, "energy_mj")
    assert "the counter gives 6000000 mJ, power 8000000 mJ" in reason


@pytest.mark.parametrize("counted_pct", [0, 40, 200], ids=["stands still", "counts too little", "too much"])
def test_energy__counter_contradicts_power__is_refused_and_the_evidence_shows_it(
    tmp_path: Path, counted_pct: int
) -> None:
    with simulated(tmp_path, constant(400_000, counted_pct)) as (nvml, clock):
        meter = NvmlMeter(nvml, clock=clock)
        samples = recorded(meter, clock, 20, GPU)
    usage = attribute(b"\x11" * 32, samples)
    assert (usage.energy, usage.gpu_millijoules, usage.gpu_ms) == ("none", 0, 20_000)
    (refused,) = [sample for sample in samples if sample.metric == "energy_refused_mj"]
    assert (refused.edge, refused.value) == ("end", 5000 + 20 * 400_000 * counted_pct // 100)
    assert "not believed" in reasons(meter, "energy_mj")[0]


def test_energy__no_power_to_compare__is_taken_and_said(tmp_path: Path) -> None:
    fails = "fail 0 0 nvmlDeviceGetFieldValues 13\nfail 0 0 nvmlDeviceGetPowerUsage 3\n"
    with simulated(tmp_path, constant(400_000, 40) + fails) as (nvml, clock):
        meter = NvmlMeter(nvml, clock=clock)
        usage = attribute(b"\x11" * 32, recorded(meter, clock, 20, GPU))
    assert usage.gpu_millijoules == 3_200_000
    assert reasons(meter, "energy_mj") == ["the counter isn't checked: no power reading"]
