"""CPU metering of a process tree: nothing lost when children exit early, fork twice or leave the session."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from oracle.attribution import attribute
from oracle.telemetry.base import Lease, Reading
from oracle.telemetry.cpu import CpuMeter, CpuUnreadable, ProcessTree, belongs, read_process
from oracle.telemetry.recorder import Recorder
from tests.unit import job_probes as probes

DEADLINE_S = 20.0
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Ended:
    """How a process ended, as an executor reports it."""

    rusage: tuple[int, int, int]
    duration_ns: int = 5_000_000_000
    reason: str = "ok"


class FakeProc:
    """A /proc with the processes that a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(
        self, pid: int, *, parent: int = 1, group: int = 1, own: int = 0, reaped: int = 0, born: int = 7
    ) -> None:
        """`own` and `reaped` in clock ticks. The command holds what breaks naive parsers."""
        (self.root / str(pid)).mkdir(exist_ok=True)
        after = f"S {parent} {group} {group} 0 -1 0 0 0 0 0 {own} 0 {reaped} 0 20 0 1 0 {born} 4096 3 0"
        (self.root / str(pid) / "stat").write_text(f"{pid} (a) b ) {after}\n")

    def remove(self, pid: int) -> None:
        """The process is gone."""
        (self.root / str(pid) / "stat").unlink()
        (self.root / str(pid)).rmdir()


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


def pids(tree: ProcessTree) -> set[int]:
    return {process.pid for process in tree.walk()}


def make_lease(pgid: int, cgroup: Path | None = None) -> Lease:
    return Lease(b"\x11" * 32, pgid, pgid, cgroup, (), Path("/nonexistent"))


def cpu_us(readings: list[Reading]) -> int:
    return next(reading.value for reading in readings if reading.metric == "cpu_us")


# THE TREE


def test_read_process__gone__is_none(proc: FakeProc) -> None:
    assert read_process(proc.root, 10) is None


def test_read_process__odd_command_name__fields_are_right(proc: FakeProc) -> None:
    proc.put(10, parent=3, group=4, own=5, reaped=6, born=8)
    found = read_process(proc.root, 10)
    assert found is not None
    assert (found.parent, found.group, found.own_us, found.reaped_us, found.born) == (
        3,
        4,
        5 * TICK_US,
        6 * TICK_US,
        8,
    )
    assert found.rss_bytes == 3 * os.sysconf("SC_PAGE_SIZE")


def test_tree__strangers__are_left_out(proc: FakeProc) -> None:
    proc.put(10, group=10)
    proc.put(11, parent=1, group=11)
    assert pids(ProcessTree(10, proc.root)) == {10}


def test_tree__child_in_a_session_of_its_own__still_counts_while_its_parent_lives(proc: FakeProc) -> None:
    proc.put(10, group=10)
    proc.put(11, parent=10, group=11)
    proc.put(12, parent=11, group=12)
    assert pids(ProcessTree(10, proc.root)) == {10, 11, 12}


def test_tree__detached_after_it_was_seen__still_counts(proc: FakeProc) -> None:
    proc.put(10, group=10)
    proc.put(11, parent=10, group=11, own=4)
    tree = ProcessTree(10, proc.root)
    tree.walk()
    proc.remove(10)
    proc.put(11, parent=1, group=11, own=9)
    assert tree.cpu_us(tree.walk()) == 9 * TICK_US


def test_tree__pid_used_again__is_a_stranger(proc: FakeProc) -> None:
    proc.put(10, group=10)
    proc.put(11, parent=10, group=11)
    tree = ProcessTree(10, proc.root)
    tree.walk()
    proc.put(11, parent=1, group=11, own=99, born=8)
    assert pids(tree) == {10}
    assert tree.cpu_us(tree.walk()) == 0


def test_tree__parents_in_a_circle__ends(proc: FakeProc) -> None:
    proc.put(11, parent=12, group=11)
    proc.put(12, parent=11, group=11)
    assert pids(ProcessTree(10, proc.root)) == set()


def test_cpu__child_exits_and_is_waited_for__is_counted_once(proc: FakeProc) -> None:
    proc.put(10, group=10, own=2)
    proc.put(11, parent=10, group=10, own=5)
    tree = ProcessTree(10, proc.root)
    assert tree.cpu_us(tree.walk()) == 7 * TICK_US
    proc.remove(11)
    proc.put(10, group=10, own=3, reaped=6)
    assert tree.cpu_us(tree.walk()) == 9 * TICK_US


def test_cpu__child_vanishes_unwaited__is_not_forgotten(proc: FakeProc) -> None:
    proc.put(10, group=10, own=2)
    proc.put(11, parent=10, group=10, own=5)
    tree = ProcessTree(10, proc.root)
    tree.walk()
    proc.remove(11)
    assert tree.cpu_us(tree.walk()) == 7 * TICK_US


@pytest.mark.parametrize(("pid", "expected"), [(10, True), (12, True), (13, False), (99, False)])
def test_belongs__ancestors_decide(proc: FakeProc, pid: int, expected: bool) -> None:
    proc.put(10, group=10)
    proc.put(11, parent=10, group=11)
    proc.put(12, parent=11, group=12)
    proc.put(13, parent=14, group=13)
    proc.put(14, parent=13, group=14)
    assert belongs(pid, 10, proc.root) is expected


# THE METER, WITH A CGROUP


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    path = tmp_path / "job"
    path.mkdir()
    (path / "cpu.stat").write_text("usage_usec 1000\nuser_usec 900\nsystem_usec 100\n")
    return path


