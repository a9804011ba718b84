"""Tasks beside the loop and the loop itself: passing failures are tried again, anything else ends the
process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.daemon import Daemon
from oracle.health import Pulse
from oracle.metrics import Metrics
from oracle.store import LeadLost, StateConflict, Store
from oracle.tasks import Tasks, is_passing, pause_s
from scrip.errors import NodeUnavailable, WrongChain
from tests.unit.oracle_factory import Lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch)
    yield made
    made.close()


def test_tasks__bug__is_raised_by_the_loop(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    tasks = Tasks(Metrics(store), {"work": 1})

    def bug() -> None:
        raise KeyError("unexpected")

    tasks.start("work", 1, bug)
    tasks.close(wait=True)
    with pytest.raises(KeyError):
        tasks.check()
    store.close()


def test_tasks__passing_failure__pauses_longer_each_time(tmp_path: Path) -> None:
    store, now = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}"), [0.0]
    tasks = Tasks(Metrics(store), {"work": 1}, clock=lambda: now[0])
    done = threading.Semaphore(0)

    def fail() -> None:
        done.release()
        raise NodeUnavailable("node", "away")

    assert tasks.start("work", 1, fail)
    done.acquire(timeout=5)
    while not tasks.idle():
        pass
    assert not tasks.start("work", 1, fail)
    now[0] += 1
    assert tasks.start("work", 1, fail)
    tasks.close(wait=True)
    tasks.check()
    store.close()


def test_pause__grows_and_is_bounded() -> None:
    pauses = [pause_s(failures) for failures in (1, 3, 6, 100)]
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 60


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (NodeUnavailable("node", "away"), True),
        (NodeUnavailable("node", "HTTP 401", transient=False), False),
        (WrongChain("other"), False),
        (KeyError("bug"), False),
    ],
)
def test_is_passing__by_kind(error: Exception, passing: bool) -> None:
    assert is_passing(error) is passing


class _Cycle:
    def __init__(self, failures: list[Exception]) -> None:
        self.failures, self.passes, self.finished = failures, 0, []
        self.begun = 0
        self.looks: list[bool | Exception] = []
        self.done = threading.Event()

    def leads(self) -> bool:
        found = self.looks.pop(0) if self.looks else True
        if isinstance(found, Exception):
            raise found
        return found

    def begin(self) -> None:
        self.begun += 1

    def __call__(self) -> None:
        self.passes += 1
        if self.failures:
            raise self.failures.pop(0)
        self.done.set()

    def quiet(self) -> bool:
        return True

    def finish(self, *, at_once: bool) -> None:
        self.finished.append(at_once)


class _Server:
    alive = True

    def start(self) -> None: ...

    def stop(self) -> None: ...


def _daemon(lab: Lab, cycle: _Cycle) -> Daemon:
    store = Store.open(f"sqlite:///{lab.folder / 'loop.db'}")
    settings = lab.settings().model_copy(update={"poll_ms": 50})

    class Base:
        metrics = Metrics(store)

        def close(self) -> None:
            store.close()

    base = Base()
    base.settings = settings  # type: ignore[attr-defined]
    return Daemon(base, cycle, _Server(), Pulse(0.05))  # type: ignore[arg-type]


def test_loop__passing_failures__goes_on(lab: Lab) -> None:
    cycle = _Cycle([NodeUnavailable("node", "away"), StateConflict(b"\0" * 32, "a", "b")])
    assert _daemon(lab, cycle).once() == 0
    assert cycle.passes >= 3
    assert cycle.finished == [False]


def test_loop__unexpected_error__ends_at_once(lab: Lab) -> None:
    cycle = _Cycle([ZeroDivisionError("bug")])
    with pytest.raises(ZeroDivisionError):
        _daemon(lab, cycle).run()
    assert cycle.finished == [True]


def test_loop__asked_to_stop__finishes_running_steps(lab: Lab) -> None:
    cycle = _Cycle([])
    daemon = _daemon(lab, cycle)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    assert cycle.done.wait(5)
    daemon.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert cycle.finished == [False]


def test_loop__standing_by__does_nothing_and_is_healthy(lab: Lab) -> None:
    cycle = _Cycle([])
    cycle.looks = [False] * 20
    assert _daemon(lab, cycle).once() == 0
    assert (cycle.passes, cycle.begun) == (0, 0)


def test_loop__takes_over__begins_as_after_a_start(lab: Lab) -> None:
    cycle = _Cycle([])
    cycle.looks = [False, True]
    cycle.quiet = lambda: cycle.passes > 1  # type: ignore[method-assign]
    assert _daemon(lab, cycle).once() == 0
    assert cycle.begun == 1


def test_loop__lead_lost__ends_at_once(lab: Lab) -> None:
    cycle = _Cycle([])
    cycle.looks = [True, LeadLost("a", "b")]
    with pytest.raises(LeadLost, match="b leads"):
        _daemon(lab, cycle).run()
    assert cycle.finished == [True]


def test_is_passing__lead_lost__is_not(lab: Lab) -> None:
    assert not is_passing(LeadLost("a", "b"))
