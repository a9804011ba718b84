"""Pipelines bought by the real loop in a market that does its worst: whatever fails and whenever the process
is killed, no stage is paid twice, nothing passes what was set aside, and in the end every stage is at an end.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.book import Book
from agents.ledger import Ledger
from agents.market import listings
from agents.pipeline import state as states
from agents.pipeline import tree
from agents.pipeline.funds import Actor, BuyerWork, LedgerFunds
from agents.pipeline.plan import Plan
from agents.pipeline.quote import quote
from agents.pipeline.run import Result, Run
from agents.pipeline.state import StageRecord, StageStatus, State
from agents.pipeline.tree import ReceiptTree
from agents.policy import Means
from scrip.errors import ScripError
from scrip.provider_client import Offer
from scrip.types import ProviderInfo, Status
from tests.unit.agent_world import AGENT, TOKEN, Kill, Provider, SimClient, SimSender, World, discovered
from tests.unit.evidence_factory import CHAIN_ID, MARKET
from tests.unit.pipeline_factory import FAST, snapshot, stage
from tests.unit.test_agent_safety import EVIDENCE, FATES, FAULTS, QUOTES, SECONDS, UNITS, WORK
from tests.unit.test_pipeline_plan import graphs

LIMIT = 10_000
BEHAVIOUR = st.tuples(
    st.sampled_from(QUOTES), st.sampled_from(WORK), st.sampled_from(EVIDENCE), st.booleans()
)
ROUNDS = st.lists(st.tuples(FAULTS, FATES, st.lists(BEHAVIOUR, min_size=3, max_size=3)), max_size=3)


@contextmanager
def stepping(world: World) -> Iterator[None]:
    """The world's providers in place of HTTP; a kill may strike before and after every write to the disk."""

    def client(endpoint: str, **_: Any) -> SimClient:
        return SimClient(world, endpoint)

    def found(info: ProviderInfo) -> Offer:
        return discovered(world, info)

    def writes(owner: Any, name: str) -> Any:
        real = getattr(owner, name)

        def write(*args: Any) -> Any:
            world.step(disk=True)
            done = real(*args)
            world.step(disk=True)
            return done

        return mock.patch.object(owner, name, write)

    with (
        mock.patch("scrip.redeem.ProviderClient", client),
        mock.patch("scrip.redeem.discover", found),
        mock.patch("agents.buyer.ProviderClient", client),
        writes(states, "_store"),
        writes(Ledger, "_write"),
        writes(Book, "_write"),
    ):
        yield


class Agent:
    """An agent's process: nothing but the files and the chain is left of the one before."""

    def __init__(self, world: World, folder: Path, plan: Plan) -> None:
        self.world, self.folder = world, folder
        self.ledger = Ledger(folder / "spent.json", LIMIT)
        quoted = quote(plan, self.market(world.chain), Means(LIMIT))
        records = {each.stage.name: StageRecord(most=each.most, price=each.price) for each in quoted.stages}
        begun = snapshot(plan)
        begun = replace(
            begun, stages=records, chain_id=CHAIN_ID, market=MARKET, payer=AGENT.address, token=TOKEN
        )
        self.total = quoted.total
        with State.create(folder / "run", begun):
            pass

    def market(self, chain: Any) -> Any:
        return listings(chain, discover_offer=lambda info: discovered(self.world, info))

    def go(self) -> Result | None:
        """The run as far as it gets; None if the process was killed, or the node away at its start."""
        world = self.world
        actor: Any = Actor(world.chain, SimSender(world), AGENT)  # type: ignore[arg-type]
        try:
            with State.open(self.folder / "run") as state:
                funds = LedgerFunds(actor, self.ledger, state)
                work = BuyerWork(
                    actor,
                    funds,
                    self.folder / "book",
                    state.key,
                    self.market,
                    clock=lambda: float(world.time),
                    sleep=world.tick,
                )
                funds.reserve()
                result = Run(state, work, at_once=1).go()
                if not result.unfinished:
                    funds.release()
                return result
        except (Kill, ScripError):
            return None
        finally:
            world.faults, world.sends = [], []


def behave(world: World, how: list[tuple[str, str, str, bool]]) -> None:
    for provider, (quoted, work, evidence, reachable) in zip(world.providers, how, strict=False):
        provider.quote, provider.work, provider.evidence = quoted, work, evidence
        provider.reachable = reachable


def paid(world: World) -> Counter[bytes]:
    """How many jobs settled, by their spec's hash."""
    ended = [rest for what, *rest in world.told if what == "ended"]
    return Counter(spec for spec, status in ended if status is Status.SETTLED)


def bought(world: World) -> int:
    return sum(rest[0] for what, *rest in world.told if what == "bought")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.lists(st.integers(1, 2_000_000), min_size=2, max_size=3), ROUNDS)
def test_run__faults_and_kills_anywhere__each_stage_paid_once_within_the_total(
    edges: dict[str, list[str]], prices: list[int], rounds: list[Any]
) -> None:
    edges = {name: sources for name, sources in list(edges.items()) if name in ("s0", "s1", "s2", "s3")}
    rows = [
        stage(name, sources, max_units=UNITS, deadline_s=SECONDS, tries=2) for name, sources in edges.items()
    ]
    plan = Plan.parse({"name": "t", "stage": rows})
    world = World([Provider(number + 1, price) for number, price in enumerate(prices)])
    with tempfile.TemporaryDirectory(dir=FAST) as place, stepping(world):
        agent = Agent(world, Path(place), plan)
        for faults, fates, how in rounds:
            behave(world, how)
            world.faults, world.sends = list(faults), list(fates)
            agent.go()
            assert max(paid(world).values(), default=0) <= 1
            assert bought(world) <= agent.total
            assert bought(world) <= agent.ledger.spent() <= agent.total
        behave(world, [("signed", "done", "honest", True)] * 3)
        result = agent.go()
        assert result is not None
        assert result.unfinished == {}
        assert bought(world) <= result.spent == agent.ledger.spent() <= agent.total
    assert max(paid(world).values(), default=0) <= 1
    settled = {name for name, record in result.stages.items() if record.status is StageStatus.SETTLED}
    specs = {record.terms["specHash"] for name, record in result.stages.items() if name in settled}
    assert len(specs) == len(settled)
    assert {bytes.fromhex(spec[2:]) for spec in specs} <= set(paid(world))
    # Nothing is left behind: no job goes on, and whatever was paid is a stage's result, or didn't hold.
    assert all(job.status.final for job in world.jobs.values())
    for spec in paid(world):
        record = result.stages[world.specs[spec]["question"].partition(":")[0]]
        assert record.status is StageStatus.SETTLED or "its output is not accepted" in record.detail
    decoded, root = ReceiptTree.decode(result.tree.encode().encode())
    tree.checks(decoded, root)
    assert {leaf.stage for leaf in decoded.stages} == settled
    # Without any fault all of it settles.
    assert rounds or settled == set(edges)
