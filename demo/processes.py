"""Child processes in groups of their own, ended as a group."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.02


def spawn(
    command: Sequence[str],
    output: IO[bytes],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` as the leader of a new group, its output and errors going to `output`.

    In a group of its own an interrupt from the terminal doesn't reach it: whoever started it ends it.
    """
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )


def stop_group(process: subprocess.Popen[bytes], grace: float) -> int:
    """Ask the group of `process` to end, kill what is left of it, and return the leader's exit status.

    The leader has `grace` seconds to end by itself. A process that was waited for before is left alone: its
    number may belong to another one by now.
    """
    if process.returncode is not None:
        return process.returncode
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while not has_ended(process) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    # The leader isn't reaped yet, so the group's number is still ours, and its children get the signal too.
    _signal_group(process, signal.SIGKILL)
    return process.wait()


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended. Leaves it unreaped, so that its number stays taken."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def free_ports(count: int) -> tuple[int, ...]:
    """Loopback ports that were free just now, all different. For programs that must be told a port."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return tuple(item.getsockname()[1] for item in sockets)


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message; "" if there is none."""
    try:
        return "\n".join(path.read_text("utf-8", errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
