"""The words every executor shares: limits, work, how it ended, what an executor can do. No I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from oracle.telemetry.base import Remote
from scrip.errors import BadInput, ScripError

LOCAL: Final = "local"
Engine = Literal["local", "slurm", "ray"]
"""What a template may run on."""

GivenUp = Callable[[], bool]
"""Whether nobody wants the job any more."""

Reason = Literal["ok", "failed", "timeout", "memory", "output", "processes", "killed"]
"""Why a job ended. "ok": exit code 0. "failed": any other end of its own. "timeout", "memory", "output" and
"processes": we ended it at that limit. "killed": we were told to, or its supervisor died."""


class ExecutorError(ScripError):
    """A job could not be started or followed. Says nothing about the job itself."""


class NotBegun(ExecutorError):
    """The job didn't begin, through no fault of its own: that was no attempt."""


class EngineAway(NotBegun):
    """The engine doesn't answer. What it was asked may have been done."""


class NotPlaced(NotBegun):
    """The engine had no room for a job while it was wanted. Nothing of it runs."""

    def __init__(self, engine: str, waited_s: int) -> None:
        super().__init__(f"{engine} didn't start the job in {waited_s} s, and now it is too late or we stop")


class NoConfinement(ExecutorError):
    """Bubblewrap was demanded and doesn't work here."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(
            f"bubblewrap doesn't work here: {detail}. Install bubblewrap and allow user namespaces, or set "
            'confinement to "rlimits"'
        )


class ResultInvalid(ScripError):
    """A job left a file that isn't what its template promises."""

    def __init__(self, name: str, detail: str) -> None:
        self.name, self.detail = name, detail
        super().__init__(f"{name}: {detail}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use at most.

    `seconds` of wall time; `memory_bytes` resident in the whole process tree; `output_bytes` in its work
    directory (and in any one file); `processes` counts threads too; `cores` is how many threads the
    libraries may use, and with `seconds` it bounds CPU time.
    """

    seconds: int
    memory_bytes: int
    output_bytes: int
    processes: int
    cores: int

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int or value < 1:
                raise BadInput(f"limits.{each.name}", value, "an integer of at least 1")


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt at one job. `oracle.catalogue.Template.work` makes it.

    `module` is the program, `settings` what the provider's catalogue fixes for it, `params` what the buyer
    asked for. `workdir` must be absent or empty. `gpus` are the UUIDs of the GPUs leased to the job; an
    engine that chooses them itself is told only how many, `gpu_count`. With `network` it has the provider's,
    otherwise none where it is confined. `content` is what it works on, if that isn't among the parameters.
    """

    job_id: bytes
    nonce: int
    template: str
    params: Mapping[str, Any]
    workdir: Path
    limits: Limits
    module: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    network: bool = False
    content: bytes | None = None
    gpu_count: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """What is stored of an attempt of an earlier process: see `Running` for `pgid` and `born_ns`."""

    job_id: bytes
    pgid: int | None
    born_ns: int | None


@dataclass(frozen=True, slots=True)
class Exit:
    """How a job ended. Either `code` or `signal` is set, neither if its supervisor was lost.

    `ended_wall_ms` is the start plus `duration_ns`, so a stepped clock can't stretch a job. `rusage` is
    user µs, system µs and peak resident bytes of the whole process tree, by its cgroup where it has one.
    `log` is stdout and stderr, the middle left out beyond 64 KiB.
    """

    code: int | None
    signal: int | None
    reason: Reason
    started_wall_ms: int
    ended_wall_ms: int
    duration_ns: int
    rusage: tuple[int, int, int]
    log: str


class Running(Protocol):
    """A job that was started. Calls may come from any thread.

    `pid` leads the session and process group `pgid` of the job. `born_ns` is the kernel's start time of
    `pid` (ns since boot): with `pgid` it names the process for good, see
    `oracle.executors.stale.kill_stale`. All three are 0 for a job that isn't a process of this machine; then
    `remote` reads the meters where it runs. `started_mono_ns` and `started_wall_ms` are the moment of the
    fork, or, elsewhere, when we saw that it had started. `gpus` are the UUIDs of the GPUs it holds.
    """

    @property
    def pid(self) -> int: ...
    @property
    def pgid(self) -> int: ...
    @property
    def born_ns(self) -> int: ...
    @property
    def started_mono_ns(self) -> int: ...
    @property
    def started_wall_ms(self) -> int: ...
    @property
    def gpus(self) -> tuple[str, ...]: ...
    @property
    def remote(self) -> Remote | None: ...

    def poll(self) -> Exit | None:
        """How it ended, or None while it runs. Never waits."""

    def wait(self, timeout: float | None = None) -> Exit:
        """How it ended. Raises TimeoutError if it still runs after `timeout` seconds."""

    def kill(self) -> None:
        """Asks for the end of the whole process tree: SIGTERM, then SIGKILL. Doesn't wait; `wait` tells."""


def never() -> bool:
    """A `GivenUp` of somebody who waits as long as it takes."""
    return False


class Executor(Protocol):
    """Runs jobs."""

    @property
    def confinement(self) -> str:
        """What holds a job in: "bubblewrap", "rlimits", or the engine whose nodes decide it."""

    @property
    def places_gpus(self) -> bool:
        """Whether it chooses a job's GPUs itself, among GPUs of its own; otherwise it is told which."""

    def start(self, work: Work, given_up: GivenUp = never) -> Running:
        """Starts one job, and waits for the engine's queue if it has one. Raises NotPlaced once `given_up`
        says so before the job has started; EngineAway, ExecutorError, BadInput.
        """

    def end_stale(self, left: Left) -> int:
        """Ends what an earlier process left of a job; returns how much that was. Safe to call for a job that
        is long gone. Raises ExecutorError if something of it may still run.
        """


_LOOK_S: Final = 0.25


def wait_or_kill(running: Running, stop: threading.Event) -> Exit:
    """How a job ended; it is killed once `stop` is set."""
    while True:
        try:
            return running.wait(timeout=_LOOK_S)
        except TimeoutError:
            if stop.is_set():
                running.kill()
