"""The meter of a lease's GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
POWER: Final = "power_mw"
REFUSED: Final = "energy_refused_mj"
SIDE_NS: Final = 5_000_000_000
"""How often a tick reads side information once a lease is older than that. It takes four times as long as
energy and power, nothing is billed by it, and a job of minutes is described as well by less.
"""
_BOARD_ONLY: Final = (ENERGY, POWER, "util_pct", "process_sm_pct", "accounting")


@dataclass(frozen=True, slots=True)
class _Watched:
    """What is kept of one GPU of the lease. `absent` holds the metrics that it doesn't offer."""

    gpu: str
    energy: CrossCheck
    processes: Processes
    activity: Activity
    absent: dict[str, Note] = field(default_factory=dict)


class NvmlMeter:
    """Energy and power of each GPU of a lease at every edge and tick, side information at a pace of its own.

    `energy_mj` is the raw counter at every edge and tick, so that the evidence shows a reset. A counter that
    disagrees with power beyond the bound (`crosscheck`) is read as `energy_refused_mj` at the end edge: the
    lease then has no energy, and the evidence shows why. Side information is `power_mw`, `util_pct`,
    `memory_bytes`, `process_present` and `process_sm_pct` (the job's own), `gpm_*_pct`, and, once its
    processes are gone, what the driver's accounting kept of them. What a GPU doesn't offer is left out with a
    note; so is side information that once fails to be read.

    All but power is read at both edges, at each tick of the first `SIDE_NS`, in which a job's processes come
    to the GPU, and from then on at the first tick of each such span.

    On a board divided by MIG, and for a MIG device, what NVML knows of whole boards only isn't read: every
    slice would repeat it.
    """

    name = "nvml"

    def __init__(
        self,
        nvml: Nvml,
        owns: Callable[[int], bool] | None = None,
        clock: Clock | None = None,
        *,
        side_ns: int = SIDE_NS,
    ) -> None:
        """`owns` tells whether a pid is the job's; by default, whether it is in the lease's tree."""
        self._nvml, self._owns, self._clock = nvml, owns, clock or SystemClock()
        self._side_ns, self._started_ns, self._side_span = side_ns, 0, 0
        self._watched: tuple[_Watched, ...] = ()
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
        self._started_ns = self._clock.mono_ns()
        self._watched = tuple(self._watch(gpu, lease) for gpu in lease.gpus)
        readings: list[Reading] = []
        try:
            for watched in self._watched:
                if self._nvml.is_split(watched.gpu):
                    for metric in _BOARD_ONLY:
                        self._leave_out(watched, metric, "MIG: NVML only knows the whole board")
            self._read_energy(readings, self._clock.mono_ns())
            for watched in self._watched:
                self._read_now(readings, watched)
                self._side(readings, watched, "process_present", watched.processes.present)
                self._side(readings, watched, "accounting", watched.processes.check_accounting)
                self._side(readings, watched, "gpm", watched.activity.start)
        except BaseException:
            self._close()
            raise
        return readings

    def tick(self) -> list[Reading]:
        """Raises GpuLost, NvmlFailed."""
        now_ns = self._clock.mono_ns()
        readings: list[Reading] = []
        self._read_energy(readings, now_ns)
        for watched in self._watched if self._side_is_due(now_ns) else ():
            self._read_now(readings, watched)
            self._side(readings, watched, "process_present", watched.processes.present)
            self._read_since(readings, watched)
        return readings

    def end(self, finished: Finished) -> list[Reading]:
        """Processes aren't counted any more: they are gone. Raises GpuLost, NvmlFailed."""
        del finished
        readings: list[Reading] = []
        try:
            self._read_energy(readings, self._clock.mono_ns(), last=True)
            for watched in self._watched:
                self._read_now(readings, watched)
                self._read_since(readings, watched)
                self._side(readings, watched, "accounting", watched.processes.accounted)
        finally:
            self._close()
        return readings

    def notes(self) -> tuple[Note, ...]:
        """Metrics left out, and what is odd about the others."""
        absent = [note for watched in self._watched for note in watched.absent.values()]
        return (*absent, *self._odd.values())

    def _watch(self, gpu: str, lease: Lease) -> _Watched:
        owns = self._owns or (lambda pid: belongs(pid, lease.pgid))
        processes = Processes(self._nvml, gpu, owns, self._clock)
        return _Watched(gpu, CrossCheck(), processes, Activity(self._nvml, gpu, self._clock))

    def _side_is_due(self, now_ns: int) -> bool:
        """By spans counted from the start, so that ticks that come a little late don't add up."""
        span = (now_ns - self._started_ns) // self._side_ns
        due, self._side_span = span == 0 or span != self._side_span, span
        return due

    def _read_energy(self, readings: list[Reading], now_ns: int, *, last: bool = False) -> None:
        """All counters before all else: they are what an edge is about. One time serves all, as in the
        evidence.
        """
        source = self._nvml.source
        for watched in self._watched:
            gpu, absent = watched.gpu, watched.absent
            if ENERGY in absent and POWER in absent:
                continue
            energy, power = self._nvml.board(gpu)
            if isinstance(energy, int):
                if ENERGY not in absent:
                    self._check(watched, now_ns, energy, power if isinstance(power, int) else None)
                    name = ENERGY if not last or self._believed(watched) else REFUSED
                    readings.append(Reading(source, gpu, name, energy))
            elif isinstance(energy, MetricAbsent):
                self._leave_out(watched, ENERGY, energy.reason)
            else:
                raise energy
            if isinstance(power, int):
                readings.append(Reading(source, gpu, POWER, power))
            else:
                self._without(watched, POWER, power)

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
        self._side(readings, watched, "util_pct", lambda: {"util_pct": nvml.util_pct(gpu)})
        self._side(readings, watched, "memory_bytes", lambda: {"memory_bytes": nvml.memory_bytes(gpu)})

    def _read_since(self, readings: list[Reading], watched: _Watched) -> None:
        self._side(readings, watched, "process_sm_pct", watched.processes.in_use)
        self._side(readings, watched, "gpm", watched.activity.read)

    def _side(
        self, readings: list[Reading], watched: _Watched, kind: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        """Side information never costs a lease, unless it shows that the GPU is gone."""
        if kind in watched.absent:
            return
        try:
            found = read()
        except GpuLost:
            raise
        except (MetricAbsent, NvmlFailed) as problem:
            self._without(watched, kind, problem)
        else:
            source, gpu = self._nvml.source, watched.gpu
            readings += [Reading(source, gpu, metric, value) for metric, value in found.items()]

    def _without(self, watched: _Watched, kind: str, problem: TelemetryError) -> None:
        """For good where the GPU doesn't offer it, else this once."""
        if isinstance(problem, MetricAbsent):
            self._leave_out(watched, kind, problem.reason)
        else:
            self._remark(watched.gpu, kind, f"left out once: {problem}")

    def _leave_out(self, watched: _Watched, metric: str, reason: str) -> None:
        watched.absent[metric] = Note(self._nvml.source, watched.gpu, metric, reason)

    def _remark(self, gpu: str, metric: str, reason: str) -> None:
        """Each remark once, however often it is made."""
        self._odd.setdefault((gpu, metric, reason), Note(self._nvml.source, gpu, metric, reason))

    def _close(self) -> None:
        for watched in self._watched:
            watched.activity.close()
