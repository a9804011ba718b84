"""The sender on a real node: stuck, lost, doubled, crashed and dropped transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from demo.anvil import Anvil
from scrip.chain import Chain
from scrip.errors import NodeUnavailable, Reverted, ScripError, TxUnknown
from scrip.journal import InMemoryJournal, TxOutcome, TxRecord
from scrip.sender import LOCAL_POLICY, Call, Sender, SendPolicy
from tests.integration import proxy
from tests.integration.system import ETHER, System, account

POLICY = SendPolicy(poll=1, stuck_after=10, give_up_after=100)
GWEI = 10**9


class Crash(BaseException):
    """The process dies here."""


class Steps:
    """A clock and a sleep that run the test's next step each time the sender waits."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.now, self.steps = 0.0, list(steps)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.steps:
            self.steps.pop(0)()

    def pass_time(self) -> None:
        self.now += POLICY.stuck_after


class CrashingJournal(InMemoryJournal):
    """Dies right after storing a record."""

    def record(self, tx: TxRecord) -> None:
        super().record(tx)
        raise Crash


@pytest.fixture
def alice(system: System) -> LocalAccount:
    made = system.funded("alice")
    system.mint(made.address, 1_000)
    return made


@pytest.fixture
def journal() -> InMemoryJournal:
    return InMemoryJournal()


@pytest.fixture
def held(anvil: Anvil, alice: LocalAccount) -> Anvil:
    """A node that mines only when told to, from when alice has her funds."""
    anvil.rpc("evm_setAutomine", False)
    return anvil


def pay(chain: Chain, amount: int, to: str = "bob") -> Any:
    return chain.contract("DemoUSD").functions.transfer(account(to).address, amount)


def balance(chain: Chain, name: str) -> int:
    return chain.at().token_balance(chain.address("DemoUSD"), account(name).address)


def stepping(chain: Chain, who: LocalAccount, journal: InMemoryJournal, steps: Steps) -> Sender:
    return Sender(chain, who, journal, POLICY, clock=steps.clock, sleep=steps.sleep)


def open_records(journal: InMemoryJournal, chain: Chain, who: LocalAccount) -> list[TxRecord]:
    return journal.open_records(chain.chain_id, who.address)


def replace_from_outside(anvil: Anvil, who: LocalAccount, nonce: int) -> None:
    """Another program with the same key takes the nonce, and the block with it is mined."""
    signed = who.sign_transaction(
        {
            "type": 2, "chainId": 31337, "nonce": nonce, "to": who.address, "value": 0, "gas": 21_000,
            "maxFeePerGas": 500 * GWEI, "maxPriorityFeePerGas": 100 * GWEI,
        }
    )  # fmt: skip
    anvil.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    anvil.mine()


# Nothing is sent


def test_send__would_revert__is_typed_and_sends_nothing(
    chain: Chain, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    head = chain.head()
    with pytest.raises(Reverted) as caught:
        Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 1_001), label="pay")
    assert caught.value.name == "ERC20InsufficientBalance"
    assert caught.value.params == {"sender": alice.address.lower(), "balance": 1_000, "needed": 1_001}
    assert caught.value.tx_hash is None
    assert (chain.head(), chain.nonce(alice.address)) == (head, 0)
    assert open_records(journal, chain, alice) == []


def test_send__no_ether_for_gas__is_a_clear_error_and_sends_nothing(
    chain: Chain, system: System, journal: InMemoryJournal
) -> None:
    poor = account("poor")
    system.anvil.set_balance(poor.address, 1)
    with pytest.raises(ScripError, match=r"(?i)insufficient"):
        Sender(chain, poor, journal, LOCAL_POLICY).send(Call(poor.address, value=2), label="pay")
    assert open_records(journal, chain, poor) == []


# Sending


def test_send__plain__is_mined_with_a_gas_margin(
    chain: Chain, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    receipt = Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 10), label="pay")
    assert receipt["status"] == 1
    assert balance(chain, "bob") == 10
    sent = chain.w3.eth.get_transaction(receipt["transactionHash"])
    assert receipt["gasUsed"] < sent["gas"] < receipt["gasUsed"] * 3 // 2
    assert journal.outcome(bytes(receipt["transactionHash"])) is TxOutcome.MINED


def test_send__value_only__arrives(chain: Chain, alice: LocalAccount, journal: InMemoryJournal) -> None:
    to = account("nobody yet").address
    Sender(chain, alice, journal, LOCAL_POLICY).send(Call(to, value=3), label="tip")
    assert chain.balance(to) == 3


