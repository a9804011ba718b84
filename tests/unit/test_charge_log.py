"""The log of charges: a receipt that is out is charged, whatever becomes of process and machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.gateway.accounts import KeyCredential, TokenBounds
from oracle.gateway.charge_log import ChargeLog
from oracle.gateway.keys import KeyLimits
from scrip.call_receipts import check_chain
from tests.unit.charge_log_till import NAME, begun, charge, stored
from tests.unit.gateway_factory import CHAIN_ID, MODEL, SESSIONS, Till, held, used, voucher

ROWS: list[dict[str, Any]] = [{"a": 1}, {"b": "\ud800", "c": 1 << 200}, {"d": None}]


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    made = Till(tmp_path)
    yield made
    made.close()


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
from tests.unit.charge_log_till import Till, begun, charge
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


def test_number__of_a_logged_receipt_is_anothers_in_the_store__is_kept_aside(till: Till) -> None:
    session, log = begun(till), till.log
    assert log is not None
    charge(till, session, 1)
    line = log.path.read_bytes()
    till.restart()
    row = json.loads(line.partition(b" ")[2])
    row["call"]["digest"] = "11" * 32
    changed = json.dumps(row).encode()
    log.path.write_bytes(b"%08x %b\n" % (zlib.crc32(changed), changed))
    till.restart()
    assert stored(till, session) == (10, 2)
    assert till.folder.joinpath(f"{NAME}.1").exists()


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
