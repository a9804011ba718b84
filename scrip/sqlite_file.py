"""Transactions on a small SQLite file of a client's: its journal, its book."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

WAIT_SECONDS: Final = 30.0
"""How long another process may hold the file."""


@contextmanager
def transaction(path: Path, lock: threading.Lock) -> Iterator[sqlite3.Connection]:
    """A connection whose changes are on the disk when the block ends, or not made at all. One thread of those
    that share `lock` at a time. Raises sqlite3.Error.
    """
    with lock, closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as database:
        # The default rollback journal with FULL: a commit that returned survives a power cut.
        database.execute("PRAGMA synchronous = FULL")
        with database:
            yield database
