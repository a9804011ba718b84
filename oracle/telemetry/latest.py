"""What was last read of each GPU, for people to look at: meters leave it here as they read, so that looking
costs no reading of its own. A GPU that nobody meters is read when somebody looks, however many do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from oracle.telemetry.base import Finished, Lease, Meter, Reading, TelemetryError
from oracle.telemetry.nvml.fields import BoardReading
from oracle.telemetry.wrapped import WrappedMeter

SHOWN: Final = ("util_pct", "power_mw", "energy_mj", "memory_bytes")
"""Metrics that are kept, as meters name them."""
POWER_S, UTIL_S = 2.5, 6.0
"""How old a reading may be before a look reads anew. Meters read utilisation every five seconds."""


class GpuReader(Protocol):
    """What idle GPUs are read with; `oracle.telemetry.nvml.Nvml` fits."""

    @property
    def simulated(self) -> bool: ...
    def board(self, gpu: str) -> BoardReading: ...
    def util_pct(self, gpu: str) -> int: ...
    def memory_bytes(self, gpu: str) -> int: ...


@dataclass(frozen=True, slots=True)
class GpuNow:
    """A GPU as last read: percent, mW, mJ, bytes; None where it doesn't say. `first_mj` is its energy counter
    as this node first saw it, `at_ms` when power was read (unix, 0: never), `jobs` who holds it, `problem`
    why it couldn't be read.
    """

    uuid: str
    name: str
    memory_total: int
    util_pct: int | None = None
    power_mw: int | None = None
    energy_mj: int | None = None
    first_mj: int | None = None
    memory_bytes: int | None = None
    at_ms: int = 0
    jobs: frozenset[bytes] = frozenset()
    problem: str = ""


class LatestGpus:
    """Last readings of the GPUs a node serves. Safe to share between threads."""

    def __init__(
        self,
        reader: GpuReader | None,
        gpus: Iterable[tuple[str, str, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gpus` are UUID, name and bytes of memory of each. Without a reader there is nothing to see."""
        self._reader, self._clock, self._lock = reader, clock, threading.Lock()
        self._now = {uuid: GpuNow(uuid, name, memory) for uuid, name, memory in gpus}
        self._read_at: dict[tuple[str, str], float] = {}

    @property
    def simulated(self) -> bool:
        """Whether what is read is replayed."""
        return self._reader is not None and self._reader.simulated

    def tapped(self, meter: Meter) -> Meter:
        """`meter` as it is, with what it reads of GPUs left here."""
        return _Tapped(meter, self)

    def note(self, readings: Iterable[Reading]) -> None:
        """Keep what was just read."""
        with self._lock:
            for reading in readings:
                if reading.metric in SHOWN and reading.device in self._now:
                    self._keep(reading.device, reading.metric, reading.value)

    def hold(self, gpus: Sequence[str], job_id: bytes, *, held: bool) -> None:
        """A job takes GPUs, or gives them back."""
        with self._lock:
            for gpu in gpus:
                if (now := self._now.get(gpu)) is not None:
                    jobs = now.jobs | {job_id} if held else now.jobs - {job_id}
                    self._now[gpu] = replace(now, jobs=jobs)

    def look(self) -> tuple[GpuNow, ...]:
        """Every GPU as last read, by a meter or, where that is too long ago, now."""
        for gpu in tuple(self._now):
            if self._reader is not None and self._is_old(gpu):
                self._read(self._reader, gpu)
        with self._lock:
            return tuple(self._now.values())

    def _is_old(self, gpu: str) -> bool:
        now = self._clock()
        with self._lock:
            ages = [now - self._read_at.get((gpu, name), float("-inf")) for name in ("power_mw", "util_pct")]
        return ages[0] > POWER_S or ages[1] > UTIL_S

    def _read(self, reader: GpuReader, gpu: str) -> None:
        problem, found = "", {}
        try:
            found = {
                name: value for name, value in reader.board(gpu)._asdict().items() if isinstance(value, int)
            }
            for name, read in (("util_pct", reader.util_pct), ("memory_bytes", reader.memory_bytes)):
                found[name] = read(gpu)
        except TelemetryError as error:
            problem = str(error)
        with self._lock:
            now = self._clock()
            # Also what it doesn't offer counts as read: it won't answer any better at once.
            self._read_at |= {(gpu, name): now for name in ("power_mw", "util_pct")}
            for name, value in found.items():
                self._keep(gpu, name, value)
            self._now[gpu] = replace(self._now[gpu], problem=problem)

    def _keep(self, gpu: str, metric: str, value: int) -> None:
        self._read_at[gpu, metric] = self._clock()
        now = replace(self._now[gpu], **{metric: value}, problem="")  # type: ignore[arg-type]
        if metric == "energy_mj" and now.first_mj is None:
            now = replace(now, first_mj=value)
        if metric == "power_mw":
            now = replace(now, at_ms=time.time_ns() // 1_000_000)
        self._now[gpu] = now


class _Tapped(WrappedMeter):
    """A meter whose readings are left with `latest` too."""

    def __init__(self, meter: Meter, latest: LatestGpus) -> None:
        super().__init__(meter)
        self._latest = latest
        self._held: tuple[tuple[str, ...], bytes] = ((), b"")

    def start(self, lease: Lease) -> list[Reading]:
        """See Meter.start."""
        readings = super().start(lease)
        self._held = lease.gpus, lease.job_id
        self._latest.hold(*self._held, held=True)
        return readings

    def end(self, finished: Finished) -> list[Reading]:
        """See Meter.end."""
        self._latest.hold(*self._held, held=False)
        return super().end(finished)

    def _read(self, take: Callable[[], list[Reading]]) -> list[Reading]:
        readings = take()
        self._latest.note(readings)
        return readings
