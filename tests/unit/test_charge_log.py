"""The log of charges: a receipt that is out is charged, whatever becomes of process, disk and store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from oracle.gateway import book, commits
from oracle.gateway.accounts import KeyCredential, TokenBounds
from oracle.gateway.book import Book, values
from oracle.gateway.charge_log import ChargeLog
from oracle.gateway.commits import Change, GroupCommit
from oracle.gateway.keys import KeyLimits
from oracle.gateway.refusals import NotAtHand, NotServing
from scrip.call_receipts import SignedCallReceipt, check_chain
from tests.unit.gateway_factory import CHAIN_ID, MODEL, SESSIONS, Till, held, used, voucher

NAME = "oracle.db-charges"
ROWS: list[dict[str, Any]] = [{"a": 1}, {"b": "\ud800", "c": 1 << 200}, {"d": None}]


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    made = Till(tmp_path)
    yield made
    made.close()


def begun(till: Till, deposit: int = 1_000) -> bytes:
    """A session whose next numbers are set aside: what follows is logged."""
    session = till.opened(deposit)
    till.accounts.charge(till.reserve(session, 1, 1), used(0))
    return session


def charge(till: Till, session: bytes, number: int, units: int = 10, **changes: Any) -> SignedCallReceipt:
    """A call that is logged, paid by voucher `number`."""
    call = till.reserve(session, 100 + number, units)
    return till.accounts.charge(call, used(units, **changes), waits=False)


def stored(till: Till, session: bytes) -> tuple[int, int]:
    """What the store says was charged, and how many calls it has."""
    row = till.accounts.book.session(session)
    assert row is not None
    return row.charged, len(till.accounts.book.calls(session, 0, 999))


def _wait(commits: GroupCommit, change: Change) -> None:
    with suppress(OSError):
        commits.wait(change)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def fails(_: object) -> None:
    raise OSError("full")


# The file


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChargeLog]:
    made = ChargeLog(tmp_path / "oracle.db")
    yield made
    made.close()


def test_log__rows__come_back_in_order_and_not_after_it_was_emptied(log: ChargeLog, tmp_path: Path) -> None:
    for row in ROWS:
        log.add(row)
    assert list(log.rows()) == ROWS == list(ChargeLog(tmp_path / "oracle.db").rows())
    log.clear()
    assert (list(log.rows()), log.size) == ([], 0)
    log.add(ROWS[0])
    assert list(log.rows()) == ROWS[:1]


def test_log__file__is_its_owners_alone(log: ChargeLog, tmp_path: Path) -> None:
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_log__line_cut_by_a_power_cut__is_left_out(log: ChargeLog, tmp_path: Path, cut: int) -> None:
    for row in ROWS:
        log.add(row)
    with (tmp_path / NAME).open("r+b") as file:
        file.truncate(log.size - cut)
    assert list(log.rows()) == ROWS[:2]


def test_log__line_that_the_disk_has_lost__is_left_out(log: ChargeLog, tmp_path: Path) -> None:
    log.add(ROWS[0])
    whole = log.size
    log.add(ROWS[1])
    log.add(ROWS[2])
    with (tmp_path / NAME).open("r+b") as file:
        file.seek(whole + 12)
        file.write(bytes(6))
    assert list(log.rows()) == [ROWS[0], ROWS[2]]


def test_log__no_room__the_row_is_not_there_and_the_next_one_is(
    log: ChargeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(ROWS[0])

    class Full:
        """A disk with room for five more bytes."""

        def write(self, line: bytes) -> int:
            return int(file.write(line[:5]))

        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

    file = log._file
    monkeypatch.setattr(log, "_file", Full())
    for _ in range(2):
        with pytest.raises(OSError, match="no room"):
            log.add(ROWS[1])
    assert list(log.rows()) == ROWS[:1]
    monkeypatch.setattr(log, "_file", file)
    log.add(ROWS[2])
    assert list(log.rows()) == [ROWS[0], ROWS[2]]


def test_log__put_aside__begins_anew_and_keeps_what_it_had(log: ChargeLog, tmp_path: Path) -> None:
    for number, row in enumerate(ROWS, 1):
        log.add(row)
        kept = log.put_aside()
        assert (kept, list(log.rows()), log.size) == (tmp_path / f"{NAME}.{number}", [], 0)
        assert kept.stat().st_size


# The process


def test_process_killed__before_the_store_caught_up__nothing_is_lost_or_charged_twice(till: Till) -> None:
    session, other = begun(till), begun(till)
    made = [charge(till, session, number) for number in (1, 2)]
    charge(till, other, 1, units=7)
    till.accounts.catch_up()
    made += [charge(till, session, number) for number in (3, 4)]
    assert stored(till, session) == (20, 3)
    till.restart()
    assert (stored(till, session), stored(till, other)) == ((40, 5), (7, 2))
    till.restart()
    assert held(till, session) == (104, 40, 0)
    made.append(charge(till, session, 5))
    assert [one.receipt.number for one in made] == [2, 3, 4, 5, 6]
    assert check_chain([one.receipt for one in made], CHAIN_ID, SESSIONS) == made[-1].receipt


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.unit.test_charge_log import Till, begun, charge
till = Till(Path(sys.argv[1]))
session = begun(till)
for number in range(1, 1_000):
    print(session.hex(), charge(till, session, number, 1).receipt.total_units, flush=True)
"""


