"""The events of credits are their books: added up, they are balances and supply, whatever was done."""

from __future__ import annotations

from typing import Any

import pytest

from scrip.eip712_credits import offer_digest
from scrip.structs import ZERO_ADDRESS
from scrip.types import Funding, Outcome
from tests.integration import erc1155
from tests.integration.erc1155 import Told, Transfer
from tests.integration.scene import PRICE, Scene

RECEIVER = "receiver"


def moved(scene: Scene, receipt: Any) -> list[Any]:
    return erc1155.entries(receipt, scene.at("ComputeCredits"))


def check_books(scene: Scene) -> dict[tuple[str, int], int]:
    """Compare the sum of all events so far with what the token says; the sum."""
    token = scene.at("ComputeCredits")
    logs = scene.system.w3.eth.get_logs({"address": token, "fromBlock": 0})
    books = erc1155.books(erc1155.transfers(logs, token))
    holders = [(who, class_id) for who, class_id in books if who != ZERO_ADDRESS]
    asked = [who for who, _ in holders], [class_id for _, class_id in holders]
    assert scene.read("ComputeCredits", "balanceOfBatch", *asked) == tuple(
        books[holder] for holder in holders
    )
    for class_id in scene.chain.at().class_ids():
        assert scene.chain.at().supply(class_id) == -books.get((ZERO_ADDRESS, class_id), 0), class_id
    return books


@pytest.fixture
def started(scene: Scene) -> Scene:
    """The scene, where the buyer has credits and may send them on the exchange."""
    scene.give("buyer", 50_000)
    scene.send("buyer", "ComputeCredits", "setApprovalForAll", scene.at("CreditExchange"), True)
    return scene


# Minted from zero, burned to zero


def test_mint__sale__is_a_transfer_from_zero_by_the_reserve(scene: Scene) -> None:
    target = scene.at(RECEIVER)
    scene.system.anvil.rpc("anvil_setCode", target, "0x" + erc1155.receiver_code().hex())
    scene.system.mint(scene.system.admin, 10**9)
    scene.system.send("DemoUSD", "approve", scene.at("CreditReserve"), 10**9)
    done = scene.system.send("CreditReserve", "buy", scene.class_id, 70, target, 10**9)
    reserve = scene.at("CreditReserve")
    assert moved(scene, done) == [
        Transfer(reserve, ZERO_ADDRESS, target, (scene.class_id,), (70,)),
        Told(erc1155.ON_RECEIVED, (reserve, ZERO_ADDRESS, scene.class_id, 70, b"")),
    ]
    check_books(scene)


def test_mint__grant__is_a_transfer_from_zero_by_the_issuer(scene: Scene) -> None:
    granted = scene.system.create_class(
        funding=Funding.GRANT, payment_token=ZERO_ADDRESS, price_per_million=0
    )
    done = scene.system.send("ComputeCredits", "grant", scene.at("agent"), granted, 33)
    admin = scene.system.admin
    assert moved(scene, done) == [Transfer(admin, ZERO_ADDRESS, scene.at("agent"), (granted,), (33,))]
    assert check_books(scene)[scene.at("agent"), granted] == 33


def test_burn__settled_job__is_a_transfer_to_zero_of_what_was_used(started: Scene) -> None:
    terms = started.job("buyer", max_units=900)
    opened = started.send("buyer", "JobMarket", "open", terms.to_abi(), started.quote(terms))
    assert moved(started, opened) == []  # locked, and the payer's still
    check_books(started)
    done = started.submit(terms, started.receipt(terms, 400))
    market, payer = started.at("JobMarket"), started.at("buyer")
    assert moved(started, done) == [Transfer(market, payer, ZERO_ADDRESS, (started.class_id,), (400,))]
    assert check_books(started)[payer, started.class_id] == 50_000 - 400


def test_burn__job_that_failed__is_no_transfer(started: Scene) -> None:
    terms = started.job("buyer", max_units=900)
    started.send("buyer", "JobMarket", "open", terms.to_abi(), started.quote(terms))
    failed = started.receipt(terms, 0, outcome=Outcome.FAILED, assurance=0)
    assert moved(started, started.submit(terms, failed)) == []
    check_books(started)


def test_burn__reclaimed_after_the_class_was_closed__is_a_transfer_to_zero(started: Scene) -> None:
    started.system.send("ComputeCredits", "closeClass", started.class_id)
    done = started.send("buyer", "CreditReserve", "reclaim", started.class_id, 50_000)
    reserve, holder = started.at("CreditReserve"), started.at("buyer")
    assert moved(started, done) == [Transfer(reserve, holder, ZERO_ADDRESS, (started.class_id,), (50_000,))]
    assert started.chain.at().supply(started.class_id) == 0
    check_books(started)


def test_session__deposit_claim_and_refund__are_transfers_by_the_sessions(started: Scene) -> None:
    scene, one = started, (started.class_id,)
    at, payer = scene.at("MeteredSessions"), scene.at("buyer")
    terms = scene.session("buyer")
    done = scene.send("buyer", "MeteredSessions", "openSession", terms.to_abi(), 700)
    assert moved(scene, done) == [Transfer(at, payer, at, one, (700,))]
    done = scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, 300))
    assert moved(scene, done) == [Transfer(at, at, ZERO_ADDRESS, one, (300,))]
    assert check_books(scene)[at, scene.class_id] == 400
    done = scene.send("provider", "MeteredSessions", "close", terms.to_abi())
    assert moved(scene, done) == [Transfer(at, at, payer, one, (400,))]
    assert check_books(scene)[at, scene.class_id] == 0


# Everything at once


def test_books__many_classes_holders_and_ways__add_up_to_balances_and_supply(started: Scene) -> None:
    scene = started
    other = scene.system.create_class(price_per_million=PRICE, max_rate=10**9)
    scene.give("seller", 9_000, other)
    batch = [scene.class_id, scene.class_id], [10, 20]
    for who in ("agent", "seller", "buyer"):
        scene.send("buyer", "ComputeCredits", "safeBatchTransferFrom", scene.at("buyer"), scene.at(who),
                   *batch, b"")  # fmt: skip
    scene.send("agent", "ComputeCredits", "safeTransferFrom", scene.at("agent"), scene.at("friend"),
               scene.class_id, 7, b"")  # fmt: skip
    jobs = [scene.job("buyer", max_units=1_000), scene.job("seller", max_units=2_000, class_id=other)]
    for payer, terms in zip(("buyer", "seller"), jobs, strict=True):
        scene.send(payer, "JobMarket", "open", terms.to_abi(), scene.quote(terms))
    scene.submit(jobs[0], scene.receipt(jobs[0], 999))
    session = scene.session("buyer")
    scene.send("buyer", "MeteredSessions", "openSession", session.to_abi(), 5_000)
    scene.send("provider", "MeteredSessions", "claim", scene.claim(session, 1_234))
    scene.send("seller", "ComputeCredits", "setApprovalForAll", scene.at("CreditExchange"), True)
    offer = scene.offer("seller", 500, 0, class_id=other)
    signature = scene.sign("seller", offer_digest(offer, *scene.domain("CreditExchange")))
    scene.send("agent", "CreditExchange", "fill", (offer.to_abi(), signature, 500, 0))
    scene.send("provider", "JobMarket", "cancel", jobs[1].to_abi())
    books = check_books(scene)
    assert books[scene.at("friend"), scene.class_id] == 7
    assert books[scene.at("agent"), other] == 500
    assert books[scene.at("MeteredSessions"), scene.class_id] == 5_000 - 1_234
    assert -books[ZERO_ADDRESS, scene.class_id] == 50_000 - 999 - 1_234
