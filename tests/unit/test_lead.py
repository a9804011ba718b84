"""One node leads: who takes over when, and that one that lost the lead writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from oracle.identity import MARK, AnotherOwner, claim, claim_evidence
from oracle.journal import SqlJournal
from oracle.lead import Lead
from oracle.state_folder import node_name
from oracle.states import Stage, State
from oracle.store import LeadLost, Store
from oracle.tasks import is_passing
from scrip.journal import TxOutcome
from scrip.types import Attestation
from tests.unit.evidence_factory import make_terms
from tests.unit.test_store import JOB, OTHER, SENDER, metered, record

LEASE_S = 3600.0
"""So long that no sign of life is given by itself: a test gives them."""


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Nodes:
    """Several nodes on one database, each with a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url, self.clock = url, Clock()
        self._leads: list[Lead] = []
        self._stores: list[Store] = []

    def start(self, name: str) -> tuple[Store, Lead]:
        store = Store.open(self.url, lambda: 1_000)
        lead = Lead(store, name, LEASE_S, self.clock)
        self._stores.append(store)
        self._leads.append(lead)
        return store, lead

    def close(self) -> None:
        for lead in self._leads:
            lead.release()
        for store in self._stores:
            store.close()


@pytest.fixture
def nodes(database_url: str) -> Iterator[Nodes]:
    made = Nodes(database_url)
    yield made
    made.close()


def taken_over(nodes: Nodes) -> tuple[Store, Store]:
    """The stores of a leader that was taken for dead, and of the one that took over."""
    (old, first), (new, second) = nodes.start("a"), nodes.start("b")
    assert first.leads()
    metered(old)
    old.add_settlement([JOB], batched=False, watcher_set=0)
    old.add_job(OTHER, make_terms(salt=9), State.OPEN)
    assert not second.leads()
    nodes.clock.now += LEASE_S
    assert second.leads()
    return old, new


# Without the lead nothing is written


WRITES: dict[str, Callable[[Store], Any]] = {
    "add_job": lambda store: store.add_job(b"\x05" * 32, make_terms(salt=5), State.OPEN),
    "move": lambda store: store.move(OTHER, State.ACCEPTING),
    "note": lambda store: store.note(OTHER, reason="mine"),
    "add_settlement": lambda store: store.add_settlement([OTHER], batched=False, watcher_set=0),
    "advance": lambda store: store.advance(
        store.settlements()[0], Stage.SIGNED, State.SIGNED, attestation=Attestation(b"\x01" * 65, ())
    ),
    "close": lambda store: store.close_settlement(store.settlements()[0], Stage.DROPPED, {JOB: {}}),
    "delay": lambda store: store.delay_settlement(store.settlements()[0], 5, "mine"),
    "add_refusal": lambda store: store.add_refusal(JOB, "w", "c", "r"),
    "set_cursor": lambda store: store.set_cursor("JobOpened", 9),
    "record": lambda store: SqlJournal(store).record(record()),
    "resolve": lambda store: SqlJournal(store).resolve(31337, SENDER, 5, TxOutcome.LOST),
}


@pytest.mark.parametrize("write", WRITES)
def test_write__after_another_node_took_over__is_refused_and_changes_nothing(
    nodes: Nodes, write: str
) -> None:
    old, new = taken_over(nodes)
    before = snapshot(new)
    with pytest.raises(LeadLost, match="b leads"):
        WRITES[write](old)
    assert snapshot(new) == before


def snapshot(store: Store) -> list[Any]:
    tables = ("jobs", "steps", "settlements", "refusals", "cursors", "transactions", "specs")
    with store.engine.connect() as connection:
        return [connection.execute(text(f"SELECT * FROM {name}")).all() for name in tables]  # noqa: S608


def test_write__before_leading__is_refused(nodes: Nodes) -> None:
    store, lead = nodes.start("a")
    with pytest.raises(LeadLost, match="nobody leads yet"):
        store.add_job(JOB, make_terms(), State.OPEN)
    with pytest.raises(LeadLost):
        lead.check()
    assert store.find(JOB) is None
    store.check_writable()


def test_lost__ends_the_process(nodes: Nodes) -> None:
    (_, first), (_, second) = nodes.start("a"), nodes.start("b")
    assert first.leads()
    assert not second.leads()
    nodes.clock.now += LEASE_S
    assert second.leads()
    assert not first._beat(1)
    first._lost.set()  # as its thread does on that answer
    with pytest.raises(LeadLost, match="a doesn't lead: b leads") as lost:
        first.leads()
    assert not is_passing(lost.value)
    with pytest.raises(LeadLost):
        first.check()


def test_write__begun_before_the_takeover__is_finished_first(nodes: Nodes) -> None:
    (old, first), (_, second) = nodes.start("a"), nodes.start("b")
    assert first.leads()
    assert not second.leads()
    old.add_job(JOB, make_terms(), State.OPEN)
    with old.writing() as session:
        session.execute(text("UPDATE jobs SET state = 'accepting'"))
    nodes.clock.now += LEASE_S
    assert second.leads()
    assert old.job(JOB).at is State.ACCEPTING


