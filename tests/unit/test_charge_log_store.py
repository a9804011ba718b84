"""The log of charges beside a store that fails or is slow: what was logged is stored in the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from oracle.gateway import book, commits
from oracle.gateway.accounts import Accounts
from oracle.gateway.book import values
from oracle.gateway.commits import Change, GroupCommit
from oracle.gateway.refusals import NotAtHand, NotServing
from oracle.store import NOBODY
from oracle.tasks import is_passing
from tests.unit.charge_log_till import NAME, begun, charge, fails, stored
from tests.unit.gateway_factory import Till, held, used, voucher


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    made = Till(tmp_path)
    yield made
    made.close()


def _wait(commits: GroupCommit, change: Change) -> None:
    with suppress(OSError):
        commits.wait(change)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# The store


def test_store__fails__charges_that_are_out_stay_and_are_stored_later(till: Till) -> None:
    session = begun(till)
    charge(till, session, 1)
    with till.failing():
        for _ in range(2):
            with pytest.raises(OSError, match="full"):
                till.accounts.catch_up()
        charge(till, session, 2)
    assert (stored(till, session), held(till, session)) == ((0, 1), (102, 20, 0))
    assert till.metrics.unstored.collect()[0].samples[0].value == 2
    till.accounts.catch_up()
    assert till.metrics.unstored.collect()[0].samples[0].value == 0
    assert stored(till, session) == (20, 3)


def test_store__failed_though_it_stored__no_charge_is_there_twice(till: Till) -> None:
    session = begun(till)

    charge(till, session, 1)
    with till.failing(stores=True), pytest.raises(OSError, match="full"):
        till.accounts.catch_up()
    charge(till, session, 2)
    till.accounts.catch_up()
    assert stored(till, session) == (20, 3)


def test_store__failed_though_it_stored__logged_and_waiting_charges_keep_their_order(till: Till) -> None:
    session = begun(till)

    charge(till, session, 1)
    call = till.reserve(session, 200, 7)
    with till.failing(stores=True), pytest.raises(OSError, match="full"):
        till.accounts.charge(call, used(7))
    till.accounts.catch_up()
    assert stored(till, session) == (17, 3)
    assert till.accounts.charge(call, used(7)).receipt.number == 3
    following = till.charge(till.reserve(session, 300, 5), used(5))
    assert (following.receipt.number, following.receipt.total_units) == (4, 22)
    till.restart()
    assert stored(till, session) == (22, 4)


def test_store__failed__the_sessions_next_charge_is_stored_before_it_is_out(till: Till) -> None:
    """What failed may come back to life from the store's files until something is written over it."""
    session = begun(till)
    call = till.reserve(session, 200, 7)
    with till.failing(), pytest.raises(OSError, match="full"):
        till.accounts.charge(call, used(7))
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, used(3), waits=False)
    assert till.accounts.charge(call, used(3)).receipt.number == 2
    assert charge(till, session, 101).receipt.number == 3


def test_store__fails_a_change_behind_logged_charges__its_session_waits_for_them(till: Till) -> None:
    session, other = begun(till), begun(till)
    charge(till, session, 1)
    with till.failing():
        with pytest.raises(OSError, match="full"):
            till.accounts.authorise(session, voucher(session, 150))
        with pytest.raises(NotServing, match="aren't stored yet") as refused:
            till.reserve(session, 200, 5)
        assert is_passing(refused.value)  # where the node itself meets it
        charge(till, other, 1)
    till.accounts.catch_up()
    till.charge(till.reserve(session, 200, 10), used(10))
    assert (stored(till, session), stored(till, other)) == ((20, 3), (10, 2))


def test_store__fails_a_change__no_other_is_put_between_its_failure_and_the_next_look(till: Till) -> None:
    """Changes of two sessions fail together. While the second one is locked by somebody, the first is used
    again: what it puts then isn't taken for one of those that failed.
    """
    first, second = begun(till), begun(till)
    accounts = [till.accounts.roster.account(session) for session in (first, second)]
    failing = threading.Event()

    def fail(changes: Any) -> None:
        failing.set()
        raise OSError("full")

    commits, commit = till.accounts._commits, till.accounts._commits._commit
    commits._commit = fail  # type: ignore[method-assign]
    put = [commits.put(Change(account, values(account))) for account in accounts]
    with accounts[1].lock:
        waiter = threading.Thread(target=_wait, args=(commits, put[0]))
        waiter.start()
        assert failing.wait(10)
        until(lambda: put[0].done)
        commits._commit = commit  # type: ignore[method-assign]
        using = threading.Thread(target=till.accounts.authorise, args=(first, voucher(first, 500)))
        using.start()
        until(lambda: commits.lacks(accounts[0]))
    for thread in (waiter, using):
        thread.join(10)
    row = till.accounts.book.session(first)
    assert row is not None
    assert row.authorised == 500


