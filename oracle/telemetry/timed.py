"""A meter that tells how long its readings take."""

from __future__ import annotations

from oracle.metrics import Metrics
from oracle.telemetry.base import Finished, Lease, Meter, Note, Reading


class TimedMeter:
    """`meter` as it is, with the wall time of each reading counted."""

    def __init__(self, meter: Meter, metrics: Metrics) -> None:
        self._meter = meter
        self._seconds = metrics.sampler_seconds.labels(meter.name)

    @property
    def name(self) -> str:
        """See Meter.name."""
        return self._meter.name

    @property
    def simulated(self) -> bool:
        """See Meter.simulated."""
        return self._meter.simulated

    def start(self, lease: Lease) -> list[Reading]:
        """See Meter.start."""
        with self._seconds.time():
            return self._meter.start(lease)

    def tick(self) -> list[Reading]:
        """See Meter.tick."""
        with self._seconds.time():
            return self._meter.tick()

    def end(self, finished: Finished) -> list[Reading]:
        """See Meter.end."""
        with self._seconds.time():
            return self._meter.end(finished)

    def notes(self) -> tuple[Note, ...]:
        """See Meter.notes."""
        return self._meter.notes()
