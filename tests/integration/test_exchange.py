"""Signed offers on the exchange: filled in parts, taken back, and refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from scrip.eip712_credits import offer_digest
from scrip.reverts import decode_revert
from scrip.types_spending import Offer
from tests.integration.scene import Scene

MAKER, TAKER = "seller", "buyer"
UNITS, PRICE = 9_000, 10_001
"""A price that parts don't divide: rounding shows."""
TOKENS = 1_000_000
WEEK = 7 * 86_400


@pytest.fixture
def market(scene: Scene) -> Scene:
    """The scene, where maker and taker hold credits and tokens and let the exchange move them."""
    exchange = scene.at("CreditExchange")
    for who in (MAKER, TAKER):
        scene.give(who, UNITS)
        scene.system.mint(scene.at(who), TOKENS)
        scene.send(who, "ComputeCredits", "setApprovalForAll", exchange, True)
        scene.send(who, "DemoUSD", "approve", exchange, TOKENS)
    return scene


def offer_id(scene: Scene, offer: Offer) -> bytes:
    return offer_digest(offer, *scene.domain("CreditExchange"))


def order(scene: Scene, offer: Offer, units: int, limit: int, signer: str = MAKER) -> tuple[Any, ...]:
    """One fill: `limit` is the most a buyer pays, or the least a seller takes."""
    return offer.to_abi(), scene.sign(signer, offer_id(scene, offer)), units, limit


def refused(scene: Scene, *fill: Any, who: str = TAKER) -> tuple[Any, ...]:
    return scene.refusal(who, "CreditExchange", "fill", fill)


# Refused


