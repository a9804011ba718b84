"""Jobs on an existing cluster. What engines have in common is here; what each says and needs is its `Queue`.

The engine queues and places, `oracle.executors.step` runs the job on the node, the files of
`oracle.executors.order` bring its reports. An end counts only if engine and node agree on it.

Whose clock: lease time is the shortest of three, so it is never more than we observed. Ours, monotonic, from
when we saw the job begin to when we saw it over; the engine's between its own two edges; the node's,
monotonic, from fork to reaping. Differences only, so it doesn't matter how a cluster's clocks are set, and
one that is stepped can only shorten what is billed. Receipt times are our own clock's.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from oracle.executors import order as files
from oracle.executors.base import (
    EngineAway,
    ExecutorError,
    Exit,
    GivenUp,
    Left,
    NotBegun,
    NotPlaced,
    Reason,
    Work,
    never,
)
from oracle.executors.order import Begun, Done, Failed, Latest, Order
from oracle.logging import get
from oracle.telemetry.base import Note, Reading, TelemetryError

LOOK_S: Final = 0.2
"""How often the job's files are looked at."""
ASK_S: Final = 2.0
"""How often the engine is asked, while no file says that something happened."""
LAG_S: Final = 10.0
"""How long after the engine says "over" a report may still come: network file systems cache."""
PATIENCE_S: Final = 60.0
"""How long after limit or kill an engine may take to end a job before we give it up."""
STALE_S: Final = 3.0
"""How long we wait for the end of what an earlier process left, before we come back to it."""
_SHOWN: Final = 300
_ROOT: Final = Path(__file__).resolve().parents[2]

_log = get(__name__)


Cause = Literal["", "timeout", "memory", "killed"]


@dataclass(frozen=True, slots=True)
class Over:
    """What an engine says of a job that is over.

    `status` is the exit status it saw, `span_ns` the time between its edges, `gpus` how many it leased; each
    None if it doesn't say. `cause` is why, where it ended the job itself.
    """

    status: int | None
    span_ns: int | None
    gpus: int | None
    cause: Cause = ""


class Queue(Protocol):
    """What an engine can do. Each raises EngineAway when it doesn't answer, ExecutorError when it refuses."""

    name: str

    def submit(self, folder: Path, command: str, work: Work) -> str:
        """Queue a job that runs the shell line `command` in `folder`; returns the engine's name for it.
        `command` is ours alone: nothing a buyer chose is in it.
        """

    def look(self, ticket: str, job_id: bytes) -> Over | None:
        """How the job of this escrow id ended, or None while it waits or runs."""

    def cancel(self, ticket: str) -> None:
        """Ask for its end. Safe for one that is over."""

    def find(self, job_id: bytes) -> Sequence[str]:
        """What of a job, named by its escrow id, waits or runs, whoever submitted it."""

    def log(self, ticket: str, folder: Path) -> str:
        """What it caught of the step's own stdout and stderr, of any length."""

    def check(self) -> str:
        """A line for the operator: that it answers, and with what."""


class ClusterExecutor:
    """Runs jobs through an engine. `folder` must be seen by the nodes at the same path, like the work
    directories; `python` is theirs, with this package.
    """

    places_gpus = True

    def __init__(
        self,
        queue: Queue,
        folder: Path,
        *,
        python: Path | None = None,
        packages: Sequence[Path] = (),
        trace: Path | None = None,
        tick_ms: int = 1_000,
    ) -> None:
        self._queue, self._folder, self._python = queue, folder, python or Path(sys.executable)
        self._packages = tuple(str(path.resolve()) for path in packages)
        self._trace, self._tick_ms = "" if trace is None else str(trace), tick_ms

    @property
    def confinement(self) -> str:
        """The engine: on each node its own executor decides, and reports it."""
        return self._queue.name

    def check(self) -> str:
        """What the engine answers. Raises ExecutorError."""
        return self._queue.check()

    def start(self, work: Work, given_up: GivenUp = never) -> ClusterRunning:
        """Queues a job and waits until it runs. Raises NotPlaced, EngineAway, ExecutorError.

        Whatever of the job is there already is ended first: an answer of the engine may have been lost.
        """
        self.end_stale(Left(work.job_id, None, None))
        folder = self._folder / f"{work.job_id.hex()}-{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, mode=0o700)
            order = Order.of(work, packages=self._packages, trace=self._trace, tick_ms=self._tick_ms)
            if work.content is not None:
                files.put(folder, files.CONTENT, work.content)
            files.write(folder, files.ORDER, order)
        except OSError as problem:
            raise ExecutorError(f"{folder}: {problem.strerror or problem}") from problem
        try:
            ticket = self._queue.submit(folder, self._command(folder), work)
            _log.info("queued", engine=self._queue.name, job="0x" + work.job_id.hex()[:12], ticket=ticket)
            return _await_begin(self._queue, ticket, folder, work, given_up)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def end_stale(self, left: Left) -> int:
        """Ends whatever the engine has of a job, found by its escrow id alone. Raises ExecutorError."""
        found = list(self._queue.find(left.job_id))
        deadline = time.monotonic() + STALE_S
        remaining = found
        while remaining:
            for ticket in remaining:
                self._queue.cancel(ticket)
            if time.monotonic() > deadline:
                raise NotBegun(f"{self._queue.name} hasn't ended {', '.join(remaining)} yet")
            time.sleep(LOOK_S)
            remaining = list(self._queue.find(left.job_id))
        for folder in self._folder.glob(f"{left.job_id.hex()}-*"):
            shutil.rmtree(folder, ignore_errors=True)
        return len(found)

    def _command(self, folder: Path) -> str:
        """Clean environment, our Python, the step. The engine's choice of GPUs is all that comes through."""
        words = ["env", "-i", f"PATH={os.defpath}", "LANG=C.UTF-8", f"PYTHONPATH={_ROOT}"]
        python = [str(self._python), "-P", "-s", "-B", "-m", "oracle.executors.step", str(folder)]
        gpus = 'CUDA_VISIBLE_DEVICES="$CUDA_VISIBLE_DEVICES"'
        return f"exec {shlex.join(words)} {gpus} {shlex.join(python)}"


