"""The provider is killed with -9, or loses the chain, between a payment and what was paid for.

Whatever happens, a payment is taken once and delivered once, or given back; and the payer, who sends the same
payment again, is told so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import httpx
import pytest
from x402.schemas import PaymentPayload

from tests.e2e.site import Site, mining_paused, until
from tests.integration.oracle_lab import SPEC, USD
from tests.integration.shop import Till, header
from tests.integration.system import account

UNITS = 50_000
PRICE = 100_000
HELD = 1_000_000
"""Credits that the payer has for jobs."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the node is killed: in `stage` of a payment, before a node of the chain has seen its transaction
    ("signed"), or while no block holds it ("sent").
    """

    kind: Literal["sale", "refund", "job"]
    stage: str
    hold: Literal["signed", "sent"]

    def __str__(self) -> str:
        return f"{self.kind}-{self.stage}-{self.hold}"


MOMENTS = [
    Moment("sale", "taking", "signed"),
    Moment("sale", "taking", "sent"),
    Moment("sale", "taken", "signed"),
    Moment("sale", "taken", "sent"),
    Moment("refund", "refunding", "signed"),
    Moment("refund", "refunding", "sent"),
    Moment("job", "taking", "signed"),
    Moment("job", "taking", "sent"),
]


@dataclass
class Counter:
    """The node, what its payer has, and what the payer was answered in the background."""

    site: Site
    till: Till
    closing: dict[str, Till]
    """Those of the classes that are closed in between."""
    answers: list[httpx.Response] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def hold_send(self, stage: str) -> None:
        """Hold the next transaction that is sent while the newest payment is in this stage."""
        self.site.gate.hold_if(lambda asked: asked == "eth_sendRawTransaction" and self.stage() == stage)

    def stage(self) -> str:
        """Stage of the newest payment."""
        rows = self.site._query("SELECT stage FROM x402_payments ORDER BY created_ms DESC LIMIT 1")
        return str(rows[0]["stage"]) if rows else ""

    def send(self, url: str, payment: PaymentPayload, body: object = None) -> None:
        """Send a payment in the background: the node may die before it answers."""

        def work() -> None:
            with suppress(httpx.HTTPError):
                self.answers.append(self.till.post(url, payment, body))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)

    def settled(self, url: str, payment: PaymentPayload, body: object = None) -> httpx.Response:
        """The answer to the same payment, once it is decided."""
        found: list[httpx.Response] = []

        def decided() -> bool:
            found.append(self.till.post(url, payment, body))
            told = header(found[-1], "PAYMENT-RESPONSE")
            return told.get("errorReason") != "settlement_pending"

        until(decided, "the payment is decided")
        return found[-1]


@dataclass(frozen=True, slots=True)
class Purse:
    """What moves: the payer's dollars and credits, dollars that stuck with the seller, and sales and jobs."""

    dollars: int
    credits: int
    stuck: int
    sales: int
    jobs: int


def purse(till: Till) -> Purse:
    view = till.place.chain.at()
    return Purse(
        till.tokens(till.buyer.address),
        till.credits(till.buyer.address),
        till.tokens(account("oracle").address),
        len(list(view.events("CreditReserve", "Bought", recipient=till.buyer.address))),
        len(list(view.events("JobMarket", "JobOpened", payer=till.buyer.address))),
    )


@pytest.fixture(scope="module")
def counter(site: Site) -> Counter:
    create, buyer = site.system.create_class, account("payer")
    tills = [Till(site.lab, create(min_assurance=1, price_per_million=2_000 * USD), buyer) for _ in range(3)]
    till, *closing = tills
    site.system.buy(till.class_id, "payer", HELD)
    site.configure_provider({"x402": {"sell": [one.class_id for one in tills], "wait_s": 2}})
    site.start("provider")
    made = Counter(site, till, dict(zip(("signed", "sent"), closing, strict=True)))
    # The first purchase also lets the reserve take tokens; those that follow have two transactions.
    url = till.credits_url(UNITS)
    assert made.settled(url, till.pay(till.required(url))).status_code == 200
    return made


@pytest.fixture
def desk(counter: Counter) -> Iterator[Counter]:
    if not counter.site.provider.is_running:
        counter.site.start("provider")
    yield counter
    counter.site.gate.release()
    for thread in counter.threads:
        thread.join(60)


