"""The provider's loop and jobs whose slot the chain has emptied, or that are disputed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.facts import Facts
from oracle.reconcile import CURSOR
from oracle.states import State
from scrip.errors import BadInput, NodeUnavailable
from scrip.types import JobTerms, Status
from tests.unit.oracle_factory import SPEC, Lab, Node, terms
from tests.unit.oracle_market import CPU_CLASS, EMPTY, PAYER, FakeFacts, cpu_class

LATE = 200
"""Seconds after which acceptBy is past and submitBy is not."""


@pytest.fixture
def lab(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch, database_url)
    yield made
    made.close()


def running(lab: Lab, node: Node, **changes: Any) -> tuple[JobTerms, bytes]:
    """A job that its executor works on, past its acceptBy."""
    asked = terms(lab.market, **changes)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: node.executor.started)
    lab.market.now += LATE
    return asked, job


# Slots that are empty


def test_job__quote_never_used__lapses_after_a_look_from_the_cursor_on(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    node.desk.quote(asked, SPEC)
    node.cycle()
    lab.market.mine()
    seen = node.store.cursor(CURSOR)
    lab.market.now += LATE
    node.reconciler.reconcile()
    job = lab.market.id_of(asked)
    assert (node.at(job), node.store.job(job).reason) == (State.LAPSED, "the quote wasn't used")
    assert lab.market.searched == [(job, seen)]


def test_job__before_accept_by__an_empty_slot_is_no_ending(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    node.desk.quote(asked, SPEC)
    node.cycle()
    assert (node.at(lab.market.id_of(asked)), lab.market.searched) == (State.QUOTED, [])


def test_job__taken_off_the_chain_for_good__lapses(lab: Lab) -> None:
    node = lab.start(held=True)
    _, job = running(lab, node)
    lab.market.jobs[job] = EMPTY
    lab.market.keep()
    node.until_at(job, State.LAPSED)
    assert node.store.job(job).reason == "the job left the chain"


def test_job__settles_after_accept_by__is_found_by_its_event(lab: Lab) -> None:
    node = lab.start(held=True)
    asked, job = running(lab, node)
    opened = lab.market.block
    node.executor.may_end.set()
    node.until_at(job, State.SETTLED)
    assert lab.market.jobs[job] == EMPTY
    assert len(lab.market.settled[job]) == 1
    assert (node.store.job(job).opened_block, node.sender.sent) == (opened, ["settlement 1.0"])
    # One look, from the block of its opening.
    assert set(lab.market.searched) == {(job, opened)}
    assert asked.accept_by < lab.market.now


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (Status.EXPIRED, State.EXPIRED),
        (Status.CANCELLED, State.CANCELLED),
        (Status.REFUNDED, State.REFUNDED),
    ],
)
def test_job__ended_by_others_after_accept_by__is_stopped(lab: Lab, status: Status, state: State) -> None:
    node = lab.start(held=True)
    _, job = running(lab, node)
    lab.market.set(job, status)
    node.until_at(job, state)
    node.until(node.tasks.idle)
    assert (node.at(job), node.sender.sent) == (state, [])


def test_job__settled_by_another_sender_after_accept_by__nothing_is_sent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.start(held=True)
    _, job = running(lab, node)
    collect = node.settler._collect

    def collect_late(settlement: Any) -> Any:
        lab.market.set(job, Status.SETTLED)
        return collect(settlement)

    monkeypatch.setattr(node.settler, "_collect", collect_late)
    node.executor.may_end.set()
    node.until_at(job, State.SETTLED)
    assert node.sender.sent == []
    # It was never taken for a job that a reorganisation opened anew.
    assert "opened anew" not in node.store.settlement(1).reason


def test_restart__ended_after_accept_by_while_down__is_found_by_its_event(lab: Lab) -> None:
    node = lab.start(held=True)
    _, job = running(lab, node)
    opened = node.store.job(job).opened_block
    lab.crash(node)
    for _ in range(3):
        lab.market.mine()
    lab.market.set(job, Status.EXPIRED)
    again = lab.start()
    again.until_at(job, State.EXPIRED)
    assert (job, opened) in lab.market.searched


def test_restart__opening_block_not_known__is_searched_from_the_deployment_on(lab: Lab) -> None:
    # As in a database of before the column was added.
    node = lab.start(held=True)
    _, job = running(lab, node)
    node.store.note(job, opened_block=0)
    lab.market.set(job, Status.EXPIRED)
    node.until_at(job, State.EXPIRED)
    assert lab.market.searched == [(job, 0)]


def test_ending__node_lags_behind_the_block__is_asked_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = lab.start(held=True)
    _, job = running(lab, node)
    lab.market.set(job, Status.EXPIRED)

    def behind(*_: object) -> None:
        raise BadInput("to_block", 9, "at most the node's head, 8")

    with monkeypatch.context() as patch:
        patch.setattr(FakeFacts, "ending", behind)
        with pytest.raises(NodeUnavailable, match="it is behind"):
            node.reconciler.reconcile()
    node.until_at(job, State.EXPIRED)


# Disputes


def disputed(lab: Lab, node: Node) -> bytes:
    """A job whose receipt somebody has challenged."""
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(job, State.SUBMITTED)
    lab.market.decide_by[job] = lab.market.now + 600
    lab.market.set(job, Status.DISPUTED)
    node.until_at(job, State.DISPUTED)
    return job


@pytest.fixture
def windowed(lab: Lab) -> Lab:
    lab.market.classes[CPU_CLASS] = cpu_class(challenge_window=60, arbiter_set=1)
    return lab


def test_dispute__undecided__is_left_alone_until_the_arbiters_time_is_over(windowed: Lab) -> None:
    lab, node = windowed, windowed.start()
    job = disputed(lab, node)
    assert node.store.job(job).reason == f"challenged by {PAYER}"
    sent = list(node.sender.sent)
    lab.market.now = lab.market.decide_by[job]
    for _ in range(5):
        node.cycle()
    assert (node.at(job), node.sender.sent) == (State.DISPUTED, sent)
    lab.market.now += 1
    node.until_at(job, State.SETTLED)
    # A cycle between the step and its transaction shows what the chain still says: disputed, once more.
    path = node.path(job)
    assert (path[-1], "finalizing" in path[path.index("disputed") :]) == ("settled", True)


@pytest.mark.parametrize("status", [Status.SETTLED, Status.REFUNDED])
def test_dispute__decided__ends_as_the_chain_says(windowed: Lab, status: Status) -> None:
    node = windowed.start()
    job = disputed(windowed, node)
    windowed.market.set(job, status)
    node.until(lambda: node.store.job(job).at.final)
    assert node.at(job) is State(status.name.lower())


def test_dispute__raised_before_we_saw_the_submission__is_seen_all_the_same(windowed: Lab) -> None:
    lab, node = windowed, windowed.start()
    asked = terms(lab.market)
    job = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until(lambda: job in lab.market.settled)
    lab.market.decide_by[job] = lab.market.now + 600
    lab.market.set(job, Status.DISPUTED)
    node.until_at(job, State.DISPUTED)


# The reads behind it


def test_facts__reads_go_to_the_view_they_are_asked_of() -> None:
    asked: list[tuple[str, bytes]] = []

    class View:
        def submission(self, job: bytes) -> None:
            asked.append(("submission", job))

        def dispute(self, job: bytes) -> None:
            asked.append(("dispute", job))

    class Chain:
        def address(self, name: str) -> str:
            return PAYER

    facts, view = Facts(Chain(), local=True), View()  # type: ignore[arg-type]
    facts.submission(b"\x01", view)  # type: ignore[arg-type]
    facts.dispute(b"\x02", view)  # type: ignore[arg-type]
    assert asked == [("submission", b"\x01"), ("dispute", b"\x02")]
