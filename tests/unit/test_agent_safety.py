"""Whatever offers, failures, kills and retries occur: an agent never spends past its limit, never pays twice
for a need, and never hands out what it didn't verify. And once the world behaves again, it gets things done.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agents.book import LIVE, AttemptState, NeedState, _content
from agents.buyer import Bought, Buyer, Unverified
from agents.ledger import Ledger
from agents.market import listings
from agents.policy import Need
from agents.purse import BudgetPurse
from scrip.errors import ScripError
from scrip.evidence import output_hash
from scrip.provider_client import Offer
from scrip.spec import JobSpec, spec_hash
from scrip.types import ProviderInfo, Resource, Status
from tests.unit.agent_edges import SimClient, SimSender, discovered
from tests.unit.agent_parties import AGENT, OWNER, Kill
from tests.unit.agent_world import Provider, World

UNITS = 16
SECONDS = 400
QUOTES = ("signed", "signed", "signed", "signed", "signed", "signed", "refused", "full", "forged", "stale")
WORK = ("done", "done", "done", "slow", "fails", "drops", "silent")
EVIDENCE = (
    "honest", "honest", "honest", "honest", "missing", "kept back", "garbled", "other output",
    "other receipt", "other job", "other samples",
)  # fmt: skip
SENDS = (
    "mined", "mined", "node", "rejected", "reverts", "unknown", "unknown lost", "kill before", "kill after",
    "kill pending", "kill pending lost",
)  # fmt: skip
CAP = st.sampled_from((10**6, 10**6, 10**6, 200, 60, 30, 5))
TIMES = st.sampled_from((0, 200, 3_000, 3_000))
BEHAVIOUR = st.tuples(
    st.integers(1, 2_000_000),
    st.sampled_from((True, True, True, True, True, False)),
    st.sampled_from(QUOTES),
    st.sampled_from(WORK),
    st.sampled_from(EVIDENCE),
    st.integers(-1, 1_000),
)
"""Price, whether it can be reached, quotes, work, evidence, and the seconds it says it takes."""
FIELDS = [item.name for item in fields(Provider)][2:]
FAULTS = st.just([]) | st.lists(st.tuples(st.integers(0, 60), st.sampled_from(("node", "kill"))), max_size=2)
FATES = st.just([]) | st.lists(st.sampled_from(SENDS), max_size=3)


class AgentMachine(RuleBasedStateMachine):
    """One agent in a market that does its worst."""

    kind = "own"

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a place: thousands of writes wait for the disk otherwise.
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
        self.folder = tempfile.TemporaryDirectory(prefix="scrip-agent-", dir=place)
        self.patches: list[Any] = []
        self.spent_keys: dict[str, int] = {}
        self.singles = 0
        self.world: World | None = None

    @initialize(
        offers=st.lists(BEHAVIOUR, min_size=2, max_size=4),
        limit=st.sampled_from((10**6, 10**6, 120, 40, 3)),
        held=st.sampled_from((0, 0, UNITS, 100)),
        caps=st.tuples(CAP, CAP, CAP, CAP),
        cheap=st.booleans(),
    )
    def begin(self, offers: Any, limit: int, held: int, caps: tuple[int, ...], cheap: bool) -> None:
        self.world = World([Provider(number + 1, *how) for number, how in enumerate(offers)], held=held)
        self.limit = limit
        self.tokens = self.world.tokens
        budgets = self.world.budgets
        action, period, lifetime, above = caps
        root = budgets.create(0, OWNER, lifetime=above)
        budgets.create(
            root, AGENT.address, per_action=action, per_period=period, period=3_600, lifetime=lifetime
        )
        price = 1 if cheap else 30
        good = budgets.offer(1, 40, price)
        forged, small = budgets.offer(2, 40, price, forged=True), budgets.offer(2, 10, price)
        self.offers = [good, forged, small, good, budgets.offer(1, 10, 1, expiry=5)]
        world = self.world

        def client(endpoint: str, **_: Any) -> SimClient:
            return SimClient(world, endpoint)

        def found(info: ProviderInfo) -> Offer:
            return discovered(world, info)

        for target, double in (
            ("scrip.redeem.ProviderClient", client),
            ("scrip.redeem.discover", found),
            ("agents.buyer.ProviderClient", client),
        ):
            patch = mock.patch(target, double)
            patch.start()
            self.patches.append(patch)
        self.start()

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()
        self.folder.cleanup()

    # What an agent's process is

    def start(self) -> None:
        """A process of the agent: nothing but the files and the chain is left of the one before."""
        assert self.world
        world, sender = self.world, SimSender(self.world)
        common: Any = (world.chain, sender, AGENT)
        with_faults, world.faults = world.faults, []
        if self.kind == "own":
            self.ledger = Ledger(Path(self.folder.name) / "spent.json", self.limit)
            purse: Any = self.ledger
            self._stepping(self.ledger, "_write")
        else:
            purse = BudgetPurse(*common, 2, lambda: self.offers)
        self.buyer = Buyer(
            *common,
            purse,
            book=Path(self.folder.name) / "book",
            read_market=lambda chain: listings(chain, discover_offer=lambda info: discovered(world, info)),
            clock=lambda: float(world.time),
            sleep=world.tick,
            wall_ms=lambda: world.time * 1000,
        )
        self._stepping(self.buyer.book, "_write")
        world.faults = with_faults

    def _stepping(self, thing: Any, name: str) -> None:
        """A kill may strike right before and right after a write to the disk."""
        real, world = getattr(thing, name), self.world
        assert world

        def write(*args: Any) -> Any:
            world.step(disk=True)
            done = real(*args)
            world.step(disk=True)
            return done

        setattr(thing, name, write)

    def attempt(self, need: Need, timeout: float) -> None:
        assert self.world
        try:
            self.accepted(self.buyer.meet(need, timeout=timeout))
            if not need.key:
                self.singles += 1
        except Unverified:
            if not need.key:
                self.singles += 1
        except ScripError:
            pass
        except Kill:
            self.start()
            # Killed between noting that it is met and handing out the result: only a key helps there.
            if not need.key and self.handed_out(need):
                self.singles += 1
        finally:
            self.world.faults, self.world.sends = [], []

    def handed_out(self, need: Need) -> bool:
        newest = self.buyer.book._one(
            "SELECT state FROM needs WHERE content = ? ORDER BY rowid DESC", _content(need)
        )
        return newest is not None and newest[0] == NeedState.MET

    def accepted(self, bought: Bought) -> None:
        """What was handed out is what the chain settled, to the byte, and what was asked for."""
        assert self.world
        done = bought.redemption
        job = self.world.jobs[done.plan.job_id]
        assert job.status is Status.SETTLED
        assert done.receipt == job.receipt
        assert output_hash(done.output) == job.receipt.output_hash
        assert self.world.by_address(job.terms.provider).evidence == "honest"
        assert job.terms.spec_hash == spec_hash(done.plan.spec)
        paid = self.spent_keys.setdefault(done.plan.job_id.hex(), bought.spent)
        assert paid == bought.spent

    # Rules

    @rule(which=st.integers(0, 3), how=BEHAVIOUR)
    def change(self, which: int, how: Any) -> None:
        """A provider behaves differently from now on, at the price of its class."""
        assert self.world
        at = which % len(self.world.providers)
        self.world.providers[at] = replace(
            self.world.providers[at], **dict(zip(FIELDS, how[1:], strict=True))
        )

    @rule(number=st.integers(0, 3), faults=FAULTS, fates=FATES, timeout=TIMES)
    def meet(self, number: int, faults: Any, fates: list[str], timeout: int) -> None:
        """A need with a key: bought once, however often it is asked for."""
        self.strike(faults, fates)
        self.attempt(need(f"key {number}", key=f"key {number}"), timeout)

    @rule(faults=FAULTS, fates=FATES, timeout=TIMES)
    def meet_single(self, faults: Any, fates: list[str], timeout: int) -> None:
        """A need without a key, asked for again until it is met."""
        self.strike(faults, fates)
        self.attempt(need(f"single {self.singles}"), timeout)

    @rule(faults=FAULTS, fates=FATES)
    def resume(self, faults: Any, fates: list[str]) -> None:
        """Everything that was left is taken up."""
        self.strike(faults, fates)
        assert self.world
        try:
            for found in self.buyer.resume(timeout=200):
                if isinstance(found, Bought):
                    self.accepted(found)
        except Kill:
            self.start()
        except ScripError:
            pass
        finally:
            self.world.faults, self.world.sends = [], []
            self.singles += 1

    @rule(seconds=st.sampled_from((1, 100, 400, 5_000)))
    def wait(self, seconds: int) -> None:
        """Time passes, and jobs go on."""
        assert self.world
        self.world.mine(seconds)
        self.world.tick()

    @rule()
    def restart(self) -> None:
        """The process ends between two calls, and starts again."""
        self.start()

    @precondition(lambda self: self.kind == "budget")
    @rule(lifetime=st.integers(0, 300))
    def set_root(self, lifetime: int) -> None:
        """The owner changes what the whole tree may spend."""
        assert self.world
        root = self.world.budgets.nodes[1]
        if lifetime >= root.spent:
            root.limits = type(root.limits)(OWNER, *root.limits.to_abi()[1:3], lifetime, 0, 0, False)

    def strike(self, faults: Any, fates: list[str]) -> None:
        assert self.world
        self.world.faults, self.world.sends = list(faults), list(fates)

    # What must hold

    @invariant()
    def pays_once(self) -> None:
        """A job is opened for a need only when every one before has ended, and none was paid."""
        if self.world is None:
            return
        live: dict[bytes, int] = defaultdict(int)
        paid: set[bytes] = set()
        for what, *rest in self.world.told:
            if what == "opened":
                assert live[rest[0]] == 0, "two jobs at once for one need"
                assert rest[0] not in paid, "paid twice for one need"
                live[rest[0]] += 1
            elif what == "ended":
                live[rest[0]] -= 1
                if rest[1] is Status.SETTLED:
                    paid.add(rest[0])

    @invariant()
    def buys_what_is_missing(self) -> None:
        """Nothing is ordered while an earlier order may still go through: no purchase is made twice."""
        if self.world is not None:
            assert all(one[1] <= UNITS for one in self.world.told if one[0] == "orders")

    @invariant()
    def within_the_limit(self) -> None:
        """What was spent is within the limit, and the agent knows of all of it."""
        if self.world is None:
            return
        bought = sum(one[1] for one in self.world.told if one[0] == "bought")
        if self.kind == "own":
            assert bought <= self.limit
            assert bought <= Ledger(self.ledger.path, self.limit).spent()
            return
        assert self.world.tokens == self.tokens, "an agent under a budget spends none of its own money"
        charged = sum(one[2] for one in self.world.told if one[0] == "charged")
        released = sum(one[2] for one in self.world.told if one[0] == "released")
        for node in self.world.budgets.nodes.values():
            assert charged - released == node.spent <= node.limits.lifetime

    @invariant()
    def foresees_refusals(self) -> None:
        """No charge was sent that a budget had to refuse: the agent had read every level before."""
        if self.world is not None:
            assert self.world.refusals == 0

    @rule()
    def heal(self) -> None:
        """Once everybody is honest, nothing stays open: each job is concluded and its need is at an end."""
        assert self.world
        self.strike([], [])
        for provider in self.world.providers:
            provider.quote, provider.work, provider.evidence = "signed", "done", "honest"
            provider.reachable = True
        self.start()
        for found in self.buyer.resume(timeout=3_000):
            if isinstance(found, Bought):
                self.accepted(found)
        assert self.buyer.book.unfinished() == []
        rows = self.buyer.book._all("SELECT state FROM attempts")
        assert not {AttemptState(row[0]) for row in rows} & set(LIVE)
        assert all(job.status.final for job in self.world.jobs.values())
        self.singles += 1


class BudgetMachine(AgentMachine):
    """The same under a budget of two levels, its missing credits bought on the exchange."""

    kind = "budget"


def need(question: str, key: str = "") -> Need:
    spec = JobSpec("llm.generate", {"question": question, "max_tokens": UNITS})
    return Need(spec, Resource.OUTPUT_TOKEN, UNITS, min_assurance=1, seconds=SECONDS, key=key)


@pytest.mark.parametrize("machine", [AgentMachine, BudgetMachine])
def test_agent__any_offers_faults_and_kills__never_overspends_pays_twice_or_trusts(machine: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck.all()),
        ),
    )
