"""GPU metering through nvidia-ml-py's real ctypes path, against the replay library with injected errors."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from oracle.telemetry import nvml as nvml_module
from oracle.telemetry.nvml import (
    REPLAY_VERSION,
    Gpu,
    GpuLost,
    MetricAbsent,
    Nvml,
    NvmlFailed,
    NvmlMeter,
    NvmlUnavailable,
    ProcessUtil,
    Replay,
)
from oracle.telemetry.replay.build import STEADY_TRACE
from oracle.telemetry.replay.generate import CARD_GPU, TENANT_GPU
from tests.unit.replay_gpu import GPU, HEAD, lease, simulated

BUSY = HEAD + "read 0 0 1000 300000 80 40\nproc 0 0 41 1024 80 40\n"
OK = SimpleNamespace(reason="ok", duration_ns=1, rusage=(0, 0, 0))
ENERGY, POWER = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"
UTIL, PROCESSES = "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetComputeRunningProcesses_v3"
ABSENT_CODES, LOST_CODES, OTHER_CODES = (3, 4, 13), (1, 9, 15, 16, 18, 999), (2, 6, 7, 10, 17)


def values(readings: list[Any]) -> dict[str, int]:
    return {reading.metric: reading.value for reading in readings}


# THE LIBRARY


@pytest.mark.parametrize(("code", "reason"), [(4, "permission"), (9, "not loaded"), (18, "versions differ")])
def test_open__nvml_does_not_start__says_why(tmp_path: Path, code: int, reason: str) -> None:
    text = HEAD + f"fail 0 * nvmlInitWithFlags {code}\n"
    with pytest.raises(NvmlUnavailable, match=rf"code {code}\).*{reason}"), simulated(tmp_path, text):
        pass


def test_open__replay_in_use__is_refused(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY), pytest.raises(NvmlUnavailable, match="in use"):
        Nvml.open(Replay(STEADY_TRACE))


def test_open__unofficial_binding__is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    impostor = tmp_path / "pynvml.py"
    impostor.touch()
    monkeypatch.setattr(pynvml, "__file__", str(impostor))
    with pytest.raises(NvmlUnavailable, match=r"not from nvidia-ml-py.*pip uninstall pynvml"):
        Nvml.open()


def test_open__binding_not_installed__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> Any:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(NvmlUnavailable, match="pip install nvidia-ml-py"):
        Nvml.open()


def test_open__driver_answers_instead_of_the_replay__is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the driver's library was loaded into the process first."""
    monkeypatch.setattr(nvml_module, "_REPLAY_SYMBOL", "no_such_symbol")
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.65.06")
    with pytest.raises(NvmlUnavailable, match="driver's NVML loaded already"), simulated(tmp_path, BUSY):
        pass
    monkeypatch.undo()
    with simulated(tmp_path, BUSY) as (nvml, _):  # and it was released
        assert nvml.simulated


@pytest.mark.parametrize("lost_mark", ["symbol", "version"])
def test_simulated__one_mark_lost__still_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_mark: str
) -> None:
    if lost_mark == "symbol":
        monkeypatch.setattr(nvml_module, "_REPLAY_SYMBOL", "no_such_symbol")
    else:
        monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.65.06")
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert nvml.simulated


def test_open__replay__is_labelled_and_lists_its_gpus(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert (nvml.simulated, nvml.source, nvml.driver) == (True, "nvml-replay", REPLAY_VERSION)
        assert nvml.gpus() == (Gpu(GPU, "Test GPU"),)


# ERRORS


@pytest.mark.parametrize("code", ABSENT_CODES)
@pytest.mark.parametrize(
    ("symbol", "metric"),
    [(ENERGY, "energy_mj"), (POWER, "power_mw"), (UTIL, "util_pct"), (PROCESSES, "process_present")],
)
def test_meter__not_offered__metric_is_left_out_with_the_reason(
    tmp_path: Path, symbol: str, metric: str, code: int
) -> None:
    with simulated(tmp_path, BUSY + f"fail 0 0 {symbol} {code}\n") as (nvml, _):
        meter = NvmlMeter(nvml)
        read = values(meter.start(lease(GPU)))
        assert set(read) == {"energy_mj", "power_mw", "util_pct", "process_present"} - {metric}
        (note,) = meter.notes()
    assert (note.source, note.device, note.metric) == ("nvml-replay", GPU, metric)
    assert note.reason


@pytest.mark.parametrize("code", LOST_CODES)
@pytest.mark.parametrize("symbol", [ENERGY, POWER, UTIL, PROCESSES])
def test_meter__gpu_lost_while_running__raises(tmp_path: Path, symbol: str, code: int) -> None:
    with simulated(tmp_path, BUSY + f"fail 50 0 {symbol} {code}\n") as (nvml, clock):
        meter = NvmlMeter(nvml)
        meter.start(lease(GPU))
        clock.set(50)
        with pytest.raises(GpuLost) as caught:
            meter.tick()
    assert caught.value.code == code


@pytest.mark.parametrize("code", OTHER_CODES)
def test_meter__call_fails_otherwise__raises_and_is_no_loss(tmp_path: Path, code: int) -> None:
    text = BUSY + f"fail 0 0 {ENERGY} {code}\n"
    with simulated(tmp_path, text) as (nvml, _), pytest.raises(NvmlFailed) as caught:
        NvmlMeter(nvml).start(lease(GPU))
    assert not isinstance(caught.value, GpuLost)
    assert caught.value.code == code


def test_meter__gpu_is_not_here__raises(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _), pytest.raises(NvmlFailed, match="GPU-elsewhere"):
        NvmlMeter(nvml).start(lease("GPU-elsewhere"))


@pytest.mark.parametrize(
    "symbol", ["nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"]
)
def test_gpus__lost__raises(tmp_path: Path, symbol: str) -> None:
    with simulated(tmp_path, BUSY + f"fail 0 * {symbol} 15\n") as (nvml, _), pytest.raises(GpuLost):
        nvml.gpus()


# READINGS


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


def test_util__beyond_100__is_clamped(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "read 0 0 1 2 250 4\nproc 5 0 41 1 250 4\n") as (nvml, clock):
        clock.set(5)
        assert nvml.util_pct(GPU) == 100
        assert nvml.process_utils(GPU, 0) == (ProcessUtil(41, 5000, 100),)


# PER-PROCESS SAMPLES


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


@pytest.mark.parametrize(("code", "error"), [(3, MetricAbsent), (15, GpuLost), (2, NvmlFailed)])
def test_process_utils__fails__raises(tmp_path: Path, code: int, error: type[Exception]) -> None:
    text = BUSY + f"fail 0 0 nvmlDeviceGetProcessUtilization {code}\n"
    with simulated(tmp_path, text) as (nvml, _), pytest.raises(error):
        nvml.process_utils(GPU, 0)
