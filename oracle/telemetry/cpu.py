"""CPU time, wall time and memory of a job's whole process tree. Integers; microseconds, milliseconds, bytes.

Three ways to know CPU time, each of which can only miss some and never count any twice:

- the cgroup's `cpu.stat`, when the job has a cgroup of its own: everything that ever ran in it;
- a walk over /proc, for live readings: every process that descends from the job, shares its group or its
  session, or did so when last seen (a double fork leaves its parent, a `setsid` leaves the session);
- the executor's figure at the end: of the job's own cgroup where the executor made one, and otherwise rusage
  of the process and all descendants, however short-lived. The local executor is their subreaper, so that an
  orphan's time comes to it as well. Only what a job's own processes refuse to wait for (SIGCHLD ignored)
  is missing from rusage.

So the largest of the three is the best figure, and it is always a lower bound of the truth: a child that
exits between two ticks is in the last one, a detached one in the walk too, and nothing is billed that wasn't
used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from oracle.telemetry.base import HOST, Finished, Lease, Note, Reading, TelemetryError

_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class CpuUnreadable(TelemetryError):
    """The lease names a cgroup whose CPU time can't be read."""

    def __init__(self, path: Path, detail: str) -> None:
        self.path, self.detail = path, detail
        super().__init__(f"{path}: {detail}. Give the job a cgroup v2 directory of its own, or none")


@dataclass(frozen=True, slots=True)
class Process:
    """One row of /proc/<pid>/stat. Times in µs, `reaped_us` is that of children it has waited for (man 5
    proc).
    """

    pid: int
    parent: int
    group: int
    session: int
    own_us: int
    reaped_us: int
    born: int
    rss_bytes: int


def read_process(proc: Path, pid: int) -> Process | None:
    """The process's row, or None when it is gone."""
    try:
        with open(f"{proc}/{pid}/stat", "rb", buffering=0) as file:
            row = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and parentheses; everything after the last one is plain numbers.
    field = row[row.rindex(b")") + 2 :].split()
    return Process(
        pid=pid,
        parent=int(field[1]),
        group=int(field[2]),
        session=int(field[3]),
        own_us=(int(field[11]) + int(field[12])) * _TICK_US,
        reaped_us=(int(field[13]) + int(field[14])) * _TICK_US,
        born=int(field[19]),
        rss_bytes=int(field[21]) * _PAGE,
    )


class ProcessTree:
    """Finds a job's processes again on each walk, those that left the tree after being seen once included."""

    def __init__(self, pgid: int, proc: Path = Path("/proc")) -> None:
        self._pgid, self._proc = pgid, proc
        self._own_us: dict[tuple[int, int], int] = {}  # (pid, birth) -> CPU time when last seen

    def walk(self) -> list[Process]:
        """The job's processes now."""
        table = {process.pid: process for process in self._table()}
        belongs: dict[int, bool] = {}
        members = [process for process in table.values() if self._is_member(process, table, belongs)]
        for process in members:
            self._own_us[process.pid, process.born] = process.own_us
        return members

    def cpu_us(self, members: list[Process]) -> int:
        """CPU time the tree has used at least: two partial sums that overlap, so the larger one."""
        seen = sum(self._own_us.values())
        alive = sum(process.own_us + process.reaped_us for process in members)
        return max(seen, alive)

    def _table(self) -> Iterator[Process]:
        for entry in os.listdir(self._proc):
            if entry.isdigit() and (process := read_process(self._proc, int(entry))) is not None:
                yield process

    def _is_member(self, process: Process, table: dict[int, Process], belongs: dict[int, bool]) -> bool:
        path: list[int] = []
        at: Process | None = process
        answer = False
        while at is not None and at.pid not in belongs:
            path.append(at.pid)
            belongs[at.pid] = False  # also ends the loop if a pid was reused into a cycle while we read
            known = (at.pid, at.born) in self._own_us
            if known or self._pgid in (at.group, at.session):
                answer = True
                break
            at = table.get(at.parent)
        else:
            answer = at is not None and belongs[at.pid]
        belongs.update(dict.fromkeys(path, answer))
        return answer


def belongs(pid: int, pgid: int, proc: Path = Path("/proc")) -> bool:
    """Whether one process, or an ancestor of it, is in the group or session `pgid`. Cheaper than a walk."""
    seen: set[int] = set()
    while pid not in seen and (process := read_process(proc, pid)) is not None:
        if pgid in (process.group, process.session):
            return True
        seen.add(pid)
        pid = process.parent
    return False


class CpuMeter:
    """`cpu_us`, `wall_ms` and `rss_bytes` of a lease. Values are totals since the job was forked.

    `end` folds in the executor's rusage and takes the wall time from it. With a cgroup the source is
    "cpu-cgroup", otherwise "cpu-rusage"; `rss_bytes` is the tree's sum now, and its peak at the end.
    """

    name = "cpu"
    simulated = False

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._cgroup: Path | None = None
        self._cpu_us = 0
        self._rss_peak = 0

    def start(self, lease: Lease) -> list[Reading]:
        """Raises CpuUnreadable when the lease names a cgroup without CPU accounting."""
        self._started_ns = self._clock_ns()
        self._tree = ProcessTree(lease.pgid)
        self._cgroup = lease.cgroup
        self._cgroup_start_us = 0 if lease.cgroup is None else _cgroup_us(lease.cgroup)
        return self.tick()

    def tick(self) -> list[Reading]:
        """Live readings. Raises CpuUnreadable when the cgroup is gone while the job runs."""
        members = self._tree.walk()
        self._raise_cpu(self._tree.cpu_us(members))
        if self._cgroup is not None:
            self._raise_cpu(_cgroup_us(self._cgroup) - self._cgroup_start_us)
        rss = sum(process.rss_bytes for process in members)
        self._rss_peak = max(self._rss_peak, rss)
        return self._readings((self._clock_ns() - self._started_ns) // 1_000_000, rss)

    def end(self, finished: Finished) -> list[Reading]:
        """The values that count. Where the cgroup went with the job, rusage has the last word."""
        user_us, system_us, peak = finished.rusage
        self._raise_cpu(user_us + system_us)
        self._raise_cpu(self._tree.cpu_us(self._tree.walk()))
        if self._cgroup is not None and self._cgroup.exists():
            self._raise_cpu(_cgroup_us(self._cgroup) - self._cgroup_start_us)
        return self._readings(finished.duration_ns // 1_000_000, max(self._rss_peak, peak))

    def notes(self) -> tuple[Note, ...]:
        """Nothing: CPU time is always there."""
        return ()

    def _raise_cpu(self, lower_bound_us: int) -> None:
        self._cpu_us = max(self._cpu_us, lower_bound_us)

    def _readings(self, wall_ms: int, rss_bytes: int) -> list[Reading]:
        source = "cpu-rusage" if self._cgroup is None else "cpu-cgroup"
        return [
            Reading(source, HOST, "cpu_us", self._cpu_us),
            Reading(source, HOST, "wall_ms", wall_ms),
            Reading(source, HOST, "rss_bytes", rss_bytes),
        ]


def _cgroup_us(cgroup: Path) -> int:
    """`usage_usec` of cgroup v2's cpu.stat (kernel Documentation/admin-guide/cgroup-v2.rst)."""
    path = cgroup / "cpu.stat"
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as problem:
        raise CpuUnreadable(path, problem.strerror or str(problem)) from problem
    for line in lines:
        key, _, value = line.partition(" ")
        if key == "usage_usec" and value.isdigit():
            return int(value)
    raise CpuUnreadable(path, "no usage_usec in it")