def set_usage(cgroup: Path, usec: int) -> None:
    (cgroup / "cpu.stat").write_text(f"usage_usec {usec}\n")


@pytest.mark.parametrize("content", [None, "", "usage_usec\n", "usage_usec -5\n", "user_usec 5\n"])
def test_meter__cgroup_unreadable__raises(cgroup: Path, content: str | None) -> None:
    if content is None:
        (cgroup / "cpu.stat").unlink()
    else:
        (cgroup / "cpu.stat").write_text(content)
    with pytest.raises(CpuUnreadable, match=r"cpu\.stat"):
        CpuMeter().start(make_lease(2**22 + 1, cgroup))


def test_meter__cgroup__counts_from_the_start_edge(cgroup: Path) -> None:
    meter = CpuMeter()
    start = meter.start(make_lease(2**22 + 1, cgroup))
    set_usage(cgroup, 41_000)
    tick = meter.tick()
    set_usage(cgroup, 91_000)
    end = meter.end(Ended((10_000, 5_000, 4096)))
    assert [cpu_us(readings) for readings in (start, tick, end)] == [0, 40_000, 90_000]
    assert {reading.source for reading in start + tick + end} == {"cpu-cgroup"}


def test_meter__cgroup_removed_with_the_job__rusage_has_the_last_word(cgroup: Path) -> None:
    meter = CpuMeter()
    meter.start(make_lease(2**22 + 1, cgroup))
    (cgroup / "cpu.stat").unlink()
    cgroup.rmdir()
    assert cpu_us(meter.end(Ended((70_000, 5_000, 4096)))) == 75_000


# THE METER, WITHOUT


def test_meter__end__takes_wall_time_and_peak_memory_from_the_executor() -> None:
    meter = CpuMeter(clock_ns=iter([0, 1_000_000, 7_000_000]).__next__)
    start = {reading.metric: reading.value for reading in meter.start(make_lease(2**22 + 1))}
    tick = {reading.metric: reading.value for reading in meter.tick()}
    end = {reading.metric: reading.value for reading in meter.end(Ended((3, 4, 8192), duration_ns=6_999_999))}
    assert (start["wall_ms"], tick["wall_ms"], end["wall_ms"]) == (1, 7, 6)
    assert end == {"cpu_us": 7, "wall_ms": 6, "rss_bytes": 8192}


SPIN = "import time\nend = time.process_time() + {s}\nwhile time.process_time() < end: pass\n"
DOUBLE_FORK = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        sys.stdout.write('x'); sys.stdout.flush()\n"
    + "".join("        " + line + "\n" for line in SPIN.format(s=0.3).splitlines())
    + "        time.sleep(60)\n"
    "    time.sleep(60)\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def spawn() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts Python code in a session of its own and ends that session, and all below it, afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        members = ProcessTree(process.pid).walk()
        for member in members:
            os.kill(member.pid, 9)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def reap(process: subprocess.Popen[bytes]) -> Ended:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended((int(usage.ru_utime * 1e6), int(usage.ru_stime * 1e6), usage.ru_maxrss * 1024))


def test_meter__child_exits_before_any_tick__is_in_the_end_value(
    spawn: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN.format(s=0.2)!r}])"
    process = spawn(code)
    meter = CpuMeter()
    meter.start(make_lease(process.pid))
    end = {reading.metric: reading.value for reading in meter.end(reap(process))}
    assert end["cpu_us"] >= 200_000
    assert end["rss_bytes"] > 1_000_000


def test_meter__double_fork_into_another_session__is_found_and_followed(
    spawn: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = spawn(DOUBLE_FORK)
    assert process.stdout is not None
    process.stdout.read(1)  # the grandchild runs
    meter = CpuMeter()
    meter.start(make_lease(process.pid))
    deadline = time.monotonic() + DEADLINE_S
    while cpu_us(meter.tick()) < 300_000 - 3 * TICK_US:  # /proc rounds each process down to a tick
        assert time.monotonic() < deadline, "the grandchild's time never showed"
        time.sleep(0.02)


def test_meter__running_process__grows_and_matches_the_kernel_at_the_end(
    spawn: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = spawn(SPIN.format(s=0.3))
    meter = CpuMeter()
    seen = [cpu_us(meter.start(make_lease(process.pid)))]
    deadline = time.monotonic() + DEADLINE_S
    while seen[-1] < 100_000:
        assert time.monotonic() < deadline, "no CPU time showed while it ran"
        time.sleep(0.02)
        seen.append(cpu_us(meter.tick()))
    ended = reap(process)
    seen.append(cpu_us(meter.end(ended)))
    assert seen == sorted(seen)
    assert seen[-1] == sum(ended.rusage[:2])


# THROUGH THE EXECUTOR


@pytest.mark.parametrize("confinement", ["rlimits", "bubblewrap"])
@pytest.mark.parametrize("act", ["spin_detached", "spin_unwaited", "spin_in_grandchild"])
def test_meter__work_done_by_orphans_and_children__is_in_the_samples(
    tmp_path: Path, act: str, confinement: Literal["rlimits", "bubblewrap"]
) -> None:
    """No tick in between: what is known is known from the end alone."""
    running = probes.executor(tmp_path, confinement).start(probes.work(tmp_path / "work", act, ms=400))
    lease = Lease(b"\x11" * 32, running.pid, running.pgid, None, (), tmp_path / "work")
    recorder = Recorder(lease, [CpuMeter()], period_s=None)
    recorder.start()
    usage = attribute(lease.job_id, recorder.end(running.wait(20)))
    assert usage.cpu_us is not None
    assert 390_000 <= usage.cpu_us < 5_000_000
