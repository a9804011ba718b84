"""Room on the disk that a node works on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from oracle.evidence import StorageFull

ROOM_BYTES: Final = 16 << 20
"""Free room that the store and the evidence need beside a job's output."""


def check_room(folder: Path, output_bytes: int = 0) -> int:
    """Free bytes on the disk of `folder`. Raises StorageFull unless a job that leaves `output_bytes` fits."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    free, needed = shutil.disk_usage(folder).free, output_bytes + ROOM_BYTES
    if free < needed:
        raise StorageFull(folder, f"{free} bytes free, a job needs {needed}")
    return free
