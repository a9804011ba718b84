"""The buying loop stops before money moves where the provider would never do the work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents import buyer, purse
from agents.ledger import Ledger
from agents.policy import Need
from scrip import redeem
from scrip.errors import NodeUnavailable, Refused
from scrip.provider_client import ProviderClient
from scrip.spec import JobSpec
from scrip.types import Resource
from tests.unit.agent_factory import listing
from tests.unit.cli_fakes import HOLDER, TX, FakeView

NEED = Need(JobSpec("llm.generate", {"question": "Why?", "max_tokens": 600}), Resource.OUTPUT_TOKEN, 600)


class Reached(Exception):
    """The loop got as far as planning the job."""


class World:
    """Plays provider and reserve: `refusal` is what the one says of a spec, `failure` what the other does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[JobSpec] = []
        self.bought: list[int] = []
        self.refusal: Exception | None = None
        self.failure: Exception | None = None
        self.ledger = Ledger(folder / "spent.json", 1_000)
        self.view = FakeView()
        monkeypatch.setattr(ProviderClient, "put_spec", lambda client, spec: self.put_spec(spec))
        monkeypatch.setattr(purse, "buy", self.buy)
        monkeypatch.setattr(redeem, "plan", self.plan)

    def put_spec(self, spec: JobSpec) -> bytes:
        self.asked.append(spec)
        if self.refusal:
            raise self.refusal
        return b""

    def buy(self, chain: Any, sender: Any, wallet: Any, class_id: int, units: int, *, max_cost: int) -> Any:
        self.bought.append(units)
        if self.failure:
            raise self.failure
        return SimpleNamespace(cost=max_cost, tx_hash=TX)

    def plan(self, *_: object, **__: object) -> None:
        raise Reached

    def meet(self) -> None:
        chain: Any = SimpleNamespace(at=lambda: self.view)
        account: Any = SimpleNamespace(address=HOLDER, reconcile=list)
        market = [listing(price=1_000_000)]
        buyer.Buyer(chain, account, account, self.ledger, read_market=lambda _: market).meet(NEED)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_meet__provider_refuses_the_spec__nothing_is_bought(world: World) -> None:
    world.refusal = Refused("max_tokens: at most 512")
    with pytest.raises(Refused, match="at most 512"):
        world.meet()
    assert (world.bought, world.ledger.spent()) == ([], 0)


def test_meet__purchase_surely_failed__limit_is_given_back(world: World) -> None:
    world.failure = Refused("the price moved")
    with pytest.raises(Refused):
        world.meet()
    assert world.ledger.spent() == 0


def test_meet__purchase_may_have_happened__stays_counted(world: World) -> None:
    world.failure = NodeUnavailable("x", "Timeout")
    with pytest.raises(NodeUnavailable):
        world.meet()
    assert world.ledger.spent() == 600


def test_meet__spec_is_fine__what_is_missing_is_bought(world: World) -> None:
    world.view.units = {1: 100}
    with pytest.raises(Reached):
        world.meet()
    assert (world.asked, world.bought, world.ledger.spent()) == ([NEED.spec], [500], 500)


def test_meet__enough_is_held__nothing_is_bought(world: World) -> None:
    world.view.units = {1: 600}
    with pytest.raises(Reached):
        world.meet()
    assert world.bought == []
