"""What went wrong, as the operator's page tells it: all sources, each once, and never a secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.operator.book import Reader
from oracle.operator.faults import LogTail
from oracle.operator.trouble import MOST, declined, trouble
from oracle.states import State
from oracle.store import Store
from oracle.telemetry.latest import GpuNow
from tests.unit.evidence_factory import make_terms


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield made
    made.close()


def add(store: Store, number: int, state: State) -> bytes:
    job = bytes([number]) * 32
    store.add_job(job, make_terms(), state)
    return job


def test_trouble__all_sources__newest_first_each_once(store: Store) -> None:
    job = add(store, 1, State.QUEUED)
    store.move(job, State.EXECUTING)
    store.move(job, State.QUEUED, "the node restarted during this attempt")
    store.move(job, State.CANCELLING, "no quorum")
    store.move(job, State.CANCELLED, "no quorum")
    store.add_refusal(job, "http://w1", "usage.energy", "2 J")
    lapsed = add(store, 2, State.QUOTED)
    store.move(lapsed, State.LAPSED, "never opened")
    books = Reader(store).read()
    found = trouble(books.refusals, books.steps, (), [GpuNow("GPU-1", "H100", 0, problem="lost")], "no chain")
    assert [(one["kind"], one["what"], one["reason"]) for one in found[:2]] == [
        ("node", "the node can't work now", "no chain"),
        ("gpu", "H100 GPU-1", "lost"),
    ]
    assert {(one["kind"], one["what"], one["reason"]) for one in found[2:]} == {
        ("refusal", "http://w1 refused: usage.energy", "2 J"),
        ("job", "job given back", "no quorum"),
        ("job", "job attempt lost", "the node restarted during this attempt"),
    }
    assert len(found) == 5
    times = [one["atMs"] for one in found[2:]]
    assert times == sorted(times, reverse=True)


def test_trouble__more_than_is_shown__oldest_are_left_out(store: Store) -> None:
    for number in range(1, MOST + 20):
        store.move(add(store, number, State.QUEUED), State.CANCELLING, f"reason {number}")
    books = Reader(store).read()
    assert len(trouble(books.refusals, books.steps, (), (), "")) == MOST


def test_declined__by_reason__without_those_that_never_happened() -> None:
    assert declined({"capacity": 2, "spec": 0}) == [{"reason": "capacity", "count": 2}]


# The log


def logged(tail: LogTail, level: int, message: Any, error: BaseException | None = None) -> None:
    given = (type(error), error, None) if error is not None else None
    tail.handle(logging.LogRecord("oracle", level, "", 0, message, (), given))


def test_log__warnings_and_errors__each_kind_once_with_its_count() -> None:
    tail = LogTail(most=2)
    logger = logging.Logger("test")
    logger.addHandler(tail)
    logger.info("nothing to see")
    for _ in range(3):
        logged(tail, logging.WARNING, {"event": "pass failed", "failures": 1})
    logged(tail, logging.ERROR, "plain")
    logged(tail, logging.ERROR, {"event": "crashed"}, ValueError("https://rpc.example/v2/KEY is away"))
    assert [(one.level, one.event, one.count) for one in tail.newest()] == [
        ("error", "crashed", 1),
        ("error", "plain", 1),
    ]
    assert tail.newest()[0].detail == "ValueError: https://rpc.example is away"


def test_log__secrets__never_reach_the_page() -> None:
    tail = LogTail()
    entry = {"event": "asked https://user:pw@rpc.example/KEY", "password": "hunter2", "job": b"\x01"}
    logged(tail, logging.WARNING, entry)
    (one,) = tail.newest()
    assert one.event == "asked https://rpc.example"
    assert one.detail == "password [hidden], job 0x01"
