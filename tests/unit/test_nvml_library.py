"""Starting NVML, losing it, starting it again; what GPUs there are. Through nvidia-ml-py's ctypes path."""

from __future__ import annotations

import threading
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from oracle.telemetry.base import RecordingFailed
from oracle.telemetry.nvml import (
    REPLAY_VERSION,
    Gpu,
    GpuLost,
    Nvml,
    NvmlMeter,
    NvmlUnavailable,
    Replay,
    library,
)
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.replay.build import STEADY_TRACE
from tests.unit.replay_gpu import GPU, HEAD, lease, simulated

BUSY = HEAD + "read 0 0 1000 300000 80 40\nproc 0 0 41 1024 80 40\n"
OTHER = "GPU-00000000-0000-4000-8000-000000000001"
OK = SimpleNamespace(reason="ok", duration_ns=10**18, rusage=(0, 0, 0))


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
    monkeypatch.setattr(library, "_REPLAY_SYMBOL", "no_such_symbol")
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
        monkeypatch.setattr(library, "_REPLAY_SYMBOL", "no_such_symbol")
    else:
        monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.65.06")
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert nvml.simulated


def test_open__replay__is_labelled_and_lists_its_gpus(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert (nvml.simulated, nvml.source, nvml.driver) == (True, "nvml-replay", REPLAY_VERSION)
        assert nvml.gpus() == (Gpu(GPU, "Test GPU", 85899345920),)


@pytest.mark.parametrize(
    ("symbol", "code"),
    [("nvmlDeviceGetCount_v2", 15), ("nvmlDeviceGetHandleByIndex_v2", 9), ("nvmlDeviceGetUUID", 18)],
)
def test_gpus__driver_lost__raises(tmp_path: Path, symbol: str, code: int) -> None:
    with simulated(tmp_path, BUSY + f"fail 0 * {symbol} {code}\n") as (nvml, _), pytest.raises(GpuLost):
        nvml.gpus()


def test_gpus__memory_unknown__is_listed_without(tmp_path: Path) -> None:
    """As where CPU and GPU share one memory."""
    with simulated(tmp_path, BUSY + "fail 0 0 nvmlDeviceGetMemoryInfo 3\n") as (nvml, _):
        assert nvml.gpus() == (Gpu(GPU, "Test GPU", 0),)


@pytest.mark.parametrize("code", [15, 16])
@pytest.mark.parametrize("symbol", ["nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo"])
def test_gpus__one_board_lost__others_are_listed(tmp_path: Path, symbol: str, code: int) -> None:
    text = BUSY + f"gpu 1 {OTHER} 1024 - Other\nfail 0 0 {symbol} {code}\n"
    with simulated(tmp_path, text) as (nvml, _):
        assert [gpu.uuid for gpu in nvml.gpus()] == [OTHER]


def test_gpus__mig_divides_a_board__its_devices_stand_for_it(tmp_path: Path) -> None:
    text = HEAD + f"gpu 1 {OTHER} 1024 - Whole GPU\nmig 0 0 1\nslice 0 3 0 512 MIG-a\nslice 0 5 0 512 MIG-b\n"
    with simulated(tmp_path, text) as (nvml, _):
        assert [gpu.uuid for gpu in nvml.gpus()] == ["MIG-a", "MIG-b", OTHER]


# LOSS AND RETURN


def test_lost_gpu__running_job_is_lost_with_the_reason__next_one_works(tmp_path: Path) -> None:
    """The GPU stays lost for this initialisation, however long one waits: only a new one brings it back."""
    with simulated(tmp_path, BUSY + "read 5000 0 9000 300000 80 40\nlost 1000 0 15\n") as (nvml, clock):
        first = Recorder(lease(GPU), [NvmlMeter(nvml, clock=clock)], clock, period_s=None)
        first.start()
        clock.set(2000)
        first.tick()
        clock.set(5000)
        with pytest.raises(RecordingFailed, match=r"code 15 \(the GPU fell off the bus\)"):
            first.end(OK)
        with pytest.raises(GpuLost):
            nvml.energy_mj(GPU)
        second = Recorder(lease(GPU), [NvmlMeter(nvml, clock=clock)], clock, period_s=None)
        second.start()
        assert [s.value for s in second.end(OK) if s.metric == "energy_mj"] == [9000, 9000]
        assert nvml.generation == 1


def test_lost_gpu__others_go_on_through_the_new_initialisation(tmp_path: Path) -> None:
    text = BUSY + f"gpu 1 {OTHER} 1024 - Other\nread 0 1 70 1 1 1\ngpm 0 1 - 50 20 30\nlost 1000 0 15\n"
    with simulated(tmp_path, text) as (nvml, clock):
        healthy = NvmlMeter(nvml, clock=clock)
        healthy.start(lease(OTHER))
        clock.set(1000)
        with pytest.raises(GpuLost):
            NvmlMeter(nvml, clock=clock).start(lease(GPU))
        NvmlMeter(nvml, clock=clock).start(lease(GPU))
        seen = []
        for ms in (2000, 3000):
            clock.set(ms)
            seen.append({reading.metric: reading.value for reading in healthy.tick()})
    assert [tick["energy_mj"] for tick in seen] == [70, 70]
    assert "gpm_sm_pct" not in seen[0]  # its first sample was of the initialisation before
    assert seen[1]["gpm_sm_pct"] == 50
    assert not [note for note in healthy.notes() if "left out once" in note.reason]


@pytest.mark.parametrize("code", [1, 3, 4, 6, 7, 9, 12, 13, 15, 16, 18, 999])
def test_lost_driver__does_not_come_back__is_lost_until_it_does(tmp_path: Path, code: int) -> None:
    text = BUSY + f"lost 1000 * 9\nfail 1500 * nvmlInitWithFlags {code}\nfail 3000 * nvmlInitWithFlags 0\n"
    with simulated(tmp_path, text) as (nvml, clock):
        clock.set(1000)
        with pytest.raises(GpuLost, match="not loaded"):
            nvml.energy_mj(GPU)
        for ms in (2000, 2500):
            clock.set(ms)
            with pytest.raises(GpuLost, match=r"does not start again.*before: .*not loaded") as caught:
                NvmlMeter(nvml).start(lease(GPU))
            assert caught.value.code == code
        clock.set(3000)
        assert NvmlMeter(nvml).start(lease(GPU))


def test_lost_gpu__gone_after_the_new_initialisation__is_lost(tmp_path: Path) -> None:
    text = BUSY + "fail 100 * nvmlDeviceGetHandleByUUID 6\nlost 50 0 15\n"
    with simulated(tmp_path, text) as (nvml, clock):
        NvmlMeter(nvml).start(lease(GPU))
        clock.set(100)
        with pytest.raises(GpuLost, match="fell off"):
            nvml.energy_mj(GPU)
        with pytest.raises(GpuLost, match="no GPU or MIG device of this UUID"):
            NvmlMeter(nvml).start(lease(GPU))


def test_revive__nothing_lost__does_not_initialise_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: pytest.fail("initialised again"))
        NvmlMeter(nvml).start(lease(GPU))


def test_revive__calls_of_other_threads__never_meet_a_library_that_is_down(tmp_path: Path) -> None:
    with simulated(tmp_path, BUSY) as (nvml, _):
        problems: list[Exception] = []

        def read() -> None:
            try:
                for _ in range(200):
                    nvml.energy_mj(GPU)
            except Exception as problem:
                problems.append(problem)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            nvml.failed("any", GPU, 15)
            nvml.revive()
        for thread in threads:
            thread.join()
        assert problems == []
        assert nvml.generation == 50
