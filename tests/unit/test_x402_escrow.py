"""The scheme `credit-escrow` without a chain: what is required, what is signed, and every way to differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from x402.schemas import AssetAmount, PaymentPayload, PaymentRequirements, SettleContext, SupportedKind

from scrip.eip712 import recover
from scrip.errors import BadInput, Refused
from scrip.types import Deployment
from scrip.x402.client import CreditEscrowClient
from scrip.x402.escrow import SKEW_S, JobOffer, JobPayment, Kind, PaymentInvalid, Place, check_accepted
from scrip.x402.server import CreditEscrowServer
from scrip.x402.voucher import VoucherOffer, VoucherPayment, VoucherSigner

PAYER = Account.from_key(b"\x11" * 32)
CREDITS, MARKET, SESSIONS, OTHER = ("0x" + digit * 40 for digit in "1234")
PROVIDER = Account.from_key(b"\x22" * 32).address
DEPLOYMENT = Deployment(
    31337, 1, {"ComputeCredits": CREDITS, "JobMarket": MARKET, "MeteredSessions": SESSIONS}
)
PLACE = Place.of(DEPLOYMENT)
OFFER = JobOffer(PROVIDER, 7, 10_000, 1, b"\x07" * 32, 120, 600)
NOW = 1_000_000


def required(**changes: Any) -> PaymentRequirements:
    return OFFER.requirements(PLACE).model_copy(update=changes)


def paid(**changes: Any) -> JobPayment:
    client = CreditEscrowClient(PAYER, DEPLOYMENT, clock=lambda: NOW)
    made = JobPayment.from_json(client.create_payment_payload(required()))
    return replace(made, terms=replace(made.terms, **changes))


@pytest.mark.parametrize("field", sorted(OFFER.requirements(PLACE).extra))
def test_read__extra_without_a_field_or_with_another_value__is_refused(field: str) -> None:
    extra = dict(required().extra)
    del extra[field]
    with pytest.raises(PaymentInvalid):
        JobOffer.read(required(extra=extra), PLACE)
    other = {**required().extra, field: "0" + str(required().extra[field])}
    with pytest.raises(PaymentInvalid):
        JobOffer.read(required(extra=other), PLACE)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("scheme", "exact", "unsupported_scheme"),
        ("network", "eip155:1", "invalid_network"),
        ("asset", OTHER, "invalid_credit_escrow_asset"),
        ("amount", "1.5", "invalid_payment_requirements"),
        ("amount", "-1", "invalid_payment_requirements"),
        ("amount", "٣", "invalid_payment_requirements"),
        ("pay_to", "0x12", "invalid_payment_requirements"),
        ("max_timeout_seconds", 0, "invalid_payment_requirements"),
    ],
)
def test_read__requirements_that_are_not_ours__are_refused(field: str, value: object, reason: str) -> None:
    with pytest.raises(PaymentInvalid) as refused:
        JobOffer.read(required(**{field: value}), PLACE)
    assert refused.value.reason == reason


def test_read__what_we_require__is_the_offer() -> None:
    assert JobOffer.read(required(), PLACE) == OFFER


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provider": OTHER}, "recipient_mismatch"),
        ({"class_id": 8}, "token_id_mismatch"),
        ({"max_units": 9_999}, "amount_mismatch"),
        ({"max_units": 10_001}, "amount_mismatch"),
        ({"resources": 2}, "resources_mismatch"),
        ({"spec_hash": b"\x08" * 32}, "spec_mismatch"),
        ({"submit_by": NOW}, "deadline_mismatch"),
        ({"accept_by": NOW, "submit_by": NOW + 600}, "expired"),
        ({"accept_by": NOW + 121 + SKEW_S, "submit_by": NOW + 721 + SKEW_S}, "deadline_too_far"),
    ],
)
def test_check__terms_that_differ__are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(PaymentInvalid) as refused:
        OFFER.check(paid(**changes).terms, NOW)
    assert refused.value.reason == f"invalid_credit_escrow_{reason}"
    assert refused.value.payer == PAYER.address


@given(st.integers(0, 1 << 64), st.integers(1, 120 + SKEW_S))
def test_check__any_time_and_salt_within_the_offer__is_taken(salt: int, ahead: int) -> None:
    terms = paid(salt=salt, accept_by=NOW + ahead, submit_by=NOW + ahead + 600).terms
    OFFER.check(terms, NOW)


def test_client__signature__is_the_payers_over_the_job_id() -> None:
    made = paid()
    assert recover(made.job_id(PLACE), made.signature) == PAYER.address


def test_client__signs_the_same_offer_twice__as_two_jobs() -> None:
    assert paid().job_id(PLACE) != paid().job_id(PLACE)


@pytest.mark.parametrize(
    "change",
    [{"kind": "voucher"}, {"terms": None}, {"signature": 5}, {"signature": "0x1"}, {"quote": "x"}, {"x": 1}],
)
def test_payload__of_another_form__is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PaymentInvalid) as refused:
        JobPayment.from_json({**paid().to_json(), **change})
    assert refused.value.reason == "invalid_payload"


def test_payload__to_json_and_back__is_the_same() -> None:
    made = replace(paid(), quote=b"\x01" * 65)
    assert JobPayment.from_json(made.to_json()) == made


def accepting(accepted: PaymentRequirements, version: int = 2) -> PaymentPayload:
    return PaymentPayload(x402_version=version, payload=paid().to_json(), accepted=accepted)


@pytest.mark.parametrize("field", ["amount", "asset", "pay_to", "max_timeout_seconds", "network", "scheme"])
def test_accepted__another_value__is_refused(field: str) -> None:
    value = 1 if field == "max_timeout_seconds" else "other"
    with pytest.raises(PaymentInvalid):
        check_accepted(accepting(required(**{field: value})), required())


def test_accepted__number_for_text_or_more_of_extra__is_refused() -> None:
    check_accepted(accepting(required()), required())
    for extra in ({**required().extra, "tokenId": 7}, {**required().extra, "more": None, "other": 1}, {}):
        with pytest.raises(PaymentInvalid):
            check_accepted(accepting(required(extra=extra)), required())
    with pytest.raises(PaymentInvalid, match="x402Version"):
        check_accepted(accepting(required(), version=1), required())


# The server's side


def test_server__price_in_money__is_refused() -> None:
    for price in ("$1", 1, {"amount": "1", "asset": CREDITS}):
        with pytest.raises(BadInput):
            CreditEscrowServer().parse_price(price, PLACE.network)


def test_server__price_in_credits__is_kept() -> None:
    price = {"amount": "10000", "asset": CREDITS, "extra": {"tokenId": "7"}}
    assert CreditEscrowServer().parse_price(price, PLACE.network) == AssetAmount.model_validate(price)


def test_server__incomplete_extra__is_refused() -> None:
    kind = SupportedKind(
        x402_version=2, scheme="credit-escrow", network=PLACE.network, extra={"job": PLACE.domain(Kind.JOB)}
    )
    made = CreditEscrowServer().enhance_payment_requirements(required(), kind, [])
    assert made.extra == required().extra
    for extra, missing in (
        ({"kind": "job"}, "tokenId"),
        ({}, "extra.kind"),
        ({"kind": "other"}, "extra.kind"),
    ):
        with pytest.raises(BadInput, match=missing):
            CreditEscrowServer().enhance_payment_requirements(required(extra=extra), kind, [])


def test_server__quoter__adds_its_quote_and_never_replaces_one() -> None:
    server = CreditEscrowServer(lambda terms: b"\x05" * 65)
    context = SettleContext(accepting(required()), required())
    assert server.enrich_settlement_payload(context) == {"quote": "0x" + "05" * 65}
    context.payment_payload.payload["quote"] = "0x01"
    assert server.enrich_settlement_payload(context) is None
    assert CreditEscrowServer().enrich_settlement_payload(context) is None


# Vouchers

PRICE = VoucherOffer(PROVIDER, 7, 25)
SESSION = b"\x09" * 32
KEY = Account.from_key(b"\x33" * 32)


@pytest.mark.parametrize("field", sorted(PRICE.requirements(PLACE).extra))
def test_voucher__requirements_of_others__are_refused(field: str) -> None:
    good = PRICE.requirements(PLACE)
    assert VoucherOffer.read(good, PLACE) == PRICE
    for extra in ({**good.extra, field: "x"}, {k: v for k, v in good.extra.items() if k != field}):
        with pytest.raises(PaymentInvalid):
            VoucherOffer.read(good.model_copy(update={"extra": extra}), PLACE)


def test_voucher__each__is_over_more_than_the_one_before_until_the_limit() -> None:
    signer = VoucherSigner(KEY, SESSION, PLACE, most=60, authorised=5)
    first, second = (signer.pay(PRICE) for _ in range(2))
    assert (first.voucher.units, second.voucher.units) == (30, 55)
    assert recover(first.payment_id(PLACE), first.voucher.signature) == KEY.address
    assert VoucherPayment.from_json(first.to_json()) == first
    with pytest.raises(Refused, match="80 base units in all"):
        signer.pay(PRICE)


@pytest.mark.parametrize(
    "change", [{"units": 5}, {"units": "-1"}, {"sessionId": "0x1"}, {"more": 1}, {"kind": "job"}]
)
def test_voucher__payload_of_another_form__is_refused(change: dict[str, Any]) -> None:
    made = VoucherSigner(KEY, SESSION, PLACE, most=60).pay(PRICE).to_json()
    with pytest.raises(PaymentInvalid):
        VoucherPayment.from_json({**made, **change})


def test_client__asked_for_a_voucher__signs_one_of_its_session() -> None:
    vouchers = VoucherSigner(KEY, SESSION, PLACE, most=60)
    client = CreditEscrowClient(PAYER, DEPLOYMENT, vouchers=vouchers)
    assert client.create_payment_payload(PRICE.requirements(PLACE))["units"] == "25"
    with pytest.raises(PaymentInvalid):  # without a session it is no job either
        CreditEscrowClient(PAYER, DEPLOYMENT).create_payment_payload(PRICE.requirements(PLACE))
