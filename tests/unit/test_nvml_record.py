"""`scrip oracle record`: what it writes plays back as what it read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oracle.telemetry.nvml import GpuLost, Nvml, NvmlMeter
from oracle.telemetry.nvml.record import RecordFailed, record
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.replay.build import STEADY_TRACE, build
from oracle.telemetry.replay.generate import CARD_GPU, H100, TENANT_A, TENANT_B, TENANT_GPU, TRACES
from tests.unit.replay_gpu import GPU, HEAD, HandClock, lease, simulated

OK = SimpleNamespace(reason="ok", duration_ns=10**18, rusage=(0, 0, 0))
SLICES = "mig 0 0 1\nslice 0 3 1 1048576 MIG-a\nslice 0 5 0 2097152 MIG-b\n"


def recorded(nvml: Nvml, clock: HandClock, out: Path, seconds: float, period_ms: int = 100) -> Path:
    """Record with time that passes only while the recorder waits."""
    record(
        nvml,
        out,
        seconds,
        period_ms=period_ms,
        clock=clock,
        wait=lambda s: clock.set(clock.ms + round(s * 1000)),
    )
    return out


def metered(tmp_path: Path, trace: str | Path, gpus: tuple[str, ...], pids: set[int], ms: int) -> Any:
    """What the oracle's own recorder makes of a trace: samples, and what was left out."""
    with simulated(tmp_path, trace) as (nvml, clock):
        meter = NvmlMeter(nvml, pids.__contains__, clock)
        recorder = Recorder(lease(*gpus), [meter], clock, period_s=None)
        recorder.start()
        for now in range(500, ms, 500):
            clock.set(now)
            recorder.tick()
        clock.set(ms)
        samples = [sample.to_json() for sample in recorder.end(OK)]
        return samples, {(note.device, note.metric, note.reason) for note in recorder.notes()}


