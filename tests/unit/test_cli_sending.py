"""Sending after a kill, and two commands at once: nothing happens twice."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scrip import sender as sender_module
from scrip.cli.context import Context
from scrip.cli.sending import AlreadyDone, sending
from scrip.errors import TxUnknown
from scrip.journal_file import FileJournal
from scrip.sender import Sender
from tests.unit.fake_chain import Crash, FakeChain, FakeSigner
from tests.unit.sender_world import CALL, POLICY

GENESIS = bytes(range(32))


class World:
    """A chain that mines whenever somebody waits, a state folder, and commands that send."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chain, self.folder, self.notes = FakeChain(), folder, list[str]()
        self.genesis = GENESIS
        self.mines = True
        eth = SimpleNamespace(get_block=lambda number: {"hash": self.genesis})
        self.chain.w3.eth = eth
        monkeypatch.setattr(Context, "account", lambda context, chain_id: FakeSigner())
        monkeypatch.setattr(Context, "say", lambda context, text: self.notes.append(text))
        monkeypatch.setattr(sender_module, "LOCAL_POLICY", POLICY)
        made: Any = Sender.__init__
        self.now = 0.0

        def init(sender: Any, *args: Any, **kwargs: Any) -> None:
            made(sender, *args, **kwargs, clock=lambda: self.now, sleep=self.sleep)

        monkeypatch.setattr(Sender, "__init__", init)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.mines:
            self.chain.mine()

    @property
    def context(self) -> Context:
        return Context("http://x", Path("d"), None, None, False, self.folder / "state", False)

    def send(self, label: str, kind: str) -> None:
        chain: Any = self.chain
        with sending(self.context, chain, kind) as (sender, _):
            sender.send(CALL, label=label)

    def killed(self, label: str, kind: str, answer: str = "crash") -> None:
        self.chain.answers = [answer]
        with pytest.raises(Crash):
            self.send(label, kind)

    def open(self) -> int:
        (path,) = (self.folder / "state").glob("transactions-*.sqlite3")
        return len(FileJournal(path).open_records(self.chain.chain_id, FakeSigner.address))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_sending__killed_after_broadcast__same_kind_stops_instead_of_doing_it_twice(world: World) -> None:
    world.killed("buy 5 of class 1", "buy")
    with pytest.raises(AlreadyDone, match=r"buy 5 of class 1 in transaction 0x.*Nothing new was sent"):
        world.send("buy 5 of class 1", "buy")
    assert world.chain.times_mined(CALL.data) == 1
    world.send("buy 5 of class 1", "buy")
    assert (world.chain.times_mined(CALL.data), world.open()) == (2, 0)


def test_sending__killed_before_broadcast__handed_over_once_and_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(sender_module, "broadcast", die)
        with pytest.raises(Crash):
            world.send("open 0x12", "open")
    assert world.chain.broadcasts == []
    with pytest.raises(AlreadyDone, match="open 0x12"):
        world.send("open 0x34", "open")
    assert world.chain.times_mined(CALL.data) == 1


def test_sending__killed_and_mined_meanwhile__same_kind_stops(world: World) -> None:
    world.killed("buy 5 of class 1", "buy")
    world.chain.mine()
    with pytest.raises(AlreadyDone):
        world.send("buy 5 of class 1", "buy")
    assert world.chain.times_mined(CALL.data) == 1


def test_sending__other_kind_was_killed__finished_first_then_goes_on(world: World) -> None:
    world.killed("approve 5 of token", "buy")
    world.send("buy 5 of class 1", "buy")
    assert world.chain.times_mined(CALL.data) == 2
    assert "an earlier transaction has gone through: approve 5 of token" in world.notes


def test_sending__earlier_one_reverted__said_and_goes_on(world: World) -> None:
    world.killed("buy 5 of class 1", "buy")
    world.chain.fail_on_chain = True
    world.chain.mine()
    world.chain.fail_on_chain = False
    world.send("buy 5 of class 1", "buy")
    assert any("came to nothing: buy 5 of class 1" in note for note in world.notes)
    assert [item.status for item in world.chain.mined] == [0, 1]


def test_sending__earlier_ones_nonce_was_taken__said_and_goes_on(world: World) -> None:
    world.killed("buy 5 of class 1", "buy")
    world.chain.take_nonce()
    world.send("buy 5 of class 1", "buy")
    assert world.chain.times_mined(CALL.data) == 1
    assert any("came to nothing" in note for note in world.notes)


def test_sending__earlier_one_stays_unknown__nothing_new_is_sent(world: World) -> None:
    world.killed("buy 5 of class 1", "buy")
    world.mines = False
    with pytest.raises(TxUnknown):
        world.send("buy 5 of class 1", "buy")
    # Versions of the first one only, with higher and higher fees.
    assert {tx["nonce"] for tx in world.chain.broadcasts} == {0}
    assert world.open() >= 1


def test_sending__local_chain_was_reset__its_old_transactions_are_another_chains(world: World) -> None:
    world.killed("buy 5 of class 1", "buy")
    world.genesis = bytes(32)
    world.chain.pool.clear()
    world.send("buy 5 of class 1", "buy")
    assert world.chain.times_mined(CALL.data) == 1


def test_sending__interrupted_while_in_flight__says_that_it_is_on_its_way(world: World) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    world.sleep = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt, match="The next command that sends finishes it first"):
        world.send("buy 5 of class 1", "buy")
    assert world.open() == 1


def test_sending__another_command_sends__waits_and_says_so(world: World) -> None:
    world.send("buy 1 of class 1", "buy")
    (path,) = (world.folder / "state").glob("*-0x*.lock")
    with path.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=world.send, args=("buy 2 of class 1", "buy"))
        second.start()
        deadline = time.monotonic() + 20
        while not world.notes:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert (world.notes, len(world.chain.broadcasts)) == (
            ["waiting for another scrip command that sends from this account"], 1,
        )  # fmt: skip
    second.join(20)
    assert not second.is_alive()
    assert len(world.chain.broadcasts) == 2
