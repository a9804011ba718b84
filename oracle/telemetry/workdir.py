"""Size of a file in a job's work directory. The job chose what is at that path: no link is followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def size_of(path: Path) -> int:
    """Bytes of a plain file; 0 if there is none, or something else is there."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
