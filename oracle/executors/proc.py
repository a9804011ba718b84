"""Processes as /proc shows them (man 5 proc). Only the standard library: the launcher starts with this.

Every read may find a process gone; that is an answer, not an error.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One row of /proc/<pid>/stat. `born_ns` is since boot, in steps of a clock tick (10 ms)."""

    pid: int
    state: str
    parent: int
    group: int
    threads: int
    born_ns: int
    rss_bytes: int


def read(pid: int) -> Process | None:
    """The process's row, or None when it is gone."""
    text = _file(f"/proc/{pid}/stat").decode(errors="replace")
    if not text:
        return None
    # The command name may hold spaces and parentheses; everything after the last one is plain.
    field = text[text.rindex(")") + 2 :].split()
    return Process(
        pid=pid,
        state=field[0],
        parent=int(field[1]),
        group=int(field[2]),
        threads=int(field[17]),
        born_ns=int(field[19]) * _TICK_NS,
        rss_bytes=int(field[21]) * _PAGE,
    )


def pids() -> list[int]:
    """Every process there is."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(root: int) -> list[Process]:
    """Live descendants of a process, parents first, zombies left out."""
    found: list[Process] = []
    frontier = _children(root)
    while frontier:
        pid = frontier.pop()
        process = read(pid)
        if process is not None and process.state not in "ZX":
            found.append(process)
        frontier.extend(_children(pid))
    return found


def proportional_bytes(process: Process) -> int:
    """Its resident memory, shared pages split among their users (Pss); all of it if that is unreadable."""
    for line in _file(f"/proc/{process.pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return process.rss_bytes


def environment(pid: int) -> list[bytes]:
    """The environment it was started with, NAME=value each; empty if it is gone or not ours to read."""
    return _file(f"/proc/{pid}/environ").split(b"\0")


def tasks_of_user(uid: int) -> int:
    """Threads that the user runs now."""
    total = 0
    for pid in pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid != uid:
                continue
        except OSError:
            continue
        process = read(pid)
        total += process.threads if process is not None else 0
    return total


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    if not os.path.exists("/proc/self/task/" + str(os.getpid()) + "/children"):
        return _children_by_search(pid)  # a kernel without CONFIG_PROC_CHILDREN
    return [
        int(child) for thread in threads for child in _file(f"/proc/{pid}/task/{thread}/children").split()
    ]


def _children_by_search(parent: int) -> list[int]:
    rows = (read(pid) for pid in pids())
    return [row.pid for row in rows if row is not None and row.parent == parent]


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
