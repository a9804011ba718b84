"""A control group (cgroup v2) of its own for each job, where this user may make one. Standard library only.

The kernel adds the time of a child to its parent's only when the parent waits for it: of a job that ignores
SIGCHLD nothing would be left once its children are gone. A cgroup's `cpu.stat` has all that ever ran in it,
and needs no controller (kernel Documentation/admin-guide/cgroup-v2.rst). Groups are made below the one that
the oracle is in, which systemd allows with `Delegate=yes`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import subprocess
import time
from pathlib import Path
from typing import Final

_PREFIX: Final = "scrip-job-"
_PROBE_TIMEOUT_S: Final = 10
_PATIENCE_S: Final = 1.0
_PAUSE_S: Final = 0.01
_count = itertools.count()


def home(proc: Path = Path("/proc")) -> Path | None:
    """Where groups for jobs can be made, or None. Really makes one, and moves a process into it."""
    base = _own(proc)
    if base is None:
        return None
    _sweep(base, proc)
    try:
        probe = make(base)
    except OSError:
        return None
    try:
        command = ["/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs"', str(probe)]
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False)
        return base if done.returncode == 0 and cpu_us(probe) is not None else None
    except (OSError, subprocess.TimeoutExpired):
        return None
    finally:
        remove(probe)


def make(base: Path) -> Path:
    """A new, empty group. Raises OSError."""
    path = base / f"{_PREFIX}{os.getpid()}-{next(_count)}"
    path.mkdir()
    return path


def enter(group: str) -> None:
    """Move this process into a group; its descendants are born there. Raises OSError."""
    _write(f"{group}/cgroup.procs", b"0")


def kill(group: str) -> None:
    """Kill everything in a group at once, where the kernel can (5.14)."""
    with contextlib.suppress(OSError):
        _write(f"{group}/cgroup.kill", b"1")


def cpu_us(group: Path) -> tuple[int, int] | None:
    """User and system µs of all that ever ran in a group, or None if that can't be read."""
    try:
        rows = (line.split() for line in (group / "cpu.stat").read_text(encoding="ascii").splitlines())
        found = {row[0]: int(row[1]) for row in rows}
        return found["user_usec"], found["system_usec"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def remove(group: Path) -> None:
    """Give a group back, if need be after what dies in it is gone."""
    kill(str(group))
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            group.rmdir()
        except OSError as problem:
            if problem.errno == errno.EBUSY:
                time.sleep(_PAUSE_S)
                continue
        return  # removed, gone already, or nothing of ours


def _write(path: str, data: bytes) -> None:
    """Into a file of the kernel's: never make one."""
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def _own(proc: Path) -> Path | None:
    """The directory of the group that this process is in."""
    try:
        mounts = [line.split() for line in (proc / "self/mounts").read_text().splitlines()]
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return None
    points = [row[1] for row in mounts if len(row) > 2 and row[2] == "cgroup2"]
    paths = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    if not points or not paths or ".." in paths[0]:  # outside of what our namespace shows
        return None
    return Path(points[0]) / paths[0].lstrip("/")


def _sweep(base: Path, proc: Path) -> None:
    """Remove what oracles that are gone have left. A group that isn't empty stays: the kernel refuses."""
    for path in base.glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        if not (proc / owner).exists():
            with contextlib.suppress(OSError):
                path.rmdir()
