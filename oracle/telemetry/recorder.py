"""Turns meters into samples: a start edge, a tick a second, an end edge, numbered and clocked.

One clock rules a recording: `mono_ns` counts from the start edge, and `at_ms` is the wall time of the start
edge plus that, so that a wall clock set forward or back during the job changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from oracle.telemetry.base import HOST, Finished, Lease, Meter, Note, Reading, RecordingFailed
from oracle.telemetry.clock import Clock, SystemClock
from scrip.errors import ScripError
from scrip.evidence import Sample

TICK_S: Final = 1.0


class Recorder:
    """Records one lease: `start` right after the fork, `end` right after the process was reaped.

    In between, a thread ticks every `period_s` seconds (None: only when `tick` is called). A meter that fails
    ends the ticking; `end` still takes the end edge and then raises what went wrong, so nothing is lost and
    nothing hidden.
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
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._samples: list[Sample] = []
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
            return tuple(self._samples)

    def notes(self) -> tuple[Note, ...]:
        """What the meters left out or found odd."""
        with self._lock:
            return tuple(note for meter in self._meters for note in meter.notes())

    def start(self) -> None:
        """Take the start edge and begin to tick. A meter that can't start raises here, and nothing ticks."""
        with self._lock:
            self._enter("new", "running")
            self.started_mono_ns, self._started_wall_ms = self._clock.mono_ns(), self._clock.wall_ms()
            self._keep("start", 0, self._lease_readings(0))
            for meter in self._meters:
                self._keep("start", 0, meter.start(self._lease))
        if self._period_s is not None:
            name = f"recorder-{self._lease.job_id.hex()[:8]}"
            self._thread = threading.Thread(target=self._run, args=(self._period_s,), name=name, daemon=True)
            self._thread.start()

    def tick(self) -> None:
        """Take one reading in between; a failure is kept for `end`."""
        with self._lock:
            if self._state != "running" or self._problems:
                return
            elapsed = self._elapsed_ns()
            for meter in self._meters:
                self._try("tick", elapsed, meter.tick)

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
            self._keep("end", elapsed, self._lease_readings(lease_ms))
            for meter in self._meters:
                self._try("end", elapsed, lambda meter=meter: meter.end(finished))  # type: ignore[misc]
            for problem in self._problems:
                if not isinstance(problem, ScripError):
                    raise problem
            if self._problems:
                raise RecordingFailed(self._problems, self._samples) from self._problems[0]
            return list(self._samples)

    def close(self) -> None:
        """Stop ticking and wait until the tick in progress is over. Safe to call again, and without `end`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, period_s: float) -> None:
        """Tick on a fixed grid, so that slow readings don't stretch it; grid points missed are skipped."""
        begun = time.monotonic()
        wait = period_s
        while not self._stop.wait(wait):
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

    def _try(self, edge: str, elapsed_ns: int, read: Callable[[], Sequence[Reading]]) -> None:
        try:
            self._keep(edge, elapsed_ns, read())
        except Exception as problem:  # kept, and raised by `end`: this may run in the ticking thread
            self._problems.append(problem)

    def _keep(self, edge: str, elapsed_ns: int, readings: Sequence[Reading]) -> None:
        at_ms = self._started_wall_ms + elapsed_ns // 1_000_000
        for reading in readings:
            self._samples.append(
                Sample(
                    seq=len(self._samples),
                    at_ms=at_ms,
                    mono_ns=elapsed_ns,
                    edge=edge,
                    source=reading.source,
                    device=reading.device,
                    metric=reading.metric,
                    value=reading.value,
                )
            )