class ClusterRunning:
    """See `oracle.executors.base.Running`. A job on a node, known by its files and the engine's word."""

    pid = pgid = born_ns = 0

    def __init__(self, queue: Queue, ticket: str, folder: Path, work: Work, begun: Begun) -> None:
        self._queue, self._ticket, self._folder, self._begun = queue, ticket, folder, begun
        self._job_id, self._gpu_count = work.job_id, work.gpu_count
        self.started_mono_ns, self.started_wall_ms = time.monotonic_ns(), time.time_ns() // 1_000_000
        self.gpus = begun.gpus
        self._lock = threading.Lock()
        self._done: Done | None = None
        self._exit: Exit | None = None
        self._over_at = self._ask_at = self._cancel_at = 0.0
        self._give_up_at: float | None = None
        self._limit_at = time.monotonic() + work.limits.seconds + PATIENCE_S

    @property
    def remote(self) -> ClusterRunning:
        """This also reads the node's meters."""
        return self

    def readings(self, edge: str) -> list[Reading]:
        """See `oracle.telemetry.base.Remote`."""
        if edge == "start":
            return [row.reading() for row in self._begun.readings]
        if edge == "tick":
            try:
                latest = files.read(self._folder, files.LATEST, Latest)
            except ExecutorError as problem:
                raise TelemetryError(str(problem)) from problem
            return [] if latest is None else [row.reading() for row in latest.readings]
        if self._done is None:
            raise TelemetryError(f"{self._name()}: the node left no readings")
        if self._done.problem:
            raise TelemetryError(f"{self._name()}: {self._done.problem}")
        return [row.reading() for row in self._done.readings]

    @property
    def platform(self) -> str:
        """See `oracle.telemetry.base.Remote`."""
        return self._begun.platform

    def notes(self) -> tuple[Note, ...]:
        """See `oracle.telemetry.base.Remote`."""
        return () if self._done is None else tuple(remark.note() for remark in self._done.notes)

    def poll(self) -> Exit | None:
        """How it ended, or None while it runs. Asks the engine when it is time to."""
        with self._lock:
            if self._exit is None:
                self._exit = self._advance()
                if self._exit is not None:
                    shutil.rmtree(self._folder, ignore_errors=True)
            return self._exit

    def wait(self, timeout: float | None = None) -> Exit:
        """How it ended. Raises TimeoutError if it still runs after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self.poll()
            if found is not None:
                return found
            left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"{self._name()} still runs after {timeout} s")
            time.sleep(left)

    def kill(self) -> None:
        """Asks the engine to end it. Doesn't wait. Asked again as long as the engine doesn't answer."""
        with self._lock:
            if self._exit is None:
                self._end()

    def _advance(self) -> Exit | None:
        now = time.monotonic()
        if self._done is None:
            self._done = self._report()
        over = self._ask(now) if self._done is not None or now >= self._ask_at else None
        if over is not None:
            self._over_at = self._over_at or now
            complete = self._done is not None and over.span_ns is not None
            return self._conclude(over) if complete or now > self._over_at + LAG_S else None
        if now > self._limit_at:
            self._end()
        if self._give_up_at is not None and now > self._give_up_at:
            return self._lost(f"{self._queue.name} hasn't ended it, and we wait no longer")
        return None

    def _report(self) -> Done | None:
        try:
            return files.read(self._folder, files.DONE, Done)
        except ExecutorError as problem:
            _log.warning("report refused", ticket=self._ticket, reason=str(problem))
            return None

    def _ask(self, now: float) -> Over | None:
        self._ask_at = now + ASK_S
        try:
            return self._queue.look(self._ticket, self._job_id)
        except ExecutorError as problem:
            _log.warning("engine doesn't answer", engine=self._queue.name, reason=str(problem))
            return None

    def _end(self) -> None:
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + PATIENCE_S
        if now < self._cancel_at:
            return
        self._cancel_at, self._ask_at = now + ASK_S, now
        try:
            self._queue.cancel(self._ticket)
        except ExecutorError as problem:
            _log.warning("engine doesn't answer", engine=self._queue.name, reason=str(problem))

    def _conclude(self, over: Over) -> Exit:
        done = self._done
        if done is None:
            if over.cause in ("timeout", "memory"):
                return self._exited(over.cause, "ended by the engine before it could report", over.span_ns)
            return self._lost(f"no report from the node. {_said(self._queue, self._ticket, self._folder)}")
        if done.reason == "killed":
            return self._exited(over.cause or "killed", done.log, over.span_ns)
        if over.span_ns is None:
            return self._lost(f"{self._queue.name} reported no start and end of it")
        if over.status != done.status:
            return self._lost(f"exit status {over.status} by {self._queue.name}, {done.status} by the node")
        if over.gpus not in (None, self._gpu_count):
            return self._lost(f"{self._queue.name} leased {over.gpus} GPU(s) instead of {self._gpu_count}")
        return self._exited(done.reason, done.log, over.span_ns, done)

    def _lost(self, why: str) -> Exit:
        return self._exited("killed", why, None)

    def _exited(self, reason: Reason, log: str, span_ns: int | None, done: Done | None = None) -> Exit:
        """An exit as long as the shortest of the three clocks says."""
        seen_ns = time.monotonic_ns() - self.started_mono_ns
        spans = (seen_ns, span_ns, None if done is None else done.duration_ns)
        duration_ns = min(span for span in spans if span is not None)
        ended_wall_ms = self.started_wall_ms + duration_ns // 1_000_000
        code, signal, rusage = (
            (None, None, (0, 0, 0)) if done is None else (done.code, done.signal, done.rusage)
        )
        return Exit(code, signal, reason, self.started_wall_ms, ended_wall_ms, duration_ns, rusage, log)

    def _name(self) -> str:
        return f"{self._queue.name} job {self._ticket}"


def _await_begin(queue: Queue, ticket: str, folder: Path, work: Work, given_up: GivenUp) -> ClusterRunning:
    """Waits until the node says that the job's process runs."""
    since, ask_at = time.monotonic(), 0.0
    try:
        while True:
            begun = files.read(folder, files.BEGUN, Begun)
            if begun is not None:
                if len(begun.gpus) != work.gpu_count:
                    raise ExecutorError(f"the job got {len(begun.gpus)} GPU(s) instead of {work.gpu_count}")
                say = _log.info if begun.confinement == "bubblewrap" else _log.warning
                say("placed", engine=queue.name, ticket=ticket, confinement=begun.confinement)
                return ClusterRunning(queue, ticket, folder, work, begun)
            failed = files.read(folder, files.FAILED, Failed)
            if failed is not None:
                raise ExecutorError(f"{queue.name} job {ticket}: {failed.problem}")
            if given_up():
                raise NotPlaced(queue.name, round(time.monotonic() - since))
            if time.monotonic() >= ask_at:
                ask_at = time.monotonic() + ASK_S
                _refuse_ended(queue, ticket, work.job_id, folder)
            time.sleep(LOOK_S)
    except BaseException:
        queue.cancel(ticket)
        raise


def _refuse_ended(queue: Queue, ticket: str, job_id: bytes, folder: Path) -> None:
    try:
        over = queue.look(ticket, job_id)
    except EngineAway as away:  # the job may begin all the same
        _log.warning("engine doesn't answer", engine=queue.name, reason=str(away))
        return
    if over is None or (folder / files.BEGUN).exists() or (folder / files.FAILED).exists():
        return
    why = f"ended with status {over.status} ({over.cause or 'by itself'}) before its job began"
    raise ExecutorError(f"{queue.name} job {ticket} {why}. {_said(queue, ticket, folder)}")


def _said(queue: Queue, ticket: str, folder: Path) -> str:
    """The end of the engine's log on one line, for messages."""
    try:
        return " ".join(queue.log(ticket, folder).split())[-_SHOWN:]
    except ExecutorError as problem:
        return str(problem)
