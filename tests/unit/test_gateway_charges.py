"""Charges that are stored at once, that wait, and that the store fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.gateway.refusals import NotAtHand
from tests.unit.gateway_factory import MODEL, Till, held, used


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    made = Till(tmp_path)
    yield made
    made.close()


def test_charge__store_fails__nothing_is_charged_and_the_call_may_be_charged_again(till: Till) -> None:
    session = till.opened()
    first, second = till.reserve(session, 50, 50), till.reserve(session, 100, 50)
    with till.failing(), pytest.raises(OSError, match="full"):
        till.accounts.charge(first, used(20))
    assert till.accounts.book.calls(session, 0, 9) == []
    signed = till.accounts.charge(second, used(30))
    assert (signed.receipt.number, signed.receipt.total_units) == (1, 30)
    again = till.accounts.charge(first, used(20))
    assert (again.receipt.number, again.receipt.total_units) == (2, 50)
    assert held(till, session) == (100, 50, 0)


def test_charge__after_news_that_were_not_stored__stores_them_too(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, store = till.opened(1_000), till.accounts._commits._commit
    till.accounts.charge(till.reserve(session, 50, 5), used(5))
    with till.failing(), pytest.raises(OSError, match="full"):
        till.refresh(session, deposit=2_000)
    stored: list[bool] = []

    def seen(changes: Any) -> None:
        stored.extend(change.whole for change in changes)
        store(changes)

    monkeypatch.setattr(till.accounts._commits, "_commit", seen)
    for units in (60, 70):
        till.accounts.charge(till.reserve(session, units, 5), used(5))
    row = till.accounts.book.session(session)
    assert row is not None
    assert (row.deposit, row.authorised, row.charged, row.owed_units) == (2_000, 70, 15, 15)
    assert stored == [True, False]


def test_calls_in_progress__what_they_hold__is_a_metric(till: Till) -> None:
    sessions = [till.opened(), till.opened()]
    calls = [till.reserve(session, 50, 20) for session in sessions]
    assert till.metrics.reserved.collect()[0].samples[0].value == 40
    till.accounts.charge(calls[0], used(5))
    till.accounts.release(calls[1])
    assert till.metrics.reserved.collect()[0].samples[0].value == 0


def test_charge__without_waiting__only_where_nothing_is_waited_for(till: Till) -> None:
    session, accounts = till.opened(), till.accounts
    calls = [till.reserve(session, 50 + number, 5) for number in range(3)]
    with pytest.raises(NotAtHand):  # numbers are set aside on the disk
        accounts.charge(calls[0], used(1), waits=False)
    with pytest.raises(NotAtHand):  # behind one that may still fail
        accounts.charge(calls[1], used(2), waits=False)
    assert accounts.charge(calls[0], used(1)).receipt.number == 1
    assert accounts.charge(calls[1], used(2)).receipt.number == 2
    with accounts.roster.account(session).lock, pytest.raises(NotAtHand):
        accounts.charge(calls[2], used(4), waits=False)
    with till.store.writing():  # another one writes
        assert accounts.charge(calls[2], used(4), waits=False).receipt.number == 3
    accounts.catch_up()
    assert [row.call_id for row in accounts.book.calls(session, 0, 9)] == [call.call_id for call in calls]
    till.restart()
    assert held(till, session) == (52, 7, 0)


def test_charge__without_waiting__is_counted_as_the_store_catches_up(till: Till) -> None:
    session = till.opened()
    till.accounts.charge(till.reserve(session, 50, 5), used(5))
    till.accounts.charge(till.reserve(session, 60, 5), used(5), waits=False)
    assert till.metrics.calls.labels(MODEL)._value.get() == 1
    till.accounts.catch_up()
    till.accounts.catch_up()
    assert till.metrics.calls.labels(MODEL)._value.get() == 2


def test_charge__stored_and_the_answer_lost__is_charged_once(till: Till) -> None:
    session = till.opened()
    call = till.reserve(session, 50, 50)
    with till.failing(stores=True), pytest.raises(OSError, match="full"):
        till.accounts.charge(call, used(20))
    assert till.accounts.charge(call, used(20)).receipt.total_units == 20
    assert held(till, session) == (50, 20, 0)


def test_charge__store_whose_charges_wait_for_the_disk__is_left_to_a_thread(till: Till) -> None:
    session = till.opened()
    call = till.reserve(session, 50, 5)
    till.accounts.charge(till.reserve(session, 60, 5), used(5))
    till.store.driver.boot = None  # as on PostgreSQL
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, used(4), waits=False)
    assert held(till, session) == (60, 5, 5)  # nothing was begun
    assert till.accounts.charge(call, used(4)).receipt.number == 2