def test_store__lacks_too_many__charges_wait_for_it(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "MOST_KEPT", 2)
    session = begun(till)
    for number in (1, 2):
        charge(till, session, number)
    call = till.reserve(session, 200, 10)
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, used(10), waits=False)
    assert till.accounts.charge(call, used(10)).receipt.total_units == 30
    assert stored(till, session) == (30, 4)


def test_log__does_not_take_a_charge__it_waits_for_the_store(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begun(till)
    call = till.reserve(session, 200, 10)
    with monkeypatch.context() as broken:
        broken.setattr(till.log, "add", fails)
        with pytest.raises(NotAtHand):
            till.accounts.charge(call, used(10), waits=False)
    assert till.accounts.charge(call, used(10)).receipt.total_units == 10
    assert stored(till, session) == (10, 2)


def test_log__before_the_node_leads__is_left_alone(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "LARGE", 0)
    session = begun(till)
    charge(till, session, 1)
    till.close()
    with monkeypatch.context() as before:
        before.setattr(Accounts, "begin", lambda _: None)
        till.start()
    till.accounts.settled(session)
    till.accounts.catch_up()
    till.accounts.book.trim()
    assert not till.accounts.book.keeps
    till.accounts.begin()
    assert till.accounts.book.keeps
    assert stored(till, session) == (10, 2)


def test_accounts__before_the_node_leads__are_nobodys(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before the log is taken up would be older than receipts that are out."""
    session = begun(till)
    charge(till, session, 1)
    till.close()
    with monkeypatch.context() as before:
        before.setattr(Accounts, "begin", lambda _: None)
        till.start()
    with pytest.raises(NotServing, match="are being taken up"):
        till.accounts.view(session)
    till.accounts.begin()
    assert till.accounts.view(session).charged == 10


def test_accounts__after_the_end__log_nothing(till: Till) -> None:
    session = begun(till)
    call = till.reserve(session, 200, 5)
    till.accounts.end()
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, used(5), waits=False)
    assert held(till, session) == (200, 0, 5)


@pytest.mark.parametrize("all_stored", [True, False])
def test_log__at_the_end__is_empty_unless_the_store_lacks_something(till: Till, all_stored: bool) -> None:
    session, log = begun(till), till.log
    assert log is not None
    charge(till, session, 1)
    if all_stored:
        till.accounts.catch_up()
    till.accounts.end()
    assert (log.path.stat().st_size == 0) is all_stored
    till.restart()
    assert stored(till, session) == (10, 2)


def test_accounts__without_the_lead__log_nothing(till: Till) -> None:
    session = begun(till)
    call = till.reserve(session, 200, 5)
    till.store.epoch = NOBODY
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, used(5), waits=False)


def test_session__closed_with_a_logged_charge__is_remembered_until_it_is_stored(till: Till) -> None:
    session = begun(till)
    till.refresh(session, closed=True)
    assert till.accounts.roster.find(session) is None
    other = begun(till)
    account = till.accounts.roster.account(other)
    charge(till, other, 1)
    account.closed = True
    till.accounts.roster.forget_closed()
    assert till.accounts.roster.find(other) is account
    till.accounts.settled(other)
    till.accounts.roster.forget_closed()
    assert till.accounts.roster.find(other) is None


def test_log__not_emptied__stored_charges_are_done(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "LARGE", 0)
    session = begun(till)
    charge(till, session, 1)
    with monkeypatch.context() as broken:
        broken.setattr(till.log, "clear", lambda: fails(None))
        till.accounts.catch_up()
    assert till.accounts._commits.kept() == 0
    till.restart()
    assert stored(till, session) == (10, 2)


def test_log__full__charges_wait_until_it_was_emptied(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "LARGE", 1)
    monkeypatch.setattr(book, "FULL", 2)
    session = begun(till)
    charge(till, session, 1)
    call = till.reserve(session, 200, 10)
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, used(10), waits=False)
    assert till.accounts.charge(call, used(10)).receipt.total_units == 20
    charge(till, session, 102)
    till.accounts.catch_up()
    assert stored(till, session) == (30, 4)


def test_log__long_body__is_stored_at_once(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "MOST_LOGGED", 10)
    session = begun(till)
    call, usage = (
        till.reserve(session, 200, 5),
        used(5, request=b"12345", response=b"678901", deterministic=True),
    )
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, usage, waits=False)
    number = till.accounts.charge(call, usage).receipt.number
    assert till.accounts.book.body(session, number).response == b"678901"


def test_log__large__is_emptied_only_while_the_store_lacks_nothing(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "LARGE", 0)
    session, log = begun(till), till.log
    assert log is not None
    charge(till, session, 1)
    with till.failing(), pytest.raises(OSError, match="full"):
        till.accounts.catch_up()
    assert len(list(log.rows())) == 1
    till.accounts.catch_up()
    assert log.size == os.stat(till.folder / NAME).st_size == 0
