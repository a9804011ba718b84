"""The journal in a file: what it must survive, and that two processes see the same."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from scrip.journal import InMemoryJournal, TxOutcome, TxRecord
from scrip.journal_file import FileJournal, JournalProblem
from scrip.sender import Call
from tests.unit.fake_chain import SENDER, TARGET
from tests.unit.sender_world import CALL, World

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


# Two commands with one key


def test_exclusive__held_by_another_process__is_waited_for_and_ends_with_it(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from scrip.journal_file import FileJournal\n"
        f"with FileJournal(Path(sys.argv[1])).exclusive(31337, {SENDER!r}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    got, journal = threading.Event(), FileJournal(path)

    def take() -> None:
        with journal.exclusive(31337, SENDER):
            got.set()

    waiting = threading.Thread(target=take)
    waiting.start()
    with journal.exclusive(1, SENDER), journal.exclusive(31337, TARGET):
        pass  # other accounts and chains have turns of their own
    assert not got.is_set()
    holder.kill()
    holder.communicate()
    waiting.join(60)
    assert got.is_set()


def test_exclusive__held_for_too_long__says_who_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scrip.journal_file._TURN_SECONDS", 0.01)
    first, second = FileJournal(path), FileJournal(path)
    with first.exclusive(1, SENDER), pytest.raises(JournalProblem, match="another command sends"):  # noqa: SIM117
        with second.exclusive(1, SENDER):
            raise AssertionError("both hold it")


def test_send__by_two_commands_at_once__no_nonce_is_used_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, meeting, failures = World(), threading.Barrier(2), []
    world.then, nonce = "mine", world.chain.nonce

    def asked_together(address: str, block: object = "latest") -> int:
        """Both commands get the answer before either goes on, unless they take turns."""
        found = nonce(address, block)
        if block == "pending" and not meeting.broken:
            with suppress(threading.BrokenBarrierError):
                meeting.wait(0.5)
        return found

    monkeypatch.setattr(world.chain, "nonce", asked_together)

    def command(number: int) -> None:
        sender = world.sender()
        sender.journal = FileJournal(path)
        try:
            sender.send(Call(TARGET, bytes([number])), label=f"buy {number}")
        except BaseException as error:  # shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=command, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert meeting.broken  # they never were there together
    assert [tx["nonce"] for tx in world.chain.broadcasts] == [0, 1]
    assert [world.chain.times_mined(bytes([number])) for number in range(2)] == [1, 1]


@pytest.mark.parametrize("shared", ["memory", "file"])
def test_send__replaced_and_mined_by_another_command__is_found_and_not_sent_again(
    shared: str, path: Path
) -> None:
    world = World()
    journal = InMemoryJournal() if shared == "memory" else FileJournal(path)
    first, second = world.sender(), world.sender()
    first.journal = second.journal = journal

    def sleep(seconds: float) -> None:
        # The first one looks away while the second finds its transaction stuck, pays more, and sees it mined.
        world.now += 60
        first._sleep = world.sleep
        second.reconcile()
        second._sleep = lambda _: (
            world.chain.mine() if len(journal.versions(31337, SENDER, 0)) > 1 else after()
        )
        second.follow(0)

    def after() -> None:
        world.now += 60

    first._sleep = sleep
    world.then = "mine"
    receipt = first.send(CALL, label="buy")
    assert len(journal.versions(31337, SENDER, 0)) == 2
    assert receipt["transactionHash"] == world.chain.mined[0].tx_hash
    assert [item.data for item in world.chain.mined] == [CALL.data]