def kill_at(desk: Counter, moment: Moment, url: str, payment: PaymentPayload, body: object) -> None:
    """Send the payment and kill the node there."""
    site = desk.site
    if moment.hold == "signed":
        desk.hold_send(moment.stage)
        desk.send(url, payment, body)
        until(site.gate.waiting.is_set, "the transaction is held")
        site.kill()
        return
    oracle, chain = account("oracle").address, site.lab.chain
    if moment.stage == "taking":
        nonce = chain.nonce(oracle)
        with mining_paused(site.system):
            desk.send(url, payment, body)
            until(lambda: chain.nonce(oracle, "pending") > nonce, "the transaction is in the pool")
            site.kill()
        return
    # The step before has mined; this one's transaction is let go only once no block is mined any more.
    desk.hold_send(moment.stage)
    desk.send(url, payment, body)
    until(site.gate.waiting.is_set, "the transaction is held")
    nonce = chain.nonce(oracle)
    with mining_paused(site.system):
        site.gate.release()
        until(lambda: chain.nonce(oracle, "pending") > nonce, "the transaction is in the pool")
        site.kill()


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_kill__between_payment_and_delivery__is_paid_once(desk: Counter, moment: Moment) -> None:
    till = desk.closing[moment.hold] if moment.kind == "refund" else desk.till
    url, body = (till.jobs_url, SPEC.to_json()) if moment.kind == "job" else (till.credits_url(UNITS), None)
    payment, before = till.pay(till.required(url, body)), purse(till)
    if moment.kind == "refund":
        kill_at_refund(desk, moment, till, payment)
    else:
        kill_at(desk, moment, url, payment, body)
    desk.site.start("provider")
    answer = desk.settled(url, payment, body)
    after = purse(till)
    if moment.kind == "job":
        assert answer.status_code == 202
        assert after.jobs == before.jobs + 1
        where = answer.headers["Location"]
        until(lambda: till.get(where).json()["state"] == "settled", "the job settles")
    elif moment.kind == "sale":
        assert answer.status_code == 200, answer.text
        assert after == Purse(
            before.dollars - PRICE, before.credits + UNITS, before.stuck, before.sales + 1, before.jobs
        )
    else:
        assert answer.status_code == 409, answer.text
        assert after == before
    assert desk.settled(url, payment, body).status_code == answer.status_code
    assert purse(till).sales == after.sales
    assert purse(till).jobs == after.jobs


def kill_at_refund(desk: Counter, moment: Moment, till: Till, payment: PaymentPayload) -> None:
    """Close the class while the delivery is on its way, which then reverts; kill the node as it refunds."""
    site, chain, oracle = desk.site, desk.site.lab.chain, account("oracle").address
    desk.hold_send("taken")
    desk.send(till.credits_url(UNITS), payment)
    until(site.gate.waiting.is_set, "the delivery is held")
    site.system.send("ComputeCredits", "closeClass", till.class_id)
    site.gate.release()
    desk.hold_send("refunding")
    until(site.gate.waiting.is_set, "the refund is held")
    if moment.hold == "sent":
        nonce = chain.nonce(oracle)
        with mining_paused(site.system):
            site.gate.release()
            until(lambda: chain.nonce(oracle, "pending") > nonce, "the refund is in the pool")
            site.kill()
    site.kill()


@pytest.mark.parametrize("method", ["eth_sendRawTransaction", "eth_getTransactionReceipt", "eth_call"])
def test_answer_lost__once__is_paid_once(desk: Counter, method: str) -> None:
    till = desk.till
    url = till.credits_url(UNITS)
    payment, before = till.pay(till.required(url)), purse(till)
    desk.site.gate.lose[method] = 1
    assert desk.settled(url, payment).status_code == 200
    assert purse(till) == Purse(
        before.dollars - PRICE, before.credits + UNITS, before.stuck, before.sales + 1, before.jobs
    )


def test_chain_lost__after_the_intent__is_pending_and_settles_by_itself(desk: Counter) -> None:
    till, site = desk.till, desk.site
    url = till.credits_url(UNITS)
    payment, before = till.pay(till.required(url)), purse(till)
    site.gate.hold_if(lambda asked: asked == "eth_sendRawTransaction")
    answer = till.post(url, payment)
    assert answer.status_code == 202, answer.text
    told = header(answer, "PAYMENT-RESPONSE")
    assert (told["success"], told["errorReason"]) == (False, "settlement_pending")
    assert told["transaction"].startswith("0x")
    assert purse(till) == before
    site.gate.release()
    where = answer.headers["Location"]
    until(lambda: till.get(where).json()["settled"], "the purchase is delivered without being asked again")
    assert purse(till) == Purse(
        before.dollars - PRICE, before.credits + UNITS, before.stuck, before.sales + 1, before.jobs
    )
