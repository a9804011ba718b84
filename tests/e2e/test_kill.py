"""The provider's oracle is killed with -9 at every step of a job's life; each job ends exactly once.

All processes are real: Anvil, the provider, two watchers, the jobs. A step is held still from outside: calls
to the chain are held at the gate, the mining of blocks is paused, or the watchers are stopped.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

from scrip.eip712_watchers import verdict_digest
from scrip.types import Fault, Status, Verdict
from tests.e2e.site import LONG, SHORT, Asked, Site, hashes, mining_paused, until
from tests.integration.system import signed

Hold = Literal["step", "signed", "sent"]
Kind = Literal["quoted", "on chain", "watched", "windowed", "unserved"]

WINDOW = 3
"""Seconds of the challenge window."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a node is killed: in `state` of a job of this kind.

    "step": the state is stored, nothing has been asked of the chain since. "signed": the transaction is in
    the journal, no node has seen it. "sent": it is in the pool, no block holds it. `says` is what the log of
    the next process says about it.
    """

    state: str
    hold: Hold
    kind: Kind
    says: str

    def __str__(self) -> str:
        return f"{self.state}-{self.hold}"


def sends(state: str, call: str, kind: Kind) -> tuple[Moment, ...]:
    """The three moments of a step that sends a transaction."""
    found = rf"reconciled {call} \S+ nonce \d+: (mined|pending)"
    return (
        Moment(state, "step", kind, rf'"{state}": 1'),
        Moment(state, "signed", kind, found),
        Moment(state, "sent", kind, found),
    )


MOMENTS = (
    *sends("accepting", "accept", "on chain"),
    Moment("executing", "step", "quoted", "the node restarted during this attempt"),
    Moment("metered", "step", "quoted", r'"metered": 1'),
    Moment("signing", "step", "watched", r'"signing": 1'),
    Moment("signed", "step", "quoted", r'"signed": 1'),
    *sends("submitting", "settlement", "quoted"),
    Moment("submitted", "step", "windowed", r'"submitted": 1'),
    *sends("finalizing", "finalize", "windowed"),
    *sends("cancelling", "cancel", "unserved"),
)


@dataclass(frozen=True, slots=True)
class Classes:
    """What jobs are paid in: settled at once, co-signed by both watchers, challengeable for a moment and for
    an hour.
    """

    plain: int
    watched: int
    windowed: int
    challenged: int


@pytest.fixture(scope="module")
def classes(site: Site) -> Classes:
    arbiters = site.system.watcher_set(["arbiter"], 1)
    create = site.system.create_class
    made = Classes(
        create(min_assurance=1),
        create(min_assurance=2, watcher_set=1),
        create(min_assurance=1, challenge_window=WINDOW, arbiter_set=arbiters),
        create(min_assurance=1, challenge_window=3600, arbiter_set=arbiters),
    )
    site.configure_watchers()
    site.configure_provider()
    return made


@pytest.fixture
def plant(site: Site, classes: Classes) -> Iterator[Site]:
    """All nodes run when a test begins."""
    site.start()
    yield site
    site.gate.release()
    site.watchers(signal.SIGCONT)


def ask(site: Site, classes: Classes, moment: Moment) -> Asked:
    """The job of a moment, not open yet."""
    if moment.kind == "on chain":
        site.lab.put_spec(SHORT)
        return site.ask(classes.plain, quoted=False)
    if moment.kind == "unserved":  # nobody sends its spec in time
        return site.ask(classes.plain, hashes(100_001), quoted=False, accept_by=site.now() + 10)
    class_id = {"watched": classes.watched, "windowed": classes.windowed}.get(moment.kind, classes.plain)
    return site.ask(class_id, LONG if moment.state == "executing" else SHORT)


def kill_at(site: Site, moment: Moment, asked: Asked) -> None:
    """Open the job and kill the node there."""
    job = asked.id
    if moment.hold == "sent":
        return kill_once_sent(site, moment, asked)
    if moment.state == "signing":
        site.watchers(signal.SIGSTOP)
    elif moment.state == "metered":
        # The loop stands still in its next scan while the worker goes on: nobody forms a settlement.
        site.gate.hold_if(
            lambda asked: asked == "eth_getLogs" and site.state_of(job) in ("executing", "metered")
        )
    elif moment.state not in ("executing", "submitted"):
        method = "eth_sendRawTransaction" if moment.hold == "signed" else None
        site.gate.hold_if(lambda asked: method in (None, asked) and site.state_of(job) == moment.state)
    site.open(asked)
    site.wait_state(job, moment.state)
    if moment.state == "executing":
        until(lambda: site.row(job).get("process_group"), "the job's process started")
    elif moment.state in ("accepting", "signed", "submitting", "finalizing", "cancelling"):
        until(site.gate.waiting.is_set, "a call is held")
    assert site.state_of(job) == moment.state
    assert site.kill() == -signal.SIGKILL
    site.watchers(signal.SIGCONT)


def kill_once_sent(site: Site, moment: Moment, asked: Asked) -> None:
    oracle, chain = site.lab.chain.at().oracle_of(site.lab.provider), site.lab.chain
    site.open(asked)
    if moment.state == "finalizing":
        site.wait_state(asked.id, "submitted")
    nonce = chain.nonce(oracle)
    with mining_paused(site.system):
        until(lambda: chain.nonce(oracle, "pending") > nonce, "the transaction is in the pool")
        site.wait_state(asked.id, moment.state)
        assert site.kill() == -signal.SIGKILL


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_kill__at_a_step__job_ends_once_and_the_books_are_exact(
    plant: Site, classes: Classes, moment: Moment
) -> None:
    asked = ask(plant, classes, moment)
    kill_at(plant, moment, asked)
    mark = plant.log_size()
    plant.start()
    if moment.kind == "unserved":
        plant.given_back(asked, Status.CANCELLED)
    else:
        plant.settled(asked)
        assert plant.row(asked.id)["attempt"] == (2 if moment.state == "executing" else 1)
    plant.wait_log(moment.says, mark)


def test_kill__between_quote_and_opening__quote_is_kept(plant: Site, classes: Classes) -> None:
    asked = plant.ask(classes.plain)
    assert plant.kill() == -signal.SIGKILL
    plant.open(asked)
    plant.start()
    plant.settled(asked)


def test_kill__while_it_waits_for_its_spec__spec_is_taken_later(plant: Site, classes: Classes) -> None:
    other = hashes(100_002)
    asked = plant.open(plant.ask(classes.plain, other, quoted=False))
    plant.wait_state(asked.id, "open")
    assert plant.kill() == -signal.SIGKILL
    plant.start()
    plant.lab.put_spec(other)
    plant.settled(asked)


def test_kill__one_runs_and_one_is_queued__both_settle(plant: Site, classes: Classes) -> None:
    first, second = plant.ask(classes.plain, LONG), plant.ask(classes.plain)
    plant.open(first)
    until(lambda: plant.row(first.id).get("process_group"), "the first runs")
    plant.open(second)
    plant.wait_state(second.id, "queued")
    group = int(plant.row(first.id)["process_group"])
    assert plant.kill() == -signal.SIGKILL
    plant.start()
    until(lambda: not group_is_alive(group), "the orphan of the killed node ended")
    plant.settled(first, also=[second])


def test_kill__during_a_dispute__verdict_is_followed(plant: Site, classes: Classes) -> None:
    asked = plant.open(plant.ask(classes.challenged))
    plant.wait_state(asked.id, "submitted")
    challenge(plant, asked)
    plant.wait_state(asked.id, "disputed")
    assert plant.kill() == -signal.SIGKILL
    verdict = Verdict(asked.id, 0, Fault.PROVIDER)
    digest = verdict_digest(verdict, plant.lab.chain.chain_id, plant.lab.chain.address("JobMarket"))
    plant.system.send(
        "JobMarket", "resolve", asked.terms.to_abi(), verdict.to_abi(), signed(digest, ["arbiter"])
    )
    plant.start()
    plant.given_back(asked, Status.REFUNDED)


def challenge(site: Site, asked: Asked) -> None:
    system, challenger = site.system, site.system.funded("challenger").address
    bond = int(system.contract("ProviderRegistry").functions.CHALLENGE_BOND().call())
    system.mint(challenger, bond)
    system.send("DemoUSD", "approve", site.lab.chain.address("ProviderRegistry"), bond, sender=challenger)
    system.send("JobMarket", "challenge", asked.terms.to_abi(), sender=challenger)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_term__long_job_runs__ends_soon_and_the_attempt_does_not_count(plant: Site, classes: Classes) -> None:
    asked = plant.open(plant.ask(classes.plain, LONG))
    until(lambda: plant.row(asked.id).get("process_group"), "the job's process started")
    group, begun = int(plant.row(asked.id)["process_group"]), time.monotonic()
    assert plant.kill(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 10
    assert not group_is_alive(group)
    assert plant.state_of(asked.id) == "queued"
    assert '"the node was stopped"' in plant.log()
    plant.start()
    plant.settled(asked)
    assert plant.row(asked.id)["attempt"] == 1


def test_term__second_one__ends_at_once(plant: Site, classes: Classes) -> None:
    asked = plant.ask(classes.plain)
    plant.gate.hold("eth_blockNumber")
    until(plant.gate.waiting.is_set, "the loop waits for the chain")
    process = plant.provider.process
    assert process is not None
    while process.poll() is None:  # the node is still in its step: only another signal ends it
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert process.returncode == 130
    plant.gate.release()
    plant.start()
    plant.settled(plant.open(asked))
