"""Reading what a job left. The job chose what is at those paths: no link is followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from oracle.executors.base import ResultInvalid
from oracle.jobs.names import OUTPUT


def read_output(workdir: Path, limit: int) -> bytes:
    """The job's output. Raises ResultInvalid if there is none, it isn't a plain file or exceeds `limit`
    bytes.
    """
    return read_job_file(workdir, OUTPUT, limit)


def read_job_file(workdir: Path, name: str, limit: int) -> bytes:
    """One file that a job left in its work directory. Raises ResultInvalid."""
    try:
        handle = os.open(workdir / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise ResultInvalid(name, problem.strerror or str(problem)) from problem
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ResultInvalid(name, "not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ResultInvalid(name, f"larger than {limit} bytes")
    return data
