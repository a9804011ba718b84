"""What the meter reads of a job's processes: presence, use, and the driver's record of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from oracle.telemetry.nvml import Accounted, NvmlFailed, NvmlMeter, ProcessUtil
from tests.unit.replay_gpu import BUSY, GPU, HEAD, OK, lease, reasons, simulated, values

# PROCESSES


def test_util__beyond_100__is_clamped(tmp_path: Path) -> None:
    with simulated(tmp_path, HEAD + "read 0 0 1 2 250 4\nproc 5 0 41 1 250 4\n") as (nvml, clock):
        clock.set(5)
        assert nvml.util_pct(GPU) == 100
        assert nvml.process_utils(GPU, 0) == (ProcessUtil(41, 5000, 100, 4),)


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
        with pytest.raises(NvmlFailed, match="Insufficient Size"):
            nvml.process_utils(GPU, 0)


def test_process_utils__stale_samples__are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = [SimpleNamespace(pid=41, timeStamp=stamp, smUtil=50, memUtil=0) for stamp in (10, 20, 30)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", lambda *_: stale)
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert [util.at_us for util in nvml.process_utils(GPU, 20)] == [30]


@pytest.mark.parametrize(("until_us", "stamps"), [(None, [20, 900]), (100, [20, 100])])
def test_process_utils__stamped_with_the_future__is_clamped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until_us: int | None, stamps: list[int]
) -> None:
    rows = [SimpleNamespace(pid=41, timeStamp=stamp, smUtil=50, memUtil=0) for stamp in (20, 900)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", lambda *_: rows)
    with simulated(tmp_path, BUSY) as (nvml, _):
        assert [util.at_us for util in nvml.process_utils(GPU, 0, until_us)] == stamps


def test_meter__sample_from_the_future__does_not_hide_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [SimpleNamespace(pid=41, timeStamp=10**15, smUtil=50, memUtil=0)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", lambda *_: rows)
    with simulated(tmp_path, BUSY) as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41}.__contains__, clock=clock)
        meter.start(lease(GPU))
        clock.set(1000)
        assert values(meter.tick())["process_sm_pct"] == 50
        rows[:] = [SimpleNamespace(pid=41, timeStamp=1_500_000, smUtil=30, memUtil=0)]
        clock.set(2000)
        assert values(meter.tick())["process_sm_pct"] == 30


def test_meter__processes_of_the_job__their_use_is_summed_and_others_left_out(tmp_path: Path) -> None:
    rows = "".join(f"proc {ms} 0 {pid} 1 {sm} 0\n" for ms, pid, sm in
                   [(100, 41, 20), (300, 41, 40), (500, 42, 35), (600, 99, 90)])  # fmt: skip
    present = "proc 0 0 41 1 0 0\nproc 0 0 42 1 0 0\nproc 0 0 99 1 0 0\n"
    with simulated(tmp_path, HEAD + "read 0 0 1 2 3 4\n" + present + rows) as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41, 42}.__contains__, clock=clock)
        assert values(meter.start(lease(GPU)))["process_present"] == 2
        clock.set(1000)
        assert values(meter.tick())["process_sm_pct"] == 30 + 35
        clock.set(2000)
        assert "process_sm_pct" not in values(meter.tick())  # no new sample says nothing, not 0


# ACCOUNTING


def accounted(tmp_path: Path, rows: str, *, mode: str = "acct 0 0 1\n") -> tuple[dict[str, int], NvmlMeter]:
    """What the end edge gives after 5 s in which pids 41 and 42 are the job's."""
    with simulated(tmp_path, HEAD + mode + "read 0 0 1 2 3 4\n" + rows) as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41, 42}.__contains__, clock=clock)
        meter.start(lease(GPU))
        for ms in (1000, 2000):
            clock.set(ms)
            meter.tick()
        clock.set(5000)
        return values(meter.end(OK)), meter


def test_accounting__processes_that_ended__time_is_summed_and_the_peak_kept(tmp_path: Path) -> None:
    rows = (
        "proc 500 0 41 4096 9 9\nproc 900 0 42 1024 9 9\nproc 950 0 99 9999 9 9\n"
        "proc 1200 0 41 8192 9 9\nexit 2500 0 41\nexit 3000 0 42\nexit 4000 0 99\n"
    )
    found, meter = accounted(tmp_path, rows)
    assert (found["accounted_ms"], found["accounted_peak_bytes"]) == (2000 + 2100, 8192)
    assert reasons(meter, "accounting") == []


@pytest.mark.parametrize(
    ("mode", "rows", "reason"),
    [
        ("acct 0 0 0\n", "", "nvidia-smi -am 1"),
        ("", "", "support"),
        ("acct 0 0 1\nmig 0 0 1\n", "", "MIG"),
        ("acct 0 0 1\n", "proc 500 0 41 1 9 9\n", "closed the record of 0 of 1"),
        (
            "acct 0 0 1\nfail 4000 0 nvmlDeviceGetAccountingStats 6\n",
            "proc 500 0 41 1 9 9\nexit 2500 0 41\n",
            "0 of 1",
        ),
    ],
    ids=["off", "not supported", "MIG", "still open", "overwritten"],
)
def test_accounting__no_record__is_left_out_with_the_reason(
    tmp_path: Path, mode: str, rows: str, reason: str
) -> None:
    found, meter = accounted(tmp_path, rows, mode=mode)
    assert not {"accounted_ms", "accounted_peak_bytes"} & set(found)
    (given,) = reasons(meter, "accounting")
    assert reason in given


def test_accounting__record_of_an_earlier_process_with_that_pid__is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated(tmp_path, BUSY + "acct 0 0 1\nread 60000 0 1000 300000 80 40\n") as (nvml, clock):
        clock.set(60_000)
        meter = NvmlMeter(nvml, owns={41}.__contains__, clock=clock)
        meter.start(lease(GPU))
        stale = Accounted(41, 700, 1, 58_000_000, ended=True)
        monkeypatch.setattr(nvml, "accounted", lambda *_: stale)
        clock.set(61_000)
        assert "accounted_ms" not in values(meter.end(OK))
    assert "0 of 1" in reasons(meter, "accounting")[0]
