"""Charges that the store doesn't have yet, whose receipts may be out: lines of a file beside the database.

A transaction is the longest step of a call, and it waits for others. A line takes one call of the system;
from then on it survives this process, however that ends. The store catches up right after, and as a node
begins to lead. After a power cut lines may be broken: they are left out.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from oracle.gateway import fast_json

LARGE: Final = 2**22
"""Bytes from which a log is emptied as soon as the store has all of it."""
FULL: Final = 4 * LARGE
"""Bytes from which it takes nothing more until then."""


class ChargeLog:
    """The log of one database, for the one process that has it. The caller sees to it that one thread at a
    time is in here.
    """

    def __init__(self, database: Path) -> None:
        self.path = Path(f"{database}-charges")
        self._open()

    def _open(self) -> None:
        known = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = open(known, "r+b", buffering=0)  # noqa: SIM115 (kept open)
        self.size = os.fstat(known).st_size
        """Bytes."""
        self._whole = True
        """Whether its last line is."""

    def add(self, row: dict[str, Any]) -> None:
        """Write a row, whose values JSON has. Raises OSError if it can't be: it isn't there then."""
        text = fast_json.dumps(row)
        line = b"%08x %b\n" % (zlib.crc32(text), text)
        if not self._whole:
            self._file.truncate(self.size)
        self._whole = False
        if self._file.write(line) != len(line):
            raise OSError(f"no room for a charge of {len(line)} bytes in {self.path.name}")
        self._whole = True
        self.size += len(line)

    def rows(self) -> Iterator[dict[str, Any]]:
        """What was written since the log was empty, oldest first, but for broken lines."""
        with self.path.open("rb") as file:
            for line in file:
                row = _read(line)
                if row is not None:
                    yield row

    def clear(self) -> None:
        """Empty it."""
        self._file.truncate(0)
        self.size, self._whole = 0, True

    def put_aside(self) -> Path:
        """Begin a new file, and keep the old one under the name that is returned."""
        name = next(name for number in count(1) if not (name := Path(f"{self.path}.{number}")).exists())
        self.path.rename(name)
        self._file.close()
        self._open()
        return name

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read(line: bytes) -> dict[str, Any] | None:
    check, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(text):
        return None
    row: dict[str, Any] = json.loads(text)  # orjson would round large integers
    return row