def test_fill__signed_by_another__names_who_signed(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    found = refused(market, *order(market, offer, 1, PRICE, signer="agent"))
    expected = (offer_id(market, offer), market.at("agent"), market.at(MAKER))
    assert found == ("CreditExchange_BadSignature", *expected)


def test_fill__price_changed_after_signing__is_refused(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    signature = market.sign(MAKER, offer_id(market, offer))
    cheaper = market.offer(MAKER, UNITS, PRICE - 1, salt=offer.salt, expiry=offer.expiry)
    name, *values = refused(market, cheaper.to_abi(), signature, 1, PRICE)
    assert (name, values[0], values[2]) == (
        "CreditExchange_BadSignature", offer_id(market, cheaper), market.at(MAKER),
    )  # fmt: skip


def test_fill__more_than_is_left__names_what_is_left(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    market.send(TAKER, "CreditExchange", "fill", order(market, offer, 4_000, PRICE))
    found = refused(market, *order(market, offer, 5_001, PRICE))
    assert found == ("CreditExchange_OverFill", offer_id(market, offer), 5_001, 5_000)


def test_fill__dearer_than_the_taker_wants__names_the_price(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    found = refused(market, *order(market, offer, UNITS, PRICE - 1))
    assert found == ("CreditExchange_OverLimit", offer_id(market, offer), PRICE, PRICE - 1)


def test_fill__taker_sells_for_less_than_it_wants__names_the_price(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE, selling=False)
    found = refused(market, *order(market, offer, UNITS, PRICE + 1))
    assert found == ("CreditExchange_UnderLimit", offer_id(market, offer), PRICE, PRICE + 1)


def test_fill__meant_for_another_taker__is_refused(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE, taker=market.at("agent"))
    found = refused(market, *order(market, offer, 1, PRICE))
    expected = (offer_id(market, offer), market.at(TAKER), market.at("agent"))
    assert found == ("CreditExchange_NotTaker", *expected)


def test_fill__expired__is_refused(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    market.system.anvil.advance(offer.expiry - market.now + 1)
    found = refused(market, *order(market, offer, 1, PRICE))
    assert found == ("CreditExchange_Expired", offer_id(market, offer), market.now, offer.expiry)


def test_fill__cancelled_after_a_part__is_refused(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    market.send(TAKER, "CreditExchange", "fill", order(market, offer, 1_000, PRICE))
    market.send(MAKER, "CreditExchange", "cancel", offer.to_abi())
    found = refused(market, *order(market, offer, 1, PRICE))
    assert found == ("CreditExchange_Cancelled", offer_id(market, offer), 1, 0)
    assert market.read("CreditExchange", "isCancelled", offer_id(market, offer))
    assert market.credits(TAKER) == UNITS + 1_000


def test_cancel__by_another__is_refused(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    found = market.refusal(TAKER, "CreditExchange", "cancel", offer.to_abi())
    expected = (offer_id(market, offer), market.at(TAKER), market.at(MAKER))
    assert found == ("CreditExchange_NotMaker", *expected)


def test_raise_epoch__all_older_offers__are_refused(market: Scene) -> None:
    old, new = market.offer(MAKER, UNITS, PRICE), market.offer(MAKER, UNITS, PRICE, epoch=3)
    found = refused(market, *order(market, new, 1, PRICE))
    assert found == ("CreditExchange_WrongEpoch", offer_id(market, new), 3, 0)
    market.send(MAKER, "CreditExchange", "raiseEpoch", 3)
    found = refused(market, *order(market, old, 1, PRICE))
    assert found == ("CreditExchange_WrongEpoch", offer_id(market, old), 0, 3)
    found = market.refusal(MAKER, "CreditExchange", "raiseEpoch", 3)
    assert found == ("CreditExchange_EpochNotHigher", bytes(32), 3, 3)
    market.send(TAKER, "CreditExchange", "fill", order(market, new, 1, PRICE))


def test_fill__credits_locked_in_a_job__are_not_sold(market: Scene) -> None:
    job = market.job(MAKER, max_units=UNITS - 10)
    market.send(MAKER, "JobMarket", "open", job.to_abi(), b"")
    offer = market.offer(MAKER, UNITS, PRICE)
    found = refused(market, *order(market, offer, 11, PRICE))
    assert found == ("ERC1155InsufficientBalance", market.at(MAKER), 10, 11, market.class_id)


def test_fill__class_bound_to_its_holders__is_refused(market: Scene) -> None:
    bound = market.system.create_class(price_per_million=10**12, transferable=False)
    market.give(MAKER, UNITS, bound)
    offer = market.offer(MAKER, UNITS, PRICE, class_id=bound)
    found = refused(market, *order(market, offer, 1, PRICE))
    assert found == ("CreditExchange_AccountBound", offer_id(market, offer), 0, 1)


def test_fill__class_expired__is_refused(market: Scene) -> None:
    expiry = market.now + 600
    ending = market.system.create_class(price_per_million=10**12, expiry=expiry)
    market.give(MAKER, UNITS, ending)
    offer = market.offer(MAKER, UNITS, PRICE, class_id=ending)
    market.system.anvil.advance(601)
    found = refused(market, *order(market, offer, 1, PRICE))
    assert found == ("CreditExchange_ClassEnded", offer_id(market, offer), market.now, expiry)


# Filled


def test_fill__in_parts__maker_never_gets_less_than_asked(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE)
    paid = []
    for units in (1, 4_000, 4_999):
        done = market.send(TAKER, "CreditExchange", "fill", order(market, offer, units, PRICE))
        paid.append(market.event(done, "CreditExchange", "OfferFilled")["price"])
    # Rounded up each time: 1.11.., 4444.88.. and 5554.99..
    assert paid == [2, 4_445, 5_555]
    assert sum(paid) == PRICE + 1
    assert market.read("CreditExchange", "filledOf", offer_id(market, offer)) == UNITS
    assert (market.credits(MAKER), market.credits(TAKER)) == (0, 2 * UNITS)
    assert (market.tokens(MAKER), market.tokens(TAKER)) == (TOKENS + sum(paid), TOKENS - sum(paid))


def test_fill__offer_to_buy__maker_pays_rounded_down(market: Scene) -> None:
    offer = market.offer(MAKER, UNITS, PRICE, selling=False)
    market.send(TAKER, "CreditExchange", "fill", order(market, offer, 4_000, 4_444))
    assert (market.tokens(MAKER), market.tokens(TAKER)) == (TOKENS - 4_444, TOKENS + 4_444)
    assert (market.credits(MAKER), market.credits(TAKER)) == (UNITS + 4_000, UNITS - 4_000)


def test_fill_batch__one_cancelled__is_reported_and_the_others_filled(market: Scene) -> None:
    offers = [market.offer(MAKER, 1_000, 500) for _ in range(3)]
    market.send(MAKER, "CreditExchange", "cancel", offers[1].to_abi())
    rows = [order(market, offer, 1_000, 500) for offer in offers]
    done = market.send(TAKER, "CreditExchange", "fillBatch", rows)
    skipped = market.event(done, "CreditExchange", "FillSkipped")
    reason = decode_revert(skipped["reason"])
    assert (skipped["offerHash"], reason.name) == (offer_id(market, offers[1]), "CreditExchange_Cancelled")
    assert reason.params == {"offerHash": offer_id(market, offers[1]), "given": 1, "limit": 0}
    assert (market.credits(TAKER), market.tokens(MAKER)) == (UNITS + 2_000, TOKENS + 1_000)


def test_fee__announced__takes_its_part_from_the_seller_a_week_later(market: Scene) -> None:
    system = market.system
    system.send("CreditExchange", "grantRole", market.read("CreditExchange", "FEE_ROLE"), system.admin)
    system.send("CreditExchange", "proposeFee", 100, market.at("agent"))
    due = market.now + WEEK
    found = market.refusal("relayer", "CreditExchange", "applyFee")
    assert found == ("CreditExchange_FeeNotDue", bytes(32), market.now, due)
    system.anvil.advance(WEEK)
    market.send("relayer", "CreditExchange", "applyFee")
    offer = market.offer(MAKER, UNITS, PRICE)
    done = market.send(TAKER, "CreditExchange", "fill", order(market, offer, UNITS, PRICE))
    assert market.event(done, "CreditExchange", "OfferFilled")["fee"] == PRICE // 100
    assert market.tokens(MAKER) == TOKENS + PRICE - PRICE // 100
    assert (market.tokens("agent"), market.tokens(TAKER)) == (PRICE // 100, TOKENS - PRICE)
