"""Charges that a power cut takes back: whose loss it is, and that no receipt's number is given twice.

What the disk holds is a copy of the files after each transaction that was to be synced, and nothing later:
the least that a disk must hold.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from oracle import prepared, synced
from oracle.gateway import account
from oracle.gateway.book import Book
from oracle.gateway.commits import Change
from scrip.call_receipts import CallReceipt, ReceiptWrong, SignedCallReceipt, check_chain
from tests.unit.gateway_factory import CHAIN_ID, ORACLE, SESSIONS, Till, used
from tests.unit.gateway_server import auth_of, serving

FULL = 2
"""`PRAGMA synchronous` of a connection whose commits are synced."""


class Disk:
    """What is left of a till's files after a power cut."""

    def __init__(self, till: Till, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._till, self._folder, self._patch = till, folder, patch
        self.syncs = 0
        folder.mkdir()
        self._commit = Book.commit
        patch.setattr(Book, "commit", self._store)
        patch.setattr(synced.SyncSoon, "_sync", lambda _: None)
        till.restart()

    def _store(self, changes: Sequence[Change]) -> None:
        book = self._till.accounts.book
        self._commit(book, changes)
        if any(change.synced for change in changes):
            self.save()

    def save(self) -> None:
        """All that was written is on the disk."""
        self.syncs += 1
        for name in ("oracle.db", "oracle.db-wal"):
            shutil.copy(self._till.folder / name, self._folder / name)

    def cut(self) -> None:
        """The machine loses its power, and starts again."""
        boot = self._till.store.driver.boot
        assert boot is not None
        self._till.store.close()
        for file in self._till.folder.glob("oracle.db*"):
            file.unlink()
        for file in self._folder.iterdir():
            shutil.copy(file, self._till.folder / file.name)
        self._patch.setattr(prepared, "boot", lambda: boot + 1)
        self._till.start()

    def numbers_to(self) -> int:
        """What it says of the one session's numbers."""
        copy = self._folder.with_name("looked")
        shutil.copytree(self._folder, copy, dirs_exist_ok=True)
        with closing(sqlite3.connect(copy / "oracle.db")) as db:
            return int(db.execute("SELECT numbers_to FROM gateway_sessions").fetchone()[0])


@pytest.fixture
def till(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Till:
    monkeypatch.setattr(prepared, "boot", lambda: 1)
    return Till(tmp_path / "till")


@pytest.fixture
def disk(till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(till, tmp_path / "disk", monkeypatch)


def charge(till: Till, session: bytes, number: int, units: int = 10) -> CallReceipt:
    """A call, paid by voucher `number`."""
    return till.accounts.charge(till.reserve(session, 100 + number, units), used(units)).receipt


# What isn't on the disk


def test_power_cut__charges_after_the_last_sync__are_lost_and_their_numbers_are_not_given_again(
    till: Till, disk: Disk
) -> None:
    session = till.opened(1_000)
    kept = charge(till, session, 1)
    lost = [charge(till, session, number) for number in (2, 3)]
    disk.cut()
    assert till.accounts.view(session).charged == kept.total_units
    following = [charge(till, session, number) for number in (4, 5)]
    numbers = [one.number for one in (kept, *lost, *following)]
    assert len(set(numbers)) == len(numbers)
    assert check_chain([kept, *following], CHAIN_ID, SESSIONS) == following[-1]
    assert following[-1].total_units == 30


def test_power_cut__twice__no_number_is_given_again(till: Till, disk: Disk) -> None:
    session = till.opened(10_000)
    numbers: list[int] = []
    for start in range(4):
        numbers += [charge(till, session, start * 10 + call).number for call in range(1, 4)]
        disk.cut()
    assert len(set(numbers)) == len(numbers) == 12


def test_numbers__beyond_those_set_aside__are_on_the_disk_before_their_receipt(
    till: Till, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "NUMBERS_AHEAD", 3)
    session = till.opened(1_000)
    before = disk.syncs
    for number in range(1, 13):
        assert charge(till, session, number, 1).number <= disk.numbers_to()
    assert disk.syncs - before == 3  # of twelve calls


def test_power_cut__charges_of_one_transaction__are_lost_together(till: Till, disk: Disk) -> None:
    session, other = till.opened(1_000), till.opened(1_000)
    for one in (session, other):
        charge(till, one, 1)
    charge(till, session, 2)
    charge(till, other, 2)
    disk.save()
    charge(till, session, 3)
    disk.cut()
    assert [till.accounts.view(one).charged for one in (session, other)] == [20, 20]


# What is


def test_process_killed__on_the_same_start_of_the_machine__loses_nothing(till: Till, disk: Disk) -> None:
    session = till.opened(1_000)
    receipts = [charge(till, session, number) for number in (1, 2, 3)]
    old = till.store
    till.start()  # the other process didn't end in order: nothing was closed or synced
    receipts.append(charge(till, session, 4))
    old.close()
    assert [one.number for one in receipts] == [1, 2, 3, 4]
    assert check_chain(receipts, CHAIN_ID, SESSIONS) == receipts[-1]


def test_power_cut__after_a_sync_of_another_change__keeps_what_came_before(till: Till, disk: Disk) -> None:
    session = till.opened(1_000)
    for number in (1, 2, 3):
        charge(till, session, number)
    till.refresh(session, claimed=20)  # what the chain says is synced, and all before it
    disk.cut()
    assert till.accounts.view(session).charged == 30


def test_account__in_memory_before_the_node_leads__is_read_again(till: Till, disk: Disk) -> None:
    session = till.opened(1_000)
    charge(till, session, 1)
    other = Till(till.folder, till.sessions)
    assert other.accounts.view(session).calls == 1
    charge(till, session, 2)
    other.accounts.begin()
    other.accounts.looked(other.sessions.now())
    assert charge(other, session, 3).number == 3
    other.store.close()


# The client


def test_client__whose_provider_lost_its_last_receipts__goes_on_and_pays_less(till: Till, disk: Disk) -> None:
    terms = till.sessions.opened(1_000)
    with serving(till) as gateway:
        auth = auth_of(gateway, terms)

        def ask(tokens: int) -> None:
            body = {"tokens": tokens, "most": tokens}
            reply = httpx.post(f"{gateway.url}/v1/chat/completions", json=body, auth=auth, trust_env=False)
            assert reply.status_code == 200

        for tokens in (10, 20, 40):
            ask(tokens)
        assert auth.payer.charged == 70
        old = till.accounts
        disk.cut()
        old.__dict__.update(till.accounts.__dict__)  # the app holds the old object
        for tokens in (1, 2, 3):
            ask(tokens)
        assert auth.payer.charged == 16 == till.accounts.view(auth.payer.terms.session).charged
        assert auth.payer.after == till.accounts.view(auth.payer.terms.session).calls


def test_client__numbers_left_out_and_charged_for__pays_no_more(till: Till, disk: Disk) -> None:
    session = till.opened(1_000)
    with serving(till) as gateway:
        auth = auth_of(gateway, till.accounts.roster.account(session).terms)
        first = till.accounts.charge(till.reserve(session, 101, 10), used(10))
        auth.payer.take(first)
        hidden = charge(till, session, 2)
        shown = till.accounts.charge(till.reserve(session, 103, 10), used(10))
        assert (hidden.number, shown.receipt.number) == (2, 3)
        forged = SignedCallReceipt.signed(shown.receipt, ORACLE, CHAIN_ID, SESSIONS)
        with pytest.raises(ReceiptWrong, match="shows none between"):
            auth.payer.leap(forged)
        with pytest.raises(ReceiptWrong):
            auth.payer.begin(1)


# The connection and the thread


def level(till: Till) -> int:
    """`synchronous` of a connection as the next one gets it."""
    with till.store.engine.connect() as connection:
        return int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())


def test_connection__after_a_commit_that_did_not_wait__syncs_again(till: Till) -> None:
    driver, levels = till.store.driver, []
    with driver.writing(None, synced=False) as transaction:
        levels.append(transaction._cursor.execute("PRAGMA synchronous").fetchone()[0])
    assert (levels, level(till)) == ([1], FULL)


def test_connection__that_failed_before_its_commit__is_not_used_again(till: Till) -> None:
    with pytest.raises(ZeroDivisionError), till.store.driver.writing(None, synced=False):
        raise ZeroDivisionError
    assert level(till) == FULL


def test_sync__follows_each_commit_that_did_not_wait(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    with till.store.driver.writing(None, synced=False):
        pass
    till.store.close()
    assert calls


def test_disk__does_not_sync__charges_wait_for_it_from_then_on(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    driver = till.store.driver
    with driver.writing(None, synced=False):
        pass
    driver.close()
    with driver.writing(None, synced=False) as transaction:
        assert transaction._cursor.execute("PRAGMA synchronous").fetchone()[0] == FULL


def test_machine__that_says_no_start__waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synced, "BOOT_ID", tmp_path / "none")
    assert synced.boot() is None
    monkeypatch.setattr(prepared, "boot", synced.boot)
    till = Till(tmp_path / "till")
    with till.store.driver.writing(None, synced=False) as transaction:
        assert transaction._cursor.execute("PRAGMA synchronous").fetchone()[0] == FULL
    till.store.close()
