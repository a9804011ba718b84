"""GPU boards that several jobs may hold at once: one ledger a board, read for all its jobs together.

A reading of a board is taken whenever one of its jobs ticks, comes or goes, and is told to every job there:
counter, length of the slice, SM use, and from when on which shares hold. So all jobs of a board see the same
slices, each job's evidence alone is enough to derive its part (`oracle.sharing`), and the parts of all jobs
and of nobody sum to what the counter counted.

The operator says how many jobs may share a GPU. They see each other's load and share its memory and its
faults; nothing here isolates them. For that there is MIG.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from oracle.sharing import ALL, Account, Part, split
from oracle.telemetry.base import Finished, Lease, Note, Reading, TelemetryError
from oracle.telemetry.clock import Clock, SystemClock
from oracle.telemetry.cpu import belongs
from oracle.telemetry.nvml import MetricAbsent, ProcessUtil
from oracle.telemetry.nvml.crosscheck import CrossCheck
from oracle.telemetry.nvml.fields import BoardReading

MOST_PERIOD_US: Final = 1_000_000
"""The driver's sampling period is a sixth of a second to one second, by product (nvml.h)."""
FRESH_NS: Final = 100_000_000
"""A reading younger than this serves another job's tick as well: the counter advances about as often."""


class BoardInUse(TelemetryError):
    """More jobs on a board than it has places, or one job twice."""


class BoardReader(Protocol):
    """What a ledger reads a board with; `oracle.telemetry.nvml.Nvml` fits."""

    @property
    def source(self) -> str: ...
    @property
    def simulated(self) -> bool: ...
    def board(self, gpu: str) -> BoardReading: ...
    def process_utils(
        self, gpu: str, since_us: int, until_us: int | None = None
    ) -> tuple[ProcessUtil, ...]: ...
    def revive(self) -> None: ...
    def compute_pids(self, gpu: str) -> frozenset[int]: ...
    def is_split(self, gpu: str) -> bool: ...


@dataclass(slots=True)
class _Tenant:
    """A job on the board, what was read but not yet told to it, and whether power bears it out."""

    job_id: bytes
    owns: Callable[[int], bool]
    untold: list[tuple[str, int]] = field(default_factory=list)
    check: CrossCheck = field(default_factory=CrossCheck)


class _Rounds:
    """The driver's samples, each the mean of a period that ends at its own time, as SM use times time.

    A period in which jobs came or went is cut there: what a process used in the part before is taken to be
    what its last sample said.
    """

    def __init__(self) -> None:
        self.seen_us = 0
        self._latest_us = 0
        self._last: dict[int, ProcessUtil] = {}
        self._now: dict[int, ProcessUtil] = {}
        self._cut_us = 0
        self._ahead_us: int | None = None  # of the driver's clock, at least

    def use_of(self, util: ProcessUtil, at_us: int) -> int:
        """Percent times µs of one sample, read at `at_us` of our clock."""
        ahead_us = util.at_us - at_us
        self._ahead_us = ahead_us if self._ahead_us is None else max(self._ahead_us, ahead_us)
        before = self._last.get(util.pid)
        begun_us = max(util.at_us - MOST_PERIOD_US, self.seen_us if before is None else before.at_us)
        self._last[util.pid] = self._now[util.pid] = util
        self._latest_us = max(self._latest_us, util.at_us)
        used = util.sm_pct * (util.at_us - begun_us)
        if begun_us < self._cut_us < util.at_us and before is not None:
            used -= before.sm_pct * (self._cut_us - begun_us)
        return max(0, used)

    def close(self) -> None:
        """All samples of a reading were given."""
        self.seen_us = max(self.seen_us, self._latest_us)
        if self._now:
            self._last, self._now = self._now, {}  # processes that are gone are forgotten

    def cut(self, at_us: int) -> None:
        """Jobs came or went at `at_us` of our clock."""
        self._cut_us = at_us + (self._ahead_us or 0)


