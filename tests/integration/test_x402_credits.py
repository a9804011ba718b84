"""Credits bought over HTTP by unmodified x402 clients, on real contracts: refusals, then purchases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_utils.crypto import keccak
from x402.schemas import PaymentPayload

from scrip.chain import Chain
from scrip.structs import ZERO_ADDRESS
from tests.integration.oracle_lab import USD, OracleLab, lab
from tests.integration.shop import Till, changed, header, named, parallel, till_of
from tests.integration.system import System, account

UNITS = 50_000
PRICE = 100_000
"""Dollar base units that UNITS cost."""
OTHER = account("somebody").address


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


@pytest.fixture
def till(place: OracleLab) -> Till:
    made = till_of(place)
    made.start()
    return made


@pytest.fixture
def url(till: Till) -> str:
    return till.credits_url(UNITS)


@pytest.fixture
def payment(till: Till, url: str) -> PaymentPayload:
    return till.pay(till.required(url))


def nothing_happened(till: Till) -> bool:
    return till.credits(till.buyer.address) == 0 and till.tokens(till.buyer.address) == 1000 * USD


# Refusals


def test_unpaid__says_what_it_costs_in_a_header(till: Till, url: str) -> None:
    required = till.required(url)
    (only,) = required.accepts
    assert (only.scheme, only.network, only.amount) == ("exact", "eip155:31337", str(PRICE))
    assert (only.asset, only.pay_to) == (till.address("DemoUSD"), account("oracle").address)
    assert only.extra["name"], only.extra["version"] == ("Demo USD", "1")
    assert required.resource is not None
    assert required.resource.url == url
    assert "payment-identifier" in (required.extensions or {})
    assert nothing_happened(till)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/x402/credits/{id}?units=0", 422),
        ("/x402/credits/{id}?units=-1", 422),
        ("/x402/credits/{id}?units=x", 422),
        ("/x402/credits/{id}", 422),
        ("/x402/credits/{id}?units=1", 422),  # worth less than `least_amount`
        ("/x402/credits/{id}?units=79228162514264337593543950336", 422),
        ("/x402/credits/999?units=50000", 404),
        ("/x402/credits/0?units=50000", 422),
    ],
)
def test_offer__of_what_is_not_sold__is_refused_before_any_payment(
    till: Till, path: str, status: int
) -> None:
    answer = till.post(till.place.url + path.format(id=till.class_id))
    assert answer.status_code == status, answer.text
    assert "PAYMENT-REQUIRED" not in answer.headers


@pytest.mark.parametrize("value", ["", "x", "e30=", "bnVsbA==", "WzFd", "eyJ4NDAyVmVyc2lvbiI6MX0=", "\xff"])
def test_payment_header__that_is_none__is_malformed(till: Till, url: str, value: str) -> None:
    import httpx

    answer = httpx.post(url, headers={"PAYMENT-SIGNATURE": value.encode("latin-1")}, trust_env=False)
    assert answer.status_code in (400, 402), answer.text  # an empty header is none
    assert answer.status_code == 400 or not value


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("accepted.amount", "1", "invalid_payment_requirements"),
        ("accepted.payTo", OTHER, "invalid_payment_requirements"),
        ("accepted.asset", OTHER, "invalid_payment_requirements"),
        ("accepted.network", "eip155:1", "invalid_network"),
        ("accepted.scheme", "upto", "unsupported_scheme"),
        ("accepted.maxTimeoutSeconds", 9999, "invalid_payment_requirements"),
        ("accepted.extra.tokenId", "2", "invalid_payment_requirements"),
        ("accepted.extra.units", "500000", "invalid_payment_requirements"),
        ("accepted.extra.credits", OTHER, "invalid_payment_requirements"),
        ("accepted.extra.name", "Other", "invalid_payment_requirements"),
        ("accepted.extra.more", "1", "invalid_payment_requirements"),
        ("payload.authorization.to", OTHER, "invalid_exact_evm_payload_recipient_mismatch"),
        ("payload.authorization.value", "1", "invalid_exact_evm_payload_authorization_value_mismatch"),
        ("payload.authorization.from", OTHER, "invalid_exact_evm_payload_signature"),
        ("payload.authorization.nonce", "0x" + "11" * 32, "invalid_exact_evm_payload_signature"),
        ("payload.authorization.nonce", "0x11", "invalid_payload"),
        ("payload.authorization.value", "-1", "invalid_payload"),
        ("payload.authorization.validBefore", "1", "invalid_exact_evm_payload_authorization_valid_before"),
        (
            "payload.authorization.validAfter",
            "99999999999",
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
        ("payload.signature", "0x" + "00" * 65, "invalid_exact_evm_payload_signature"),
        ("payload.signature", "0x1234", "invalid_exact_evm_payload_signature"),
        ("payload.authorization", None, "invalid_payload"),
    ],
)
def test_payment__tampered__is_refused_and_takes_nothing(
    till: Till, url: str, payment: PaymentPayload, path: str, value: object, reason: str
) -> None:
    answer = till.post(url, changed(payment, path, value))
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, reason), answer.text
    assert "PAYMENT-REQUIRED" in answer.headers
    assert nothing_happened(till)


def test_payment__for_another_url__is_refused(till: Till, payment: PaymentPayload) -> None:
    assert till.post(till.credits_url(UNITS * 2), payment).status_code == 402
    assert nothing_happened(till)


def test_payment__by_one_without_dollars__is_refused(till: Till, url: str) -> None:
    answer = till.post(url, till.pay(till.required(url), account("poor")))
    assert answer.json()["error"]["code"] == "invalid_exact_evm_insufficient_balance", answer.text


def test_payment__by_one_who_may_not_hold_the_class__is_refused_before_money_moves(till: Till) -> None:
    lists = till.place.system.create("AllowListEligibility", till.place.system.admin)
    closed = till.place.system.create_class(
        min_assurance=1, price_per_million=2_000 * USD, eligibility=lists.address
    )
    till.place.stop("provider")
    till.start(x402={"sell": (closed,)})
    url = f"{till.place.url}/x402/credits/{closed}?units={UNITS}"
    answer = till.post(url, till.pay(till.required(url)))
    assert answer.status_code == 402
    assert "NotEligible" in answer.text
    assert nothing_happened(till)


def test_same_authorisation__for_another_purchase__is_a_conflict(
    till: Till, url: str, payment: PaymentPayload
) -> None:
    assert till.post(url, payment).status_code == 200
    other = changed(payment, "accepted.extra.units", str(UNITS * 2))
    assert till.post(till.credits_url(UNITS * 2), other).status_code == 409
    assert till.credits(till.buyer.address) == UNITS


def test_identifier__reused_for_another_payment__is_a_conflict(till: Till, url: str) -> None:
    required = till.required(url)
    first, second = (named(till.pay(required), "pay_0123456789abcdef") for _ in range(2))
    assert till.post(url, first).status_code == 200
    assert till.post(url, second).status_code == 409
    assert till.facilitator("settle", second).status_code == 409
    assert till.facilitator("verify", second).status_code == 409
    assert till.post(url, named(second, "short")).status_code == 402
    assert till.credits(till.buyer.address) == UNITS


def test_authorisation__cancelled_by_its_payer__takes_nothing(
    till: Till, url: str, payment: PaymentPayload
) -> None:
    nonce = bytes.fromhex(payment.payload["authorization"]["nonce"][2:])
    cancel(till, nonce)
    answer = till.post(url, payment)
    assert answer.json()["error"]["code"] == "invalid_exact_evm_nonce_already_used"
    assert nothing_happened(till)


def cancel(till: Till, nonce: bytes) -> None:
    from eth_abi.abi import encode

    from scrip.eip712 import digest, domain_separator, sign

    separator = domain_separator("Demo USD", till.place.chain.chain_id, till.address("DemoUSD"))
    kind = keccak(text="CancelAuthorization(address authorizer,bytes32 nonce)")
    who = till.buyer.address
    signature = sign(
        digest(separator, keccak(encode(["bytes32", "address", "bytes32"], [kind, who, nonce]))), till.buyer
    )
    r, s, v = signature[:32], signature[32:64], signature[64]
    till.place.system.send("DemoUSD", "cancelAuthorization", who, nonce, v, r, s)


# Purchases


def test_buy__stock_python_client__gets_credits_for_exactly_the_price(till: Till, url: str) -> None:
    answer = till.buy(url)
    assert answer.status_code == 200, answer.text
    bought = answer.json()
    assert (bought["settled"], bought["units"], bought["amount"]) == (True, str(UNITS), str(PRICE))
    assert till.credits(till.buyer.address) == UNITS
    assert till.tokens(till.buyer.address) == 1000 * USD - PRICE
    assert till.tokens(account("oracle").address) == 0
    told = header(answer, "PAYMENT-RESPONSE")
    assert told["success"] is True
    assert (told["transaction"], told["payer"]) == (bought["paymentTx"], till.buyer.address)
    till.place.wait(lambda: till.get(answer.headers["Location"]).json()["stage"] == "done")


def test_buy__stock_npm_client__gets_credits_for_exactly_the_price(till: Till, url: str) -> None:
    answer = till.npm(url)
    assert answer["status"] == 200, answer
    assert answer["payment"]["success"] is True
    assert answer["body"]["units"] == str(UNITS)
    assert till.credits(till.buyer.address) == UNITS
    assert till.tokens(till.buyer.address) == 1000 * USD - PRICE


def test_same_payment__sent_again__is_the_same_purchase(
    till: Till, url: str, payment: PaymentPayload
) -> None:
    answers = [till.post(url, payment) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["deliveryTx"] for answer in answers}) == 1
    assert till.credits(till.buyer.address) == UNITS


def test_same_payment__eight_at_once__is_one_purchase(till: Till, url: str, payment: PaymentPayload) -> None:
    answers = parallel(8, lambda: till.post(url, payment))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["paymentTx"] for answer in answers}) == 1
    assert till.credits(till.buyer.address) == UNITS
    assert till.tokens(till.buyer.address) == 1000 * USD - PRICE


def test_different_payments__eight_at_once__are_eight_purchases(till: Till, url: str) -> None:
    required = till.required(url)
    waiting = [till.pay(required) for _ in range(8)]
    answers = parallel(8, lambda: till.post(url, waiting.pop()))
    assert {answer.status_code for answer in answers} == {200}, [
        answer.text for answer in answers if answer.is_error
    ]
    assert till.credits(till.buyer.address) == 8 * UNITS


def test_authorisation__sent_by_somebody_else_first__still_buys(
    till: Till, url: str, payment: PaymentPayload
) -> None:
    given = payment.payload["authorization"]
    signature = bytes.fromhex(payment.payload["signature"][2:])
    till.place.system.send(
        "DemoUSD", "transferWithAuthorization", given["from"], given["to"], int(given["value"]),
        int(given["validAfter"]), int(given["validBefore"]), bytes.fromhex(given["nonce"][2:]),
        signature[64], signature[:32], signature[32:64],
    )  # fmt: skip
    assert till.post(url, payment).status_code == 200
    assert till.credits(till.buyer.address) == UNITS
    assert till.tokens(till.buyer.address) == 1000 * USD - PRICE
    assert ZERO_ADDRESS not in till.post(url, payment).text


# The facilitator


def test_facilitator__settles_once_and_tells_one_caller(till: Till, payment: PaymentPayload) -> None:
    assert till.facilitator("verify", payment).json()["isValid"] is True
    answers = [answer.json() for answer in parallel(4, lambda: till.facilitator("settle", payment))]
    assert sorted(answer["success"] for answer in answers) == [False, False, False, True]
    reasons = {answer.get("errorReason") for answer in answers if not answer["success"]}
    assert reasons == {"invalid_exact_evm_nonce_already_used"}
    assert {answer["transaction"] for answer in answers if not answer["success"]} == {""}
    assert till.facilitator("verify", payment).json()["isValid"] is False
    assert till.credits(till.buyer.address) == UNITS


def test_facilitator__payment_with_an_identifier__gets_the_same_answer_again(
    till: Till, payment: PaymentPayload
) -> None:
    known = named(payment, "pay_0123456789abcdef")
    first, again = (till.facilitator("settle", known).json() for _ in range(2))
    assert first == again
    assert first["success"] is True
    assert till.credits(till.buyer.address) == UNITS


def test_facilitator__supported__names_schemes_networks_and_account(till: Till) -> None:
    found = till.get("/x402/facilitator/supported").json()
    assert {(kind["scheme"], kind["network"]) for kind in found["kinds"]} == {
        ("exact", "eip155:31337"),
        ("credit-escrow", "eip155:31337"),
    }
    assert found["signers"] == {"eip155:*": [account("oracle").address]}
    assert found["extensions"] == ["payment-identifier"]


@pytest.mark.parametrize("what", ["verify", "settle"])
def test_facilitator__body_that_is_no_request__is_malformed(till: Till, what: str) -> None:
    for body in ({}, {"x402Version": 2}, {"x402Version": 2, "paymentPayload": {}, "paymentRequirements": {}}):
        assert till.post(f"{till.place.url}/x402/facilitator/{what}", body=body).status_code == 400


def test_facilitator__unknown_network_or_scheme__is_said(till: Till, payment: PaymentPayload) -> None:
    other = changed(payment, "accepted.network", "eip155:1")
    assert till.facilitator("verify", other).json()["invalidReason"] == "invalid_network"
    other = changed(payment, "accepted.scheme", "upto")
    told = till.facilitator("settle", other).json()
    assert (told["success"], told["errorReason"], told["transaction"]) == (False, "unsupported_scheme", "")
