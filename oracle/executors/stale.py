"""Ending what a previous run of the oracle left behind, without ever hitting a process that isn't ours."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Final

from oracle.executors import proc
from oracle.executors.base import ExecutorError
from oracle.executors.launch import MARK

_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.01


def kill_stale(pgid: int, born_ns: int) -> int:
    """Kills what is left of a job; returns how many processes that were. Safe to call for a job that is
    long gone.

    `pgid` and `born_ns` are what `Running` had. A process number is soon given to somebody else, so nothing
    is killed for its number: either it also started at `born_ns`, or its environment has the job's mark,
    which its first process got and all its descendants inherit. Raises ExecutorError if something survives,
    or the ids can't be a job's.
    """
    if pgid <= 1 or born_ns <= 0:
        raise ExecutorError(f"pgid {pgid}, started {born_ns}: not the ids of a job, must be above 1 and 0")
    killed: set[tuple[int, int]] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while left := _left(pgid, born_ns):
        if time.monotonic() > deadline:
            raise ExecutorError(f"processes {left} of job group {pgid} survive SIGKILL. Look at them by hand")
        for process in left:
            killed.add((process.pid, process.born_ns))
            _kill(process)
        time.sleep(_PAUSE_S)
    return len(killed)


def _left(pgid: int, born_ns: int) -> list[proc.Process]:
    mark = f"{MARK}={pgid}:{born_ns}".encode()
    found = []
    for pid in proc.pids():
        process = proc.read(pid)
        if process is None or process.state in "ZX":
            continue
        is_first = pid == pgid and process.born_ns == born_ns
        if is_first or mark in proc.environment(pid):
            found.append(process)
    return found


def _kill(process: proc.Process) -> None:
    """Through a pidfd, so that between the look and the signal the number can't change hands."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        again = proc.read(process.pid)
        if again is not None and again.born_ns == process.born_ns:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