class Board:
    """One board's ledger. Safe to share between threads."""

    def __init__(
        self,
        gpu: str,
        reader: BoardReader,
        *,
        slots: int,
        idle_mw: int,
        clock: Clock | None = None,
        fresh_ns: int = FRESH_NS,
    ) -> None:
        """`slots` is how many jobs it takes at once, `idle_mw` what it draws with nothing running."""
        self.gpu, self._reader, self._slots, self._idle_mw = gpu, reader, slots, idle_mw
        self._clock, self._fresh_ns = clock or SystemClock(), fresh_ns
        self._lock = threading.Lock()
        self._tenants: list[_Tenant] = []
        self._owner: dict[int, bytes] = {}  # pids seen before: a process may be gone when its sample comes
        self._nobody = Account(ALL, idle_mw)
        self._rounds = _Rounds()
        self._at_ns, self._energy_mj = 0, -1
        self._power_mw: int | None = None
        self._absent = ""

    @property
    def unattributed_mj(self) -> int:
        """What the board used for no job since the ledger's first reading."""
        with self._lock:
            return self._nobody.used_mj

    @property
    def without_weights(self) -> str:
        """Why SM use by process can't be had, so that energy is divided by share alone; "" if it can."""
        return self._absent

    def join(self, job_id: bytes, owns: Callable[[int], bool]) -> list[tuple[str, int]]:
        """A job takes a place; its first reading. Raises BoardInUse and what the reader raises."""
        with self._lock:
            if len(self._tenants) >= self._slots or any(each.job_id == job_id for each in self._tenants):
                held = f"{len(self._tenants)} of {self._slots} places are taken"
                raise BoardInUse(f"{self.gpu}: {held}, or this job holds one. Let it go first")
            self._read()
            new = _Tenant(job_id, owns)
            self._tenants.append(new)
            self._tell(new, ("idle_mw", self._idle_mw), ("share_slots", self._slots))
            self._place()
            return _take(new)

    def tick(self, job_id: bytes) -> list[tuple[str, int]]:
        """Read the board, unless that was done just now; what the job hasn't been told yet."""
        with self._lock:
            if self._clock.mono_ns() - self._at_ns >= self._fresh_ns:
                self._read()
            return _take(self._tenant(job_id))

    def leave(self, job_id: bytes) -> tuple[list[tuple[str, int]], str]:
        """The job's last reading, and a remark about the counter, "" if there is none to make.

        A counter that power contradicts (`crosscheck`) is told as `energy_refused_mj`: then the job has no
        energy. Its place is free whether or not the board can be read.
        """
        with self._lock:
            tenant = self._tenant(job_id)
            try:
                self._read()
            finally:
                self._tenants.remove(tenant)
                here = {each.job_id for each in self._tenants} | {job_id}
                self._owner = {pid: job for pid, job in self._owner.items() if job in here}
                self._place()
            believed, remark = tenant.check.verdict()
            rows = _take(tenant)
            return rows if believed else [_refused(row) for row in rows], remark

    def present(self, job_id: bytes) -> int:
        """How many of the job's processes are on the board now."""
        with self._lock:
            owners = [self._owner_of(pid) for pid in self._reader.compute_pids(self.gpu)]
        return owners.count(job_id)

    def _tenant(self, job_id: bytes) -> _Tenant:
        for tenant in self._tenants:
            if tenant.job_id == job_id:
                return tenant
        raise BoardInUse(f"{self.gpu}: job 0x{job_id.hex()} holds no place")

    def _read(self) -> None:
        """End a slice here."""
        (raw, power), at_ns = self._reader.board(self.gpu), self._clock.mono_ns()
        if isinstance(raw, TelemetryError):
            raise raw
        used, strangers = self._used(
            at_ns // 1_000
        )  # may fail like the counter: nothing is noted before both are there
        first, before = self._energy_mj < 0, self._energy_mj
        # Below half is a restart of the counter; a smaller step back is noise, and it stands still meanwhile.
        self._energy_mj = raw if raw * 2 < before else max(raw, before)
        self._power_mw = power if isinstance(power, int) else None
        length_us, self._at_ns = (at_ns - self._at_ns) // 1_000, at_ns
        if first:
            return
        weights = split([*used, strangers]) if sum(used) + strangers else []
        self._nobody.slice(before, self._energy_mj, length_us, weights[-1] if weights else None)
        for number, tenant in enumerate(self._tenants):
            used_here = _rows("sm_weight", weights[number]) if weights else []
            self._tell(tenant, ("slice_us", length_us), *used_here)

    def _tell(self, tenant: _Tenant, *rows: tuple[str, int]) -> None:
        """A reading, for one job."""
        tenant.check.add(self._at_ns, self._energy_mj, self._power_mw)
        power = [] if self._power_mw is None else [("power_mw", self._power_mw)]
        tenant.untold += [("energy_mj", self._energy_mj), *rows, *power]

    def _used(self, at_us: int) -> tuple[list[int], int]:
        """SM use since the last reading, by job and by processes of no job: percent times µs."""
        by_job = dict.fromkeys((tenant.job_id for tenant in self._tenants), 0)
        strangers = 0
        for util in self._sampled():
            used, owner = self._rounds.use_of(util, at_us), self._owner_of(util.pid)
            if owner is None:
                strangers += used
            elif owner in by_job:  # what a job that left used after that is in its own last slice
                by_job[owner] += used
        self._rounds.close()
        return list(by_job.values()), strangers

    def _sampled(self) -> Sequence[ProcessUtil]:
        if self._absent:
            return ()
        try:
            return self._reader.process_utils(self.gpu, self._rounds.seen_us, self._clock.wall_ms() * 1_000)
        except MetricAbsent as problem:
            self._absent = problem.reason
            return ()

    def _owner_of(self, pid: int) -> bytes | None:
        if pid not in self._owner:
            owner = next((tenant.job_id for tenant in self._tenants if tenant.owns(pid)), None)
            if owner is None:
                return None
            self._owner[pid] = owner
        return self._owner[pid]

    def _place(self) -> None:
        """Shares from here on: one place each. While nobody is there, all is nobody's."""
        self._rounds.cut(self._at_ns // 1_000)
        parts = split([1] * len(self._tenants))
        held = len(parts)
        self._nobody.place(Part(0, held, held) if held else ALL)
        for tenant, part in zip(self._tenants, parts, strict=True):
            tenant.untold += _rows("share", part)


class SharedGpuMeter:
    """The part of one job in boards that others may hold too: what `oracle.attribution` needs of them.

    `process_present` is how many of the job's processes are on the board; it isn't read at the end edge.
    """

    name = "nvml"

    def __init__(
        self, reader: BoardReader, boards: dict[str, Board], owns: Callable[[int], bool] | None = None
    ) -> None:
        """`owns` tells whether a pid is the job's; by default, whether it is in the lease's tree."""
        self._reader, self._boards, self._owns = reader, boards, owns
        self._held: list[Board] = []
        self._absent: dict[str, Note] = {}
        self._odd: list[Note] = []

    @property
    def simulated(self) -> bool:
        """True when the readings come from the replay library."""
        return self._reader.simulated

    def start(self, lease: Lease) -> list[Reading]:
        """NVML is initialised anew if a GPU was lost before. Raises BoardInUse, GpuLost, NvmlFailed; then the
        job holds no place.
        """
        self._reader.revive()
        self._job_id = lease.job_id
        owns = self._owns or (lambda pid: belongs(pid, lease.pgid))
        readings: list[Reading] = []
        try:
            for gpu in lease.gpus:
                if self._reader.is_split(gpu):
                    raise BoardInUse(f"{gpu} is divided by MIG: set gpu_tenants to 1")
                board = self._boards[gpu]
                readings += self._of(board, board.join(lease.job_id, owns))
                self._held.append(board)
            return [*readings, *self._present()]
        except BaseException:
            for board in self._held:
                with suppress(TelemetryError):
                    board.leave(lease.job_id)
            raise

    def tick(self) -> list[Reading]:
        """Raises GpuLost, NvmlFailed."""
        readings = [reading for board in self._held for reading in self._of(board, board.tick(self._job_id))]
        return [*readings, *self._present()]

    def end(self, finished: Finished) -> list[Reading]:
        """Gives every place back. Raises GpuLost, NvmlFailed."""
        del finished
        readings: list[Reading] = []
        problems: list[TelemetryError] = []
        for board in self._held:
            try:
                rows, remark = board.leave(self._job_id)
                readings += self._of(board, rows)
                self._remark(board, remark)
            except TelemetryError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]
        return readings

    def notes(self) -> tuple[Note, ...]:
        """What can't be read, and why."""
        without = [
            Note(self._reader.source, board.gpu, "sm_weight", f"{board.without_weights}: divided by share")
            for board in self._held
            if board.without_weights
        ]
        return (*self._absent.values(), *without, *self._odd)

    def _remark(self, board: Board, remark: str) -> None:
        if remark:
            self._odd.append(Note(self._reader.source, board.gpu, "energy_mj", remark))

    def _present(self) -> list[Reading]:
        readings = []
        for board in self._held:
            if board.gpu in self._absent:
                continue
            try:
                count = board.present(self._job_id)
            except MetricAbsent as problem:
                note = Note(self._reader.source, board.gpu, "process_present", problem.reason)
                self._absent[board.gpu] = note
            else:
                readings.append(Reading(self._reader.source, board.gpu, "process_present", count))
        return readings

    def _of(self, board: Board, rows: list[tuple[str, int]]) -> list[Reading]:
        return [Reading(self._reader.source, board.gpu, metric, value) for metric, value in rows]


def _rows(name: str, part: Part) -> list[tuple[str, int]]:
    return [(name, part.own), (f"{name}_before", part.before), (f"{name}_total", part.total)]


def _refused(row: tuple[str, int]) -> tuple[str, int]:
    return ("energy_refused_mj", row[1]) if row[0] == "energy_mj" else row


def _take(tenant: _Tenant) -> list[tuple[str, int]]:
    rows, tenant.untold = tenant.untold, []
    return rows
