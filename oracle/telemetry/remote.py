"""A lease on another machine: its meters are read there, and their readings pass through here."""

from __future__ import annotations

from oracle.telemetry.base import Finished, Lease, Note, Reading, Remote, TelemetryError
from scrip.samples import SIMULATED_SOURCES


class RemoteMeter:
    """What the node read of CPU and GPUs, at its edges and ticks. Lease time stays ours: see `Recorder`."""

    name = "remote"

    def __init__(self) -> None:
        self._remote: Remote | None = None
        self.simulated = False

    def start(self, lease: Lease) -> list[Reading]:
        """Raises TelemetryError for a lease on this machine."""
        self._remote = lease.remote
        return self._read("start")

    def tick(self) -> list[Reading]:
        """The node's latest; may be the same as before."""
        return self._read("tick")

    def end(self, finished: Finished) -> list[Reading]:
        """The values that count. Only a job that reached its own end has them."""
        return [] if finished.reason == "killed" else self._read("end")

    def notes(self) -> tuple[Note, ...]:
        """The node's."""
        return () if self._remote is None else self._remote.notes()

    def _read(self, edge: str) -> list[Reading]:
        if self._remote is None:
            raise TelemetryError("the lease is on this machine, nothing reads it elsewhere")
        found = self._remote.readings(edge)
        self.simulated = self.simulated or any(reading.source in SIMULATED_SOURCES for reading in found)
        return found
