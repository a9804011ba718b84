"""The provider's oracle is killed with -9 at each dangerous moment; every job is settled exactly once.

All processes are real: Anvil, the provider, two watchers, the jobs. The provider reaches its chain through a
gate, so that the moments between signing and mining can be held still without a sleep.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from scrip import redeem
from scrip.amounts import pay_out
from scrip.buying import buy
from scrip.redeem import Redemption
from scrip.spec import JobSpec
from scrip.types import Status
from scripts import stack
from scripts.stack import Stack
from scripts.stack_config import PROVIDER, Options
from tests.e2e import gate as gates
from tests.e2e.gate import Gate

SEED = "0x" + "77" * 32
SHORT, LONG = 200_000, 12_000_000
"""Steps of hash.chain: a moment, and some seconds."""
UNITS = 30_000
WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class World:
    """A stack whose provider talks to the chain through a gate."""

    stack: Stack
    gate: Gate

    def open(self, steps: int) -> redeem.Plan:
        """Open a job by quote, as a buyer would."""
        up = self.stack
        spec = JobSpec("hash.chain", {"seed": SEED, "steps": steps})
        buyer = str(up.accounts["buyer"].address)
        planned = redeem.plan(up.chain, buyer, up.provider, up.classes.cpu, spec, UNITS, finish_seconds=600)
        redeem.open_job(up.chain, up.sender("buyer"), planned)
        return planned

    def job(self, planned: redeem.Plan) -> dict[str, object]:
        """The job's row in the provider's store."""
        path = self.stack.layout.state(PROVIDER) / "oracle.db"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
            store.row_factory = sqlite3.Row
            rows = store.execute("SELECT * FROM jobs WHERE job_id = ?", ("0x" + planned.job_id.hex(),))
            found = rows.fetchone()
        return dict(found) if found else {}

    def settled_once(self, planned: redeem.Plan) -> Redemption:
        """Wait for the end and check that the chain holds exactly one, with exact amounts."""
        up = self.stack
        status = redeem.follow(up.chain, planned.job_id, timeout=WAIT_SECONDS)
        assert status is Status.SETTLED
        events = list(up.chain.at().events("JobMarket", "JobSettled", jobId=planned.job_id))
        assert len(events) == 1
        return redeem.collect(up.chain, planned, up.accounts["buyer"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with stack.running(Options(poll_ms=100)) as up, gates.running(up.rpc_url) as gate:
        config = up.layout.config(PROVIDER)
        config.write_text(config.read_text().replace(up.rpc_url, gate.url))
        up.start_nodes()
        buy(up.chain, up.sender("buyer"), up.accounts["buyer"], up.classes.cpu, 10 * UNITS)
        yield World(up, gate)


@dataclass(frozen=True, slots=True)
class Money:
    """What a settlement moves."""

    held: int
    earned: int
    supply: int
    backing: int

    @classmethod
    def of(cls, up: Stack) -> Money:
        view, class_id = up.chain.at(), up.classes.cpu
        return cls(
            view.balance(str(up.accounts["buyer"].address), class_id),
            view.earnings(up.provider, up.payment_token),
            view.supply(class_id),
            view.backing(class_id),
        )


def until(holds: Callable[[], object], what: str) -> None:
    """Poll until it holds. Raises after a minute."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def assert_moved_once(before: Money, after: Money, done: Redemption) -> None:
    units = done.receipt.units
    paid = pay_out(units, before.backing, before.supply)
    assert after == Money(
        before.held - units, before.earned + paid, before.supply - units, before.backing - paid
    )


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_kill__during_execution__orphan_ended_and_job_run_again(world: World) -> None:
    before, planned = Money.of(world.stack), world.open(LONG)
    until(lambda: world.job(planned).get("process_group"), "the job's process started")
    group = int(str(world.job(planned)["process_group"]))
    assert world.job(planned)["state"] == "executing"
    assert world.stack.kill_oracle(signal.SIGKILL) == -signal.SIGKILL
    world.stack.start_oracle()
    until(lambda: not group_is_alive(group), "the orphan of the killed node ended")
    done = world.settled_once(planned)
    assert world.job(planned)["attempt"] == 2
    assert_moved_once(before, Money.of(world.stack), done)


def test_kill__after_signing__sent_once_after_the_restart(world: World) -> None:
    before = Money.of(world.stack)
    # A submission estimates its gas just before it is signed as a transaction and sent.
    world.gate.hold("eth_estimateGas")
    planned = world.open(SHORT)
    until(world.gate.waiting.is_set, "the provider is about to send")
    assert world.job(planned)["state"] == "submitting"
    assert world.stack.kill_oracle(signal.SIGKILL) == -signal.SIGKILL
    world.gate.release()
    assert world.stack.chain.at().job_state(planned.job_id).status is Status.RUNNING
    world.stack.start_oracle()
    done = world.settled_once(planned)
    assert world.job(planned)["attempt"] == 1
    assert_moved_once(before, Money.of(world.stack), done)


def test_kill__after_broadcast__not_sent_again(world: World) -> None:
    up, before, planned = world.stack, Money.of(world.stack), world.open(SHORT)
    oracle = str(up.accounts["oracle"].address)
    nonce = up.chain.nonce(oracle)
    up.anvil.rpc("evm_setAutomine", False)
    up.anvil.rpc("evm_setIntervalMining", 0)
    try:
        until(lambda: up.chain.nonce(oracle, "pending") > nonce, "the submission is in the pool")
        assert up.kill_oracle(signal.SIGKILL) == -signal.SIGKILL
    finally:
        up.anvil.rpc("evm_setAutomine", True)
        up.anvil.rpc("evm_setIntervalMining", 1)
    up.start_oracle()
    done = world.settled_once(planned)
    assert up.chain.nonce(oracle) == nonce + 1
    assert_moved_once(before, Money.of(up), done)


def test_term__during_execution__step_finished_and_nothing_left(world: World) -> None:
    before, planned = Money.of(world.stack), world.open(LONG)
    until(lambda: world.job(planned).get("process_group"), "the job's process started")
    group = int(str(world.job(planned)["process_group"]))
    assert world.stack.kill_oracle(signal.SIGTERM) == 0
    until(lambda: not group_is_alive(group), "the job's process ended with its node")
    world.stack.start_oracle()
    done = world.settled_once(planned)
    assert_moved_once(before, Money.of(world.stack), done)
