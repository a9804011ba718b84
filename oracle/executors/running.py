"""A local job as the oracle sees it: the other end of the launcher's pipes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from oracle.executors import cgroup, proc
from oracle.executors.base import ExecutorError, Exit
from oracle.telemetry.base import Remote

_START_TIMEOUT_S: Final = 20.0
_LOOK_S: Final = 0.5
_OVERTIME_S: Final = 15.0
"""How long after limit and grace a launcher may take to report before it is ended itself."""


class LocalRunning:
    """See `oracle.executors.base.Running`. When this object is dropped, or its process dies, the job is
    ended.
    """

    def __init__(
        self, launcher: subprocess.Popen[bytes], control: IO[bytes], order: Mapping[str, Any]
    ) -> None:
        self._launcher, self._control = launcher, control
        self._reports = _given(launcher.stdout)
        os.set_blocking(self._reports.fileno(), False)
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._exit: Exit | None = None
        self._killed_at: float | None = None
        self._cgroup: str = order.get("cgroup", "")
        self._patience_s = order["grace_ms"] / 1000 + _OVERTIME_S
        self._deadline = time.monotonic() + order["seconds"] + self._patience_s
        started = self._first_message()
        self.pid: int = started["pid"]
        self.pgid: int = self.pid
        self.born_ns: int = started["born_ns"]
        self.started_mono_ns: int = started["mono_ns"]
        self.started_wall_ms: int = started["wall_ms"]
        self.gpus: tuple[str, ...] = ()
        self.remote: Remote | None = None

    @classmethod
    def launch(cls, order: Mapping[str, Any], command: Sequence[str], env: Mapping[str, str]) -> Self:
        """Starts a launcher and gives it its order. Raises ExecutorError."""
        try:
            launcher = subprocess.Popen(
                command, env=env, bufsize=0, cwd="/", start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as problem:
            raise ExecutorError(f"launcher can't be started: {problem}") from problem
        control = _given(launcher.stdin)
        with contextlib.suppress(BrokenPipeError):  # it died already; what it said is read below
            control.write(json.dumps(order).encode() + b"\n")
        return cls(launcher, control, order)

    def poll(self) -> Exit | None:
        """How it ended, or None while it runs. Never waits."""
        with self._lock:
            return self._advance()

    def wait(self, timeout: float | None = None) -> Exit:
        """How it ended. Raises TimeoutError if it still runs after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self.poll()
            if found is not None:
                return found
            left = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"job group {self.pgid} still runs after {timeout} s")
            self._listen(left)  # outside the lock: others may poll and kill meanwhile

    def kill(self) -> None:
        """Asks for the end of the whole process tree. Doesn't wait."""
        with self._lock:
            if self._exit is None and self._killed_at is None:
                self._killed_at = time.monotonic()
                self._control.close()

    def _advance(self) -> Exit | None:
        """Takes what the launcher says; at its end, makes the exit out of it."""
        if self._exit is not None:
            return self._exit
        if self._receive():
            self._check_launcher()
            return None
        self._launcher.wait()
        self._exit = self._conclude()
        self._leave_cgroup()
        self._control.close()
        self._reports.close()
        return self._exit

    def _receive(self) -> bool:
        """Reads until there is nothing for now (True) or ever (False)."""
        while True:
            try:
                data = os.read(self._reports.fileno(), 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._buffer += data

    def _listen(self, seconds: float) -> None:
        """Waits until the launcher has said something, or the time is up."""
        with contextlib.suppress(ValueError):  # closed by whoever saw the end first
            poll = select.poll()
            poll.register(self._reports.fileno(), select.POLLIN)
            poll.poll(seconds * 1000)

    def _check_launcher(self) -> None:
        """A launcher that doesn't do its duty is killed; the kernel then ends the job it supervised."""
        late = self._killed_at is not None and time.monotonic() > self._killed_at + self._patience_s
        if late or time.monotonic() > self._deadline:
            for process in proc.descendants(self._launcher.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self._launcher.kill()

    def _first_message(self) -> dict[str, Any]:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            alive = self._receive()
            message = _message(self._buffer.partition(b"\n")[0])
            if message.get("event") == "started":
                self._take_line()
                return message
            if message.get("event") == "error":
                self._give_up()
                raise ExecutorError(f"job can't be started: {message['message']}")
            if not alive or time.monotonic() > deadline:
                self._give_up()
                said = self._buffer.decode(errors="replace")[-500:]
                raise ExecutorError(f"launcher didn't start the job: {said or 'no answer'}")
            self._listen(_LOOK_S)

    def _give_up(self) -> None:
        self._launcher.kill()
        self._launcher.wait()
        self._control.close()
        self._reports.close()
        self._leave_cgroup()

    def _leave_cgroup(self) -> None:
        """Where the launcher couldn't: it was killed, or nothing started."""
        if self._cgroup:
            cgroup.remove(Path(self._cgroup))

    def _take_line(self) -> bytes:
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def _conclude(self) -> Exit:
        report = _message(self._take_line())
        if report.get("event") == "exit":
            duration_ns = report["duration_ns"]
            return Exit(
                report["code"], report["signal"], report["reason"], self.started_wall_ms,
                self.started_wall_ms + duration_ns // 1_000_000, duration_ns,
                (report["user_us"], report["system_us"], report["max_rss_bytes"]), report["log"],
            )  # fmt: skip
        duration_ns = time.monotonic_ns() - self.started_mono_ns
        ended_wall_ms = self.started_wall_ms + duration_ns // 1_000_000
        said = f"supervisor lost (exit {self._launcher.returncode}). {report.get('message', '')}"
        return Exit(None, None, "killed", self.started_wall_ms, ended_wall_ms, duration_ns, (0, 0, 0), said)


def _given(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ExecutorError("launcher has no pipe")
    return pipe


def _message(line: bytes | bytearray) -> dict[str, Any]:
    """One report; what isn't one (a traceback of the launcher) becomes a message."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": line.decode(errors="replace")}
