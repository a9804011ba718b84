"""The recorder: edges, ticks, clocks, and failures that come out at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oracle.telemetry import recorder as recorder_module
from oracle.telemetry.base import HOST, Finished, Lease, Note, Reading, RecordingFailed, TelemetryError
from oracle.telemetry.clock import SystemClock
from oracle.telemetry.recorder import Recorder
from scrip.evidence import Sample

DEADLINE_S = 20.0
WALL_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Ended:
    """How a process ended, as an executor reports it."""

    duration_ns: int = 10**18
    rusage: tuple[int, int, int] = (0, 0, 0)
    reason: str = "ok"


class StepClock:
    """Stands still until moved."""

    def __init__(self) -> None:
        self.ns = 5_000_000_123
        self.wall = WALL_MS

    def wall_ms(self) -> int:
        return self.wall

    def mono_ns(self) -> int:
        return self.ns


@dataclass
class FakeMeter:
    """Counts its readings; fails where told to."""

    fail_at: str = ""
    error: Exception = field(default_factory=lambda: TelemetryError("the meter broke"))
    simulated: bool = False
    name: str = "fake"
    reads: int = 0
    ticked: threading.Event = field(default_factory=threading.Event)

    def start(self, lease: Lease) -> list[Reading]:
        return self._read("start")

    def tick(self) -> list[Reading]:
        self.ticked.set()
        return self._read("tick")

    def end(self, finished: Finished) -> list[Reading]:
        return self._read("end")

    def notes(self) -> tuple[Note, ...]:
        return (Note("lease", HOST, "cpu_us", "a note"),)

    def _read(self, edge: str) -> list[Reading]:
        if edge == self.fail_at:
            raise self.error
        self.reads += 1
        return [Reading("cpu-rusage", HOST, "cpu_us", self.reads)]


def lease(*gpus: str) -> Lease:
    return Lease(b"\x11" * 32, 1, 1, None, gpus, Path("/nonexistent"))


def rows(samples: list[Sample]) -> list[tuple[str, str, str, int]]:
    return [(sample.edge, sample.device, sample.metric, sample.value) for sample in samples]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


# FAILURES


def test_start__meter_fails__raises_at_once_and_nothing_ticks() -> None:
    meter = FakeMeter(fail_at="start")
    recorder = Recorder(lease(), [meter], period_s=0.001)
    with pytest.raises(TelemetryError, match="the meter broke"):
        recorder.start()
    assert not any(thread.name.startswith("recorder-") for thread in threading.enumerate())


@pytest.mark.parametrize("edge", ["tick", "end"])
def test_end__a_meter_failed__raises_with_all_that_was_read(edge: str) -> None:
    broken, sound = FakeMeter(fail_at=edge), FakeMeter()
    recorder = Recorder(lease(), [broken, sound], StepClock(), period_s=None)
    recorder.start()
    recorder.tick()
    recorder.tick()
    with pytest.raises(RecordingFailed, match="the meter broke") as caught:
        recorder.end(Ended())
    assert caught.value.problems == (broken.error,)
    kept = rows(list(caught.value.samples))
    assert [row for row in kept if row[2] == "lease_ms"] == [
        ("start", HOST, "lease_ms", 0),
        ("end", HOST, "lease_ms", 0),
    ]
    assert ("end", HOST, "cpu_us", sound.reads) in kept


def test_tick__after_a_failure__stops() -> None:
    meter = FakeMeter(fail_at="tick")
    recorder = Recorder(lease(), [meter, sound := FakeMeter()], StepClock(), period_s=None)
    recorder.start()
    recorder.tick()
    after_one = sound.reads
    recorder.tick()
    assert sound.reads == after_one


def test_end__tick_hit_a_bug__comes_out_as_it_is() -> None:
    bug = ZeroDivisionError("bug")
    recorder = Recorder(lease(), [FakeMeter(fail_at="tick", error=bug)], period_s=0.001)
    recorder.start()
    wait_for(lambda: not any(thread.name.startswith("recorder-11111111") for thread in threading.enumerate()))
    with pytest.raises(ZeroDivisionError) as caught:
        recorder.end(Ended())
    assert caught.value is bug


def test_end__reading_outside_the_vocabulary__raises(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = FakeMeter()
    monkeypatch.setattr(meter, "tick", lambda: [Reading("cpu-rusage", HOST, "no_such_metric", 1)])
    recorder = Recorder(lease(), [meter], StepClock(), period_s=None)
    recorder.start()
    recorder.tick()
    with pytest.raises(RecordingFailed, match="no_such_metric"):
        recorder.end(Ended())


def test_order__out_of_turn__is_refused() -> None:
    recorder = Recorder(lease(), [], period_s=None)
    with pytest.raises(RuntimeError, match="is new, must be running"):
        recorder.end(Ended())
    recorder.start()
    with pytest.raises(RuntimeError, match="is running, must be new"):
        recorder.start()
    recorder.end(Ended())
    with pytest.raises(RuntimeError, match="is ended, must be running"):
        recorder.end(Ended())


# RECORDING


def test_recording__edges_and_ticks__are_numbered_and_clocked_in_order() -> None:
    clock, meter = StepClock(), FakeMeter()
    recorder = Recorder(lease(), [meter], clock, period_s=None)
    recorder.start()
    clock.ns += 1_000_500_000
    recorder.tick()
    clock.ns += 500_000_000
    samples = recorder.end(Ended())
    assert rows(samples) == [
        ("start", HOST, "lease_ms", 0),
        ("start", HOST, "cpu_us", 1),
        ("tick", HOST, "cpu_us", 2),
        ("end", HOST, "lease_ms", 1500),
        ("end", HOST, "cpu_us", 3),
    ]
    assert [sample.seq for sample in samples] == list(range(5))
    assert [sample.mono_ns for sample in samples] == [0, 0, 1_000_500_000, 1_500_500_000, 1_500_500_000]
    assert [sample.at_ms - WALL_MS for sample in samples] == [0, 0, 1000, 1500, 1500]
    assert recorder.samples == tuple(samples)
    assert recorder.started_mono_ns == 5_000_000_123


def test_recording__wall_clock_set_back__times_follow_the_monotonic_clock() -> None:
    clock = StepClock()
    recorder = Recorder(lease(), [], clock, period_s=None)
    recorder.start()
    clock.ns += 2_000_000_000
    clock.wall -= 3_600_000
    assert [sample.at_ms - WALL_MS for sample in recorder.end(Ended())] == [0, 2000]


def test_lease__exit_noticed_late__is_no_longer_than_the_process_lived() -> None:
    clock = StepClock()
    recorder = Recorder(lease("GPU-a", "GPU-b"), [], clock, period_s=None)
    recorder.start()
    clock.ns += 1_900_000_000
    samples = recorder.end(Ended(duration_ns=1_500_999_999))
    assert rows(samples) == [
        ("start", "GPU-a", "lease_ms", 0),
        ("start", "GPU-b", "lease_ms", 0),
        ("end", "GPU-a", "lease_ms", 1500),
        ("end", "GPU-b", "lease_ms", 1500),
    ]


def test_lease__recording_began_late__is_what_was_seen() -> None:
    clock = StepClock()
    recorder = Recorder(lease(), [], clock, period_s=None)
    recorder.start()
    clock.ns += 1_000_000_000
    assert recorder.end(Ended(duration_ns=1_400_000_000))[-1].value == 1000


@pytest.mark.parametrize("flags", [(), (False, False), (False, True)])
def test_simulated__any_meter_is__so_is_the_recording(flags: tuple[bool, ...]) -> None:
    recorder = Recorder(lease(), [FakeMeter(simulated=flag) for flag in flags])
    assert recorder.simulated is any(flags)
    assert len(recorder.notes()) == len(flags)


# THE THREAD


def test_thread__ticks_by_itself_until_the_end() -> None:
    meter = FakeMeter()
    recorder = Recorder(lease(), [meter], SystemClock(), period_s=0.005)
    recorder.start()
    wait_for(lambda: meter.reads >= 4)
    samples = recorder.end(Ended())
    read = meter.reads
    assert [sample.value for sample in samples if sample.metric == "cpu_us"] == list(range(1, read + 1))
    assert [sample.seq for sample in samples] == list(range(len(samples)))
    assert [sample.mono_ns for sample in samples] == sorted(sample.mono_ns for sample in samples)
    recorder.tick()
    assert meter.reads == read


def test_thread__waits_between_ticks_without_working() -> None:
    meter = FakeMeter()
    recorder = Recorder(lease(), [meter], period_s=3600)
    recorder.start()
    used = time.thread_time_ns()
    recorder.end(Ended())  # returns at once: the wait is interrupted, not slept out
    assert meter.reads == 2
    assert time.thread_time_ns() - used < 1_000_000_000


def test_close__without_an_end__stops_the_thread_and_may_be_repeated() -> None:
    meter = FakeMeter()
    recorder = Recorder(lease(), [meter], period_s=0.001)
    recorder.start()
    assert meter.ticked.wait(DEADLINE_S)
    recorder.close()
    recorder.close()
    read = meter.reads
    assert not any(thread.name.startswith("recorder-11111111") for thread in threading.enumerate())
    assert meter.reads == read


def test_tick__from_many_threads__samples_stay_whole() -> None:
    meter = FakeMeter()
    recorder = Recorder(lease(), [meter], period_s=0.001)
    recorder.start()

    def tick_often() -> None:
        for _ in range(50):
            recorder.tick()

    threads = [threading.Thread(target=tick_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    samples = recorder.end(Ended())
    assert [sample.seq for sample in samples] == list(range(len(samples)))
    values = [sample.value for sample in samples if sample.metric == "cpu_us"]
    assert values == list(range(1, meter.reads + 1))


def test_tick__long_lease__keeps_evenly_spaced_ticks_and_both_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MOST_KEPT", 10)
    clock, meter = StepClock(), FakeMeter()
    recorder = Recorder(lease(), [meter], clock, period_s=None)
    recorder.start()
    for _ in range(100):
        clock.ns += 1_000_000_000
        recorder.tick()
    clock.ns += 1_000_000_000
    samples = recorder.end(Ended())
    ticks = [sample.mono_ns // 1_000_000_000 for sample in samples if sample.edge == "tick"]
    assert ticks == [16, 32, 48, 64, 80, 96]
    assert meter.reads == 102
    assert [sample.seq for sample in samples] == list(range(len(samples)))
    assert {sample.edge for sample in samples if sample.metric == "cpu_us"} == {"start", "tick", "end"}
    assert [note.reason for note in recorder.notes() if note.metric == "ticks"] == [
        "one in 16 is kept: a long lease"
    ]
