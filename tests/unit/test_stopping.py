"""A node that is told to stop, or whose machine misbehaves: what was no fault of a job doesn't count."""

from __future__ import annotations

import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from oracle.dispatch import WORK
from oracle.facts import Facts
from oracle.metrics import Metrics
from oracle.states import State
from oracle.store import Store
from oracle.tasks import Tasks
from scrip.errors import NodeUnavailable, NotFound
from scrip.view import ChainView
from tests.unit.oracle_factory import SPEC, Lab, terms

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path, monkeypatch)
    yield made
    made.close()


def test_stop__during_a_job__queued_again_and_the_attempt_does_not_count(lab: Lab) -> None:
    node = lab.start(held=True)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: node.store.job(job).process_group is not None)
    node.worker.close()
    node.worker.abort_all()
    node.until(lambda: node.at(job) is State.QUEUED)
    row = node.store.job(job)
    assert (row.attempt, row.reason) == (0, "the node was stopped")
    node.tasks.close(wait=True)
    again = lab.start()
    again.until_at(job, State.SETTLED)
    assert again.store.job(job).attempt == 1


def test_abort__of_one_job_while_the_node_runs__counts(lab: Lab) -> None:
    node = lab.start(held=True)
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: node.store.job(job).process_group is not None)
    node.worker.abort(job)
    node.until(lambda: node.at(job) is not State.EXECUTING)
    assert node.store.job(job).attempt == 1


def test_run__no_room_on_the_disk__waits_and_runs_once_there_is(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10**12]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free[0]))
    monkeypatch.setattr("oracle.tasks.pause_s", lambda _: 0.05)
    node = lab.start()
    asked = terms(lab.market)
    quote = node.desk.quote(asked, SPEC).signature
    free[0] = 1_000
    job = lab.market.open(asked, quote)
    node.until(lambda: node.tasks.metrics.registry.get_sample_value("scrip_retries_total", {"step": WORK}))
    assert node.at(job) is State.QUEUED
    free[0] = 10**12
    node.until_at(job, State.SETTLED)
    assert node.store.job(job).attempt == 1


def test_reorg__reopens_a_queued_job_with_another_nonce__is_run_for_the_new_one(lab: Lab) -> None:
    node = lab.start(held=True, slots=1)
    jobs = []
    for salt in (1, 2):
        asked = terms(lab.market, salt=salt)
        jobs.append(lab.market.open(asked, node.desk.quote(asked, SPEC).signature))
    node.until(lambda: {node.at(job) for job in jobs} == {State.EXECUTING, State.QUEUED})
    waiting = next(job for job in jobs if node.at(job) is State.QUEUED)
    nonce = node.store.job(waiting).nonce + 1_000
    lab.market.jobs[waiting] = replace(lab.market.jobs[waiting], nonce=nonce)
    lab.market.keep()
    node.until(lambda: node.store.job(waiting).nonce == nonce)
    node.executor.may_end.set()
    node.until_at(waiting, State.SETTLED)
    assert node.evidence.get(waiting, 1).nonce == nonce


# Tasks


def tasks(folder: Path) -> Tasks:
    return Tasks(Metrics(Store.open(f"sqlite:///{folder / 'tasks.db'}")), {"work": 1, "send": 1})


def test_drain__task_ends_in_time__waits_for_it(tmp_path: Path) -> None:
    made, ended = tasks(tmp_path), threading.Event()
    go = threading.Event()
    made.start("work", 1, lambda: (go.wait(10), ended.set()))
    threading.Timer(0.1, go.set).start()
    made.drain("work", 10)
    assert ended.is_set()
    made.close(wait=True)


def test_drain__task_goes_on__gives_up_after_the_time(tmp_path: Path) -> None:
    made, go = tasks(tmp_path), threading.Event()
    made.start("work", 1, lambda: go.wait(10))
    begun = time.monotonic()
    made.drain("work", 0.2)
    assert 0.2 <= time.monotonic() - begun < 5
    go.set()
    made.close(wait=True)


def test_drain__task_of_another_pool__is_not_waited_for(tmp_path: Path) -> None:
    made, go = tasks(tmp_path), threading.Event()
    made.start("send", 1, lambda: go.wait(10))
    begun = time.monotonic()
    made.drain("work", 8)
    assert time.monotonic() - begun < 5
    go.set()
    made.close(wait=True)


# Clocks and heads


def test_store__wall_clock_set_back__its_time_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'clock.db'}")
    before, wall = store.now_ms(), time.time_ns()
    assert abs(before - wall // 1_000_000) < 60_000
    monkeypatch.setattr(time, "time_ns", lambda: wall - 3_600 * 10**9)
    assert before <= store.now_ms() < before + 60_000
    store.close()


class Behind:
    """A node that names a block it hasn't got."""

    chain_id = 31337
    w3 = SimpleNamespace(provider=SimpleNamespace(host="node"))

    def address(self, name: str) -> str:
        return "0x" + "11" * 20

    def head(self) -> int:
        return 1_000

    def block_time(self, block: int) -> int:
        raise NotFound("block", block)


def test_facts__head_that_the_node_has_not_got__is_a_passing_failure() -> None:
    with pytest.raises(NodeUnavailable, match="names block 1000 and hasn't got it") as raised:
        Facts(Behind(), local=True).time(ChainView(Behind(), 1_000))  # type: ignore[arg-type]
    assert raised.value.transient
