"""The sender against a faulty node in memory: what it records, resends and never resends."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from scrip.errors import (
    BadInput,
    NodeUnavailable,
    NotFound,
    Reverted,
    TxLost,
    TxRejected,
    TxUnknown,
)
from scrip.fees import Fees, bumped, replacement
from scrip.journal import TxOutcome
from scrip.sender import MAX_GAS, Call, Sender, SendPolicy
from tests.unit.fake_chain import TARGET, Crash, FakeChain, FakeSigner
from tests.unit.sender_world import CALL, POLICY, World

# Nothing is sent


def test_send__simulation_reverts__sends_and_records_nothing() -> None:
    world = World()
    world.chain.revert = Reverted("JobMarket_TooManyUnits", {"given": 70, "limit": 60})
    with pytest.raises(Reverted, match="TooManyUnits") as caught:
        world.sender().send(CALL, label="submit")
    assert caught.value.tx_hash is None
    assert (world.chain.broadcasts, world.open()) == ([], [])


def test_send__needs_more_gas_than_a_transaction_may_have__raises() -> None:
    world = World()
    world.chain.gas = MAX_GAS + 1
    with pytest.raises(BadInput, match="EIP-7825"):
        world.sender().send(CALL, label="batch")
    assert world.chain.broadcasts == []


def test_send__journal_fails__nothing_is_broadcast() -> None:
    world = World()
    world.journal.record = lambda tx: (_ for _ in ()).throw(OSError("disk full"))  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        world.sender().send(CALL, label="buy")
    assert world.chain.broadcasts == []


def test_send__node_away_before_signing__nothing_is_recorded() -> None:
    world = World()
    sender = world.sender()
    world.chain.down = 1
    with pytest.raises(NodeUnavailable):
        sender.send(CALL, label="buy")
    assert world.open() == []


def test_send__node_refuses__frees_the_nonce() -> None:
    world = World("mine")
    world.chain.answers = ["insufficient funds for gas * price + value"]
    sender = world.sender()
    with pytest.raises(TxRejected, match=r"buy: .*insufficient funds"):
        sender.send(CALL, label="buy")
    assert world.open() == []
    assert sender.send(CALL, label="buy")["status"] == 1
    assert [tx["nonce"] for tx in world.chain.broadcasts] == [0]


# Sending


def test_send__plain__records_before_the_node_sees_it() -> None:
    world = World("mine")
    seen: list[int] = []

    def looking(method: str, params: Any) -> Any:
        seen.append(len(world.open()))
        return FakeChain.make_request(world.chain, method, params)

    world.chain.make_request = looking  # type: ignore[method-assign]
    receipt = world.sender().send(CALL, label="buy")
    assert seen == [1]
    assert world.open() == []
    assert world.journal.outcome(receipt["transactionHash"]) is TxOutcome.MINED


def test_send__gas__is_the_estimate_and_a_fifth_up_to_the_cap() -> None:
    world = World("mine", "mine")
    sender = world.sender()
    sender.send(CALL, label="a")
    world.chain.gas = MAX_GAS - 1
    sender.send(CALL, label="b")
    assert [tx["gas"] for tx in world.chain.broadcasts] == [120_000, MAX_GAS]


def test_send__fees__leave_room_for_the_base_fee_to_double() -> None:
    world = World("mine")
    world.sender().send(CALL, label="a")
    (tx,) = world.chain.broadcasts
    assert (tx["maxFeePerGas"], tx["maxPriorityFeePerGas"], tx["type"]) == (210, 10, 2)


def test_send__from_threads__gives_each_its_own_nonce() -> None:
    world = World()
    lock = threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            world.chain.mine()

    chain: Any = world.chain
    sender = Sender(chain, FakeSigner(), world.journal, POLICY, clock=lambda: 0.0, sleep=sleep)
    calls = [Call(TARGET, bytes([index])) for index in range(8)]
    threads = [
        threading.Thread(target=sender.send, args=(call,), kwargs={"label": "x"}, daemon=True)
        for call in calls
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(item.data for item in world.chain.mined if item.data) == [call.data for call in calls]


def test_send__confirmations__waits_until_the_receipt_is_that_deep() -> None:
    world = World("mine", "mine", "mine")
    policy = SendPolicy(poll=1, stuck_after=10, give_up_after=100, confirmations=2)
    receipt = world.sender(policy).send(CALL, label="a")
    assert world.chain.head() - receipt["blockNumber"] == 2


# Stuck


def test_send__base_fee_rises__is_replaced_with_the_same_nonce_and_a_higher_fee() -> None:
    world = World("base:3", "mine", "wait:10", "mine")
    world.sender().send(CALL, label="a")
    first, second = world.chain.broadcasts
    assert first["nonce"] == second["nonce"] == 0
    assert second["maxFeePerGas"] == 2 * 300 + 10
    assert second["maxPriorityFeePerGas"] == 12
    assert world.chain.times_mined(CALL.data) == 1


def test_send__replaced__every_version_is_recorded_before_broadcast() -> None:
    world = World("wait:10", "wait:10")
    with pytest.raises(TxUnknown) as caught:
        world.sender(SendPolicy(poll=1, stuck_after=10, give_up_after=25)).send(CALL, label="a")
    assert [tx.tx_hash for tx in world.open()] == list(caught.value.hashes)
    assert len(caught.value.hashes) == 3


def test_send__first_version_mined_after_replacement__is_found() -> None:
    world = World("wait:10")
    sender = world.sender()
    held: dict[int, Any] = {}

    def swap(seconds: float) -> None:
        # The proposer never saw the replacement.
        if not held:
            held.update(world.chain.pool)
        elif len(world.chain.broadcasts) == 2:
            world.chain.pool = dict(held)
            world.chain.mine()
        world.now += 10

    sender._sleep = swap
    receipt = sender.send(CALL, label="a")
    assert receipt["transactionHash"] == world.chain.broadcasts[0]["hash"]
    assert world.open() == []


def test_send__fee_ceiling__is_never_exceeded() -> None:
    world = World("base:3", *["wait:10"] * 5)
    with pytest.raises(TxUnknown):
        world.sender(SendPolicy(poll=1, stuck_after=10, give_up_after=60, max_fee=250)).send(CALL, label="a")
    assert max(tx["maxFeePerGas"] for tx in world.chain.broadcasts) <= 250


def test_send__node_wants_a_higher_fee__is_replaced_at_once() -> None:
    world = World("mine")
    world.chain.answers = ["max fee per gas less than block base fee"]
    world.sender().send(CALL, label="a")
    assert world.now < POLICY.stuck_after
    assert world.chain.times_mined(CALL.data) == 1


def test_send__earlier_nonce_stuck__is_replaced_too() -> None:
    world = World()
    world.chain.answers = ["crash"]
    with pytest.raises(Crash):
        world.sender().send(CALL, label="a")
    world.chain.base *= 3
    world.events = ["mine", "wait:10", "mine"]
    world.sender().send(Call(TARGET, b"\x02"), label="b")
    assert [item.data for item in world.chain.mined] == [b"\x01", b"\x02"]


@pytest.mark.parametrize("fee", [0, 1, 7, 8, 100, 10**9 + 1])
def test_bumped__any_fee__is_at_least_an_eighth_more(fee: int) -> None:
    assert bumped(fee) > fee
    assert bumped(fee) * 1000 >= fee * 1125


def test_replacement__tip_above_the_market__stays_within_the_maximum() -> None:
    fees = replacement(Fees(100, 100), Fees(50, 1))
    assert fees == Fees(113, 113)


# Unknown outcomes


@pytest.mark.parametrize("answer", ["cut", "void", "something nobody has seen", "txpool is full"])
def test_send__no_clear_answer__finds_out_and_sends_once(answer: str) -> None:
    world = World("mine", "mine", "mine")
    world.chain.answers = [answer]
    world.sender().send(CALL, label="a")
    assert world.chain.times_mined(CALL.data) == 1
    assert len(world.chain.mined) == 1


def test_send__already_known__is_no_failure() -> None:
    world = World("mine")
    world.chain.answers = ["already known"]
    with pytest.raises(TxUnknown):
        world.sender().send(CALL, label="a")  # the node lied: it hasn't got it


def test_send__node_away_while_waiting__goes_on() -> None:
    world = World("down:3", "mine")
    world.sender().send(CALL, label="a")
    assert world.chain.times_mined(CALL.data) == 1


def test_send__never_mined__stays_recorded_and_is_followed_later() -> None:
    world = World()
    sender = world.sender()
    with pytest.raises(TxUnknown, match="nonce 0 unknown") as caught:
        sender.send(CALL, label="a")
    assert {tx.nonce for tx in world.open()} == {0}
    world.then = "mine"
    assert sender.follow(caught.value.nonce)["status"] == 1
    assert world.open() == []


def test_follow__nothing_open__raises() -> None:
    with pytest.raises(NotFound, match="nonce 5"):
        World().sender().follow(5)


def test_send__nonce_taken__is_sent_anew_only_once_that_is_final() -> None:
    world = World("taken", "wait", "mine", "mine", "mine", "mine", "mine")
    world.chain.depth = 3
    world.sender().send(CALL, label="a")
    assert [tx["nonce"] for tx in world.chain.broadcasts] == [0, 1]
    assert world.chain.times_mined(CALL.data) == 1


def test_send__mined_between_two_questions__is_not_taken_for_lost() -> None:
    world = World()
    ask = world.chain.nonce

    def mined_just_before(address: str, block: Any = "latest") -> int:
        if isinstance(block, int):
            world.chain.mine()
            block = world.chain.head()
        return ask(address, block)

    world.chain.nonce = mined_just_before  # type: ignore[method-assign]
    world.sender().send(CALL, label="a")
    assert world.chain.times_mined(CALL.data) == len(world.chain.broadcasts) == 1


def test_send__replaced_and_mined_by_another_thread__is_not_taken_for_lost() -> None:
    world = World()
    sender, ask = world.sender(), world.chain.nonce

    def meanwhile(address: str, block: Any = "latest") -> int:
        if isinstance(block, int) and not world.chain.mined:
            world.now += POLICY.stuck_after
            sender._nudge(0)  # as a thread waiting for a later nonce does
            world.chain.mine()
            block = world.chain.head()
        return ask(address, block)

    world.chain.nonce = meanwhile  # type: ignore[method-assign]
    receipt = sender.send(CALL, label="a")
    assert receipt["transactionHash"] == world.chain.broadcasts[1]["hash"]
    assert (len(world.chain.broadcasts), world.chain.times_mined(CALL.data)) == (2, 1)


def test_send__node_shows_nonces_before_receipts__waits_for_the_receipt() -> None:
    world = World("mine")
    sender, ask = world.sender(), world.chain.receipt
    late = iter([True, True])  # both questions of one look

    def receipt_of(tx_hash: bytes) -> Any:
        return None if world.chain.mined and next(late, False) else ask(tx_hash)

    world.chain.receipt = receipt_of  # type: ignore[method-assign]
    receipt = sender.send(CALL, label="a")
    assert receipt["transactionHash"] == world.chain.broadcasts[0]["hash"]
    assert world.open() == []


def test_send__nonces_taken_again_and_again__raises_tx_lost() -> None:
    world = World()
    world.then = "taken"
    with pytest.raises(TxLost, match="taken by another"):
        world.sender().send(CALL, label="a")
    assert world.open() == []
    assert world.chain.times_mined(CALL.data) == 0


def test_send__nonce_taken_and_would_revert_now__raises_the_revert() -> None:
    world = World("taken")
    sender = world.sender()
    original = world.chain.take_nonce

    def taken() -> None:
        original()
        world.chain.revert = Reverted("JobMarket_WrongStatus", {"given": 5, "limit": 2})

    world.chain.take_nonce = taken  # type: ignore[method-assign]
    with pytest.raises(Reverted, match="WrongStatus"):
        sender.send(CALL, label="a")


# Reverted on chain


def test_send__reverts_on_chain__raises_the_decoded_reason() -> None:
    world = World("mine")
    world.chain.fail_on_chain = True
    world.chain.replay = Reverted("JobMarket_WrongStatus", {"given": 5, "limit": 2})
    with pytest.raises(
        Reverted, match=r"JobMarket_WrongStatus\(given=5, limit=2\) in transaction 0x"
    ) as caught:
        world.sender().send(CALL, label="a")
    assert caught.value.tx_hash is not None
    assert world.journal.outcome(caught.value.tx_hash) is TxOutcome.REVERTED


@pytest.mark.parametrize(("gas_used", "name"), [(120_000, "OutOfGas"), (50_000, "Unknown")])
def test_send__reverts_on_chain_only__says_so(gas_used: int, name: str) -> None:
    world = World("mine")
    world.chain.fail_on_chain, world.chain.gas_used = True, gas_used
    with pytest.raises(Reverted) as caught:
        world.sender().send(CALL, label="a")
    assert caught.value.name == name
