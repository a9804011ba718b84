"""The journal in a file: what it must survive, and that two processes see the same."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scrip.journal import TxOutcome, TxRecord
from scrip.journal_file import FileJournal, JournalProblem
from tests.unit.fake_chain import SENDER, TARGET

RECORD = TxRecord(
    label="buy 5 of class 1", chain_id=31337, sender=SENDER, nonce=3, tx_hash=b"\x01" * 32, raw=b"\x02\x03",
    to=TARGET, data=b"\xff\x00", value=10**30, gas=21_000, max_fee=2**100, priority_fee=1,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def test_open__folder_is_a_file__one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(JournalProblem, match="Name another folder"):
        FileJournal(tmp_path / "state" / "journal.sqlite3")


def test_open__not_a_database__never_overwritten(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else, long enough to be looked at as a database header")
    with pytest.raises(JournalProblem, match="don't delete it"):
        FileJournal(path)
    assert path.read_bytes().startswith(b"something else")


def test_open_records__record_was_damaged__error_and_not_silence(path: Path) -> None:
    journal = FileJournal(path)
    journal.record(RECORD)
    with journal._transaction() as database:
        database.execute("UPDATE versions SET record = '{}'")
    with pytest.raises(JournalProblem, match="can't be read"):
        journal.open_records(31337, SENDER)


def test_record__another_process_is_killed_right_after__found_again_whole(path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from scrip.journal_file import FileJournal;"
        "from tests.unit.test_journal_file import RECORD;"
        "FileJournal(Path(sys.argv[1])).record(RECORD); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, check=False)
    assert done.returncode == -9
    assert FileJournal(path).open_records(31337, SENDER) == [RECORD]


def test_open_records__other_chain_or_account__not_among_them(path: Path) -> None:
    journal = FileJournal(path)
    journal.record(RECORD)
    assert journal.open_records(1, SENDER) == journal.open_records(31337, TARGET) == []


def test_resolve__nonce__closes_all_its_versions_and_no_others(path: Path) -> None:
    journal = FileJournal(path)
    newer = replace(RECORD, tx_hash=b"\x04" * 32, max_fee=2**101)
    other = replace(RECORD, tx_hash=b"\x05" * 32, nonce=4)
    for tx in (RECORD, newer, other):
        journal.record(tx)
    journal.resolve(31337, SENDER, 3, TxOutcome.MINED, newer.tx_hash)
    assert FileJournal(path).open_records(31337, SENDER) == [other]


def test_record__known_hash__open_again(path: Path) -> None:
    journal = FileJournal(path)
    journal.record(RECORD)
    journal.resolve(31337, SENDER, 3, TxOutcome.REJECTED)
    journal.record(RECORD)
    assert journal.open_records(31337, SENDER) == [RECORD]


def test_open__new_file__readable_by_its_owner_only(path: Path) -> None:
    FileJournal(path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
