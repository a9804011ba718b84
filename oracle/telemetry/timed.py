"""A meter that tells how long its readings take."""

from __future__ import annotations

from collections.abc import Callable

from oracle.metrics import Metrics
from oracle.telemetry.base import Meter, Reading
from oracle.telemetry.wrapped import WrappedMeter


class TimedMeter(WrappedMeter):
    """`meter` as it is, with the wall time of each reading counted."""

    def __init__(self, meter: Meter, metrics: Metrics) -> None:
        super().__init__(meter)
        self._seconds = metrics.sampler_seconds.labels(meter.name)

    def _read(self, take: Callable[[], list[Reading]]) -> list[Reading]:
        with self._seconds.time():
            return take()
