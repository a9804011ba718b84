"""Digests of sessions, budgets, credits and watchers against eth_account's own encoder."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrip import eip712_budgets, eip712_credits, eip712_sessions, eip712_watchers
from scrip.eip712 import MARKET_DOMAIN, VERIFIER_DOMAIN
from scrip.errors import BadInput
from scrip.structs import Struct
from scrip.types import Capacity, Commitment, Fault, Reveal, Verdict
from scrip.types_spending import Limits, Offer, Overcharge, SessionTerms
from tests.unit.test_eip712 import AT, BYTES32, CHAIN, OTHER, message_of, reference


def uint(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


ADDRESS = st.sampled_from([AT, OTHER])
SESSIONS = st.builds(
    SessionTerms,
    payer=ADDRESS, provider=ADDRESS, class_id=uint(256), key=ADDRESS, expires_at=uint(40),
    budget_id=uint(256), salt=uint(256),
)  # fmt: skip
LIMITS = st.builds(
    Limits,
    spender=ADDRESS, per_action=uint(96), per_period=uint(96), lifetime=uint(96), period=uint(32),
    expiry=uint(40), listed=st.booleans(),
)  # fmt: skip
OFFERS = st.builds(
    Offer,
    maker=ADDRESS, selling=st.booleans(), class_id=uint(256), units=uint(128), token=ADDRESS,
    price=uint(128), taker=ADDRESS, expiry=uint(40), epoch=uint(64), salt=uint(256),
)  # fmt: skip
OVERCHARGES = st.builds(Overcharge, session_id=BYTES32, units=uint(256), reporter=ADDRESS)
VERDICTS = st.builds(Verdict, job_id=BYTES32, units=uint(128), fault=st.sampled_from(Fault))
CAPACITIES = st.builds(
    Capacity,
    provider=ADDRESS, sku=BYTES32, watcher_set=uint(256), count=uint(32), until=uint(40),
    observed_at=uint(40),
)  # fmt: skip
COMMITMENTS = st.builds(Commitment, subject=BYTES32, evidence=BYTES32, seal=BYTES32)
REVEALS = st.builds(Reveal, subject=BYTES32, evidence=BYTES32, findings=BYTES32, salt=BYTES32)
FEW = settings(max_examples=25)


@pytest.mark.parametrize(
    ("kind", "type_string"),
    [
        (SessionTerms, eip712_sessions.SESSION_TERMS_TYPE),
        (Overcharge, eip712_sessions.OVERCHARGE_TYPE),
        (Limits, eip712_budgets.LIMITS_TYPE),
        (Offer, eip712_credits.OFFER_TYPE),
        (Verdict, eip712_watchers.VERDICT_TYPE),
        (Capacity, eip712_watchers.CAPACITY_TYPE),
        (Commitment, eip712_watchers.COMMITMENT_TYPE),
        (Reveal, eip712_watchers.REVEAL_TYPE),
    ],
)
def test_type_strings__mirrored_structs__agree_with_their_fields(
    kind: type[Struct], type_string: str
) -> None:
    assert kind.type_string() == type_string


# What can't be signed


@pytest.mark.parametrize("answer", [2**255, -(2**255) - 1, True, 1.0])
def test_answer_digest__not_an_int256__raises(answer: Any) -> None:
    with pytest.raises(BadInput, match="signed integer of 256 bits"):
        eip712_watchers.answer_digest(1, answer, 1, CHAIN, AT)


def test_approval_digest__not_a_boolean__raises() -> None:
    with pytest.raises(BadInput, match="true or false"):
        eip712_credits.approval_digest(AT, OTHER, 1, 0, 0, CHAIN, AT)  # type: ignore[arg-type]


@pytest.mark.parametrize("session", [b"", b"\x01" * 31, b"\x01" * 33])
def test_session_digests__id_of_wrong_length__raises(session: bytes) -> None:
    with pytest.raises(BadInput, match="exactly 32 bytes"):
        eip712_sessions.voucher_digest(session, 1, CHAIN, AT)
    with pytest.raises(BadInput, match="exactly 32 bytes"):
        eip712_sessions.open_session_digest(session, 1, 1, CHAIN, AT)


def test_budget_digests__malformed_provider__raises() -> None:
    limits = Limits(AT, 1, 1, 1, 0, 0, False)
    with pytest.raises(BadInput, match="providers"):
        eip712_budgets.create_budget_digest(AT, AT, limits, ["0x12"], 0, 0, CHAIN, AT)
    with pytest.raises(BadInput, match="providers"):
        eip712_budgets.set_providers_digest(AT, 1, ["0x12"], True, 0, 0, CHAIN, AT)


def test_set_providers_digest__not_a_boolean__raises() -> None:
    with pytest.raises(BadInput, match="true or false"):
        eip712_budgets.set_providers_digest(AT, 1, [], 1, 0, 0, CHAIN, AT)  # type: ignore[arg-type]


# Digests


@FEW
@given(SESSIONS)
def test_session_id__any_terms__equals_eth_accounts_digest(terms: SessionTerms) -> None:
    type_string = eip712_sessions.SESSION_TERMS_TYPE
    expected = reference(eip712_sessions.SESSIONS_DOMAIN, type_string, message_of(terms))
    assert eip712_sessions.session_id(terms, CHAIN, AT) == expected


@FEW
@given(BYTES32, uint(256), uint(256))
def test_open_session_and_voucher__any_values__equal_eth_accounts_digests(
    session: bytes, units: int, deadline: int
) -> None:
    domain, voucher = eip712_sessions.SESSIONS_DOMAIN, {"sessionId": session, "units": units}
    opening = {**voucher, "deadline": deadline}
    assert eip712_sessions.voucher_digest(session, units, CHAIN, AT) == reference(
        domain, eip712_sessions.VOUCHER_TYPE, voucher
    )
    assert eip712_sessions.open_session_digest(session, units, deadline, CHAIN, AT) == reference(
        domain, eip712_sessions.OPEN_SESSION_TYPE, opening
    )


@FEW
@given(LIMITS, st.lists(ADDRESS, max_size=3), uint(256), uint(256))
def test_create_budget_digest__any_values__equals_eth_accounts_digest(
    limits: Limits, providers: list[str], nonce: int, deadline: int
) -> None:
    message = {
        "owner": AT, "token": OTHER, "limits": message_of(limits), "providers": providers, "nonce": nonce,
        "deadline": deadline,
    }  # fmt: skip
    expected = reference(eip712_budgets.BUDGETS_DOMAIN, eip712_budgets.CREATE_BUDGET_TYPE, message)
    found = eip712_budgets.create_budget_digest(AT, OTHER, limits, providers, nonce, deadline, CHAIN, AT)
    assert found == expected


@FEW
@given(LIMITS, st.lists(ADDRESS, max_size=3), st.booleans(), uint(256), uint(256))
def test_create_child_and_set_providers__any_values__equal_eth_accounts_digests(
    limits: Limits, providers: list[str], listed: bool, budget: int, nonce: int
) -> None:
    domain = eip712_budgets.BUDGETS_DOMAIN
    signed = {"controller": OTHER, "providers": providers, "nonce": nonce, "deadline": 9}
    child = {**signed, "parent": budget, "limits": message_of(limits)}
    listing = {**signed, "budgetId": budget, "listed": listed}
    assert eip712_budgets.create_child_digest(
        OTHER, budget, limits, providers, nonce, 9, CHAIN, AT
    ) == reference(domain, eip712_budgets.CREATE_CHILD_TYPE, child)  # fmt: skip
    assert eip712_budgets.set_providers_digest(
        OTHER, budget, providers, listed, nonce, 9, CHAIN, AT
    ) == reference(domain, eip712_budgets.SET_PROVIDERS_TYPE, listing)  # fmt: skip


@FEW
@given(LIMITS, uint(256), uint(256), uint(256))
def test_set_budget_and_revoke__any_values__equal_eth_accounts_digests(
    limits: Limits, budget: int, nonce: int, deadline: int
) -> None:
    domain = eip712_budgets.BUDGETS_DOMAIN
    revoke = {"controller": OTHER, "budgetId": budget, "nonce": nonce, "deadline": deadline}
    change = {**revoke, "limits": message_of(limits)}
    assert eip712_budgets.set_budget_digest(
        OTHER, budget, limits, nonce, deadline, CHAIN, AT
    ) == reference(domain, eip712_budgets.SET_BUDGET_TYPE, change)  # fmt: skip
    assert eip712_budgets.revoke_digest(OTHER, budget, nonce, deadline, CHAIN, AT) == reference(
        domain, eip712_budgets.REVOKE_TYPE, revoke
    )


@FEW
@given(OFFERS)
def test_offer_digest__any_offer__equals_eth_accounts_digest(offer: Offer) -> None:
    expected = reference(eip712_credits.EXCHANGE_DOMAIN, eip712_credits.OFFER_TYPE, message_of(offer))
    assert eip712_credits.offer_digest(offer, CHAIN, AT) == expected


@FEW
@given(st.booleans(), uint(256), uint(256))
def test_approval_digest__any_values__equals_eth_accounts_digest(
    approved: bool, nonce: int, deadline: int
) -> None:
    message = {"owner": AT, "operator": OTHER, "approved": approved, "nonce": nonce, "deadline": deadline}
    expected = reference(eip712_credits.CREDITS_DOMAIN, eip712_credits.APPROVAL_TYPE, message)
    assert eip712_credits.approval_digest(AT, OTHER, approved, nonce, deadline, CHAIN, AT) == expected


@FEW
@given(VERDICTS)
def test_verdict_digest__any_verdict__equals_eth_accounts_digest(verdict: Verdict) -> None:
    expected = reference(MARKET_DOMAIN, eip712_watchers.VERDICT_TYPE, message_of(verdict))
    assert eip712_watchers.verdict_digest(verdict, CHAIN, AT) == expected


@FEW
@given(CAPACITIES)
def test_capacity_digest__any_statement__equals_eth_accounts_digest(capacity: Capacity) -> None:
    type_string = eip712_watchers.CAPACITY_TYPE
    expected = reference(eip712_watchers.REGISTRY_DOMAIN, type_string, message_of(capacity))
    assert eip712_watchers.capacity_digest(capacity, CHAIN, AT) == expected


@FEW
@given(uint(80), st.integers(-(2**255), 2**255 - 1), uint(40))
def test_answer_digest__any_values__equals_eth_accounts_digest(
    round_id: int, answer: int, observed_at: int
) -> None:
    message = {"roundId": round_id, "answer": answer, "observedAt": observed_at}
    expected = reference(eip712_watchers.FEED_DOMAIN, eip712_watchers.ANSWER_TYPE, message)
    assert eip712_watchers.answer_digest(round_id, answer, observed_at, CHAIN, AT) == expected


@FEW
@given(COMMITMENTS, REVEALS)
def test_commitment_and_reveal__any_values__equal_eth_accounts_digests(
    commitment: Commitment, reveal: Reveal
) -> None:
    types = eip712_watchers.COMMITMENT_TYPE, eip712_watchers.REVEAL_TYPE
    expected = reference(VERIFIER_DOMAIN, types[0], message_of(commitment))
    assert eip712_watchers.commitment_digest(commitment, CHAIN, AT) == expected
    expected = reference(VERIFIER_DOMAIN, types[1], message_of(reveal))
    assert eip712_watchers.reveal_digest(reveal, CHAIN, AT) == expected


@FEW
@given(OVERCHARGES)
def test_overcharge_digest__any_finding__equals_eth_accounts_digest(found: Overcharge) -> None:
    expected = reference(eip712_sessions.SESSIONS_DOMAIN, eip712_sessions.OVERCHARGE_TYPE, message_of(found))
    assert eip712_sessions.overcharge_digest(found, CHAIN, AT) == expected