def test_send__five_threads__all_are_mined_once(
    chain: Chain, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    sender = Sender(chain, alice, journal, LOCAL_POLICY)
    threads = [
        threading.Thread(target=sender.send, args=(pay(chain, 1),), kwargs={"label": str(i)}, daemon=True)
        for i in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (balance(chain, "bob"), chain.nonce(alice.address)) == (5, 5)
    assert open_records(journal, chain, alice) == []


# Stuck


def test_send__base_fee_rises__is_replaced_and_mined_once(
    chain: Chain, held: Anvil, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    seen: list[int] = []

    def raise_base_fee() -> None:
        held.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))
        held.mine()
        seen.append(chain.nonce(alice.address))

    steps = Steps(raise_base_fee, lambda: steps.pass_time(), held.mine)
    receipt = stepping(chain, alice, journal, steps).send(pay(chain, 10), label="pay")
    assert seen == [0]
    assert (balance(chain, "bob"), chain.nonce(alice.address)) == (10, 1)
    assert receipt["effectiveGasPrice"] >= 40 * GWEI


def test_send__never_mined__stays_open_and_is_followed_later(
    chain: Chain, held: Anvil, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    steps = Steps()
    sender = stepping(chain, alice, journal, steps)
    with pytest.raises(TxUnknown) as caught:
        sender.send(pay(chain, 10), label="pay")
    assert len(caught.value.hashes) > 5
    held.mine()
    assert bytes(sender.follow(caught.value.nonce)["transactionHash"]) == caught.value.hashes[-1]
    assert balance(chain, "bob") == 10


# Reverted on chain


def test_send__beaten_in_the_same_block__raises_the_decoded_reason(
    chain: Chain, system: System, held: Anvil, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    bob, token = system.funded("bob"), chain.contract("DemoUSD")
    system.anvil.rpc("evm_setAutomine", True)
    Sender(chain, alice, journal, LOCAL_POLICY).send(
        token.functions.approve(bob.address, 1_000), label="approve"
    )
    system.anvil.rpc("evm_setAutomine", False)

    def alice_spends_first() -> None:
        data = pay(chain, 1_000, "carol").build_transaction({"gas": 100_000, "nonce": 1, "chainId": 31337,
            "maxFeePerGas": 500 * GWEI, "maxPriorityFeePerGas": 400 * GWEI})  # fmt: skip
        signed = alice.sign_transaction(data)
        held.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        held.mine()

    steps = Steps(alice_spends_first)
    spend = token.functions.transferFrom(alice.address, bob.address, 1_000)
    with pytest.raises(Reverted, match="in transaction 0x") as caught:
        stepping(chain, bob, journal, steps).send(spend, label="spend")
    assert caught.value.name == "ERC20InsufficientBalance"
    assert caught.value.tx_hash is not None
    assert journal.outcome(caught.value.tx_hash) is TxOutcome.REVERTED
    assert balance(chain, "carol") == 1_000


# Crashes


def test_reconcile__crash_after_record_before_broadcast__sends_the_same_bytes_once(
    chain: Chain, alice: LocalAccount
) -> None:
    journal = CrashingJournal()
    with pytest.raises(Crash):
        Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 10), label="pay")
    (record,) = open_records(journal, chain, alice)
    assert chain.nonce(alice.address, "pending") == 0

    sender = Sender(chain, alice, journal, LOCAL_POLICY)
    (found,) = sender.reconcile()
    assert (found.label, found.outcome, found.hashes) == ("pay", TxOutcome.PENDING, (record.tx_hash,))
    assert bytes(sender.follow(found.nonce)["transactionHash"]) == record.tx_hash
    assert (balance(chain, "bob"), sender.reconcile()) == (10, [])


@pytest.mark.parametrize(("mined", "outcome"), [(False, TxOutcome.PENDING), (True, TxOutcome.MINED)])
def test_reconcile__crash_after_broadcast__finds_it(
    chain: Chain, held: Anvil, alice: LocalAccount, journal: InMemoryJournal, mined: bool, outcome: TxOutcome
) -> None:
    def die() -> None:
        raise Crash

    with pytest.raises(Crash):
        stepping(chain, alice, journal, Steps(die)).send(pay(chain, 10), label="pay")
    if mined:
        held.mine()
    sender = stepping(chain, alice, journal, Steps(held.mine))
    (found,) = sender.reconcile()
    assert found.outcome is outcome
    if not mined:
        sender.follow(found.nonce)
    assert (balance(chain, "bob"), chain.nonce(alice.address), sender.reconcile()) == (10, 1, [])


def test_send__after_a_crash__old_and_new_are_mined_in_order(chain: Chain, alice: LocalAccount) -> None:
    journal = CrashingJournal()
    with pytest.raises(Crash):
        Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 10), label="old")
    journal.record = lambda tx: InMemoryJournal.record(journal, tx)  # type: ignore[method-assign]
    Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 5, "carol"), label="new")
    assert (balance(chain, "bob"), balance(chain, "carol")) == (10, 5)


