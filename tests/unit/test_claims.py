"""Any order of takeovers, steps and crashes of two nodes on one database: each step is taken once, by the
leader. A model beside the store says what must be there; a node that was taken over goes on trying, as one
that slept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from oracle.journal import SqlJournal
from oracle.lead import Lead
from oracle.states import FINAL, LIVE_STAGES, Stage, State, may_follow
from oracle.store import NOBODY, LeadLost, StateConflict, Store
from oracle.tables import TABLES
from tests.unit.evidence_factory import make_bundle, make_terms
from tests.unit.test_store import SENDER, record

LEASE_S = 3600.0
JOBS = tuple(bytes([number]) * 32 for number in range(1, 4))
SIDES = st.sampled_from([0, 1])


class Claims(RuleBasedStateMachine):
    """Two nodes, three jobs."""

    stores: tuple[Store, Store]

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.empty()
        self.leads = [self.lead(side) for side in (0, 1)]
        self.leader: int | None = None
        self.at = dict.fromkeys(JOBS, State.QUOTED)
        self.taken: list[tuple[bytes, State]] = []
        self.nonces: set[int] = set()
        assert self.leads[0].leads()
        self.leader = 0
        for job in JOBS:
            self.stores[0].add_job(job, make_terms(salt=job[0]), State.QUOTED)

    def empty(self) -> None:
        """As good as a new database, and far cheaper."""
        with self.stores[0].writing(led=False) as session:
            for table in reversed(TABLES.sorted_tables):
                if table.name != "lead":
                    session.execute(table.delete())
            session.execute(TABLES.tables["lead"].update().values(node=""))

    def lead(self, side: int) -> Lead:
        return Lead(self.stores[side], f"node-{side}", LEASE_S, lambda: self.now)

    @contextmanager
    def fenced(self, side: int) -> Iterator[None]:
        """What only the leader may do: the other one is refused."""
        if side == self.leader:
            yield
            return
        with pytest.raises(LeadLost):
            yield

    @rule(side=SIDES)
    def look(self, side: int) -> None:
        """A pass of a node's loop."""
        if side == self.leader:
            assert self.leads[side].leads()
            return
        if self.stores[side].epoch == NOBODY and self.leads[side].leads():
            self.leader = side

    @rule(seconds=st.sampled_from([LEASE_S / 2, LEASE_S]))
    def time_passes(self, seconds: float) -> None:
        """Time without a sign of life."""
        self.now += seconds

    @rule()
    def leader_stands_still(self) -> None:
        """For so long that the other one takes over. It knows nothing of it, and goes on afterwards."""
        if self.leader is None:
            return
        other = 1 - self.leader
        if self.stores[other].epoch != NOBODY:
            self.restart(other)
        self.leads[other].leads()
        self.now += LEASE_S
        assert self.leads[other].leads()
        self.leader = other

    @rule()
    def leader_lives(self) -> None:
        """A sign of life."""
        if self.leader is not None:
            assert self.leads[self.leader]._beat(self.stores[self.leader].epoch or 0)

    @rule(side=SIDES)
    def restart(self, side: int) -> None:
        """kill -9, and a new process of the same folder: it holds nothing of what the old one knew."""
        self.leads[side]._ended.set()
        self.leads[side] = self.lead(side)
        if self.leader == side:
            self.leader = None

    @rule(side=SIDES)
    def term(self, side: int) -> None:
        """A graceful end."""
        self.leads[side].release()
        if self.leader == side:
            self.leader = None

    @rule(side=SIDES, job=st.sampled_from(JOBS), to=st.sampled_from(list(State)))
    def move(self, side: int, job: bytes, to: State) -> None:
        """A step."""
        since = self.at[job]
        values = {"receipt": make_bundle().receipt} if to is State.METERED else {}
        with self.fenced(side):
            if may_follow(to, since):
                self.stores[side].move(job, to, since=(since,), **values)
                self.at[job] = to
                self.taken.append((job, to))
            else:
                with pytest.raises(StateConflict):
                    self.stores[side].move(job, to, since=(since,), **values)

    @rule(side=SIDES)
    def settle(self, side: int) -> None:
        """Bind what is metered and take the oldest settlement one stage on."""
        due = [job for job in JOBS if self.at[job] is State.METERED]
        with self.fenced(side):
            if not due:
                self.stores[side].set_cursor("JobOpened", 1)
                return
            row = self.stores[side].add_settlement(due, batched=len(due) > 1, watcher_set=0)
            self.at.update(dict.fromkeys(due, State.SIGNING))
            self.stores[side].advance(row, Stage.SIGNED, State.SIGNED)
            self.at.update(dict.fromkeys(due, State.SIGNED))

    @rule(side=SIDES)
    def sign(self, side: int) -> None:
        """A transaction is recorded before it leaves, with the lowest nonce that its node sees free."""
        journal = SqlJournal(self.stores[side])
        nonce = len(journal.open_records(31337, SENDER))
        with self.fenced(side):
            journal.record(record(nonce=nonce, tx_hash=bytes([side, nonce]) * 16))
            assert nonce not in self.nonces
            self.nonces.add(nonce)

    @invariant()
    def one_leads_at_most(self) -> None:
        """No two stores could write in the same epoch, nor the same job twice."""
        held = [store.epoch for store in self.stores if store.epoch != NOBODY]
        assert len(set(held)) == len(held)

    @invariant()
    def the_store_is_the_model(self) -> None:
        """Both nodes read the same: every step that was taken, and none that was refused."""
        store = self.stores[0]
        for job in JOBS:
            path = [State(step.state) for step in store.steps(job)]
            assert path[-1] is self.at[job] is self.stores[1].job(job).at
            assert all(may_follow(after, before) for before, after in pairwise(path))
            assert sum(state in FINAL for state in path) <= 1
        open_nonces = {item.nonce for item in SqlJournal(store).open_records(31337, SENDER)}
        assert open_nonces == self.nonces

    @invariant()
    def a_job_is_in_one_settlement(self) -> None:
        """Never two live ones that both hold it."""
        rows = self.stores[0].settlements(LIVE_STAGES)
        held = [job for row in rows for job in row.jobs if self.stores[0].job(job).settlement_id == row.id]
        assert len(held) == len(set(held))

    def teardown(self) -> None:
        for lead in self.leads:
            lead._ended.set()


def test_claims__any_order_of_two_nodes__each_step_once(database_url: str) -> None:
    rules = settings(
        max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    stores = (Store.open(database_url, lambda: 1), Store.open(database_url, lambda: 1))
    run_state_machine_as_test(type("OnThese", (Claims,), {"stores": stores}), settings=rules)
    for store in stores:
        store.close()