# Who takes over


def test_take__signs_of_life__keep_the_lead(nodes: Nodes) -> None:
    (_, first), (_, second) = nodes.start("a"), nodes.start("b")
    assert first.leads()
    for _ in range(5):
        assert not second.leads()
        nodes.clock.now += LEASE_S * 0.9
        assert first._beat(1)
    assert not second.leads()
    nodes.clock.now += LEASE_S * 0.9
    assert not second.leads()
    nodes.clock.now += LEASE_S * 0.2
    assert second.leads()


def test_take__database_was_away__time_without_it_does_not_count(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, first), (store, second) = nodes.start("a"), nodes.start("b")
    assert first.leads()
    assert not second.leads()
    with monkeypatch.context() as away:

        def fail() -> Any:
            raise OperationalError("SELECT", {}, Exception("away"))

        away.setattr(store, "reading", fail)
        with pytest.raises(OperationalError) as error:
            second.leads()
    assert is_passing(error.value)
    nodes.clock.now += LEASE_S
    assert not second.leads()
    nodes.clock.now += LEASE_S
    assert second.leads()


def test_take__two_that_wait__one_gets_it(nodes: Nodes) -> None:
    first, *others = (nodes.start(name)[1] for name in "abc")
    assert first.leads()
    assert [one.leads() for one in others] == [False, False]
    nodes.clock.now += LEASE_S
    assert [one.leads() for one in others] == [True, False]


def test_take__seen_by_two_at_the_same_moment__the_second_step_up_fails(nodes: Nodes) -> None:
    (_, first), (store, second) = nodes.start("a"), nodes.start("b")
    assert first._step_up((0, 0), "")
    assert not second._step_up((0, 0), "")
    with pytest.raises(LeadLost):
        store.set_cursor("x", 1)


def test_release__the_next_one_leads_at_once(nodes: Nodes) -> None:
    (_, first), (_, second) = nodes.start("a"), nodes.start("b")
    assert first.leads()
    assert not second.leads()
    first.release()
    assert second.leads()
    assert second.check() == "leads in epoch 2"


def test_release__after_it_was_lost__leaves_the_other_in_peace(nodes: Nodes) -> None:
    (_, first), (store, second) = nodes.start("a"), nodes.start("b")
    assert first.leads()
    second.leads()
    nodes.clock.now += LEASE_S
    assert second.leads()
    first.release()
    store.set_cursor("x", 1)
    assert not nodes.start("c")[1].leads()


def test_take__same_state_folder__takes_up_at_once_what_its_dead_process_had(
    nodes: Nodes, tmp_path: Path
) -> None:
    name = node_name(tmp_path)
    (old, first) = nodes.start(name)
    assert first.leads()
    assert node_name(tmp_path) == name
    _, again = nodes.start(name)
    assert again.leads()
    with pytest.raises(LeadLost):
        old.set_cursor("x", 1)


def test_beats__are_given_while_it_leads(database_url: str) -> None:
    store, other = Store.open(database_url), Store.open(database_url)
    lead = Lead(store, "a", 0.05)
    waiting = Lead(other, "b", 3600)
    assert lead.leads()
    seen = set()
    while len(seen) < 4:
        assert not waiting.leads()
        seen.add(waiting._seen)
    assert {epoch for epoch, _ in filter(None, seen)} == {1}
    lead.release()
    assert waiting.leads()
    waiting.release()
    store.close()
    other.close()


# Whose database it is


def test_claim__another_owner__is_refused_and_named(database_url: str) -> None:
    store = Store.open(database_url)
    claim(store, {"chain": "1", "provider": SENDER})
    claim(store, {"chain": "1", "provider": SENDER})
    with pytest.raises(AnotherOwner, match="belongs to chain 1, this node has 2"):
        claim(store, {"chain": "2", "provider": SENDER})
    store.close()


def test_claim_evidence__another_folder__is_refused_until_it_has_the_mark(
    database_url: str, tmp_path: Path
) -> None:
    store, shared, other = Store.open(database_url), tmp_path / "shared", tmp_path / "other"
    claim_evidence(store, shared)
    claim_evidence(store, shared)
    with pytest.raises(AnotherOwner, match="folder-id is missing"):
        claim_evidence(store, other)
    other.mkdir()
    (other / MARK).write_text((shared / MARK).read_text())
    claim_evidence(store, other)
    store.close()


def test_claim_evidence__new_database__takes_the_folder_as_it_is(database_url: str, tmp_path: Path) -> None:
    (tmp_path / MARK).write_text("abc\n")
    store = Store.open(database_url)
    claim_evidence(store, tmp_path)
    assert (tmp_path / MARK).read_text() == "abc\n"
    (tmp_path / MARK).write_text("def\n")
    with pytest.raises(AnotherOwner, match="def, not abc"):
        claim_evidence(store, tmp_path)
    store.close()