# Somebody else uses the key


def test_reconcile__nonce_taken_meanwhile__is_lost_and_not_sent_again(
    chain: Chain, anvil: Anvil, alice: LocalAccount
) -> None:
    journal = CrashingJournal()
    with pytest.raises(Crash):
        Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 10), label="pay")
    replace_from_outside(anvil, alice, 0)
    assert [item.outcome for item in Sender(chain, alice, journal, LOCAL_POLICY).reconcile()] == [
        TxOutcome.LOST
    ]
    anvil.mine()
    assert (balance(chain, "bob"), open_records(journal, chain, alice)) == (0, [])


def test_send__nonce_taken_while_waiting__is_sent_anew_once(
    chain: Chain, held: Anvil, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    # The sender asks twice, a step apart, before it believes that its nonce is gone.
    steps = Steps(lambda: replace_from_outside(held, alice, 0), lambda: None, held.mine)
    stepping(chain, alice, journal, steps).send(pay(chain, 10), label="pay")
    assert (balance(chain, "bob"), chain.nonce(alice.address)) == (10, 2)


def test_send__other_transaction_waits_in_the_pool__takes_the_next_nonce(
    chain: Chain, system: System, held: Anvil, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    data = pay(chain, 1, "carol").build_transaction(
        {
            "gas": 100_000,
            "nonce": 0,
            "chainId": 31337,
            "maxFeePerGas": 50 * GWEI,
            "maxPriorityFeePerGas": GWEI,
        }
    )
    held.rpc("eth_sendRawTransaction", "0x" + bytes(alice.sign_transaction(data).raw_transaction).hex())
    stepping(chain, alice, journal, Steps(held.mine)).send(pay(chain, 10), label="pay")
    assert (balance(chain, "carol"), balance(chain, "bob")) == (1, 10)


# A node that loses answers


def test_send__answer_lost_after_the_node_took_it__is_mined_once(
    system: System, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment)
        between.lose["eth_sendRawTransaction"] = 1
        receipt = Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 10), label="pay")
        assert receipt["status"] == 1
        assert between.seen["eth_sendRawTransaction"] == 1
        assert (balance(chain, "bob"), chain.nonce(alice.address)) == (10, 1)


def test_send__answer_lost_while_nothing_is_mined__hands_over_the_same_bytes(
    system: System, held: Anvil, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment)
        between.lose["eth_sendRawTransaction"] = 2
        steps = Steps(lambda: None, lambda: None, held.mine)
        stepping(chain, alice, journal, steps).send(pay(chain, 10), label="pay")
        assert between.seen["eth_sendRawTransaction"] == 3
        assert (balance(chain, "bob"), chain.nonce(alice.address)) == (10, 1)


def test_send__receipts_lost_for_a_while__is_patient(
    system: System, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment, attempts=1)
        between.lose["eth_getTransactionReceipt"] = 3
        Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 10), label="pay")
        assert between.seen["eth_getTransactionReceipt"] == 4
        assert balance(chain, "bob") == 10


def test_send__read_lost_before_signing__is_retried(
    system: System, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment)
        between.lose["eth_estimateGas"] = 2
        Sender(chain, alice, journal, LOCAL_POLICY).send(pay(chain, 10), label="pay")
        assert balance(chain, "bob") == 10


def test_send__node_gone__raises_and_records_nothing(
    system: System, alice: LocalAccount, journal: InMemoryJournal
) -> None:
    with proxy.running(system.anvil.url) as between:
        chain = Chain.connect(between.url, system.deployment, attempts=2)
        sender = Sender(chain, alice, journal, LOCAL_POLICY)
        call = pay(chain, 10)
    with pytest.raises(NodeUnavailable, match=r"node 127\.0\.0\.1"):
        sender.send(call, label="pay")
    assert open_records(journal, chain, alice) == []


def test_balance__helper__reads_ether(chain: Chain, alice: LocalAccount) -> None:
    assert chain.balance(alice.address) == 100 * ETHER
