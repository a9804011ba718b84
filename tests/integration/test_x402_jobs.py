"""Jobs paid in credits over HTTP: refusals, then jobs that run and settle, at a real provider."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_utils.crypto import keccak
from x402.schemas import PaymentPayload

from scrip.chain import Chain
from scrip.errors import ScripError
from scrip.signed_requests import SignedBy
from scrip.spec import spec_hash
from scrip.types import JobTerms, Receipt, Status
from scrip.types_spending import NO_CAP, Limits
from scrip.x402.client import CreditEscrowClient
from scrip.x402.escrow import JobOffer, JobPayment, Place
from scrip.x402.server import CreditEscrowServer
from tests.integration.oracle_lab import SPEC, OracleLab, lab
from tests.integration.shop import MAX_UNITS, Till, changed, header, named, parallel, seller, till_of
from tests.integration.system import System, account

UNITS = 50_000
OTHER = account("somebody").address
BODY = SPEC.to_json()
MIS = "invalid_credit_escrow_"


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


@pytest.fixture
def till(place: OracleLab) -> Till:
    made = till_of(place)
    place.system.buy(made.class_id, "payer", UNITS)
    made.start()
    return made


@pytest.fixture
def payment(till: Till) -> PaymentPayload:
    return till.pay(till.required(till.jobs_url, BODY))


def opened(till: Till) -> int:
    return len(list(till.place.chain.at().events("JobMarket", "JobOpened")))


def pay(till: Till, payment: PaymentPayload) -> httpx.Response:
    return till.post(till.jobs_url, payment, BODY)


# Refusals


def test_unpaid__says_what_is_to_be_signed(till: Till) -> None:
    required = till.required(till.jobs_url, BODY)
    (only,) = required.accepts
    assert (only.scheme, only.network, only.amount) == ("credit-escrow", "eip155:31337", str(MAX_UNITS))
    assert (only.asset, only.pay_to) == (till.address("ComputeCredits"), till.place.provider)
    assert (only.extra["tokenId"], only.extra["escrow"]) == (str(till.class_id), till.address("JobMarket"))
    assert (required.extensions or {})["scrip-credits"]["info"]["buy"] == till.credits_url(MAX_UNITS)


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("class_id=1&max_units=0", BODY, 422),
        ("class_id=1", BODY, 422),
        ("class_id=999&max_units=10000", BODY, 404),
        ("class_id=1&max_units=10000&resources=0", BODY, 422),
        ("class_id=1&max_units=10000", {"template": "no.such", "params": {}}, 409),
        ("class_id=1&max_units=10000", {"template": "hash.chain", "params": {"steps": -1}}, 409),
        ("class_id=1&max_units=10000", {"params": {}}, 422),
        ("class_id=1&max_units=10000", None, 422),
    ],
)
def test_offer__of_a_job_we_would_not_take__is_refused_before_any_payment(
    till: Till, query: str, body: object, status: int
) -> None:
    answer = till.post(f"{till.place.url}/x402/jobs?{query}", body=body)
    assert answer.status_code == status, answer.text
    assert "PAYMENT-REQUIRED" not in answer.headers


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("accepted.amount", "1", "invalid_payment_requirements"),
        ("accepted.payTo", OTHER, "invalid_payment_requirements"),
        ("accepted.asset", OTHER, "invalid_payment_requirements"),
        ("accepted.network", "eip155:1", "invalid_network"),
        ("accepted.scheme", "exact", "unsupported_scheme"),
        ("accepted.maxTimeoutSeconds", 9999, "invalid_payment_requirements"),
        ("accepted.extra.tokenId", "2", "invalid_payment_requirements"),
        ("accepted.extra.escrow", OTHER, "invalid_payment_requirements"),
        ("accepted.extra.provider", OTHER, "invalid_payment_requirements"),
        ("accepted.extra.resources", 2, "invalid_payment_requirements"),
        ("accepted.extra.specHash", "0x" + "11" * 32, "invalid_payment_requirements"),
        ("accepted.extra.runSeconds", 1, "invalid_payment_requirements"),
        ("accepted.extra.name", "Other", "invalid_payment_requirements"),
        ("accepted.extra.version", "2", "invalid_payment_requirements"),
        ("accepted.extra.kind", "voucher", "invalid_payment_requirements"),
        ("accepted.extra.more", "1", "invalid_payment_requirements"),
        ("payload.terms.maxUnits", "1", MIS + "amount_mismatch"),
        ("payload.terms.classId", "2", MIS + "token_id_mismatch"),
        ("payload.terms.provider", OTHER, MIS + "recipient_mismatch"),
        ("payload.terms.resources", "2", MIS + "resources_mismatch"),
        ("payload.terms.specHash", "0x" + "11" * 32, MIS + "spec_mismatch"),
        ("payload.terms.submitBy", "1", MIS + "deadline_mismatch"),
        ("payload.terms.acceptBy", "1", MIS + "deadline_mismatch"),
        ("payload.terms.payer", OTHER, MIS + "signature"),
        ("payload.terms.salt", "7", MIS + "signature"),
        ("payload.signature", "0x" + "00" * 65, MIS + "signature"),
        ("payload.signature", "0x", MIS + "signature"),
        ("payload.signature", "zz", "invalid_payload"),
        ("payload.kind", "voucher", "invalid_payload"),
        ("payload.more", 1, "invalid_payload"),
        ("payload.terms", {}, "invalid_payload"),
        ("payload.terms.salt", -1, "invalid_payload"),
    ],
)
def test_payment__tampered__is_refused_and_opens_nothing(
    till: Till, payment: PaymentPayload, path: str, value: object, reason: str
) -> None:
    answer = pay(till, changed(payment, path, value))
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, reason), answer.text
    assert opened(till) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "1"),
        ("payTo", OTHER),
        ("asset", OTHER),
        ("maxTimeoutSeconds", 1),
        ("extra", {}),
    ],
)
def test_facilitator__other_requirements_than_were_accepted__are_refused(
    till: Till, payment: PaymentPayload, field: str, value: object
) -> None:
    for what, flag in (("verify", "isValid"), ("settle", "success")):
        assert till.facilitator(what, payment, **{field: value}).json()[flag] is False
    assert opened(till) == 0


def both(payment: PaymentPayload, field: str, value: object) -> PaymentPayload:
    return changed(payment, f"accepted.{field}", value)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("network", "eip155:1", "invalid_network"),
        ("asset", OTHER, MIS + "asset"),
        ("payTo", OTHER, "invalid_payment_requirements"),
        ("amount", "1", MIS + "amount_mismatch"),
        ("extra.tokenId", "2", MIS + "token_id_mismatch"),
        ("extra.escrow", OTHER, "invalid_payment_requirements"),
    ],
)
def test_facilitator__wrong_network_asset_or_payee__is_refused(
    till: Till, payment: PaymentPayload, field: str, value: object, reason: str
) -> None:
    answer = till.facilitator("settle", both(payment, field, value)).json()
    assert (answer["success"], answer["errorReason"], answer["transaction"]) == (False, reason, "")
    assert opened(till) == 0


def test_payment__of_more_credits_than_are_held__is_refused(till: Till) -> None:
    url = till.jobs_url.replace(str(MAX_UNITS), str(UNITS + 1))
    answer = till.post(url, till.pay(till.required(url, BODY)), BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_funds")
    assert opened(till) == 0


def test_payment__too_late__is_refused(till: Till, payment: PaymentPayload) -> None:
    till.place.system.anvil.advance(3600)
    answer = pay(till, payment)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, MIS + "expired")
    assert opened(till) == 0


def test_payment__for_another_spec__is_refused(till: Till, payment: PaymentPayload) -> None:
    other = {"template": "hash.chain", "params": {"seed": "0x" + "cd" * 32, "steps": 20_000}}
    assert till.post(till.jobs_url, payment, other).status_code == 402
    assert opened(till) == 0


def test_client__asked_to_sign_for_another_contract__refuses(till: Till) -> None:
    required = till.required(till.jobs_url, BODY)
    required.accepts[0].extra["escrow"] = OTHER
    with pytest.raises(ScripError, match=r"extra\.escrow"):
        till.pay(required)


def test_poll__of_an_unknown_job__is_not_found(till: Till) -> None:
    assert till.get("/x402/jobs/0x" + "11" * 32).status_code == 404
    assert till.get("/x402/jobs/0x11").status_code == 422


# Jobs


def finished(till: Till, location: str) -> dict[str, Any]:
    till.place.wait(lambda: till.get(location).json()["state"] == "settled")
    found: dict[str, Any] = till.get(location).json()
    return found


def test_job__paid_by_the_sdk_client__runs_settles_and_gives_its_result(till: Till) -> None:
    answer = till.buy(till.jobs_url, BODY)
    assert answer.status_code == 202, answer.text
    where = answer.headers["Location"]
    assert where == f"/x402/jobs/{answer.json()['jobId']}"
    told = header(answer, "PAYMENT-RESPONSE")
    assert (told["success"], told["payer"], told["amount"]) == (True, till.buyer.address, str(MAX_UNITS))
    shown = finished(till, where)
    receipt = Receipt.from_json(shown["receipt"])
    assert till.credits(till.buyer.address) == UNITS - receipt.units
    assert shown["output"] is None
    auth = SignedBy(till.buyer, till.place.chain.chain_id, till.address("JobMarket"))
    result = till.get(where, auth=auth).json()
    assert keccak(base64.b64decode(result["output"])) == receipt.output_hash
    stranger = SignedBy(account("somebody"), till.place.chain.chain_id, till.address("JobMarket"))
    assert till.get(where, auth=stranger).status_code == 403


def test_job__paid_by_the_npm_client__runs_and_settles(till: Till) -> None:
    answer = till.npm(till.jobs_url, BODY)
    assert answer["status"] == 202, answer
    assert answer["payment"]["success"] is True
    assert Receipt.from_json(finished(till, answer["location"])["receipt"]).units > 0


def test_same_payment__eight_at_once_and_again__is_one_job(till: Till, payment: PaymentPayload) -> None:
    answers = [*parallel(8, lambda: pay(till, payment)), pay(till, payment)]
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert opened(till) == 1
    finished(till, answers[0].headers["Location"])
    again = pay(till, payment)
    assert (again.status_code, again.json()["state"]) == (202, "settled")
    assert opened(till) == 1


def test_polls__are_free(till: Till, payment: PaymentPayload) -> None:
    where = pay(till, payment).headers["Location"]
    shown = finished(till, where)
    left = till.credits(till.buyer.address)
    for _ in range(5):
        assert till.get(where).status_code == 200
    assert till.credits(till.buyer.address) == left == UNITS - int(shown["receipt"]["units"])


def test_facilitator__settles_a_job_once(till: Till, payment: PaymentPayload) -> None:
    assert till.facilitator("verify", payment).json()["isValid"] is True
    answers = [answer.json() for answer in parallel(4, lambda: till.facilitator("settle", payment))]
    assert sorted(answer["success"] for answer in answers) == [False, False, False, True]
    assert till.facilitator("settle", payment).json()["errorReason"] == MIS + "already_used"
    assert opened(till) == 1


def test_facilitator__payment_with_an_identifier__gets_the_same_answer_again(
    till: Till, payment: PaymentPayload
) -> None:
    known = named(payment, "pay_0123456789abcdef")
    assert till.facilitator("settle", known).json() == till.facilitator("settle", known).json()
    assert till.facilitator("settle", known).json()["success"] is True
    job = bytes.fromhex(pay(till, payment).json()["jobId"][2:])
    assert till.place.status(job) is not Status.NONE
    assert opened(till) == 1


def test_signature__already_used_on_chain__is_no_payment(till: Till, payment: PaymentPayload) -> None:
    terms = JobTerms.from_json(payment.payload["terms"])
    signature = bytes.fromhex(payment.payload["signature"][2:])
    till.place.system.send("JobMarket", "openBySig", terms.to_abi(), signature, b"")
    assert pay(till, payment).json()["error"]["code"] == MIS + "already_used"
    assert till.facilitator("settle", payment).json()["errorReason"] == MIS + "already_used"


def test_budget__its_spender_signs__its_owner_pays(till: Till) -> None:
    system, agent = till.place.system, account("agent")
    limits = Limits(agent.address, 10**12, NO_CAP, 10**12, 0, 0, False)
    token = till.address("DemoUSD")
    system.send("SpendingBudgets", "createBudget", token, limits.to_abi(), [], sender=till.buyer.address)
    required = till.required(till.jobs_url, BODY)
    client = CreditEscrowClient(
        agent, system.deployment, budget_id=1, payer=till.buyer.address, clock=till.now
    )
    made = client.create_payment_payload(required.accepts[0])
    payment = PaymentPayload(payload=made, accepted=required.accepts[0])
    assert pay(till, payment).status_code == 202
    assert opened(till) == 1
    made = client.create_payment_payload(required.accepts[0])
    forged = changed(
        PaymentPayload(payload=made, accepted=required.accepts[0]), "payload.terms.budgetId", "0"
    )
    assert pay(till, forged).json()["error"]["code"] == MIS + "signature"


# A seller of its own, with the SDK's server


def test_server__of_the_sdk__with_our_scheme_and_facilitator__gets_its_job(till: Till) -> None:
    place = Place.of(till.place.system.deployment)
    offer = JobOffer(till.place.provider, till.class_id, MAX_UNITS, 1, spec_hash(SPEC), 120, 600)
    scheme = CreditEscrowServer(lambda terms: till.place.quote(terms))
    with seller(till.place, offer.requirements(place), scheme) as url:
        required = till.required(url)
        payment = till.pay(required)
        for field, value in (("tokenId", "2"), ("escrow", OTHER), ("specHash", "0x" + "11" * 32)):
            assert till.post(url, changed(payment, f"accepted.extra.{field}", value)).status_code == 402
        answer = till.post(url, payment)
        assert answer.status_code == 200, answer.text
        assert header(answer, "PAYMENT-RESPONSE")["success"] is True
        assert till.post(url, payment).status_code == 402  # a replay is served nothing
    job = JobPayment.from_json(payment.payload).job_id(place)
    finished(till, f"/x402/jobs/0x{job.hex()}")
    assert opened(till) == 1