def test_process_killed__by_a_real_signal__every_receipt_that_was_out_is_charged(tmp_path: Path) -> None:
    child = subprocess.Popen((sys.executable, "-c", CHILD, str(tmp_path)), stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    assert child.wait(10) == -signal.SIGKILL
    session, total = lines[-1].split() if lines[-1].endswith("\n") else lines[-2].split()
    till = Till(tmp_path)
    charged, calls = stored(till, bytes.fromhex(session))
    till.close()
    assert charged >= int(total) > 0
    assert calls == charged + 1


def test_process_killed__key_and_body_of_a_call__are_taken_up(till: Till) -> None:
    session = begun(till)
    till.accounts.authorise(session, voucher(session, 400))
    row, secret = till.accounts.keys.create(session, KeyLimits(100))
    call = till.accounts.reserve(KeyCredential(secret), MODEL, TokenBounds(30, 0))
    usage = used(30, request=b"\x00asked", response=b"answered\xff", deterministic=True)
    number = till.accounts.charge(call, usage, waits=False).receipt.number
    till.restart()
    body = till.accounts.book.body(session, number)
    assert (body.request, body.response) == (b"\x00asked", b"answered\xff")
    assert [key.spent for key in till.accounts.keys.list(session)] == [30]
    assert row.key_id == till.accounts.book.calls(session, number - 1, 1)[0].key_id


def test_process_killed__news_of_the_chain_after_a_logged_charge__both_are_kept(till: Till) -> None:
    session = begun(till)
    charge(till, session, 1)
    till.refresh(session, deposit=2_000, claimed=5)  # stores what was logged before it
    charge(till, session, 2)
    till.restart()
    view = till.accounts.view(session)
    assert (view.charged, view.deposit, view.claimed) == (20, 2_000, 5)


# The store


def test_store__fails__charges_that_are_out_stay_and_are_stored_later(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begun(till)
    charge(till, session, 1)
    with monkeypatch.context() as broken:
        broken.setattr(till.accounts._commits, "_commit", fails)
        for _ in range(2):
            with pytest.raises(OSError, match="full"):
                till.accounts.catch_up()
        charge(till, session, 2)
    assert (stored(till, session), held(till, session)) == ((0, 1), (102, 20, 0))
    assert till.metrics.unstored.collect()[0].samples[0].value == 2
    till.accounts.catch_up()
    assert till.metrics.unstored.collect()[0].samples[0].value == 0
    assert stored(till, session) == (20, 3)


def test_store__failed_though_it_stored__no_charge_is_there_twice(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, commit = begun(till), till.accounts.book.commit

    def lose(changes: Any) -> None:
        commit(changes)
        raise OSError("lost")

    charge(till, session, 1)
    with monkeypatch.context() as broken:
        broken.setattr(till.accounts._commits, "_commit", lose)
        with pytest.raises(OSError, match="lost"):
            till.accounts.catch_up()
    charge(till, session, 2)
    till.accounts.catch_up()
    assert stored(till, session) == (20, 3)


def test_store__fails_a_change_behind_logged_charges__its_session_waits_for_them(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, other = begun(till), begun(till)
    charge(till, session, 1)
    with monkeypatch.context() as broken:
        broken.setattr(till.accounts._commits, "_commit", fails)
        with pytest.raises(OSError, match="full"):
            till.accounts.authorise(session, voucher(session, 150))
        with pytest.raises(NotServing, match="aren't stored yet"):
            till.reserve(session, 200, 5)
        charge(till, other, 1)
    till.accounts.catch_up()
    charge(till, session, 2)
    till.accounts.catch_up()
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
        charge(till, first, 1)
    waiter.join(10)
    till.accounts.catch_up()
    assert stored(till, first) == (10, 2)


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
        before.setattr(Book, "take_up", lambda _: None)
        till.start()
    till.accounts.catch_up()
    till.accounts.settled(session)
    till.refresh(session, deposit=2_000)  # the queue is empty again
    call = till.reserve(session, 200, 5)
    with pytest.raises(NotAtHand):
        till.accounts.charge(call, used(5), waits=False)
    till.accounts.release(call)
    till.restart()
    assert stored(till, session) == (10, 2)


def test_log__full__charges_wait_until_it_was_emptied(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "LARGE", 1)
    monkeypatch.setattr(book, "FULL", 2)
    session = begun(till)
    charge(till, session, 1)
    with pytest.raises(NotAtHand):
        charge(till, session, 2)
    till.accounts.catch_up()
    charge(till, session, 3)
    till.accounts.catch_up()
    assert stored(till, session)[0] == 20


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
    with monkeypatch.context() as broken:
        broken.setattr(till.accounts._commits, "_commit", fails)
        with pytest.raises(OSError, match="full"):
            till.accounts.catch_up()
    assert len(list(log.rows())) == 1
    till.accounts.catch_up()
    assert log.size == os.stat(till.folder / NAME).st_size == 0


# The machine


def test_power_cut__store_lost_charges_that_the_log_has__they_are_taken_up(
    till: Till, tmp_path: Path
) -> None:
    session = begun(till)
    charge(till, session, 1)
    till.accounts.catch_up()
    before = (till.folder / "oracle.db").read_bytes(), (till.folder / "oracle.db-wal").read_bytes()
    charge(till, session, 2)
    till.accounts.catch_up()
    assert stored(till, session) == (20, 3)
    till.close()
    for name, content in zip(("oracle.db", "oracle.db-wal"), before, strict=True):
        (till.folder / name).write_bytes(content)
    (till.folder / "oracle.db-shm").unlink(missing_ok=True)
    till.start()
    assert stored(till, session) == (20, 3)


def test_power_cut__log_lost_one_before__what_does_not_follow_is_kept_aside(till: Till) -> None:
    session, log = begun(till), till.log
    assert log is not None
    for number in (1, 2):
        charge(till, session, number)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[1])
    till.restart()
    assert stored(till, session) == (0, 1)
    assert till.folder.joinpath(f"{NAME}.1").read_bytes() == lines[1]


def test_power_cut__line_of_one_session_broken__the_others_are_taken_up(till: Till) -> None:
    session, other, log = begun(till), begun(till), till.log
    assert log is not None
    charge(till, session, 1)
    charge(till, other, 1)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[0].replace(b"{", b"\0", 1) + lines[1])
    till.restart()
    assert (stored(till, session), stored(till, other)) == ((0, 1), (10, 2))


def test_database__is_another_one__the_log_is_kept_aside(till: Till, tmp_path: Path) -> None:
    session, log = begun(till), till.log
    assert log is not None
    charge(till, session, 1)
    line = log.path.read_bytes()
    till.close()
    for file in till.folder.glob("oracle.db*"):
        if file != log.path:
            file.rename(tmp_path / f"old-{file.name}")
    till.start()
    assert (till.folder / f"{NAME}.1").read_bytes() == line
