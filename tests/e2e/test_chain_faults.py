"""The chain's node, or the chain itself, misbehaves under a running provider; every job ends exactly once."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from demo.anvil import NO_TLS
from scrip.types import Status
from tests.e2e.site import LONG, SHORT, Asked, Site, mining_paused, until
from tests.integration.system import account

DEPTH = 3
"""Blocks that a reorganisation may take here: what is deeper counts as final."""


@pytest.fixture(scope="module")
def class_id(site: Site) -> int:
    site.configure_provider({"quorum": {"watchers": []}})
    return site.system.create_class(min_assurance=1)


@pytest.fixture
def plant(site: Site, class_id: int) -> Iterator[Site]:
    """The provider runs when a test begins."""
    site.start()
    yield site
    site.gate.release()


def metric(site: Site, name: str) -> float:
    """Sum of all samples of a metric."""
    text = httpx.get(f"{site.provider.url}/metrics", trust_env=False, verify=NO_TLS).text
    lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def running(site: Site, class_id: int) -> Asked:
    """A job whose process runs."""
    asked = site.open(site.ask(class_id, LONG))
    until(lambda: site.row(asked.id).get("process_group"), "the job's process started")
    return asked


# The node


def test_rpc__down_while_a_job_runs__settles_once_it_is_back(plant: Site, class_id: int) -> None:
    mark, asked = plant.log_size(), running(plant, class_id)
    plant.gate.down = True
    plant.wait_log(r"node 127\.0\.0\.1.*pass failed, tried again", mark)
    until(lambda: not plant.provider.is_ready(), "readiness says that the chain is away")
    assert httpx.get(f"{plant.provider.url}/healthz", trust_env=False, verify=NO_TLS).status_code == 200
    plant.gate.heal()
    plant.settled(asked)
    until(plant.provider.is_ready, "readiness says that all is well")
    assert metric(plant, "scrip_rpc_errors_total") > 0


def test_rpc__down_when_the_node_starts__says_so_and_ends(plant: Site, class_id: int) -> None:
    asked = plant.ask(class_id)
    assert plant.kill(signal.SIGTERM) == 0
    mark = plant.log_size()
    plant.gate.down = True
    plant.provider.start()
    assert plant.provider.process is not None
    assert plant.provider.process.wait(60) == 1
    assert "NodeUnavailable: node 127.0.0.1" in plant.log(since=mark)
    plant.gate.heal()
    plant.start()
    plant.settled(plant.open(asked))


def test_rpc__slow__settles(plant: Site, class_id: int) -> None:
    asked = plant.ask(class_id)
    plant.gate.delay_s = 0.25
    plant.settled(plant.open(asked))


def test_rpc__slower_than_the_time_limit__settles_once_it_is_quick_again(plant: Site, class_id: int) -> None:
    mark, asked = plant.log_size(), plant.ask(class_id)
    plant.gate.delay_s = 6
    plant.open(asked)
    plant.wait_log("Timeout.*pass failed, tried again", mark)
    plant.gate.heal()
    plant.settled(asked)


def test_rpc__rate_limited__slows_down_and_settles(plant: Site, class_id: int) -> None:
    asked = plant.ask(class_id)
    plant.gate.per_second = 6
    plant.settled(plant.open(asked))
    assert plant.gate.refused > 0
    plant.gate.heal()
    assert 'reason="429"' in httpx.get(f"{plant.provider.url}/metrics", trust_env=False, verify=NO_TLS).text


def test_rpc__head_that_is_old__waits_and_settles(plant: Site, class_id: int) -> None:
    asked = plant.ask(class_id)
    plant.gate.head_shift = -20
    plant.open(asked)
    plant.lab.system.anvil.mine(2)
    until(lambda: plant.gate.seen["eth_blockNumber"] > 20, "the node asks for the head")
    assert plant.state_of(asked.id) == "quoted"
    plant.gate.heal()
    plant.settled(asked)


def test_rpc__head_goes_back_while_a_job_runs__nothing_is_done_twice(plant: Site, class_id: int) -> None:
    asked = running(plant, class_id)
    plant.gate.head_shift = -20
    until(lambda: plant.state_of(asked.id) not in ("queued", "executing"), "it is metered")
    plant.gate.heal()
    plant.settled(asked)


def test_rpc__head_that_does_not_exist__no_job_is_passed_over(plant: Site, class_id: int) -> None:
    mark, asked = plant.log_size(), plant.ask(class_id, quoted=False)
    plant.lab.put_spec(SHORT)
    plant.gate.head_shift = 1_000
    plant.wait_log("it names block [0-9]+ and hasn't got it", mark)
    plant.open(asked)  # in a block that a cursor taken from the lie would be past
    plant.gate.heal()
    plant.settled(asked)


# Transactions


def test_transaction__stuck_at_an_old_fee__is_replaced_and_mined_once(plant: Site, class_id: int) -> None:
    anvil, chain, mark = plant.system.anvil, plant.lab.chain, plant.log_size()
    oracle = account("oracle").address
    asked, nonce = plant.ask(class_id), chain.nonce(oracle)
    plant.open(asked)
    with mining_paused(plant.system):
        until(lambda: chain.nonce(oracle, "pending") > nonce, "the submission is in the pool")
        # Five times the fee of its version: no block takes it any more.
        anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(chain.base_fee() * 5 + 10**10))
        anvil.mine()
        assert chain.nonce(oracle) == nonce
        sent = r"settlement \S+ nonce \d+ 0x[0-9a-f]+: accepted"
        until(
            lambda: len(re.findall(sent, plant.log(since=mark))) >= 2, "a version with a higher fee was sent"
        )
    plant.settled(asked)
    assert chain.nonce(oracle) == nonce + 1


def test_transaction__nonce_taken_by_another_sender__is_sent_anew_once(plant: Site, class_id: int) -> None:
    mark, asked, chain = plant.log_size(), plant.ask(class_id), plant.lab.chain
    oracle = account("oracle")
    plant.gate.hold("eth_sendRawTransaction")
    plant.open(asked)
    until(plant.gate.waiting.is_set, "the submission is signed")
    nonce = chain.nonce(oracle.address)
    taken = oracle.sign_transaction(
        {
            "chainId": chain.chain_id, "nonce": nonce, "to": oracle.address, "value": 1, "gas": 21_000,
            "maxFeePerGas": chain.base_fee() * 2 + 10**9, "maxPriorityFeePerGas": 10**9,
        }
    )  # fmt: skip
    plant.system.w3.eth.send_raw_transaction(taken.raw_transaction)
    until(lambda: chain.nonce(oracle.address) == nonce + 1, "the other transaction is mined")
    plant.gate.release()
    plant.settled(asked)
    assert chain.nonce(oracle.address) == nonce + 2
    plant.wait_log(rf"settlement \S+ nonce {nonce + 1} ", mark)


# Reorganisations: Anvil forgets the transactions of the blocks it replaces


@pytest.fixture
def deep(site: Site, class_id: int) -> Iterator[Site]:
    """The provider waits for DEPTH blocks."""
    site.provider.stop()
    site.configure_provider({"quorum": {"watchers": []}, "chain": {"finality_depth": DEPTH}})
    site.start()
    yield site
    site.gate.release()
    site.provider.stop()
    site.configure_provider({"quorum": {"watchers": []}})


def reorganise(site: Site) -> None:
    """Replace the newest block by an empty one."""
    site.system.anvil.rpc("anvil_reorg", 1, [])


def accepts(site: Site, asked: Asked) -> int:
    """How often the chain saw the job accepted."""
    return len(list(site.lab.chain.at().events("JobMarket", "JobAccepted", jobId=asked.id)))


def mine_until(site: Site, asked: Asked, state: str) -> None:
    """Let the chain go on, a block a second, until the node knows the job in this state."""

    def there() -> bool:
        if site.lab.chain.at().time() < time.time():  # its clock is never ahead of ours
            site.system.anvil.mine()
        return site.state_of(asked.id) == state

    until(there, f"the job is {state}")


def test_reorg__removes_an_open__nothing_was_run_and_the_next_open_settles(deep: Site, class_id: int) -> None:
    asked = deep.open(deep.ask(class_id))
    reorganise(deep)
    assert deep.lab.status(asked.id) is Status.NONE
    deep.system.anvil.mine(DEPTH)
    assert deep.state_of(asked.id) == "quoted"
    deep.open(asked)
    mine_until(deep, asked, "settled")
    deep.settled(asked)
    assert deep.row(asked.id)["attempt"] == 1


def test_reorg__removes_an_accept__is_accepted_again(deep: Site, class_id: int) -> None:
    deep.lab.put_spec(SHORT)
    asked = deep.open(deep.ask(class_id, quoted=False))
    deep.system.anvil.mine(DEPTH)
    until(lambda: deep.mined(f"accept 0x{asked.id.hex()}"), "it is accepted")
    assert deep.lab.status(asked.id) is Status.RUNNING
    deep.gate.hold("eth_sendRawTransaction")  # it accepts again at once: not before we have looked
    reorganise(deep)
    until(deep.gate.waiting.is_set, "it is accepted again")
    assert deep.lab.status(asked.id) is Status.OPEN  # nothing else brought it back
    mark = deep.log_size()
    deep.gate.release()
    mine_until(deep, asked, "settled")
    deep.settled(asked)
    assert accepts(deep, asked) == 1
    deep.wait_log(rf"accept 0x{asked.id.hex()} nonce \d+ 0x[0-9a-f]+: accepted", mark)


def test_reorg__removes_a_submit__is_submitted_again_and_settled_once(deep: Site, class_id: int) -> None:
    asked = deep.open(deep.ask(class_id))
    deep.system.anvil.mine(DEPTH)
    deep.wait_state(asked.id, "submitting")
    until(lambda: deep.mined(f"settlement {deep.row(asked.id)['settlement_id']}.%"), "it is submitted")
    assert deep.lab.status(asked.id) is Status.SETTLED
    mark, seen = deep.log_size(), len(deep.steps(asked.id))
    deep.gate.hold("eth_sendRawTransaction")
    reorganise(deep)
    until(deep.gate.waiting.is_set, "it is submitted again")
    assert (deep.lab.status(asked.id), deep.times_settled(asked.id)) == (Status.RUNNING, 0)
    deep.gate.release()
    mine_until(deep, asked, "settled")
    deep.settled(asked)
    assert "submitting" in deep.steps(asked.id)[seen:]
    deep.wait_log("the transaction never took effect", mark)


def test_reorg__deeper_than_trusted__job_opened_anew_is_run_again(plant: Site, class_id: int) -> None:
    asked = plant.open(plant.ask(class_id, LONG))
    until(lambda: plant.row(asked.id).get("process_group"), "the job's process started")
    reorganise(plant)
    plant.system.mint(asked.terms.payer, 1)  # another block: the job gets another nonce
    plant.open(asked)
    plant.wait_log("job reopened with another nonce")
    plant.settled(asked)
    assert plant.row(asked.id)["attempt"] == 2


def test_reorg__removes_an_open_for_good__job_lapses(plant: Site, class_id: int) -> None:
    asked = plant.open(plant.ask(class_id, LONG, accept_by=plant.now() + 12))
    until(lambda: plant.row(asked.id).get("process_group"), "the job's process started")
    reorganise(plant)
    mine_until(plant, asked, "lapsed")
    assert plant.times_settled(asked.id) == 0
    assert plant.books(class_id) == asked.books
