"""Work beside the main loop: named tasks in small thread pools, each at most once at a time.

A task that fails for a named, passing reason is tried again after a growing pause. Anything else is kept, and
the main loop raises it: the process then stops rather than go on in a state nobody thought of.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from oracle.evidence import StorageFull
from oracle.executors.base import ExecutorError
from oracle.gateway.refusals import NotServing
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.outbox import DryRun, Stopped
from oracle.store import StateConflict
from scrip.errors import NodeDeclined, NodeUnavailable, RpcLimit, TxLost, TxRejected, TxUnknown

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0

TRANSIENT: Final = (
    NodeDeclined,
    RpcLimit,
    TxRejected,
    TxUnknown,
    TxLost,
    NotServing,
    StorageFull,
    ExecutorError,
    OperationalError,
    PoolTimeout,
)
"""Failures of the world around us after which the same step may succeed."""
BENIGN: Final = (StateConflict, DryRun, Stopped)
"""Not failures: somebody else took the step, or nobody may."""

_log = get(__name__)


def is_passing(error: BaseException) -> bool:
    """Whether a step that failed like this is tried again."""
    if isinstance(error, NodeUnavailable):
        return error.transient
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True  # the database ended the connection, under whichever name
    return isinstance(error, TRANSIENT)


@dataclass(slots=True)
class _Entry:
    future: Future[None] | None = None
    failures: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Tasks:
    """Runs tasks. `clock` is monotonic seconds."""

    metrics: Metrics
    pools: dict[str, int]
    clock: Callable[[], float] = time.monotonic
    ended: threading.Event = field(default_factory=threading.Event)
    """Set as a task ends: another step may follow it."""
    _executors: dict[str, ThreadPoolExecutor] = field(init=False)
    _entries: dict[tuple[str, object], _Entry] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _fatal: list[BaseException] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._executors = {
            name: ThreadPoolExecutor(size, thread_name_prefix=f"scrip-{name}")
            for name, size in self.pools.items()
        }

    def start(self, pool: str, key: object, step: Callable[[], object]) -> bool:
        """Start `step` unless a task of this pool and key runs, waits or pauses after a failure. True if
        started.
        """
        with self._lock:
            entry = self._entries.setdefault((pool, key), _Entry())
            if entry.future is not None or self.clock() < entry.not_before:
                return False
            entry.future = self._executors[pool].submit(self._run, pool, key, step)
            return True

    def running(self, pool: str) -> int:
        """Tasks of a pool that run or wait for a thread."""
        with self._lock:
            return sum(1 for (name, _), entry in self._entries.items() if name == pool and entry.future)

    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        with self._lock:
            return not any(entry.future for entry in self._entries.values())

    def check(self) -> None:
        """Raise the first failure that isn't passing."""
        with self._lock:
            if self._fatal:
                raise self._fatal[0]

    def drain(self, pool: str, seconds: float) -> None:
        """Wait until no task of the pool runs, at most so long."""
        with self._lock:
            futures = [entry.future for (name, _), entry in self._entries.items() if name == pool]
        wait([future for future in futures if future is not None], seconds)

    def close(self, *, wait: bool) -> None:
        """Take no more tasks, and wait for those that run if `wait`."""
        for executor in self._executors.values():
            executor.shutdown(wait=wait, cancel_futures=True)

    def _run(self, pool: str, key: object, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # every failure is judged here, none is dropped
            self._failed(pool, key, error)
        else:
            with self._lock:
                self._entries.pop((pool, key), None)
        self.ended.set()

    def _failed(self, pool: str, key: object, error: Exception) -> None:
        with self._lock:
            entry = self._entries[(pool, key)]
            entry.future = None
            if isinstance(error, BENIGN):
                self._entries.pop((pool, key))
                _log.debug("step not taken", pool=pool, reason=str(error))
                return
            if not is_passing(error):
                self._fatal.append(error)
                return
            entry.failures += 1
            pause = pause_s(entry.failures)
            entry.not_before = self.clock() + pause
        self.metrics.retries.labels(pool).inc()
        _log.warning("step failed, tried again later", pool=pool, pause_s=round(pause, 1), reason=str(error))


def pause_s(failures: int) -> float:
    """Seconds to wait after the n-th failure in a row: doubling, bounded, with jitter."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20))
    return longest * (0.75 + 0.25 * random.random())  # noqa: S311 (jitter, not a secret)
