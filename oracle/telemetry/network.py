"""Bytes moved for a buyer: payload that arrived, in a job's output.

Only the artefact's own bytes count, once. Headers, retries and what other programs send don't, so a bad line
costs the provider and not the buyer.
"""

from __future__ import annotations

from oracle.jobs.names import OUTPUT
from oracle.telemetry.base import Finished, Lease, Note, Reading
from oracle.telemetry.workdir import size_of


class NetworkMeter:
    """`moved_bytes` of the device "artefact": a running total."""

    name = "network"
    simulated = False

    def start(self, lease: Lease) -> list[Reading]:
        """Nothing has moved yet."""
        self._path, self._most = lease.workdir / OUTPUT, 0
        return self.tick()

    def tick(self) -> list[Reading]:
        """What has arrived by now."""
        self._most = max(self._most, size_of(self._path))
        return [Reading("network", "artefact", "moved_bytes", self._most)]

    def end(self, finished: Finished) -> list[Reading]:
        """What arrived."""
        del finished
        return self.tick()

    def notes(self) -> tuple[Note, ...]:
        """Nothing: a file has a size."""
        return ()
