"""Records what NVML says of a machine's GPUs as a trace that the replay library plays (format: `trace.c`).

What a board doesn't offer, or fails to give, is recorded as the error it gives, so that the replay answers
the same. Serial numbers are left out. Three things are coarser than what was read: a process's memory is
known at its utilisation samples only, one that is new has a sample of 0 % of its own, and activity is the
mean between two rounds.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from oracle.telemetry.base import TelemetryError
from oracle.telemetry.clock import Clock, SystemClock
from oracle.telemetry.nvml.errors import GpuLost, MetricAbsent, NvmlFailed
from oracle.telemetry.nvml.fields import ENERGY_FIELD, POWER_FIELDS, SYMBOL
from oracle.telemetry.nvml.gpm import METRICS, Activity
from oracle.telemetry.nvml.readings import Nvml, ProcessUtil, Running

PERIOD_MS: Final = 100
_ENERGY: Final = (f"{SYMBOL}:{ENERGY_FIELD}", "nvmlDeviceGetTotalEnergyConsumption")
_POWER: Final = (*(f"{SYMBOL}:{power}" for power in POWER_FIELDS), "nvmlDeviceGetPowerUsage")
_UTIL: Final = ("nvmlDeviceGetUtilizationRates",)
_MEMORY: Final = ("nvmlDeviceGetMemoryInfo",)
_RUNNING: Final = ("nvmlDeviceGetComputeRunningProcesses_v3",)
_USED: Final = ("nvmlDeviceGetProcessUtilization",)
_BOARD: Final = "-"  # where a trace names an instance


class RecordFailed(TelemetryError):
    """A trace can't be recorded here."""


@dataclass(slots=True)
class _Recorded:
    """What is remembered of one board between two rounds."""

    index: int
    uuid: str
    activities: dict[str, Activity]
    sampled_ms: dict[str, int] = field(default_factory=dict)
    failing: dict[str, int] = field(default_factory=dict)
    pids: dict[int, str] = field(default_factory=dict)
    seen_us: int = 0
    last_ms: int = 0


def record(
    nvml: Nvml,
    out: Path,
    seconds: float,
    *,
    period_ms: int = PERIOD_MS,
    clock: Clock | None = None,
    wait: Callable[[float], object] | None = None,
) -> int:
    """Record all GPUs for `seconds` into a new file, a round each `period_ms`. Returns how many rounds.

    `wait` waits that many seconds. Raises RecordFailed (nothing is overwritten), NvmlFailed, and GpuLost if a
    GPU goes away: the file then ends with that and can be played.
    """
    if not (math.isfinite(seconds) and seconds > 0) or period_ms < 1:
        raise RecordFailed(f"{seconds} s every {period_ms} ms can't be recorded: both must be above 0")
    clock, wait = clock or SystemClock(), wait or threading.Event().wait
    try:
        file = out.open("x", encoding="ascii", errors="replace")
    except OSError as problem:
        raise RecordFailed(f"{out} can't be made: {problem.strerror}. Name a new file") from problem
    with file:
        recorder = _TraceRecorder(nvml, file, clock)
        return recorder.run(int(seconds * 1000), period_ms, wait)


