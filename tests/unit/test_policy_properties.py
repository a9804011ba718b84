"""Properties of the choice: whatever is on offer, and whatever the buyer likes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.market import Experience, Listing
from agents.policy import Choice, Means, Need, Preferences, choose, expected_seconds, problem
from agents.reputation import Record
from scrip.errors import BadInput, Refused
from scrip.spec import JobSpec
from scrip.types import Resource
from tests.unit.agent_factory import listing

SPEC = JobSpec("llm.generate", {"question": "why?"})
UNITS = 100
DETAILS = {"llm.generate": {"seconds": 60}}


def need(**changes: Any) -> Need:
    return Need(**{"spec": SPEC, "resource": Resource.OUTPUT_TOKEN, "max_units": UNITS, **changes})


@st.composite
def offers(draw: Any, number: int) -> Listing:
    """Any listing, with figures close enough together to tie often."""
    return listing(
        number,
        price=draw(st.integers(0, 3)) * 1_000_000,
        assurance=draw(st.integers(0, 3)),
        stake=draw(st.integers(0, 2)),
        region=draw(st.sampled_from(("eu", "us"))),
        supply=draw(st.sampled_from((0, 950))),
        max_supply=1_000,
        reachable=draw(st.integers(0, 5)) > 0,
        closed=draw(st.integers(0, 5)) == 0,
        record=Record(settled=draw(st.integers(0, 30)), failed=draw(st.integers(0, 3))),
        experience=Experience(draw(st.integers(0, 1)), draw(st.integers(0, 400)), draw(st.integers(0, 1))),
        details={"llm.generate": {"seconds": draw(st.sampled_from((60, 180, 0, -5, "soon", None)))}},
    )


MARKETS = st.integers(1, 6).flatmap(lambda count: st.tuples(*(offers(number + 1) for number in range(count))))
NEEDS = st.builds(
    need,
    min_assurance=st.integers(0, 2),
    region=st.sampled_from(("", "", "eu")),
    seconds=st.sampled_from((100, 1_000)),
    avoid=st.sampled_from((frozenset(), frozenset({f"0x{1:040x}"}))),
)
LIKES = st.builds(
    Preferences,
    second_worth=st.integers(0, 3),
    assurance_worth=st.sampled_from((0, 100)),
    permille_worth=st.integers(0, 2),
    max_price=st.sampled_from((None, 100, 200)),
    max_seconds=st.sampled_from((None, 100)),
    min_reputation=st.sampled_from((0, 300)),
)
MEANS = st.builds(
    Means,
    left=st.integers(0, 600),
    credits=st.dictionaries(st.integers(1, 6), st.integers(0, 120)),
    each=st.sampled_from((None, 150)),
    charges_credits=st.booleans(),
    refused=st.sampled_from(({}, {f"0x{2:040x}": "not listed"})),
)


def chosen(market: Any, wanted: Need, means: Means, likes: Preferences) -> Choice | None:
    try:
        return choose(market, wanted, means, str, likes)
    except Refused:
        return None


def dominates(better: Listing, worse: Listing, wanted: Need) -> bool:
    """Whether `better` is nowhere worse and somewhere better, in all that a buyer cares for."""

    def figures(item: Listing) -> tuple[int, ...]:
        return (
            -item.cost(UNITS),
            -expected_seconds(item, wanted),
            item.info.terms.min_assurance,
            item.reputation,
            item.provider.stake,
        )

    pairs = list(zip(figures(better), figures(worse), strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@settings(max_examples=300)
@given(market=MARKETS, wanted=NEEDS, means=MEANS, likes=LIKES)
def test_choose__any_market__a_dominated_offer_is_never_taken(
    market: Any, wanted: Need, means: Means, likes: Preferences
) -> None:
    taken = chosen(market, wanted, means, likes)
    if taken is not None:
        fit = [item for item in market if not problem(item, wanted, means, str, likes)]
        assert not [item for item in fit if dominates(item, taken.listing, wanted)]


@settings(max_examples=200)
@given(market=MARKETS, wanted=NEEDS, means=MEANS, likes=LIKES, seed=st.integers(0, 9))
def test_choose__listings_in_another_order__same_choice_and_same_words(
    market: Any, wanted: Need, means: Means, likes: Preferences, seed: int
) -> None:
    shuffled = list(market)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    assert chosen(shuffled, wanted, means, likes) == chosen(market, wanted, means, likes)


@settings(max_examples=300)
@given(market=MARKETS, wanted=NEEDS, means=MEANS, likes=LIKES)
def test_choose__any_means_and_preferences__no_limit_is_passed(
    market: Any, wanted: Need, means: Means, likes: Preferences
) -> None:
    taken = chosen(market, wanted, means, likes)
    if taken is None:
        return
    item, provider = taken.listing, taken.listing.provider
    assert taken.cost + taken.charge <= means.left
    assert means.each is None or max(taken.cost, taken.charge) <= means.each
    assert taken.to_buy == max(0, UNITS - means.credits.get(item.info.class_id, 0))
    assert taken.charge == (item.cost(UNITS) if means.charges_credits else 0)
    assert taken.charge > 0 or not means.charges_credits
    assert item.info.terms.min_assurance >= wanted.min_assurance
    assert provider.address not in wanted.avoid
    assert provider.address not in means.refused
    assert likes.max_price is None or item.cost(UNITS) <= likes.max_price
    assert likes.max_seconds is None or expected_seconds(item, wanted) <= likes.max_seconds
    assert item.reputation >= likes.min_reputation
    assert len(taken.rejected) == sum(bool(problem(one, wanted, means, str, likes)) for one in market)


@given(record=st.builds(Record, *[st.integers(0, 10**6)] * 5), more=st.integers(0, 9))
def test_reputation__any_record__failures_lower_it_and_success_raises_it(record: Record, more: int) -> None:
    was = record.reputation(more)
    assert 0 <= was < 1_000
    assert replace(record, settled=record.settled + 1).reputation(more) >= was
    assert record.reputation(more + 1) <= was


@pytest.mark.parametrize(
    ("offered", "wanted", "means", "likes", "reason"),
    [
        ({}, {"avoid": frozenset({f"0x{1:040x}"})}, Means(999), {}, "to be avoided, or has just failed"),
        ({"active": False}, {}, Means(999), {}, "isn't active"),
        (
            {},
            {},
            Means(999, refused={f"0x{1:040x}": "budget 3 doesn't list it"}),
            {},
            "budget 3 doesn't list",
        ),
        ({"price": 0}, {}, Means(999, charges_credits=True), {}, "can't count a class without a price"),
        ({}, {}, Means(999, charges_credits=True, stock=lambda *_: None), {}, "owner lacks 100 units"),
        ({}, {}, Means(999, {1: 100}, each=99, charges_credits=True), {}, "costs 100 at once, .* allows 99"),
        ({}, {}, Means(199, charges_credits=True), {}, "costs 200, 199 of the limit is left"),
        ({}, {}, Means(999), {"max_price": 99}, "priced at 100, wanted at most 99"),
        ({"details": DETAILS}, {}, Means(999), {"max_seconds": 59}, "expected to take 60 s"),
        ({"record": Record(0, 1)}, {}, Means(999), {"min_reputation": 167}, "reputation of 166 permille"),
    ],
)
def test_choose__unfit_for_one_reason__says_so(
    offered: Any, wanted: Any, means: Means, likes: Any, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        choose([listing(**offered)], need(**wanted), means, str, Preferences(**likes))


def test_choose__feed_without_a_price__is_not_taken() -> None:
    with pytest.raises(Refused, match="gives no price"):
        choose([replace(listing(), price=None)], need(), Means(999))


def test_choose__time_is_worth_something__faster_is_taken_and_explained() -> None:
    slow, fast = listing(1, details=DETAILS), listing(2, price=1_100_000, experience=Experience(3, 20))
    assert choose([slow, fast], need(), Means(999)).listing is slow
    taken = choose([slow, fast], need(), Means(999), str, Preferences(second_worth=1))
    assert taken.listing is fast
    assert "110 for up to 100 units, 20 s expected, assurance 2, reputation 500 permille" in taken.reason


def test_choose__provider_known_to_fail__is_worth_less() -> None:
    bad, good = listing(1, record=Record(1, 9)), listing(2, price=1_200_000, record=Record(50))
    assert choose([bad, good], need(), Means(999), str, Preferences(permille_worth=1)).listing is good


def test_preferences__negative_worth__refused() -> None:
    with pytest.raises(BadInput, match="second_worth"):
        Preferences(second_worth=-1)
