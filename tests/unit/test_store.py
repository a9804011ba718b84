"""The store: each step is taken once, migrations build what the models say, the journal survives."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.journal import SqlJournal
from oracle.state_folder import StateFolderProblem, check_apart, open_state
from oracle.states import ACTIVE, FINAL, Stage, State, may_follow
from oracle.store import Move, StateConflict, Store
from scrip.errors import NotFound
from scrip.journal import TxOutcome, TxRecord
from scrip.spec import JobSpec, spec_hash
from scrip.types import Attestation
from tests.unit.evidence_factory import make_bundle, make_terms

JOB, OTHER = b"\x01" * 32, b"\x02" * 32
SENDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def metered(store: Store, job: bytes = JOB) -> bytes:
    store.add_job(job, make_terms(salt=job[0]), State.QUEUED)
    store.move(job, State.EXECUTING)
    store.move(job, State.METERED, receipt=make_bundle().receipt)
    return job


def record(**changes: Any) -> TxRecord:
    made = TxRecord(
        "settlement 1.0",
        31337,
        SENDER,
        5,
        b"\x11" * 32,
        b"raw",
        SENDER,
        b"data",
        1 << 100,
        21_000,
        1 << 90,
        3,
    )
    return replace(made, **changes)


# Moving jobs


def test_move__from_a_state_that_does_not_allow_it__raises_and_changes_nothing(store: Store) -> None:
    store.add_job(JOB, make_terms(), State.OPEN)
    with pytest.raises(StateConflict):
        store.move(JOB, State.METERED)
    with pytest.raises(StateConflict):
        store.move(JOB, State.ACCEPTING, since=(State.QUOTED,))
    assert store.job(JOB).at is State.OPEN
    assert len(store.steps(JOB)) == 1


def test_move__unknown_job_or_column__raises(store: Store) -> None:
    with pytest.raises(NotFound):
        store.move(JOB, State.OPEN)
    store.add_job(JOB, make_terms(), State.OPEN)
    with pytest.raises(AttributeError, match="no column speed"):
        store.move(JOB, State.QUEUED, speed=1)
    assert store.job(JOB).at is State.OPEN


def test_move__by_many_threads__one_takes_the_step(store: Store) -> None:
    store.add_job(JOB, make_terms(), State.QUEUED)
    taken, barrier = [], threading.Barrier(8)

    def take() -> None:
        barrier.wait()
        try:
            store.move(JOB, State.EXECUTING, since=(State.QUEUED,))
            taken.append(True)
        except StateConflict:
            pass

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_add_job__known__is_left_as_it_is(store: Store) -> None:
    assert store.add_job(JOB, make_terms(), State.OPEN)
    assert not store.add_job(JOB, make_terms(), State.QUOTED)
    assert store.job(JOB).at is State.OPEN


def test_job__values_and_steps__survive_a_reopening(store: Store, database_url: str) -> None:
    nonce = (1 << 96) - 1
    store.add_job(JOB, make_terms(), State.OPEN, nonce=nonce, opened_at=7)
    store.move(JOB, State.QUEUED, "why")
    store.close()
    again = Store.open(database_url, lambda: 1_000)
    row = again.job(JOB)
    assert (row.nonce, row.terms, row.reason) == (nonce, make_terms(), "why")
    assert [step.state for step in again.steps(JOB)] == ["open", "queued"]
    again.close()


def test_move__without_a_reason__resets_it_and_none_keeps_it(store: Store) -> None:
    store.add_job(JOB, make_terms(), State.OPEN, "waiting")
    assert store.move(JOB, State.QUEUED, None).reason == "waiting"
    assert store.move(JOB, State.EXECUTING).reason == ""


@given(st.sampled_from(list(State)), st.sampled_from(list(State)))
def test_may_follow__final_states_are_ends(state: State, after: State) -> None:
    if after in FINAL:
        assert not may_follow(state, after)
    elif state in FINAL:
        assert may_follow(state, after)


def test_counts__every_state_is_there(store: Store) -> None:
    store.add_job(JOB, make_terms(), State.OPEN)
    counts = store.counts()
    assert counts[State.OPEN] == 1
    assert set(counts) == set(State)
    assert store.count([State.OPEN, State.QUEUED]) == 1


def test_present__says_which_states_jobs_are_in(store: Store) -> None:
    assert store.present(State) == frozenset()
    for number, state in enumerate((State.OPEN, State.METERED, State.METERED, State.SETTLED)):
        store.add_job(bytes([number]) * 32, make_terms(), state)
    assert store.present(State) == {State.OPEN, State.METERED, State.SETTLED}
    assert store.present(ACTIVE) == {State.OPEN, State.METERED}
    assert store.present([State.QUEUED]) == frozenset()


# Specs


def test_put_spec__beyond_the_most__forgets_old_ones_that_no_job_needs(database_url: str) -> None:
    now = iter(range(1, 10_000))
    store = Store.open(database_url, lambda: next(now))
    specs = [JobSpec("hash.chain", {"steps": steps}) for steps in range(1, 5)]
    store.put_spec(specs[0], 2)
    store.add_job(JOB, make_terms(specs[0]), State.OPEN)
    for spec in specs[1:]:
        store.put_spec(spec, 2)
    kept = [store.spec(spec_hash(spec)) is not None for spec in specs]
    assert kept == [True, False, False, True]
    store.close()


# Settlements


def test_add_settlement__row_not_metered__binds_none(store: Store) -> None:
    metered(store)
    store.add_job(OTHER, make_terms(salt=9), State.QUEUED)
    with pytest.raises(StateConflict):
        store.add_settlement([JOB, OTHER], batched=True, watcher_set=0)
    assert store.job(JOB).at is State.METERED
    assert store.settlements() == []


def test_advance__job_ended_meanwhile__is_left_alone(store: Store) -> None:
    row = store.add_settlement([metered(store), metered(store, OTHER)], batched=True, watcher_set=0)
    store.move(OTHER, State.EXPIRED)
    attestation = Attestation(b"\x01" * 65, (b"\x02" * 65,))
    row = store.advance(row, Stage.SIGNED, State.SIGNED, attestation=attestation)
    assert (store.job(JOB).at, store.job(OTHER).at) == (State.SIGNED, State.EXPIRED)
    assert store.settlement(row.id).attestation == attestation


def test_advance__twice_from_the_same_snapshot__raises(store: Store) -> None:
    row = store.add_settlement([metered(store)], batched=False, watcher_set=0)
    store.advance(row, Stage.SIGNED, State.SIGNED)
    with pytest.raises(StateConflict):
        store.advance(row, Stage.SIGNED, State.SIGNED)


def test_close_settlement__rows_go_back_with_their_values(store: Store) -> None:
    row = store.add_settlement([metered(store), metered(store, OTHER)], batched=True, watcher_set=3)
    store.close_settlement(row, Stage.DROPPED, {JOB: {"alone": True, "reason": "skipped"}}, "the batch")
    job = store.job(JOB)
    assert (job.at, job.alone, job.reason, job.settlement_id) == (State.METERED, True, "skipped", None)
    assert store.job(OTHER).at is State.SIGNING
    assert store.settlements() == []


# Journal


def test_journal__record__is_open_until_resolved(store: Store) -> None:
    journal = SqlJournal(store)
    older, newer = record(), record(tx_hash=b"\x22" * 32, max_fee=9)
    journal.record(newer)
    journal.record(older)
    journal.record(older)
    assert journal.open_records(31337, SENDER) == [newer, older]
    assert journal.open_records(1, SENDER) == []
    journal.resolve(31337, SENDER, 5, TxOutcome.MINED, older.tx_hash)
    assert journal.open_records(31337, SENDER) == []
    assert journal.mined("settlement 1.0") == older.tx_hash
    assert not journal.is_open("settlement 1.0")


def test_journal__reorganised__can_be_reopened(store: Store) -> None:
    journal = SqlJournal(store)
    journal.record(record())
    journal.resolve(31337, SENDER, 5, TxOutcome.LOST)
    assert journal.mined("settlement 1.0") is None
    journal.record(record())
    assert journal.is_open("settlement 1.0")


# The life of a job


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([JOB, OTHER]), st.sampled_from(list(State))), max_size=30))
def test_steps__any_sequence_of_moves__only_holds_allowed_ones(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[bytes, State]]
) -> None:
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('db') / 'oracle.db'}", lambda: 1)
    for job in (JOB, OTHER):
        store.add_job(job, make_terms(salt=job[0]), State.QUOTED)
    for job, state in moves:
        try:
            store.move(job, state)
        except StateConflict:
            continue
    for job in (JOB, OTHER):
        path = [State(step.state) for step in store.steps(job)]
        assert all(may_follow(after, before) for before, after in pairwise(path))
        assert sum(state in FINAL for state in path) <= 1
    store.close()


def test_state_folder__is_private_and_taken_by_one_node(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    lock = open_state(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(StateFolderProblem, match="in use by another node"):
        open_state(folder)
    lock.close()
    open_state(folder).close()


def test_state_folder__database_in_it__is_no_other_nodes(tmp_path: Path) -> None:
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    check_apart(mine / "oracle.db", tmp_path / "another")  # nobody was there yet
    open_state(mine).close()
    check_apart(mine / "oracle.db", mine)
    check_apart(shared / "oracle.db", mine)
    with pytest.raises(StateFolderProblem, match="in the state folder of another node"):
        check_apart(mine / "oracle.db", tmp_path / "another")


# Many jobs at once


def several(store: Store, count: int, state: State = State.QUEUED) -> list[bytes]:
    jobs = [bytes([number + 1]) * 32 for number in range(count)]
    store.add_jobs([{"job_id": job, "terms": make_terms(salt=job[0]), "state": state} for job in jobs])
    return jobs


def test_move_all__some_in_another_state__moves_the_others_and_says_which(store: Store) -> None:
    first, second, third = several(store, 3)
    store.move(second, State.CANCELLING)
    moves = [Move(job, State.EXECUTING, "begun", (State.QUEUED,), {"attempt": 1}) for job in (first, second)]
    assert store.move_all([*moves, Move(b"\xee" * 32, State.EXECUTING)]) == [first]
    assert [store.job(job).at for job in (first, second, third)] == [
        State.EXECUTING, State.CANCELLING, State.QUEUED,
    ]  # fmt: skip
    assert (store.job(first).reason, store.job(first).attempt) == ("begun", 1)
    assert [step.state for step in store.steps(first)] == ["queued", "executing"]


def test_move_all__reason_none__keeps_the_present_one(store: Store) -> None:
    (job,) = several(store, 1)
    store.note(job, reason="why")
    store.move_all([Move(job, State.EXECUTING, None)])
    assert store.job(job).reason == "why"
    assert store.steps(job)[-1].reason == ""


def test_move_all__final_job__stays(store: Store) -> None:
    (job,) = several(store, 1)
    store.move(job, State.SETTLED)
    assert store.move_all([Move(job, State.EXPIRED)]) == []


def test_move_all__unknown_column__is_refused_and_nothing_is_changed(store: Store) -> None:
    (job,) = several(store, 1)
    with pytest.raises(AttributeError, match="no column"):
        store.move_all([Move(job, State.EXECUTING, values={"nothing": 1})])
    assert store.job(job).at is State.QUEUED


def test_walk__several_pages__sees_each_job_once_in_order(store: Store) -> None:
    jobs = several(store, 7)
    pages = list(store.walk([State.QUEUED], 3))
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [job.job_id for page in pages for job in page] == jobs


def test_walk__jobs_that_leave_the_state__are_no_reason_to_skip_others(store: Store) -> None:
    jobs, seen = several(store, 6), []
    for page in store.walk([State.QUEUED], 2):
        for job in page:
            seen.append(job.job_id)
            store.move(job.job_id, State.EXECUTING)
    assert seen == jobs


def test_oldest__waiting__tells_those_that_wait_for_a_later_time(store: Store) -> None:
    first, second, third = several(store, 3)
    store.note(second, not_before_ms=1_001)
    store.note(third, not_before_ms=1_000)
    assert [job.job_id for job in store.oldest([State.QUEUED], 9, waiting=True)] == [second]
    assert [job.job_id for job in store.oldest([State.QUEUED], 9, waiting=False)] == [first, third]


def test_oldest__finalize_by__leaves_out_open_windows(store: Store) -> None:
    first, second = several(store, 2)
    store.note(second, finalize_at=50)
    assert [job.job_id for job in store.oldest([State.QUEUED], 9, finalize_by=49)] == [first]
    assert len(store.oldest([State.QUEUED], 9, finalize_by=50)) == 2


def test_many__unknown_ones__are_left_out_and_the_order_is_kept(store: Store) -> None:
    first, second = several(store, 2)
    assert [job.job_id for job in store.many([second, b"\xee" * 32, first])] == [second, first]


def test_settlement__one_job_moved_meanwhile__binds_none(store: Store) -> None:
    metered(store), metered(store, OTHER)
    store.move(OTHER, State.CANCELLING)
    with pytest.raises(StateConflict, match="cancelling"):
        store.add_settlement([JOB, OTHER], batched=True, watcher_set=0)
    assert store.job(JOB).at is State.METERED
    assert store.live_settlements() == 0


def test_settlement__closed__notes_the_transaction_of_the_decided_jobs_only(store: Store) -> None:
    metered(store), metered(store, OTHER)
    made = store.add_settlement([JOB, OTHER], batched=True, watcher_set=0)
    store.close_settlement(made, Stage.DONE, {OTHER: {"alone": True}}, "", b"\x33" * 32)
    assert (store.job(JOB).tx_hash, store.job(OTHER).tx_hash) == (b"\x33" * 32, None)
    assert (store.job(OTHER).at, store.job(OTHER).alone) == (State.METERED, True)


def test_live_settlements__one_that_waits__does_not_count(store: Store) -> None:
    metered(store)
    made = store.add_settlement([JOB], batched=False, watcher_set=0)
    assert store.live_settlements() == 1
    store.delay_settlement(made, 1_001, "later")
    assert store.live_settlements() == 0
