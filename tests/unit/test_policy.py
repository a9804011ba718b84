from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.policy import Means, Need, choose
from scrip.amounts import cost
from scrip.errors import Refused
from scrip.spec import JobSpec
from scrip.types import Funding, Resource, sku_id
from tests.unit.agent_factory import listing

SPEC = JobSpec("llm.generate", {"question": "why?"})


def need(**changes: object) -> Need:
    return Need(**{"spec": SPEC, "resource": Resource.OUTPUT_TOKEN, "max_units": 100, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offered", "wanted", "left", "reason"),
    [
        (listing(resource=Resource.CPU_SECOND), need(), 1000, "pays CPU-seconds, not output tokens"),
        (listing(assurance=1), need(min_assurance=2), 1000, "settles at assurance 1, wanted 2"),
        (listing(), need(sku=sku_id("other")), 1000, "another SKU"),
        (listing(region="us"), need(region="eu"), 1000, "in region us, wanted eu"),
        (listing(reachable=False), need(), 1000, "can't be reached"),
        (listing(templates=("hash.chain",)), need(), 1000, "doesn't offer llm.generate"),
        (listing(funding=Funding.GRANT), need(), 1000, "not for sale"),
        (listing(closed=True), need(), 1000, "not for sale"),
        (listing(supply=950, max_supply=1000), need(), 1000, "only 50 units left to sell"),
        (listing(), need(), 99, "costs 100, 99 of the limit is left"),
    ],
)
def test_choose__unfit_listing__refused_with_reason(
    offered: object, wanted: Need, left: int, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        choose([offered], wanted, Means(left))  # type: ignore[list-item]


def test_choose__empty_market__says_so() -> None:
    with pytest.raises(Refused, match="nothing is on offer"):
        choose([], need(), Means(1000))


def test_choose__several_fit__takes_the_cheapest_and_explains() -> None:
    choice = choose(
        [listing(1, price=2_000_000), listing(2), listing(3, reachable=False)], need(), Means(1000)
    )
    assert choice.listing.info.class_id == 2
    assert (choice.to_buy, choice.cost) == (100, 100)
    assert "lowest of 2 that fit" in choice.reason
    assert len(choice.rejected) == 1


def test_choose__equal_price__prefers_assurance_then_stake_then_lower_id() -> None:
    assert choose([listing(1, assurance=1), listing(2)], need(), Means(1000)).listing.info.class_id == 2
    assert choose([listing(1), listing(2, stake=5)], need(), Means(1000)).listing.info.class_id == 2
    assert choose([listing(2), listing(1)], need(), Means(1000)).listing.info.class_id == 1


def test_choose__credits_held__buys_only_what_is_missing() -> None:
    choice = choose([listing()], need(), Means(40, {1: 60}))
    assert (choice.to_buy, choice.cost) == (40, 40)
    assert choose([listing(closed=True)], need(), Means(0, {1: 100})).to_buy == 0


@given(
    prices=st.lists(st.integers(1, 10**9), min_size=1, max_size=6),
    units=st.integers(1, 10**6),
    left=st.integers(0, 10**9),
    held=st.integers(0, 10**6),
)
def test_choose__any_market__never_costs_more_than_is_left(
    prices: list[int], units: int, left: int, held: int
) -> None:
    market = [listing(index + 1, price=price) for index, price in enumerate(prices)]
    try:
        choice = choose(market, need(max_units=units), Means(left, {1: held}))
    except Refused:
        return
    terms = choice.listing.info.terms
    assert choice.cost <= left
    assert choice.cost == cost(choice.to_buy, terms.price_per_million, terms.decimals)
