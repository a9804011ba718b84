"""Flat prices paid by voucher over HTTP: a seller with the SDK's server, our facilitator, a real session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from x402 import x402Client
from x402.schemas import PaymentPayload, PaymentRequirements

from oracle.gateway.service import Gateway
from scrip import sessions
from scrip.call_receipts import SignedCallReceipt
from scrip.chain import Chain
from scrip.types import Resource
from scrip.x402.client import CreditEscrowClient
from scrip.x402.escrow import Place
from scrip.x402.server import CreditEscrowServer
from scrip.x402.voucher import VoucherOffer, VoucherSigner
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.shop import Till, changed, header, named, parallel, seller
from tests.integration.system import System, account

PRICE, DEPOSIT = 25, 100
MIS = "invalid_credit_escrow_"
OTHER = account("somebody").address


@dataclass
class Bar:
    """A provider with a gateway, a session of the buyer's, and what its vouchers pay."""

    till: Till
    session: bytes
    settings: Any

    @property
    def place(self) -> OracleLab:
        return self.till.place

    @property
    def gateway(self) -> Gateway:
        found: Gateway = self.place.running["provider"].daemon._cycle._node.gateway  # type: ignore[attr-defined]
        return found

    @property
    def charged(self) -> int:
        return self.gateway.accounts.view(self.session).charged

    @property
    def required(self) -> PaymentRequirements:
        offer = VoucherOffer(self.place.provider, self.till.class_id, PRICE)
        return offer.requirements(Place.of(self.place.system.deployment))

    def client(self, authorised: int = 0, most: int = 10_000) -> CreditEscrowClient:
        place = Place.of(self.place.system.deployment)
        vouchers = VoucherSigner(
            account("session key"), self.session, place, most=most, authorised=authorised
        )
        return CreditEscrowClient(account("buyer"), self.place.system.deployment, vouchers=vouchers)

    def pay(self, authorised: int = 0) -> PaymentPayload:
        made = self.client(authorised).create_payment_payload(self.required)
        return PaymentPayload(payload=made, accepted=self.required)

    def settle(self, payment: PaymentPayload) -> dict[str, Any]:
        found: dict[str, Any] = self.till.facilitator("settle", payment).json()
        return found


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


@pytest.fixture
def bar(place: OracleLab) -> Bar:
    class_id = place.system.create_class(resource=Resource.OUTPUT_TOKEN, max_rate=10**9, min_assurance=1)
    buyer = place.buy(class_id, 1_000_000)
    rates = [{"model": "x402", "class_id": class_id, "input": 1_000_000, "output": 0}]
    gateway = {"rates": rates, "claim_units": 1_000_000, "claim_age_s": 86_400}
    settings = place.provider_settings(gateway=gateway, x402={})
    place.start("provider", settings)
    key = account("session key").address
    terms = sessions.terms_for(place.chain, buyer.address, place.provider, class_id, key)
    sessions.open_session(place.chain, buyer, terms, DEPOSIT)
    made = Bar(Till(place, class_id, account("buyer")), b"", settings)
    made.session = made.gateway.accounts.open(terms).session
    return made


# Refusals


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("payload.units", "26", MIS + "signature"),
        ("payload.signature", "0x" + "11" * 65, MIS + "signature"),
        ("payload.sessionId", "0x" + "11" * 32, MIS + "session_unknown"),
        ("payload.kind", "job", "invalid_payload"),
        ("accepted.amount", "24", "invalid_payment_requirements"),
        ("accepted.extra.tokenId", "2", "invalid_payment_requirements"),
        ("accepted.extra.escrow", OTHER, "invalid_payment_requirements"),
    ],
)
def test_voucher__tampered__charges_nothing(bar: Bar, path: str, value: object, reason: str) -> None:
    payment = changed(bar.pay(), path, value)
    fields = bar.required.model_dump(by_alias=True)
    told = bar.till.facilitator("settle", payment, **fields).json()
    assert (told["success"], told["errorReason"], told["transaction"]) == (False, reason, "")
    assert bar.charged == 0


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("amount", "26", "insufficient_funds"),
        ("extra.tokenId", "2", "invalid_payment_requirements"),
        ("payTo", OTHER, "invalid_payment_requirements"),
        ("asset", OTHER, MIS + "asset"),
        ("network", "eip155:1", "invalid_network"),
    ],
)
def test_requirements__other_than_the_session_pays__charge_nothing(
    bar: Bar, field: str, value: object, reason: str
) -> None:
    told = bar.settle(changed(bar.pay(), f"accepted.{field}", value))
    assert (told["success"], told["errorReason"]) == (False, reason)
    assert bar.charged == 0


def test_voucher__beyond_the_deposit__is_refused(bar: Bar) -> None:
    for count in range(4):
        assert bar.settle(bar.pay(count * PRICE))["success"] is True
    told = bar.settle(bar.pay(4 * PRICE))
    assert (told["success"], told["errorReason"]) == (False, "insufficient_funds")
    assert bar.charged == DEPOSIT


# Payments


def test_voucher__paid_to_a_seller_of_its_own__is_charged_once(bar: Bar) -> None:
    with seller(bar.place, bar.required, CreditEscrowServer()) as url:
        payment = PaymentPayload(payload=bar.pay().payload, accepted=bar.till.required(url).accepts[0])
        answers = parallel(6, lambda: bar.till.post(url, payment))
        assert sorted(answer.status_code for answer in answers) == [200] + [402] * 5
        assert bar.charged == PRICE
        stock = x402Client().set_spend_controls(
            {"allowed_assets": [{"network": bar.till.network, "asset": bar.required.asset}]}
        )
        stock.register("eip155:*", bar.client(authorised=PRICE))
        answer = bar.till.buy(url, client=stock)
    assert (answer.status_code, answer.json()) == (200, {"answer": 42}), answer.text
    told = header(answer, "PAYMENT-RESPONSE")
    assert (told["success"], told["transaction"], told["payer"]) == (True, "", account("buyer").address)
    receipt = SignedCallReceipt.from_json(told["extra"]["receipt"])
    receipt.check_signer(
        account("oracle").address, bar.place.chain.chain_id, bar.place.chain.address("MeteredSessions")
    )
    assert (receipt.receipt.units, receipt.receipt.total_units, bar.charged) == (PRICE, 2 * PRICE, 2 * PRICE)


def test_voucher__again_after_a_restart__is_charged_once(bar: Bar) -> None:
    payment = named(bar.pay(), "pay_0123456789abcdef")
    first = bar.settle(payment)
    bar.place.stop("provider")
    bar.place.start("provider", bar.settings)
    bar.place.wait(lambda: httpx.get(f"{bar.place.url}/readyz", trust_env=False).status_code == 200)
    assert bar.settle(payment) == first
    assert first["success"] is True
    assert bar.settle(bar.pay())["errorReason"] == MIS + "already_used"
    assert bar.charged == PRICE
