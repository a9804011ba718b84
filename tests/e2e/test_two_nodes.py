"""Two nodes of one provider on one database: whichever dies or stands still, every job is settled once.

All processes are real: Anvil, PostgreSQL, both nodes, a watcher, the jobs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oracle.states import State
from scrip import redeem
from scrip.amounts import pay_out
from scrip.buying import buy
from scrip.spec import JobSpec
from scrip.types import Status
from tests.databases import BACKENDS
from tests.e2e import pair as pairs
from tests.e2e.pair import Member, Pair

SEED = "0x" + "77" * 32
SHORT, LONG = 200_000, 12_000_000
"""Steps of hash.chain: a moment, and some seconds."""
UNITS = 30_000
WAIT_SECONDS = 90.0


# Each database has a stack of its own, so the tests of one may run beside the other's.
GROUPS = [pytest.param(name, marks=pytest.mark.xdist_group(f"two nodes on {name}")) for name in BACKENDS]


@pytest.fixture(scope="module", params=GROUPS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('shared') / 'oracle.db'}"
        with pairs.running(url) as made:
            yield stocked(made)
    else:
        with request.getfixturevalue("postgres").database() as url, pairs.running(url) as made:
            yield stocked(made)


def stocked(pair: Pair) -> Pair:
    up = pair.stack
    buy(up.chain, up.sender("buyer"), up.accounts["buyer"], up.classes.cpu, 20 * UNITS)
    return pair


def until(holds: Callable[[], object], what: str) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


def a_leader(pair: Pair) -> Member:
    """Both run and one leads."""
    pair.start()
    until(lambda: pair.leader() is not None, "one of the nodes leads")
    found = pair.leader()
    assert found is not None
    until(pair.other(found).answers, "the other one stands by")
    return found


def opened(pair: Pair, steps: int) -> redeem.Plan:
    """A job, opened by quote as a buyer would."""
    up = pair.stack
    spec = JobSpec("hash.chain", {"seed": SEED, "steps": steps})
    buyer = str(up.accounts["buyer"].address)
    planned = redeem.plan(up.chain, buyer, up.provider, up.classes.cpu, spec, UNITS, finish_seconds=600)
    redeem.open_job(up.chain, up.sender("buyer"), planned)
    return planned


class Books:
    """What is paid for each job, looked at before and after."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.before = self._now()
        self.nonce = pair.stack.chain.nonce(str(pair.stack.accounts["oracle"].address))

    def _now(self) -> tuple[int, int, int, int]:
        up, view, class_id = self.pair.stack, self.pair.stack.chain.at(), self.pair.stack.classes.cpu
        return (
            view.balance(str(up.accounts["buyer"].address), class_id),
            view.earnings(up.provider, up.payment_token),
            view.supply(class_id),
            view.backing(class_id),
        )

    def assert_settled_once(self, *plans: redeem.Plan) -> None:
        """Each job is settled, by one transaction, and all amounts are exact."""
        chain, units = self.pair.stack.chain, []
        for planned in plans:
            assert redeem.follow(chain, planned.job_id, timeout=WAIT_SECONDS) is Status.SETTLED
            events = list(chain.at().events("JobMarket", "JobSettled", jobId=planned.job_id))
            assert len(events) == 1
            until(lambda: self.pair.leader(), "a node serves the evidence")
            units.append(redeem.collect(chain, planned, self.pair.stack.accounts["buyer"]).receipt.units)
        held, earned, supply, backing = self.before
        for each in units:  # the price of this class is fixed, so the order of the rows doesn't matter
            paid = pay_out(each, backing, supply)
            held, earned, supply, backing = held - each, earned + paid, supply - each, backing - paid
        assert self._now() == (held, earned, supply, backing)
        # A submission each, and nothing else that the chain took from this key.
        key = str(self.pair.stack.accounts["oracle"].address)
        assert chain.nonce(key) == self.nonce + len(plans)


def test_two_nodes__one_leads_and_the_other_stands_by__jobs_settle_once(pair: Pair) -> None:
    leader, books = a_leader(pair), Books(pair)
    other = pair.other(leader)
    assert not other.node.is_ready()
    plans = [opened(pair, SHORT) for _ in range(3)]
    books.assert_settled_once(*plans)
    assert not other.node.is_ready()


