"""A plan's money in a ledger: set aside once, never passed, and to the unit given back, whatever fails."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.buyer import Bought
from agents.ledger import Ledger, LimitReached
from agents.market import Listing
from agents.pipeline.funds import LedgerFunds, expiry_of
from agents.pipeline.plan import Plan, Stage
from agents.pipeline.quote import quote, usable
from agents.pipeline.run import Run
from agents.pipeline.state import StageRecord, State
from agents.policy import Choice, Means, Need, choose
from scrip.errors import NodeUnavailable, Refused
from tests.unit.agent_factory import listing
from tests.unit.pipeline_factory import FAST, downstream, plan, redemption, snapshot, stage
from tests.unit.test_pipeline_plan import graphs


@dataclass
class Market:
    """The agent's credits and money at a reserve, and providers that fail those stages that `fails` says.

    Buys as the buying loop does: what is missing, counted in the stage's purse before it is paid.
    """

    listings: list[Listing]
    fails: Mapping[str, frozenset[int]]
    funds: LedgerFunds
    held: dict[int, int] = field(default_factory=dict)
    money: int = 0
    burned: dict[int, int] = field(default_factory=dict)
    paid: dict[str, Bought] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def meet(self, stage: Stage, need: Need, price: int) -> Bought:
        """See Work.meet."""
        if stage.name in self.gone:
            self.gone.discard(stage.name)
            raise NodeUnavailable("node", "gone")
        purse: Any = self.funds.purse(stage)
        for _ in range(stage.tries):
            choice = choose(
                usable(stage, self.listings, price), need, Means(purse.ledger.left(), dict(self.held))
            )
            class_id = choice.listing.info.class_id
            self._buy(purse.ledger, choice, f"{stage.name}-{len(need.avoid)}")
            if class_id not in self.fails.get(stage.name, frozenset()):
                return self._done(need, choice)
            need = replace(need, avoid=need.avoid | {choice.listing.provider.address})
        raise Refused("all failed", "providers")

    def spent(self, stage: Stage, bought: Bought | None) -> int:
        """See Work.spent."""
        return self.funds.spent(stage, bought)

    def is_open(self, stage: Stage) -> bool:
        """See Work.is_open."""
        return False

    def _buy(self, ledger: Ledger, choice: Choice, key: str) -> None:
        if choice.to_buy:
            ledger.reserve(key, choice.cost)
            self.money += choice.cost
            class_id = choice.listing.info.class_id
            self.held[class_id] = self.held.get(class_id, 0) + choice.to_buy
            ledger.settle(key, choice.cost)

    def _done(self, need: Need, choice: Choice) -> Bought:
        class_id, used = choice.listing.info.class_id, need.max_units // 2
        self.held[class_id] -= used
        self.burned[class_id] = self.burned.get(class_id, 0) + used
        done = redemption(need, need.key.encode(), used, len(self.paid))
        self.paid[need.key] = Bought(choice, choice.cost, done, need.key)
        return self.paid[need.key]


def folder_of(place: str) -> tuple[Path, Ledger]:
    return Path(place) / "run", Ledger(Path(place) / "spent.json", 1_000_000)


def funds_of(state: State, ledger: Ledger) -> LedgerFunds:
    actor: Any = SimpleNamespace(chain=None, sender=None, wallet=None)
    return LedgerFunds(actor, ledger, state)


@settings(max_examples=80, deadline=None)
@given(graphs(), st.data())
def test_funds__any_graph_prices_and_failures__reserved_covers_spent_and_the_rest_is_free(
    edges: dict[str, list[str]], data: st.DataObject
) -> None:
    names = sorted(edges)
    prices = data.draw(st.dictionaries(st.integers(1, 3), st.integers(0, 3_000_000), min_size=1))
    held = data.draw(st.dictionaries(st.sampled_from(sorted(prices)), st.integers(0, 250)))
    classes = st.frozensets(st.sampled_from(sorted(prices)))
    fails = data.draw(st.dictionaries(st.sampled_from(names), classes))
    gone = data.draw(st.sets(st.sampled_from(names)))
    made = Plan.parse({"name": "t", "stage": [stage(name, edges[name], tries=3) for name in edges]})
    offered = [listing(class_id, price=price) for class_id, price in prices.items()]
    quoted = quote(made, offered, Means(1_000_000, held))
    records = {each.stage.name: StageRecord(most=each.most, price=each.price) for each in quoted.stages}
    with tempfile.TemporaryDirectory(dir=FAST) as place:
        folder, ledger = folder_of(place)
        with State.create(folder, replace(snapshot(made), stages=records)) as state:
            funds = funds_of(state, ledger)
            market = Market(offered, fails, funds, dict(held), gone=set(gone))
            for _ in range(len(names) + 1):
                funds.reserve()
                assert ledger.spent() == quoted.total >= market.money
                # One at a time: the model, unlike the buying loop, has no turns.
                result = Run(state, market, at_once=1).go()
            assert not result.unfinished
            funds.release()
            funds.release()
        assert ledger.spent() == market.money == result.spent <= quoted.total
        settled = {name for name, record in result.stages.items() if record.status.value == "settled"}
        doomed = {name for name in names if fails.get(name, frozenset()) == set(prices)}
        assert settled == set(names) - doomed - {after for name in doomed for after in downstream(made, name)}
        # Every credit is where it should be: held before, or bought, less what settled jobs burned.
        price_of = {item.info.class_id: item for item in offered}
        left = {key: market.held.get(key, 0) + market.burned.get(key, 0) - held.get(key, 0) for key in prices}
        assert all(units >= 0 for units in left.values())
        assert sum(price_of[key].cost(units) for key, units in left.items()) <= market.money


def test_reserve__twice__counted_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent.json", 500)
    with State.create(tmp_path / "run", snapshot(plan({"a": [], "b": []}))) as state:
        for _ in range(2):
            funds_of(state, ledger).reserve()
    assert ledger.left() == 300


def test_reserve__beyond_the_agents_limit__refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent.json", 199)
    with State.create(tmp_path / "run", snapshot(plan({"a": [], "b": []}))) as state:
        with pytest.raises(LimitReached, match="asked 200, left 199"):
            funds_of(state, ledger).reserve()
        state.discard()
    assert ledger.spent() == 0
    with State.create(tmp_path / "run", snapshot(plan({"a": []}))):
        pass


def test_purse__beyond_the_plan__refused_though_the_agent_has_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent.json", 10_000)
    with State.create(tmp_path / "run", snapshot(plan({"a": [], "b": []}))) as state:
        funds = funds_of(state, ledger)
        funds.reserve()
        first, second = (funds.purse(state.now.plan.stage(name)) for name in ("a", "b"))
        first.ledger.reserve("x", 150)  # type: ignore[attr-defined]
        with pytest.raises(LimitReached, match="left 50 of 200"):
            second.ledger.reserve("x", 51)  # type: ignore[attr-defined]
        second.ledger.reserve("x", 50)  # type: ignore[attr-defined]
        assert [funds.spent(state.now.plan.stage(name), None) for name in ("a", "b")] == [150, 50]


def test_expiry__longer_than_all_tries_of_all_stages() -> None:
    made = plan({"a": [], "b": ["a"]})
    drawn = {expiry_of(made, 1_000) for _ in range(50)}
    assert len(drawn) > 10
    assert min(drawn) >= 1_000 + 2 * 2 * (300 + 600) + 3_600
