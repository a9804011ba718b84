"""A plan's quote: what each stage takes from the means, what retries may add, and every problem at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.market import Listing
from agents.pipeline import fit
from agents.pipeline.fit import DoesNotFit
from agents.pipeline.plan import Plan
from agents.pipeline.quote import NotAffordable, Quote, quote, usable
from agents.policy import Means
from tests.unit.agent_factory import listing
from tests.unit.pipeline_factory import UNITS, plan, stage

RICH = Means(10**9)
PARAMS = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "maxLength": 20, "pattern": "(a+)+$"},
        "format": {"type": "integer", "minimum": 1},
    },
    "required": ["question"],
    "additionalProperties": False,
}


def described(class_id: int = 1, schema: Any = PARAMS) -> Listing:
    return listing(class_id, details={"llm.generate": {"params": schema}})


def quoted(listings: list[Listing], means: Means = RICH, edges: Any = None, **changes: Any) -> Quote:
    names = {"a": []} if edges is None else edges
    rows = [stage(name, sources, **changes) for name, sources in names.items()]
    return quote(Plan.parse({"name": "t", "stage": rows}), listings, means)


# WHAT CAN'T BE BOUGHT


def test_quote__nothing_fits_some_stages__each_is_told_why() -> None:
    rows = [stage("a", template="gone"), stage("b"), stage("c", region="mars")]
    found = quote(Plan.parse({"name": "t", "stage": rows}), [listing(1)], RICH)
    assert list(found.problems) == ["a", "c"]
    with pytest.raises(NotAffordable, match=r"stage a: .*doesn't offer gone; stage c: .*wanted mars"):
        found.check()


def test_quote__means_for_two_of_three__the_third_is_refused() -> None:
    found = quoted([listing(1)], Means(2 * UNITS), {"a": [], "b": [], "c": []}, tries=1)
    assert list(found.problems) == ["c"]
    assert found.total == 2 * UNITS


def test_quote__parameters_that_will_not_fit__before_anything_runs() -> None:
    found = quoted([described()], params={"question": "x" * 21, "shell": 1})
    assert "question: 21 characters, must be at most 20" in found.problems["a"]
    assert "shell" in found.problems["a"]


def test_quote__parameter_that_is_to_come__left_open_but_its_name_is_checked() -> None:
    both = {"a": [], "b": ["a"]}
    assert not quoted([described()], edges=both).problems
    rows = [stage("a"), stage("b", params={"question": "?", "text": {"from": "a"}})]
    found = quote(Plan.parse({"name": "t", "stage": rows}), [described()], RICH)
    assert found.problems == {"b": "llm.generate doesn't take this: text: the template has no such parameter"}


@pytest.mark.parametrize("schema", [None, 7, {"type": 7}, {"$ref": "http://127.0.0.1:1/"}, {"not": [1]}])
def test_fit__schema_of_no_use__anything_goes(schema: Any) -> None:
    one = Plan.parse({"name": "t", "stage": [stage("a")]}).stage("a")
    fit.check(one, {"question": "?"}, described(schema=schema))


def test_fit__pattern_that_takes_for_ever__left_out() -> None:
    one = Plan.parse({"name": "t", "stage": [stage("a")]}).stage("a")
    fit.check(one, {"question": "a" * 19 + "!", "format": 1}, described())
    with pytest.raises(DoesNotFit, match=r"format: 0 is less than the minimum of 1"):
        fit.check(one, {"question": "?", "format": 0}, described())


# WHAT IT COSTS


def test_quote__one_provider__the_price_of_all_units() -> None:
    found = quoted([listing(1, price=3_000_000)])
    assert (found.total, found.of("a").price, found.problems) == (300, 300, {})


def test_quote__a_retry_of_another_class__adds_its_credits() -> None:
    found = quoted([listing(1, price=1_000_000), listing(2, price=2_000_000)], tries=2)
    assert [choice.listing.info.class_id for choice in found.of("a").choices] == [1, 2]
    assert (found.total, found.of("a").price) == (300, 200)


def test_quote__a_retry_of_the_same_class__adds_nothing() -> None:
    same = [listing(1, provider="0x" + "01" * 20), listing(1, provider="0x" + "02" * 20)]
    found = quoted(same, tries=2)
    assert len(found.of("a").choices) == 2
    assert found.total == UNITS


def test_quote__credits_held_for_one_stage__the_other_buys() -> None:
    found = quoted([listing(1)], Means(10**6, {1: 150}), {"a": [], "b": []})
    assert [each.most for each in found.stages] == [0, 50]


def test_quote__under_a_budget__charges_count_even_for_held_credits_but_not_twice() -> None:
    means = Means(10**6, {1: 100, 2: 100}, charges_credits=True)
    found = quoted([listing(1, price=1_000_000), listing(2, price=2_000_000)], means, tries=2)
    assert found.total == 200


def test_usable__class_and_providers_named__only_those() -> None:
    offered = [listing(1), listing(2), listing(3, price=2_000_000)]
    one = Plan.parse({"name": "t", "stage": [stage("a", class_id=2)]}).stage("a")
    assert usable(one, offered) == [offered[1]]
    named = one.model_copy(update={"class_id": None, "providers": [offered[2].provider.address.upper()]})
    assert usable(named, offered) == [offered[2]]
    assert usable(one.model_copy(update={"class_id": None}), offered, UNITS) == offered[:2]


def test_quote__same_question__same_answer_in_json() -> None:
    offered = [listing(1), listing(2)]
    assert quoted(offered).to_json() == quoted(offered[::-1]).to_json()
    assert quoted(offered).to_json()["stages"][0]["choices"][0]["class"] == "1"


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5_000_000)), min_size=1, max_size=5),
    st.integers(0, 2_000),
    st.dictionaries(st.integers(1, 5), st.integers(0, 300)),
    st.integers(1, 4),
    st.booleans(),
)
def test_quote__any_market_and_means__total_within_them(
    offers: list[tuple[int, int]], left: int, held: dict[int, int], tries: int, budget: bool
) -> None:
    prices = dict(offers)
    offered = [listing(class_id, price=price) for class_id, price in prices.items()]
    means = Means(left, held, charges_credits=budget)
    found = quote(plan({"a": [], "b": ["a"], "c": ["a"]}), offered, means)
    assert found.total <= left
    for each in found.stages:
        if not each.problem:
            assert each.choices
            assert each.most >= each.choices[0].cost + each.choices[0].charge
            assert each.price >= each.choices[0].listing.cost(each.stage.max_units)
