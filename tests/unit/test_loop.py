"""The daemon's loop: it polls, and a step that ends wakes it before the next poll."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from oracle.daemon import Daemon
from oracle.health import Pulse
from oracle.metrics import Metrics
from oracle.store import Store
from oracle.tasks import Tasks

HOUR_MS = 3_600_000
SECONDS = 20.0


class Passes:
    """A cycle that starts one task in its first pass, and tells of each pass."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks, self.seen = tasks, threading.Semaphore(0)
        self.go = threading.Event()

    def leads(self) -> bool:
        return True

    def begin(self) -> None:
        self.tasks.start("work", 1, lambda: self.go.wait(SECONDS))

    def __call__(self) -> None:
        self.seen.release()

    def quiet(self) -> bool:
        return True

    def finish(self, *, at_once: bool) -> None:
        self.tasks.close(wait=True)


def test_loop__task_ends__next_pass_comes_at_once(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    metrics = Metrics(store)
    cycle = Passes(Tasks(metrics, {"work": 1}))
    base: Any = SimpleNamespace(
        settings=SimpleNamespace(poll_ms=HOUR_MS), metrics=metrics, close=store.close, chain=None
    )
    server: Any = SimpleNamespace(start=lambda: None, stop=lambda: None, alive=True)
    daemon = Daemon(base, cycle, server, Pulse(HOUR_MS / 1000), cycle.tasks.ended)
    thread = threading.Thread(target=daemon.run, daemon=True)
    thread.start()
    assert cycle.seen.acquire(timeout=SECONDS)
    cycle.go.set()
    assert cycle.seen.acquire(timeout=SECONDS)
    daemon.stop()
    thread.join(SECONDS)
    assert not thread.is_alive()
