"""A job program that misbehaves as told, and the executors and limits that tests run it with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from oracle.executors.base import Limits, Work
from oracle.executors.local import LocalExecutor

MIB = 1 << 20
LIMITS = Limits(seconds=20, memory_bytes=256 * MIB, output_bytes=MIB, processes=16, cores=1)

PROGRAM = '''
import json, os, signal, socket, subprocess, sys, threading, time
from pathlib import Path

workdir = Path(sys.argv[1])
params = json.loads((workdir / "params.json").read_text())
output = workdir / "output.bin"


def hang():
    while True:
        time.sleep(60)


def attempt(deed):
    """What came of it, as the output."""
    try:
        output.write_text("done: " + str(deed()))
    except OSError as problem:
        output.write_text("refused: " + type(problem).__name__)


def detach():
    """A grandchild in a session of its own that outlives its parents."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            (workdir / "alive").write_text("x")
            hang()
        os._exit(0)
    os.wait()
    while not (workdir / "alive").exists():
        time.sleep(0.01)


def polite():
    def leave(*_):
        output.write_text("goodbye")
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    (workdir / "ready").write_text("x")
    hang()


def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (workdir / "ready").write_text("x")
    hang()


def hog():
    held = []
    while True:
        held.append(b"x" * (8 << 20))
        time.sleep(0.002)


def flood():
    with output.open("wb") as file:
        while True:
            file.write(b"x" * 65536)


def litter():
    for number in range(100_000):
        (workdir / f"file{number}").write_bytes(b"x" * 4096)
        time.sleep(0.0001)


def fork_many():
    for _ in range(params["count"]):
        if os.fork() == 0:
            hang()
    hang()


def share():
    held = b"x" * (64 << 20)
    fork_many()


def spin_in_grandchild():
    code = "import sys, time\\nwhile time.process_time() < int(sys.argv[1]) / 1000: pass"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(params["ms"])], check=True)


def burn():
    end = time.process_time() + params["ms"] / 1000
    while time.process_time() < end:
        pass
    (workdir / "spun").write_text("x")
    os._exit(0)


def wait_for_spun():
    while not (workdir / "spun").exists():
        time.sleep(0.005)


def spin_detached():
    """A grandchild in a session of its own, orphaned at once, does the work."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            burn()
        os._exit(0)
    os.wait()
    wait_for_spun()


def spin_unwaited():
    """A child does the work and exits early; nobody ever waits for it."""
    if os.fork() == 0:
        burn()
    wait_for_spun()


def spin_ignored():
    """As before, and the kernel is told not to keep it: SIGCHLD is ignored."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    spin_unwaited()
def exit_later():
    time.sleep(params["ms"] / 1000)
    sys.exit(params["code"])


def echo():
    output.write_text(params["text"])
    time.sleep(params["ms"] / 1000)


def nest():
    """A user namespace inside the sandbox."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def connect():
    with socket.create_connection(("127.0.0.1", params["port"]), timeout=5):
        return "connected"


{
    "ok": lambda: output.write_bytes(b"fine"),
    "env": lambda: output.write_text(json.dumps(dict(os.environ))),
    "exit": lambda: sys.exit(params["code"]),
    "exit_later": exit_later,
    "echo": echo,
    "fail_loudly": lambda: sys.exit("no luck today"),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": hang,
    "polite": polite,
    "stubborn": stubborn,
    "detach": detach,
    "detach_and_hang": lambda: (detach(), hang()),
    "hog": hog,
    "flood": flood,
    "litter": litter,
    "shout": lambda: sys.stderr.write("begin" + "x" * (4 << 20) + "end"),
    "fork_many": fork_many,
    "share": share,
    "spin_detached": spin_detached,
    "spin_unwaited": spin_unwaited,
    "spin_ignored": spin_ignored,
    "spin_in_grandchild": spin_in_grandchild,
    "connect": lambda: attempt(connect),
    "read": lambda: attempt(lambda: len(Path(params["path"]).read_bytes())),
    "write": lambda: attempt(lambda: Path(params["path"]).write_bytes(b"x")),
    "open_for_writing": lambda: attempt(lambda: os.close(os.open(params["path"], os.O_WRONLY))),
    "limits": lambda: attempt(lambda: Path("/proc/self/limits").read_text()),
    "nest": lambda: attempt(nest),
    "list": lambda: attempt(lambda: sorted(os.listdir(params["path"]))),
    "pids": lambda: attempt(lambda: [name for name in os.listdir("/proc") if name.isdigit()]),
    "descriptors": lambda: attempt(lambda: sorted(os.listdir("/proc/self/fd"))),
    "link": lambda: output.symlink_to(params["path"]),
    "pipe": lambda: os.mkfifo(output),
}[params["act"]]()
'''


def package(folder: Path) -> Path:
    """Writes the program into a package `probes`, for `LocalExecutor(packages=...)`."""
    probes = folder / "probes"
    probes.mkdir(mode=0o755, exist_ok=True)
    (probes / "__init__.py").touch()
    (probes / "act.py").write_text(PROGRAM)
    return probes


def executor(folder: Path, confinement: Literal["rlimits", "bubblewrap"]) -> LocalExecutor:
    """One that can run the program."""
    return LocalExecutor(confinement=confinement, packages=[package(folder)], grace_s=0.6)


def work(workdir: Path, act: str, limits: dict[str, int] | None = None, **params: Any) -> Work:
    """The program told to do `act`. `limits` replaces some of LIMITS."""
    return Work(
        job_id=b"\x01" * 32,
        nonce=7,
        template="probe",
        params={"act": act, **params},
        workdir=workdir,
        limits=replace(LIMITS, **(limits or {})),
        module="probes.act",
    )


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Waits for a condition; fails with `what` if it doesn't come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.01)