class _TraceRecorder:
    def __init__(self, nvml: Nvml, file: IO[str], clock: Clock) -> None:
        self._nvml, self._file, self._clock = nvml, file, clock
        self._boards: list[_Recorded] = []
        self._started_ns, self._started_us = clock.mono_ns(), clock.wall_ms() * 1_000

    def run(self, length_ms: int, period_ms: int, wait: Callable[[float], object]) -> int:
        self._head()
        rounds, due_ms = 0, 0
        try:
            while (now := self._now_ms()) <= length_ms:
                if rounds == 0 or now >= due_ms:
                    for board in self._boards:
                        self._round(board, 0 if rounds == 0 else now)
                    rounds += 1
                    due_ms = (now // period_ms + 1) * period_ms
                wait(max(due_ms - self._now_ms(), 0) / 1000)
        finally:
            for board in self._boards:
                for activity in board.activities.values():
                    activity.close()
        return rounds

    def _row(self, *words: object) -> None:
        print(*words, file=self._file)

    def _now_ms(self) -> int:
        return (self._clock.mono_ns() - self._started_ns) // 1_000_000

    # ONCE

    def _head(self) -> None:
        nvml = self._nvml
        self._row("scrip-nvml-trace 1")
        self._row(f"# Recorded from driver {nvml.driver}{', itself a replay' if nvml.simulated else ''}.")
        gpus = nvml.boards()
        for index, gpu in enumerate(gpus):
            self._row("gpu", index, gpu.uuid, gpu.memory_bytes, "-", gpu.name)
        for index, gpu in enumerate(gpus):
            self._boards.append(self._board(index, gpu.uuid))

    def _board(self, index: int, uuid: str) -> _Recorded:
        for kind, symbol in (("mig", "nvmlDeviceGetMigMode"), ("acct", "nvmlDeviceGetAccountingMode")):
            try:
                mode = self._nvml.call(symbol, uuid)
            except MetricAbsent:
                continue  # a trace without the row says the same
            self._row(kind, 0, index, int(bool(mode[0] if isinstance(mode, (list, tuple)) else mode)))
        devices = {_BOARD: uuid}
        for device in self._nvml.slices(uuid):
            instance = self._nvml.call("nvmlDeviceGetGpuInstanceId", device.uuid)
            compute = self._nvml.call("nvmlDeviceGetComputeInstanceId", device.uuid)
            self._row("slice", index, instance, compute, device.memory_bytes, device.uuid)
            devices[str(instance)] = device.uuid
        activities = {key: Activity(self._nvml, device, self._clock) for key, device in devices.items()}
        return _Recorded(index, uuid, activities, seen_us=self._started_us)

    # EACH ROUND

    def _round(self, board: _Recorded, ms: int) -> None:
        try:
            self._read(board, ms)
            self._processes(board, ms)
            for key, activity in list(board.activities.items()):
                self._activity(board, ms, key, activity)
        except GpuLost as lost:
            self._row("lost", ms, board.index, lost.code)
            raise

    def _read(self, board: _Recorded, ms: int) -> None:
        nvml, uuid = self._nvml, board.uuid
        both = nvml.board(uuid)
        energy = self._value(board, ms, _ENERGY, lambda: _or_raise(both.energy_mj), 0)
        power = self._value(board, ms, _POWER, lambda: _or_raise(both.power_mw), 0)
        util = self._value(board, ms, _UTIL, lambda: nvml.call(_UTIL[0], uuid), None)
        used = self._value(board, ms, _MEMORY, lambda: nvml.memory_bytes(uuid), 0)
        percents = (0, 0) if util is None else (int(util.gpu), int(util.memory))
        self._row("read", ms, board.index, energy, power, *percents, used)

    def _value(
        self, board: _Recorded, ms: int, symbols: tuple[str, ...], read: Callable[[], Any], missing: Any
    ) -> Any:
        """A value, or `missing` and the error it gives, from when it first does until it no longer does."""
        try:
            value, code = read(), 0
        except GpuLost:
            raise
        except (MetricAbsent, NvmlFailed) as problem:
            value, code = missing, problem.code
        for symbol in symbols:
            if board.failing.get(symbol, 0) != code:
                self._row("fail", ms, board.index, symbol, code)
                board.failing[symbol] = code
        return value

    def _processes(self, board: _Recorded, ms: int) -> None:
        nvml, uuid = self._nvml, board.uuid
        running: tuple[Running, ...] = self._value(board, ms, _RUNNING, lambda: nvml.running(uuid), ())
        rows = {process.pid: process for process in running}
        utils: tuple[ProcessUtil, ...] = self._value(
            board, ms, _USED, lambda: nvml.process_utils(uuid, board.seen_us), ()
        )
        for util in sorted(utils, key=lambda util: (util.at_us, util.pid)):
            board.seen_us = max(board.seen_us, util.at_us)
            if util.pid in rows or util.pid in board.pids:
                at_ms = (util.at_us - self._started_us) // 1_000
                self._process(board, min(max(at_ms, board.last_ms), ms), util.pid, rows.get(util.pid), util)
        for pid in rows.keys() - board.pids.keys():
            self._process(board, ms, pid, rows[pid], None)
        for pid in board.pids.keys() - rows.keys():
            self._row("exit", ms, board.index, pid)
            del board.pids[pid]
        board.last_ms = ms

    def _process(
        self, board: _Recorded, ms: int, pid: int, row: Running | None, util: ProcessUtil | None
    ) -> None:
        """A row of a process; one that has just ended keeps what was known of it."""
        if row is not None:
            where = "" if row.instance is None else f" {row.instance}"
            board.pids[pid] = f"{row.memory_bytes} {{}} {{}}{where}"
        percents = (0, 0) if util is None else (util.sm_pct, util.mem_pct)
        self._row("proc", ms, board.index, pid, board.pids[pid].format(*percents))
        board.last_ms = ms

    def _activity(self, board: _Recorded, ms: int, key: str, activity: Activity) -> None:
        """Activity since the last sample holds from then on."""
        try:
            found: Mapping[str, int] = activity.read() if key in board.sampled_ms else activity.start()
        except GpuLost:
            raise
        except (MetricAbsent, NvmlFailed):
            if key not in board.sampled_ms:
                del board.activities[key]  # a trace without its rows says the same
            return
        if found:
            values = [found.get(metric, 0) for metric in METRICS.values()]
            self._row("gpm", board.sampled_ms[key], board.index, key, *values)
            self._lacking(board, found)
        if found or key not in board.sampled_ms:
            board.sampled_ms[key] = ms

    def _lacking(self, board: _Recorded, found: Mapping[str, int]) -> None:
        for metric, name in METRICS.items():
            symbol = f"nvmlGpmMetricsGet:{metric}"
            if name not in found and symbol not in board.failing:
                board.failing[symbol] = 3
                self._row("fail", 0, board.index, symbol, 3)


def _or_raise(value: int | TelemetryError) -> int:
    if isinstance(value, TelemetryError):
        raise value
    return value
