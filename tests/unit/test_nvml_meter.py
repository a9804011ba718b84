"""What the meter reads of a GPU, a MIG device and a job's processes, and what it says of the energy counter."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from oracle.attribution import attribute
from oracle.telemetry.nvml import Accounted, GpuLost, NvmlMeter, ProcessUtil
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.replay.build import STEADY_TRACE
from oracle.telemetry.replay.generate import CARD_GPU, TENANT_GPU
from tests.unit.replay_gpu import GPU, HEAD, HandClock, lease, simulated

BUSY = HEAD + "read 0 0 1000 300000 80 40\nproc 0 0 41 1024 80 40\n"
OK = SimpleNamespace(reason="ok", duration_ns=10**18, rusage=(0, 0, 0))
BOARD_ONLY = {"energy_mj", "power_mw", "util_pct", "process_sm_pct", "accounting"}


def values(readings: list[Any]) -> dict[str, int]:
    return {reading.metric: reading.value for reading in readings}


def reasons(meter: NvmlMeter, metric: str) -> list[str]:
    return [note.reason for note in meter.notes() if note.metric == metric]


def constant(power_mw: int, counted_pct: int, seconds: int = 20) -> str:
    """A board at constant power whose counter counts so many percent of it."""
    rows = [
        f"read {s * 1000} 0 {5000 + s * power_mw * counted_pct // 100} {power_mw} 9 9"
        for s in range(seconds + 1)
    ]
    return HEAD + "\n".join(rows) + "\n"


# READINGS


def test_meter__gpu_is_not_here__raises(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _), pytest.raises(NvmlFailed, match="GPU-elsewhere"):
        NvmlMeter(nvml).start(lease("GPU-elsewhere"))


def test_meter__exclusive_gpu__reads_counter_power_use_and_presence(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY + "read 1000 0 301000 310000 100 40\n") as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41}.__contains__)
        start = meter.start(lease(GPU))
        clock.set(1000)
        end = meter.end(OK)
        assert meter.simulated
    assert values(start) == {"energy_mj": 1000, "power_mw": 300_000, "util_pct": 80, "process_present": 1}
    assert values(end) == {"energy_mj": 301_000, "power_mw": 310_000, "util_pct": 100}
    assert {(reading.source, reading.device) for reading in start + end} == {("nvml-replay", GPU)}
    assert meter.notes() == ()


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
        (note,) = meter.notes()
    assert read == [40, 90]
    assert "fell from 1000 to 40" in note.reason


@pytest.mark.parametrize("uuid", [GPU, "MIG-00000000-0000-4000-8000-000000000000"])
def test_meter__mig__board_figures_are_left_out(tmp_path: Path, uuid: str) -> None:
    with simulated(tmp_path, BUSY + "mig 0 0 1\n") as (nvml, _):
        meter = NvmlMeter(nvml)
        assert meter.start(lease(uuid)) == []
        assert meter.end(OK) == []
        assert {note.metric for note in meter.notes()} >= {"energy_mj", "power_mw"}


def test_meter__mig_off__reads(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY + "mig 0 0 0\n") as (nvml, _):
        assert values(NvmlMeter(nvml).start(lease(GPU)))["energy_mj"] == 1000


def test_meter__no_gpu_leased__reads_nothing(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        meter = NvmlMeter(nvml)
        assert meter.start(lease()) + meter.tick() + meter.end(OK) == []


# PROCESSES


def test_util__beyond_100__is_clamped(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "read 0 0 1 2 250 4\nproc 5 0 41 1 250 4\n") as (nvml, clock):
        clock.set(5)
        assert nvml.util_pct(GPU) == 100
        assert nvml.process_utils(GPU, 0) == (ProcessUtil(41, 5000, 100),)


def test_process_utils__none_newer__is_empty(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "proc 5 0 41 1 9 9\n") as (nvml, clock):
        assert nvml.process_utils(GPU, 0) == ()
        clock.set(9)
        assert nvml.process_utils(GPU, 5000) == ()


def test_process_utils__binding_raises_success__is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nvidia-ml-py 13.615 raises NVMLError(0) where its sizing call finds no process."""

    def raise_success(*_: object) -> Any:
        raise pynvml.NVMLError(pynvml.NVML_SUCCESS)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", raise_success)
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert nvml.process_utils(GPU, 0) == ()


def test_process_utils__process_starts_between_the_two_calls__asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = pynvml.nvmlDeviceGetProcessUtilization, [7, 7]

    def racing(*arguments: object) -> Any:
        if failures:
            raise pynvml.NVMLError(failures.pop())
        return real(*arguments)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", racing)
    with simulated(tmp_path, HEAD + "proc 5 0 41 1 9 9\n") as (nvml, clock):
        clock.set(9)
        assert [util.pid for util in nvml.process_utils(GPU, 0)] == [41]
        failures.extend([7] * 3)
        assert nvml.process_utils(GPU, 0) == ()


def test_process_utils__stale_samples__are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = [SimpleNamespace(pid=41, timeStamp=stamp, smUtil=50) for stamp in (10, 20, 30)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", lambda *_: stale)
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert [util.at_us for util in nvml.process_utils(GPU, 20)] == [30]
