"""Syncs that no commit waits for, and whether the machine has restarted since.

SQLite's WAL holds all commits in order. One that isn't synced survives the end of the process at any moment,
since the operating system has it, but not a power cut. The next sync of the file takes all before it along.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from oracle.logging import get

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_log = get(__name__)


def boot() -> int | None:
    """A number of this start of the machine, below 2**62; None where the system doesn't say."""
    try:
        return int(BOOT_ID.read_text("ascii").strip().replace("-", ""), 16) >> 66
    except (OSError, ValueError):
        return None


class SyncSoon:
    """Syncs a file after it was written, in a thread of its own: one sync for all writes that came before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked, self._closed = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.failed = False
        """Whether a sync has failed: what is written from then on must be synced by who writes it."""

    def ask(self) -> None:
        """Sync what was written up to now, as soon as possible. Doesn't wait."""
        self._asked.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name="scrip-sync", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """Sync what was asked for, and end the thread."""
        with self._lock:
            self._closed = True
        self._asked.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            self._sync()
            if self._closed and not self._asked.is_set():
                return

    def _sync(self) -> None:
        try:
            file = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        except FileNotFoundError:
            return  # the last connection was closed: all of it is in the database, and synced
        except OSError as error:
            self.failed = True
            _log.error("disk doesn't sync, charges wait for it from now on", reason=error.strerror)