def test_kill__leader_during_execution__the_other_runs_the_job_again(pair: Pair) -> None:
    leader, books = a_leader(pair), Books(pair)
    planned = opened(pair, LONG)
    until(lambda: (job := pair.job(planned.job_id)) and job.process_group, "the job's process started")
    assert leader.node.kill(signal.SIGKILL) == -signal.SIGKILL
    began = time.monotonic()
    until(lambda: pair.leader() is pair.other(leader), "the other one leads")
    assert time.monotonic() - began < 10 * pairs.LEASE_SECONDS
    books.assert_settled_once(planned)
    done = pair.job(planned.job_id)
    assert done is not None
    assert done.attempt == 2


def test_kill__leader_with_many_jobs_in_all_states__each_settles_once(pair: Pair) -> None:
    leader, books = a_leader(pair), Books(pair)
    plans = [opened(pair, SHORT) for _ in range(6)]
    until(lambda: pair.store.count([State.SUBMITTING, State.SETTLED]) > 0, "the first is on its way")
    assert leader.node.kill(signal.SIGKILL) == -signal.SIGKILL
    books.assert_settled_once(*plans)


def test_stop__leader_about_to_sign_a_transaction__the_other_sends_and_it_sends_nothing(pair: Pair) -> None:
    leader, books = a_leader(pair), Books(pair)
    # A submission estimates its gas just before it is signed as a transaction and recorded.
    leader.gate.hold("eth_estimateGas")
    planned = opened(pair, SHORT)
    until(leader.gate.waiting.is_set, "the leader is about to send")
    assert_fenced(pair, leader, books, planned)


def test_stop__leader_about_to_broadcast__late_bytes_change_nothing(pair: Pair) -> None:
    leader, books = a_leader(pair), Books(pair)
    leader.gate.hold("eth_sendRawTransaction")
    planned = opened(pair, SHORT)
    until(leader.gate.waiting.is_set, "the leader has recorded its transaction")
    assert_fenced(pair, leader, books, planned)


def test_stop__leader_during_execution__its_result_is_not_used(pair: Pair) -> None:
    leader, books = a_leader(pair), Books(pair)
    planned = opened(pair, LONG)
    until(lambda: (job := pair.job(planned.job_id)) and job.process_group, "the job's process started")
    assert_fenced(pair, leader, books, planned)
    done = pair.job(planned.job_id)
    assert done is not None
    assert done.attempt == 2


def assert_fenced(pair: Pair, leader: Member, books: Books, planned: redeem.Plan) -> None:
    """The leader stands still until the other one has done its work; then it goes on, and must do nothing."""
    epoch = pair.epoch()
    pair.stop_in_its_tracks(leader)
    try:
        until(lambda: pair.leader() is pair.other(leader), "the other one leads")
        assert pair.epoch() == epoch + 1
        books.assert_settled_once(planned)
    finally:
        leader.go_on()
        leader.gate.release()
    process = leader.node.process
    assert process is not None
    assert process.wait(WAIT_SECONDS) == 1
    assert "LeadLost" in Path(leader.node.log).read_text("utf-8")
    books.assert_settled_once(planned)
    assert pair.epoch() == epoch + 1


def test_term__leader__hands_over_at_once(pair: Pair) -> None:
    leader, books = a_leader(pair), Books(pair)
    assert leader.node.kill(signal.SIGTERM) == 0
    until(lambda: pair.leader() is pair.other(leader), "the other one leads")
    books.assert_settled_once(opened(pair, SHORT))


def test_restart__same_folder_alone__leads_at_once(pair: Pair) -> None:
    leader = a_leader(pair)
    other = pair.other(leader)
    assert other.node.kill(signal.SIGTERM) == 0
    assert leader.node.kill(signal.SIGKILL) == -signal.SIGKILL
    epoch, waits = pair.epoch(), leader.node.log.read_text("utf-8").count("standing by")
    leader.node.start()
    leader.node.wait_ready()
    assert pair.epoch() == epoch + 1
    assert leader.node.log.read_text("utf-8").count("standing by") == waits
