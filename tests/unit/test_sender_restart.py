"""The sender after a crash: what a new one makes of the journal."""

from __future__ import annotations

import pytest

from scrip.journal import TxOutcome
from scrip.sender import Call
from tests.unit.fake_chain import TARGET, Crash
from tests.unit.sender_world import CALL, World


def crashed(answer: str) -> World:
    world = World()
    world.chain.answers = [answer]
    if answer == "before":
        world.chain.make_request = lambda method, params: (_ for _ in ()).throw(Crash())  # type: ignore[method-assign]
    with pytest.raises(Crash):
        world.sender().send(CALL, label="settle job 1")
    world.chain.answers = []
    vars(world.chain).pop("make_request", None)
    return world


def test_reconcile__crash_before_broadcast__hands_over_the_same_bytes() -> None:
    world = crashed("before")
    assert world.chain.pool == {}
    (raw,) = [tx.raw for tx in world.open()]
    sender = world.sender()
    (found,) = sender.reconcile()
    assert (found.label, found.outcome) == ("settle job 1", TxOutcome.PENDING)
    assert world.chain.pool[0]["hash"] == found.hashes[0]
    assert [tx.raw for tx in world.open()] == [raw]
    world.then = "mine"
    sender.follow(found.nonce)
    assert world.chain.times_mined(CALL.data) == 1


def test_reconcile__crash_after_broadcast_and_mined__is_done() -> None:
    world = crashed("crash")
    world.chain.mine()
    (found,) = world.sender().reconcile()
    assert (found.outcome, found.receipt is not None) == (TxOutcome.MINED, True)
    assert world.open() == []


def test_reconcile__mined_and_reverted__says_so() -> None:
    world = crashed("crash")
    world.chain.fail_on_chain = True
    world.chain.mine()
    assert [item.outcome for item in world.sender().reconcile()] == [TxOutcome.REVERTED]


def test_reconcile__nonce_taken__is_lost_and_not_sent_again() -> None:
    world = crashed("before")
    world.chain.take_nonce()
    assert [item.outcome for item in world.sender().reconcile()] == [TxOutcome.LOST]
    assert (world.open(), world.chain.broadcasts) == ([], [])


def test_reconcile__nonce_taken_but_not_final__stays_pending() -> None:
    world = crashed("before")
    world.chain.depth = 5
    world.chain.take_nonce()
    assert [item.outcome for item in world.sender().reconcile()] == [TxOutcome.PENDING]
    assert world.chain.broadcasts == []


def test_reconcile__now_and_then__does_not_put_off_the_replacement() -> None:
    world = World()
    sender = world.sender()

    def sleep(seconds: float) -> None:
        world.now += 4
        sender.reconcile()
        if len({tx["hash"] for tx in world.chain.broadcasts}) > 1:
            world.chain.mine()

    sender._sleep = sleep
    sender.send(CALL, label="a")
    assert world.now <= 16


def test_send__after_a_crash__reconciles_first() -> None:
    world = crashed("before")
    world.then = "mine"
    world.sender().send(Call(TARGET, b"\x02"), label="b")
    assert [item.data for item in world.chain.mined] == [b"\x01", b"\x02"]
