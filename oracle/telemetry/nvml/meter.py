"""The meter of a lease's GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from oracle.telemetry.base import Finished, Lease, Note, Reading, TelemetryError
from oracle.telemetry.clock import Clock, SystemClock
from oracle.telemetry.cpu import belongs
from oracle.telemetry.nvml.crosscheck import CrossCheck
from oracle.telemetry.nvml.errors import GpuLost, MetricAbsent, NvmlFailed
from oracle.telemetry.nvml.gpm import Activity
from oracle.telemetry.nvml.processes import Processes
from oracle.telemetry.nvml.readings import Nvml

ENERGY: Final = "energy_mj"
REFUSED: Final = "energy_refused_mj"
_BOARD_ONLY: Final = (ENERGY, "power_mw", "util_pct", "process_sm_pct", "accounting")


@dataclass(frozen=True, slots=True)
class _Watched:
    """What is kept of one GPU of the lease."""

    gpu: str
    energy: CrossCheck
    processes: Processes
    activity: Activity


class NvmlMeter:
    """Energy, and side information, of each GPU of a lease.

    `energy_mj` is the raw counter at every edge and tick, so that the evidence shows a reset. A counter that
    disagrees with power beyond the bound (`crosscheck`) is read as `energy_refused_mj` at the end edge: the
    lease then has no energy, and the evidence shows why. Side information is `power_mw`, `util_pct`,
    `memory_bytes`, `process_present` and `process_sm_pct` (the job's own), `gpm_*_pct`, and, once its
    processes are gone, what the driver's accounting kept of them. What a GPU doesn't offer is left out with a
    note; so is side information that once fails to be read.

    On a board divided by MIG, and for a MIG device, what NVML knows of whole boards only isn't read: every
    slice would repeat it.
    """

    name = "nvml"

    def __init__(
        self, nvml: Nvml, owns: Callable[[int], bool] | None = None, clock: Clock | None = None
    ) -> None:
        """`owns` tells whether a pid is the job's; by default, whether it is in the lease's tree."""
        self._nvml, self._owns, self._clock = nvml, owns, clock or SystemClock()
        self._watched: tuple[_Watched, ...] = ()
        self._absent: dict[tuple[str, str], Note] = {}
        self._odd: dict[tuple[str, str, str], Note] = {}

    @property
    def simulated(self) -> bool:
        """True when NVML is the replay library."""
        return self._nvml.simulated

    def start(self, lease: Lease) -> list[Reading]:
        """NVML is initialised anew if a GPU was lost before. Raises GpuLost (among others, when a leased GPU
        isn't here), NvmlFailed.
        """
        self._nvml.revive()
        self._watched = tuple(self._watch(gpu, lease) for gpu in lease.gpus)
        readings: list[Reading] = []
        try:
            for watched in self._watched:
                if self._nvml.is_split(watched.gpu):
                    for metric in _BOARD_ONLY:
                        self._leave_out(watched.gpu, metric, "MIG: NVML only knows the whole board")
            self._read_energy(readings)
            for watched in self._watched:
                self._read_now(readings, watched)
                self._side(readings, watched.gpu, "process_present", watched.processes.present)
                self._side(readings, watched.gpu, "accounting", watched.processes.check_accounting)
                self._side(readings, watched.gpu, "gpm", watched.activity.start)
        except BaseException:
            self._close()
            raise
        return readings

    def tick(self) -> list[Reading]:
        """Raises GpuLost, NvmlFailed."""
        readings: list[Reading] = []
        self._read_energy(readings)
        for watched in self._watched:
            self._read_now(readings, watched)
            self._side(readings, watched.gpu, "process_present", watched.processes.present)
            self._read_since(readings, watched)
        return readings

    def end(self, finished: Finished) -> list[Reading]:
        """Processes aren't counted any more: they are gone. Raises GpuLost, NvmlFailed."""
        del finished
        readings: list[Reading] = []
        try:
            self._read_energy(readings, last=True)
            for watched in self._watched:
                self._read_now(readings, watched)
                self._read_since(readings, watched)
                self._side(readings, watched.gpu, "accounting", watched.processes.accounted)
        finally:
            self._close()
        return readings

    def notes(self) -> tuple[Note, ...]:
        """Metrics left out, and what is odd about the others."""
        return (*self._absent.values(), *self._odd.values())

    def _watch(self, gpu: str, lease: Lease) -> _Watched:
        owns = self._owns or (lambda pid: belongs(pid, lease.pgid))
        processes = Processes(self._nvml, gpu, owns, self._clock)
        return _Watched(gpu, CrossCheck(), processes, Activity(self._nvml, gpu, self._clock))

    def _read_energy(self, readings: list[Reading], *, last: bool = False) -> None:
        """All counters before all else: they are what an edge is about."""
        for watched in self._watched:
            gpu = watched.gpu
            if (gpu, ENERGY) in self._absent and (gpu, "power_mw") in self._absent:
                continue
            board, at_ns = self._nvml.board(gpu), self._clock.mono_ns()
            energy, power = board[ENERGY], board["power_mw"]
            if isinstance(energy, NvmlFailed):
                raise energy
            if isinstance(energy, int) and (gpu, ENERGY) not in self._absent:
                self._check(watched, at_ns, energy, power if isinstance(power, int) else None)
                name = ENERGY if not last or self._believed(watched) else REFUSED
                readings.append(Reading(self._nvml.source, gpu, name, energy))
            elif isinstance(energy, MetricAbsent):
                self._leave_out(gpu, ENERGY, energy.reason)
            self._side(readings, gpu, "power_mw", partial(_given, "power_mw", power))

    def _check(self, watched: _Watched, at_ns: int, energy: int, power: int | None) -> None:
        if odd := watched.energy.add(at_ns, energy, power):
            self._remark(watched.gpu, ENERGY, odd)

    def _believed(self, watched: _Watched) -> bool:
        believed, remark = watched.energy.verdict()
        if remark:
            self._remark(watched.gpu, ENERGY, remark)
        return believed

    def _read_now(self, readings: list[Reading], watched: _Watched) -> None:
        gpu, nvml = watched.gpu, self._nvml
        self._side(readings, gpu, "util_pct", lambda: {"util_pct": nvml.util_pct(gpu)})
        self._side(readings, gpu, "memory_bytes", lambda: {"memory_bytes": nvml.memory_bytes(gpu)})

    def _read_since(self, readings: list[Reading], watched: _Watched) -> None:
        self._side(readings, watched.gpu, "process_sm_pct", watched.processes.in_use)
        self._side(readings, watched.gpu, "gpm", watched.activity.read)

    def _side(
        self, readings: list[Reading], gpu: str, kind: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        """Side information never costs a lease, unless it shows that the GPU is gone."""
        if (gpu, kind) in self._absent:
            return
        try:
            found = read()
        except GpuLost:
            raise
        except MetricAbsent as problem:
            self._leave_out(gpu, kind, problem.reason)
        except NvmlFailed as problem:
            self._remark(gpu, kind, f"left out once: {problem}")
        else:
            source = self._nvml.source
            readings += [Reading(source, gpu, metric, value) for metric, value in found.items()]

    def _leave_out(self, gpu: str, metric: str, reason: str) -> None:
        self._absent[gpu, metric] = Note(self._nvml.source, gpu, metric, reason)

    def _remark(self, gpu: str, metric: str, reason: str) -> None:
        """Each remark once, however often it is made."""
        self._odd.setdefault((gpu, metric, reason), Note(self._nvml.source, gpu, metric, reason))

    def _close(self) -> None:
        for watched in self._watched:
            watched.activity.close()


def _given(metric: str, value: int | TelemetryError) -> Mapping[str, int]:
    """A value that was read together with another; raises what was found in its place."""
    if isinstance(value, TelemetryError):
        raise value
    return {metric: value}
