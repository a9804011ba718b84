"""The launcher: one small process between the oracle and a job. Never started by hand.

It starts the job in a session of its own, watches its limits and reaps the whole tree, since whatever the
job leaves behind is handed to it (PR_SET_CHILD_SUBREAPER). It takes its order as one JSON line on stdin and
reports on stdout, a JSON line when the job has started and one when nothing of it is left. stdin is also
the lifeline: when it closes, because the oracle asked or died, the job is ended. If the launcher itself is
killed, the kernel kills the job (PR_SET_PDEATHSIG).

A process of its own, because limits and parent-death signals must be set between fork and exec, which isn't
safe in a process with threads, and because a parent-death signal is tied to the thread that forked, not to
the process. Only the standard library, to start fast. No buyer's input reaches it but by way of the
validated order.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from oracle.executors import cgroup, proc
from oracle.executors.watch import Log, Watch

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

MARK: Final = "SCRIP_RUN"
"""Environment variable `<pid>:<born_ns>` of the job's first process; all its descendants inherit it."""

TICK_MS: Final = 50
NOFILE: Final = 256
NPROC_SLACK: Final = 512
DATA_SLACK: Final = 512 << 20


def main() -> int:
    """Runs one order. Returns 0 once it is reported, whatever became of the job."""
    order = json.loads(_line(0))
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, PR_SET_CHILD_SUBREAPER, 1)
    read_end, write_end = os.pipe()
    wake_read, wake_write = os.pipe()
    for end in (read_end, wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    stop_asked: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: stop_asked.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    started_ns, started_wall_ms = time.monotonic_ns(), time.time_ns() // 1_000_000
    try:
        pid = _start(order, libc, write_end)
    except OSError as problem:
        _report({"event": "error", "message": f"{order['argv'][0]}: {problem.strerror}"})
        return 0
    os.close(write_end)
    born = proc.read(pid)
    _report(
        {
            "event": "started", "pid": pid, "born_ns": born.born_ns if born is not None else 0,
            "mono_ns": started_ns, "wall_ms": started_wall_ms,
        }
    )  # fmt: skip
    _report(_Job(order, pid, started_ns, read_end, wake_read, stop_asked).follow())
    return 0


class _Job:
    """The running job, until nothing of it is left."""

    def __init__(
        self, order: dict[str, Any], pid: int, started_ns: int, log_end: int, wake: int, stop_asked: list[int]
    ) -> None:
        self._order, self._pid, self._started_ns = order, pid, started_ns
        self._log_end, self._wake, self._stop_asked = log_end, wake, stop_asked
        self._log = Log()
        self._watch = Watch(order)
        self._status: int | None = None  # of the job's first process
        self._reason = ""
        self._kill_at_ns = self._look_at_ns = 0

    def follow(self) -> dict[str, Any]:
        """Watches and reaps; returns the report."""
        poll = select.poll()
        for end in (0, self._log_end, self._wake):
            poll.register(end, select.POLLIN)
        while self._reap():
            for end, _ in poll.poll(TICK_MS):
                if end == self._wake:
                    os.read(self._wake, 4096)
                elif end == self._log_end and not self._log.read(self._log_end):
                    poll.unregister(self._log_end)
                elif end == 0:  # a byte or the end of the lifeline: both mean stop
                    poll.unregister(0)
                    self._stop_asked.append(1)
            self._enforce()
        ended_ns = time.monotonic_ns()
        while self._log.read(self._log_end):
            pass
        return self._outcome(ended_ns)

    def _reap(self) -> bool:
        """Collects what has died. False once there is nothing left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = status

    def _enforce(self) -> None:
        now = time.monotonic_ns()
        if self._status is not None:
            self._kill_all()  # the job is over: what it left running has no business here
            return
        if self._stop_asked:
            self._stop("killed", now)
        elif now - self._started_ns >= self._order["seconds"] * 1_000_000_000:
            self._stop("timeout", now)
        if now < self._look_at_ns:
            return  # woken by a log line: the limits are looked at once a tick
        self._look_at_ns = now + TICK_MS * 1_000_000
        exceeded = self._watch.exceeded(proc.descendants(os.getpid()))
        if exceeded and not self._reason:
            self._reason = exceeded
        if self._reason and now >= self._kill_at_ns:
            self._kill_all()

    def _stop(self, reason: str, now_ns: int) -> None:
        """Asks once; after the grace it is killed."""
        if self._reason:
            return
        self._reason, self._kill_at_ns = reason, now_ns + self._order["grace_ms"] * 1_000_000
        for process in proc.descendants(os.getpid()):
            # Bubblewrap would take the signal for itself and drop the sandbox without passing it on.
            if process.pid != self._pid or not self._order["sandboxed"]:
                _signal(process.pid, signal.SIGTERM)

    def _kill_all(self) -> None:
        if self._order["cgroup"]:
            cgroup.kill(self._order["cgroup"])
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        for process in proc.descendants(os.getpid()):
            _signal(process.pid, signal.SIGKILL)

    def _outcome(self, ended_ns: int) -> dict[str, Any]:
        code, number = self._ending()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        user_us, system_us = self._cpu_us(used)
        peak = max(used.ru_maxrss * 1024, self._watch.peak_rss_bytes)
        return {
            "event": "exit", "code": code, "signal": number,
            "reason": self._reason or self._watch.explain(code, number, peak),
            "duration_ns": ended_ns - self._started_ns,
            "user_us": user_us, "system_us": system_us,
            "max_rss_bytes": peak, "log": self._log.text(),
        }  # fmt: skip

    def _cpu_us(self, used: resource.struct_rusage) -> tuple[int, int]:
        """User and system time of everything that ran: what was waited for, or the cgroup's if that is
        more.
        """
        waited = round(used.ru_utime * 1_000_000), round(used.ru_stime * 1_000_000)
        if not self._order["cgroup"]:
            return waited
        group = Path(self._order["cgroup"])
        whole = cgroup.cpu_us(group) or (0, 0)
        cgroup.remove(group)
        return max(waited, whole, key=sum)

    def _ending(self) -> tuple[int | None, int | None]:
        code = os.waitstatus_to_exitcode(self._status if self._status is not None else 0)
        if code < 0:
            return None, -code
        if self._order["sandboxed"] and 128 < code <= 128 + signal.SIGRTMAX:
            return None, code - 128  # how bubblewrap passes a signal on
        return code, None


def _start(order: dict[str, Any], libc: ctypes.CDLL, log_end: int) -> int:
    """Forks and executes the job; returns its pid. Raises OSError with the reason if it can't be executed."""
    task_limit = _task_limit(order["processes"])
    failed_read, failed_write = os.pipe()  # closed by a successful exec
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(order, libc, log_end, failed_write, parent, task_limit)
    os.close(failed_write)
    with os.fdopen(failed_read, "rb") as failed:
        number = failed.read()
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid


def _become(
    order: dict[str, Any], libc: ctypes.CDLL, log_end: int, failed: int, parent: int, task_limit: int | None
) -> NoReturn:
    """The child: limits, then the job's program in place of this one."""
    try:
        os.setsid()
        if order["cgroup"]:
            cgroup.enter(order["cgroup"])
        _prctl(libc, PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the launcher died before the signal was armed
            os._exit(1)
        if not order["sandboxed"]:
            _prctl(
                libc, PR_SET_NO_NEW_PRIVS, 1
            )  # bubblewrap sets it itself, and may need its setuid bit before
        os.umask(0o077)
        os.nice(order["nice"])
        _prefer_for_oom_kill()
        os.chdir(order["cwd"])
        for end in (1, 2):
            os.dup2(log_end, end)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        _limit(order, task_limit)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        me = proc.read(os.getpid())
        mark = f"{os.getpid()}:{me.born_ns if me is not None else 0}"
        os.execve(order["argv"][0], order["argv"], {**order["env"], MARK: mark})  # noqa: S606, no shell is the point
    except OSError as problem:
        os.write(failed, str(problem.errno or errno.EIO).encode())
    finally:
        os._exit(127)


def _limit(order: dict[str, Any], task_limit: int | None) -> None:
    """Resource limits, soft and hard. They are the brakes; the watch decides, and says why."""
    seconds = order["seconds"] * order["cores"] + order["grace_ms"] // 1000 + 1
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, order["output_bytes"])
    _lower(resource.RLIMIT_NOFILE, NOFILE)
    if not order[
        "gpus"
    ]:  # private writable memory, not address space: a mapped model counts for nothing, CUDA for much
        _lower(resource.RLIMIT_DATA, order["memory_bytes"] + DATA_SLACK)
    if task_limit is not None:
        _lower(resource.RLIMIT_NPROC, task_limit)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _task_limit(processes: int) -> int | None:
    """RLIMIT_NPROC counts all of a user's threads, so it is a brake above what the user runs now. Root has
    none.
    """
    uid = os.getuid()
    return None if uid == 0 else proc.tasks_of_user(uid) + processes + NPROC_SLACK


def _prefer_for_oom_kill() -> None:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _line(end: int) -> bytes:
    found = bytearray()
    while not found.endswith(b"\n"):
        part = os.read(end, 65536)
        if not part:
            sys.exit(1)  # the oracle died before it gave the order
        found += part
    return bytes(found)


def _report(message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    with contextlib.suppress(BrokenPipeError):  # nobody left to tell
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main())