def round_trip(tmp_path: Path, trace: str, gpus: tuple[str, ...], pids: set[int], ms: int) -> Any:
    """The samples of a trace, and of a recording of its replay."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first = metered(folders[0], trace, gpus, pids, ms)
    with simulated(folders[0], trace) as (nvml, clock):
        copy = recorded(nvml, clock, tmp_path / "copy.trace", ms / 1000)
    return first, metered(folders[1], copy, gpus, pids, ms)


def test_record__two_tenants__replays_to_the_same_figures(tmp_path: Path) -> None:
    extra = "acct 0 0 1\ngpm 0 0 - 10 0 20\ngpm 2000 0 - 90 50 60\ngpm 7000 0 - 30 5 6\n"
    pids = {TENANT_A.pid, TENANT_B.pid}
    first, second = round_trip(
        tmp_path, TRACES["two_tenant.trace"]() + extra, (TENANT_GPU, CARD_GPU), pids, 9_500
    )
    assert {sample["metric"] for sample in first[0]} >= {
        "energy_mj", "power_mw", "util_pct", "memory_bytes", "process_present", "process_sm_pct",
        "accounted_ms", "accounted_peak_bytes", "gpm_sm_pct", "gpm_tensor_pct", "gpm_dram_pct",
    }  # fmt: skip
    assert second == first


@pytest.mark.parametrize("leased", ["MIG-a", GPU])
def test_record__mig__replays_to_the_same_figures(tmp_path: Path, leased: str) -> None:
    rows = (
        "".join(f"proc {ms} 0 41 1000 9 9 3\n" for ms in (200, 1400))
        + "proc 1400 0 42 500 9 9 5\nexit 2000 0 42\n"
    )
    activity = "gpm 0 0 3 60 10 20\ngpm 1000 0 3 20 0 0\ngpm 0 0 5 5 5 5\ngpm 300 0 - 4 4 4\n"
    text = HEAD + "read 0 0 1000 300000 80 40\nacct 0 0 1\n" + SLICES + rows + activity
    first, second = round_trip(tmp_path, text, (leased,), {41, 42}, 4000)
    assert {sample["metric"] for sample in first[0]} >= {"memory_bytes", "process_present", "gpm_sm_pct"}
    assert second == first


def test_record__errors_come_and_go__the_recording_gives_them_too(tmp_path: Path) -> None:
    text = HEAD + (
        "read 0 0 1000 300000 80 40 7777\nfail 0 0 nvmlDeviceGetFieldValues:185 3\n"
        "fail 500 0 nvmlDeviceGetUtilizationRates 10\nfail 1500 0 nvmlDeviceGetUtilizationRates 0\n"
        "fail 0 0 nvmlGpmMetricsGet:5 3\ngpm 0 0 - 40 50 60\n"
    )
    first, second = round_trip(tmp_path, text, (GPU,), set(), 3000)
    assert {s["value"] for s in first[0] if s["metric"] == "memory_bytes"} == {7777}
    assert not [s for s in second[0] if s["metric"] == "gpm_tensor_pct"]
    assert second == first


def test_record__samples_between_two_rounds__keep_their_times(tmp_path: Path) -> None:
    text = (
        HEAD
        + "read 0 0 1000 300000 80 40\n"
        + "".join(f"proc {ms} 0 41 9 {ms} 0\n" for ms in (0, 30, 55, 170))
    )
    with simulated(tmp_path, text) as (nvml, clock):
        out = recorded(nvml, clock, tmp_path / "out.trace", 0.3)
    rows = [line.split() for line in out.read_text().splitlines() if line.startswith("proc")]
    assert [(row[1], row[5]) for row in rows] == [("0", "0"), ("30", "30"), ("55", "55"), ("170", "100")]


def test_record__gpu_lost__ends_the_recording_with_it(tmp_path: Path) -> None:
    out = tmp_path / "out.trace"
    with simulated(tmp_path, HEAD + "read 0 0 1000 300000 80 40\nlost 500 0 15\n") as (nvml, clock):
        with pytest.raises(GpuLost):
            recorded(nvml, clock, out, 3)
        assert "lost 500 0 15" in out.read_text().splitlines()
    with simulated(tmp_path, out) as (nvml, clock):
        clock.set(400)
        assert nvml.energy_mj(GPU) == 1000
        clock.set(500)
        with pytest.raises(GpuLost, match="off the bus"):
            nvml.energy_mj(GPU)


def test_record__file_exists__is_refused_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.write_text("dear data")
    with simulated(tmp_path, HEAD) as (nvml, clock), pytest.raises(RecordFailed, match="new file"):
        recorded(nvml, clock, out, 1)
    assert out.read_text() == "dear data"


@pytest.mark.parametrize(("seconds", "period_ms"), [(0, 100), (-1, 100), (float("inf"), 100), (1, 0)])
def test_record__no_length_or_period__is_refused(tmp_path: Path, seconds: float, period_ms: int) -> None:
    with simulated(tmp_path, HEAD) as (nvml, clock), pytest.raises(RecordFailed, match="above 0"):
        recorded(nvml, clock, tmp_path / "out", seconds, period_ms)
    assert not (tmp_path / "out").exists()


def test_record__slow_readings__skip_rounds_instead_of_stretching_them(tmp_path: Path) -> None:
    out = tmp_path / "out.trace"
    with simulated(tmp_path, HEAD + "read 0 0 1000 300000 80 40\n") as (nvml, clock):
        record(nvml, out, 1, clock=clock, wait=lambda s: clock.set(clock.ms + round(s * 1000) + 130))
    times = [int(line.split()[1]) for line in out.read_text().splitlines() if line.startswith("read")]
    assert times == [0, 230, 430, 630, 830]


def run_cli(*arguments: str, trace: Path) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it; NVML is found as a driver's library is."""
    env = {**os.environ, "LD_LIBRARY_PATH": str(build().parent), "SCRIP_NVML_TRACE": str(trace)}
    command = [sys.executable, "-m", "scrip.cli.main", "oracle", "record", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_command__records_what_can_be_played(tmp_path: Path) -> None:
    out = tmp_path / "out.trace"
    done = run_cli("--seconds", "0.5", "--out", str(out), "--period-ms", "50", trace=STEADY_TRACE)
    assert done.returncode == 0, done.stderr
    assert "1 GPU(s)" in done.stdout
    assert "from a replay" in done.stdout
    with simulated(tmp_path, out) as (nvml, clock):
        assert nvml.gpus()[0].uuid == H100
        first = nvml.energy_mj(H100)
        clock.set(500)
        assert 400_000 * 400 // 1000 <= nvml.energy_mj(H100) - first <= 600_000 * 600 // 1000


def test_command__no_nvml__says_so(tmp_path: Path) -> None:
    done = run_cli("--seconds", "1", "--out", str(tmp_path / "out"), trace=tmp_path / "none")
    assert done.returncode == 1
    assert "the driver is not loaded" in done.stderr
    assert not (tmp_path / "out").exists()
