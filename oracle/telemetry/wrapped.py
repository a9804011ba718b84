"""A meter around another one."""

from __future__ import annotations

from collections.abc import Callable

from oracle.telemetry.base import Finished, Lease, Meter, Note, Reading


class WrappedMeter:
    """`meter` as it is. What is to happen around each reading goes into `_read`."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def _read(self, take: Callable[[], list[Reading]]) -> list[Reading]:
        return take()

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
        return self._read(lambda: self._meter.start(lease))

    def tick(self) -> list[Reading]:
        """See Meter.tick."""
        return self._read(self._meter.tick)

    def end(self, finished: Finished) -> list[Reading]:
        """See Meter.end."""
        return self._read(lambda: self._meter.end(finished))

    def notes(self) -> tuple[Note, ...]:
        """See Meter.notes."""
        return self._meter.notes()
