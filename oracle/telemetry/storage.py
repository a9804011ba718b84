"""Bytes kept for a buyer: the size of a job's content, at each edge and tick.

`oracle.attribution` makes byte-time of it, at the smaller of two successive readings: what appears or goes
between two readings isn't counted. The size is the file's, not what the disk sets aside for it: a file with
holes would count in full, but the content is named by its hash, and a watcher has all of it.
"""

from __future__ import annotations

from oracle.jobs.names import CONTENT
from oracle.telemetry.base import Finished, Lease, Note, Reading
from oracle.telemetry.workdir import size_of


class StorageMeter:
    """`stored_bytes` of the device "content"."""

    name = "storage"
    simulated = False

    def start(self, lease: Lease) -> list[Reading]:
        """What is there at the start, mostly nothing."""
        self._path = lease.workdir / CONTENT
        return self.tick()

    def tick(self) -> list[Reading]:
        """What is there now."""
        return [Reading("storage", "content", "stored_bytes", size_of(self._path))]

    def end(self, finished: Finished) -> list[Reading]:
        """What is there still, once the job has ended."""
        del finished
        return self.tick()

    def notes(self) -> tuple[Note, ...]:
        """Nothing: a file has a size."""
        return ()
