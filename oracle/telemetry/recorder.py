"""Turns meters into samples: a start edge, a tick a second, an end edge, numbered and clocked.

One clock rules a recording: `mono_ns` counts from the start edge, and `at_ms` is the wall time of the start
edge plus that, so that a wall clock set forward or back during the job changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from oracle.telemetry.base import HOST, Finished, Lease, Meter, Note, Reading, RecordingFailed
from oracle.telemetry.clock import Clock, SystemClock
from scrip.errors import EvidenceInvalid, ScripError
from scrip.evidence import Sample

TICK_S: Final = 1.0
MOST_KEPT: Final = 100_000
"""Readings of ticks that are kept: half of what a bundle may hold."""


@dataclass(frozen=True, slots=True)
class _Round:
    """All readings of an edge or tick."""

    edge: str
    elapsed_ns: int
    readings: tuple[Reading, ...]


class Recorder:
    """Records one lease: `start` right after the fork, `end` right after the process was reaped.

    In between, a thread ticks every `period_s` seconds (None: only when `tick` is called). A meter that fails
    ends the ticking; `end` still takes the end edge and then raises what went wrong, so nothing is lost and
    nothing hidden.

    A lease that outlasts `MOST_KEPT` readings keeps every second tick, then every fourth, and so on, evenly
    over its whole time. Meters go on ticking at their pace; edges are always kept.
    """

    def __init__(
        self,
        lease: Lease,
        meters: Sequence[Meter],
        clock: Clock | None = None,
        *,
        period_s: float | None = TICK_S,
    ) -> None:
        self._lease, self._meters, self._period_s = lease, tuple(meters), period_s
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._stop = threading.Lock()  # held while it ticks
        self._thread: threading.Thread | None = None
        self._rounds: list[_Round] = []
        self._kept = self._ticks = 0
        self._stride = 1
        self._problems: list[BaseException] = []
        self._state = "new"
        self.started_mono_ns = 0
        self._started_wall_ms = 0

    @property
    def simulated(self) -> bool:
        """True when any of the meters reads a replayed trace."""
        return any(meter.simulated for meter in self._meters)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What has been recorded so far."""
        with self._lock:
            return tuple(self._build()[0])

    def notes(self) -> tuple[Note, ...]:
        """What the meters left out or found odd, and whether ticks were."""
        with self._lock:
            found = [note for meter in self._meters for note in meter.notes()]
            if self._stride > 1:
                found.append(Note("lease", HOST, "ticks", f"one in {self._stride} is kept: a long lease"))
            return tuple(found)

    def start(self) -> None:
        """Take the start edge and begin to tick. A meter that can't start raises here, and nothing ticks."""
        with self._lock:
            self._enter("new", "running")
            self.started_mono_ns, self._started_wall_ms = self._clock.mono_ns(), self._clock.wall_ms()
            readings = self._lease_readings(0)
            for meter in self._meters:
                readings += meter.start(self._lease)
            self._rounds.append(_Round("start", 0, tuple(readings)))
        if self._period_s is not None:
            name = f"recorder-{self._lease.job_id.hex()[:8]}"
            self._stop.acquire()
            self._thread = threading.Thread(target=self._run, args=(self._period_s,), name=name, daemon=True)
            self._thread.start()

    def tick(self) -> None:
        """Take one reading in between; a failure is kept for `end`."""
        with self._lock:
            if self._state != "running" or self._problems:
                return
            elapsed = self._elapsed_ns()
            readings = [reading for meter in self._meters for reading in self._try(meter.tick)]
            self._keep_tick(_Round("tick", elapsed, tuple(readings)))

    def end(self, finished: Finished) -> list[Sample]:
        """Take the end edge and return all samples in order.

        Lease time is what we saw, never more than the executor says the process lived: neither a slow poll
        nor a late start is billed. Raises RecordingFailed (with the samples) if a meter failed; what isn't a
        `ScripError` is a bug and comes out as it is.
        """
        self.close()
        with self._lock:
            self._enter("running", "ended")
            elapsed = self._elapsed_ns()
            lease_ms = min(elapsed, finished.duration_ns) // 1_000_000
            readings = self._lease_readings(lease_ms)
            for meter in self._meters:
                readings += self._try(partial(meter.end, finished))
            self._rounds.append(_Round("end", elapsed, tuple(readings)))
            for problem in self._problems:
                if not isinstance(problem, ScripError):
                    raise problem
            samples, refused = self._build()
            if problems := [*self._problems, *refused]:
                raise RecordingFailed(problems, samples) from problems[0]
            return samples

    def close(self) -> None:
        """Stop ticking and wait until the tick in progress is over. Safe to call again, and without `end`."""
        if self._thread is not None:
            self._stop.release()
            self._thread.join()
            self._thread = None

    def _run(self, period_s: float) -> None:
        """Tick on a fixed grid, so that slow readings don't stretch it; grid points missed are skipped.

        The wait is for a lock, which takes less of a core than for an Event.
        """
        begun = time.monotonic()
        wait = period_s
        while not self._stop.acquire(timeout=wait):
            self.tick()
            if self._problems:
                return
            wait = period_s - (time.monotonic() - begun) % period_s

    def _enter(self, expected: str, state: str) -> None:
        if self._state != expected:
            raise RuntimeError(f"recorder is {self._state}, must be {expected}")
        self._state = state

    def _elapsed_ns(self) -> int:
        return self._clock.mono_ns() - self.started_mono_ns

    def _lease_readings(self, lease_ms: int) -> list[Reading]:
        return [Reading("lease", device, "lease_ms", lease_ms) for device in self._lease.gpus or (HOST,)]

    def _try(self, read: Callable[[], Sequence[Reading]]) -> Sequence[Reading]:
        try:
            return read()
        except Exception as problem:  # kept, and raised by `end`: this may run in the ticking thread
            self._problems.append(problem)
            return ()

    def _keep_tick(self, tick: _Round) -> None:
        self._ticks += 1
        if self._ticks % self._stride:
            return
        self._rounds.append(tick)
        self._kept += len(tick.readings)
        if self._kept > MOST_KEPT:
            self._stride *= 2
            start, *ticks = self._rounds
            self._rounds = [start, *ticks[1::2]]
            self._kept = sum(len(kept.readings) for kept in self._rounds[1:])

    def _build(self) -> tuple[list[Sample], list[ScripError]]:
        """The samples, and why readings that can't be one are missing from them."""
        samples: list[Sample] = []
        refused: list[ScripError] = []
        for kept in self._rounds:
            at_ms = self._started_wall_ms + kept.elapsed_ns // 1_000_000
            for reading in kept.readings:
                try:
                    sample = Sample(
                        seq=len(samples),
                        at_ms=at_ms,
                        mono_ns=kept.elapsed_ns,
                        edge=kept.edge,
                        source=reading.source,
                        device=reading.device,
                        metric=reading.metric,
                        value=reading.value,
                    )
                except EvidenceInvalid as problem:
                    refused.append(problem)
                else:
                    samples.append(sample)
        return samples, refused
