"""A user without ether: it signs, a relayer sends. Whoever pays for the credits gets back what isn't used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from eth_utils.crypto import keccak

from scrip import eip712, eip712_budgets, eip712_credits, eip712_sessions
from scrip.types import Status
from tests.integration.scene import UNIT_PRICE, Refusal, Scene

USER, SPONSOR = "user", "sponsor"
HELD = 30_000
NONCE = 2**200 + 5
NEVER = 2**256 - 1


@dataclass(frozen=True, slots=True)
class Action:
    """What a user may sign. `args` takes who signs and until when it may be sent."""

    contract: str
    function: str
    args: Callable[[str, int], tuple[Any, ...]]
    unsigned: Refusal
    late: Callable[[int], Refusal]
    again: Refusal


@pytest.fixture
def poor(scene: Scene) -> Scene:
    """The scene, where the user has credits and not a wei."""
    scene.give(USER, HELD)
    assert wei(scene, USER) == 0
    return scene


def wei(scene: Scene, who: str) -> int:
    return scene.chain.balance(scene.at(who))


def relay(scene: Scene, action: Action, signer: str = USER, deadline: int = NEVER) -> Any:
    return scene.send("relayer", action.contract, action.function, *action.args(signer, deadline))


def refused(scene: Scene, action: Action, signer: str = USER, deadline: int = NEVER) -> Refusal:
    return scene.refusal("relayer", action.contract, action.function, *action.args(signer, deadline))


def cancel_of(scene: Scene, terms: Any) -> Action:
    job = scene.job_id(terms)

    def args(signer: str, deadline: int) -> tuple[Any, ...]:
        digest = eip712.cancel_digest(job, deadline, *scene.domain("JobMarket"))
        return terms.to_abi(), deadline, scene.sign(signer, digest)

    return Action(
        "JobMarket", "cancelBySig", args,
        unsigned=("JobMarket_BadSignature", job, 65, scene.number(USER)),
        late=lambda deadline: ("JobMarket_DeadlinePassed", job, scene.now, deadline),
        again=("JobMarket_WrongStatus", job, Status.CANCELLED, Status.OPEN),
    )  # fmt: skip


def cancel(scene: Scene) -> Action:
    terms = scene.job(USER)
    signature = scene.sign(USER, scene.job_id(terms))
    scene.send("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, b"")
    return cancel_of(scene, terms)


def session_of(scene: Scene, terms: Any, units: int) -> Action:
    session = scene.session_id(terms)

    def args(signer: str, deadline: int) -> tuple[Any, ...]:
        digest = eip712_sessions.open_session_digest(
            session, units, deadline, *scene.domain("MeteredSessions")
        )
        return terms.to_abi(), units, deadline, scene.sign(signer, digest)

    return Action(
        "MeteredSessions", "openSessionBySig", args,
        unsigned=("MeteredSessions_BadSignature", session, 65, scene.number(USER)),
        late=lambda deadline: ("MeteredSessions_DeadlinePassed", session, scene.now, deadline),
        again=("MeteredSessions_AlreadyOpened", session, 1, 0),
    )  # fmt: skip


def session(scene: Scene) -> Action:
    return session_of(scene, scene.session(USER), 5_000)


def with_nonce(
    scene: Scene, contract: str, function: str, args: Callable[[str, int], tuple[Any, ...]]
) -> Action:
    """An action whose signature uses up a nonce of the user's."""
    user = scene.at(USER)
    return Action(
        contract, function, args,
        unsigned=("UnorderedNonces_BadSignature", user, 65, 65),
        late=lambda deadline: ("UnorderedNonces_DeadlinePassed", user, scene.now, deadline),
        again=("UnorderedNonces_Used", user, NONCE, 1),
    )  # fmt: skip


def approval(scene: Scene, nonce: int = NONCE, approved: bool = True) -> Action:
    def args(signer: str, deadline: int) -> tuple[Any, ...]:
        given = (scene.at(USER), scene.at("CreditExchange"), approved, nonce, deadline)
        digest = eip712_credits.approval_digest(*given, *scene.domain("ComputeCredits"))
        return *given, scene.sign(signer, digest)

    return with_nonce(scene, "ComputeCredits", "setApprovalForAllBySig", args)


def budget(scene: Scene, nonce: int = NONCE) -> Action:
    limits = scene.limits("agent", lifetime=7)

    def args(signer: str, deadline: int) -> tuple[Any, ...]:
        owner, token = scene.at(USER), scene.at("DemoUSD")
        digest = eip712_budgets.create_budget_digest(
            owner, token, limits, [], nonce, deadline, *scene.domain("SpendingBudgets")
        )
        return owner, token, limits.to_abi(), [], nonce, deadline, scene.sign(signer, digest)

    return with_nonce(scene, "SpendingBudgets", "createBudgetBySig", args)


def budget_change(scene: Scene) -> Action:
    parent = scene.budget(SPONSOR, scene.limits(USER))
    below = scene.child(SPONSOR, parent, scene.limits("agent"))
    limits = scene.limits("agent", per_action=5)

    def args(signer: str, deadline: int) -> tuple[Any, ...]:
        digest = eip712_budgets.set_budget_digest(
            scene.at(USER), below, limits, NONCE, deadline, *scene.domain("SpendingBudgets")
        )
        return scene.at(USER), below, limits.to_abi(), NONCE, deadline, scene.sign(signer, digest)

    return with_nonce(scene, "SpendingBudgets", "setBudgetBySig", args)


ACTIONS = [
    pytest.param(make, id=make.__name__) for make in (cancel, session, approval, budget, budget_change)
]
Make = Callable[[Scene], Action]


# Refused


@pytest.mark.parametrize("make", ACTIONS)
def test_relay__signed_by_another__is_refused(poor: Scene, make: Make) -> None:
    action = make(poor)
    assert refused(poor, action, signer="agent") == action.unsigned


@pytest.mark.parametrize("make", ACTIONS)
def test_relay__deadline_passed__is_refused(poor: Scene, make: Make) -> None:
    action, deadline = make(poor), poor.now + 30
    poor.system.anvil.advance(60)
    assert refused(poor, action, deadline=deadline) == action.late(deadline)


@pytest.mark.parametrize("make", ACTIONS)
def test_relay__deadline_moved_after_signing__is_refused(poor: Scene, make: Make) -> None:
    action, deadline = make(poor), poor.now + 30
    given, later = action.args(USER, deadline), action.args("agent", deadline + 1)
    mixed = (*later[:-1], given[-1])
    assert poor.refusal("relayer", action.contract, action.function, *mixed) == action.unsigned


@pytest.mark.parametrize("make", ACTIONS)
def test_relay__same_signature_again__is_refused(poor: Scene, make: Make) -> None:
    action = make(poor)
    relay(poor, action)
    assert refused(poor, action) == action.again
    assert wei(poor, USER) == 0


def test_open__signed_by_another__is_refused(poor: Scene) -> None:
    terms = poor.job(USER)
    signature = poor.sign("agent", poor.job_id(terms))
    found = poor.refusal("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, b"")
    assert found == ("JobMarket_BadSignature", poor.job_id(terms), 65, poor.number(USER))


def test_open__too_late_to_accept__is_refused(poor: Scene) -> None:
    terms = poor.job(USER)
    signature = poor.sign(USER, poor.job_id(terms))
    poor.system.anvil.advance(601)
    found = poor.refusal("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, b"")
    assert found == ("JobMarket_DeadlinePassed", poor.job_id(terms), poor.now, terms.accept_by)


@pytest.mark.parametrize("ended", [False, True])
def test_open__same_signature_again__is_refused_even_after_the_job_ended(poor: Scene, ended: bool) -> None:
    terms = poor.job(USER)
    call = (terms.to_abi(), poor.sign(USER, poor.job_id(terms)), b"")
    poor.send("relayer", "JobMarket", "openBySig", *call)
    if ended:
        relay(poor, cancel_of(poor, terms))
    status = Status.CANCELLED if ended else Status.OPEN
    found = poor.refusal("relayer", "JobMarket", "openBySig", *call)
    assert found == ("JobMarket_WrongStatus", poor.job_id(terms), status, Status.NONE)


def test_cancel__accepted_in_between__is_refused(poor: Scene) -> None:
    terms = poor.job(USER)
    signature = poor.sign(USER, poor.job_id(terms))
    poor.send("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, poor.quote(terms))
    found = refused(poor, cancel_of(poor, terms))
    assert found == ("JobMarket_WrongStatus", poor.job_id(terms), Status.RUNNING, Status.OPEN)


def test_approval__nonce_taken_back_by_its_signer__is_refused(poor: Scene) -> None:
    action = approval(poor)
    poor.system.funded(USER)
    poor.send(USER, "ComputeCredits", "useNonce", NONCE)
    assert refused(poor, action) == action.again


# Sent


def test_approvals__nonces_in_any_order_and_for_each_contract_alone__are_accepted(poor: Scene) -> None:
    for nonce, approved in ((NONCE, True), (NONCE - 5, False), (0, True)):
        relay(poor, approval(poor, nonce, approved))
        answer = poor.read("ComputeCredits", "isApprovedForAll", poor.at(USER), poor.at("CreditExchange"))
        assert answer is approved
    relay(poor, budget(poor, NONCE))
    assert poor.read("SpendingBudgets", "isNonceUsed", poor.at(USER), NONCE)
    assert not poor.read("SpendingBudgets", "isNonceUsed", poor.at(USER), 0)


def test_user_without_ether__buys_uses_and_cancels__pays_for_no_gas(scene: Scene) -> None:
    units, cost = 12_000, 12_000 * UNIT_PRICE
    scene.system.mint(scene.at(USER), cost + 5)
    purchase = authorized_purchase(scene, units, cost + 5)
    scene.send("relayer", "CreditReserve", "buyWithAuthorization", *purchase)
    assert (scene.credits(USER), scene.tokens(USER)) == (units, 5)
    again = scene.refusal("relayer", "CreditReserve", "buyWithAuthorization", *purchase)
    assert again[:2] == ("DemoUSD_AuthorizationUsed", scene.at(USER))
    first, second = scene.job(USER, max_units=4_000), scene.job(USER, max_units=5_000)
    for terms, quote in ((first, b""), (second, scene.quote(second))):
        signature = scene.sign(USER, scene.job_id(terms))
        scene.send("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, quote)
    assert (scene.credits(USER), scene.locked(USER)) == (3_000, 9_000)
    relay(scene, cancel_of(scene, first))
    scene.submit(second, scene.receipt(second, 4_500))
    assert (scene.credits(USER), scene.locked(USER)) == (7_500, 0)
    assert scene.earned("provider") == 4_500 * UNIT_PRICE
    relay(scene, session_of(scene, scene.session(USER), 7_000))
    assert (scene.credits(USER), wei(scene, USER)) == (500, 0)
    assert scene.chain.nonce(scene.at(USER)) == 0


# A sponsor pays


@pytest.fixture
def sponsored(scene: Scene) -> tuple[Scene, int]:
    """The scene, where a sponsor has credits and lets the user spend 9,000 of them; and the budget."""
    scene.give(SPONSOR, HELD)
    return scene, scene.budget(SPONSOR, scene.limits(USER, lifetime=9_000 * UNIT_PRICE))


def open_sponsored(scene: Scene, budget_id: int, units: int) -> Any:
    """The job's terms, opened and started by what the user signed."""
    terms = scene.job(SPONSOR, budget_id=budget_id, max_units=units)
    signature = scene.sign(USER, scene.job_id(terms))
    scene.send("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, scene.quote(terms))
    return terms


def test_sponsored__more_than_the_sponsor_allows__is_refused(sponsored: tuple[Scene, int]) -> None:
    scene, allowed = sponsored
    terms = scene.job(SPONSOR, budget_id=allowed, max_units=9_001)
    signature = scene.sign(USER, scene.job_id(terms))
    found = scene.refusal("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, b"")
    over = (allowed, 9_001 * UNIT_PRICE, 9_000 * UNIT_PRICE)
    assert found == ("SpendingBudgets_OverLifetime", *over)


def test_sponsored__signed_by_the_sponsor_itself__is_refused(sponsored: tuple[Scene, int]) -> None:
    scene, allowed = sponsored
    terms = scene.job(SPONSOR, budget_id=allowed, max_units=1)
    signature = scene.sign(SPONSOR, scene.job_id(terms))
    found = scene.refusal("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, b"")
    assert found == ("JobMarket_BadSignature", scene.job_id(terms), 65, scene.number(USER))


def test_sponsored__withdrawn_before_it_was_sent__is_refused(sponsored: tuple[Scene, int]) -> None:
    scene, allowed = sponsored
    terms = scene.job(SPONSOR, budget_id=allowed, max_units=1)
    signature = scene.sign(USER, scene.job_id(terms))
    scene.send(SPONSOR, "SpendingBudgets", "revoke", allowed)
    found = scene.refusal("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, b"")
    assert found == ("SpendingBudgets_Revoked", allowed, UNIT_PRICE, 0)


def test_sponsored__job_uses_less__sponsor_gets_the_rest_back(sponsored: tuple[Scene, int]) -> None:
    scene, allowed = sponsored
    terms = open_sponsored(scene, allowed, 9_000)
    assert (scene.credits(SPONSOR), scene.locked(SPONSOR)) == (HELD - 9_000, 9_000)
    scene.submit(terms, scene.receipt(terms, 2_000))
    assert (scene.credits(SPONSOR), scene.locked(SPONSOR)) == (HELD - 2_000, 0)
    assert (scene.credits(USER), wei(scene, USER)) == (0, 0)
    assert scene.read("SpendingBudgets", "leftOf", allowed) == 7_000 * UNIT_PRICE


def test_sponsored__user_cancels_before_it_is_accepted__sponsor_gets_all_back(
    sponsored: tuple[Scene, int],
) -> None:
    scene, allowed = sponsored
    terms = scene.job(SPONSOR, budget_id=allowed, max_units=9_000)
    signature = scene.sign(USER, scene.job_id(terms))
    scene.send("relayer", "JobMarket", "openBySig", terms.to_abi(), signature, b"")
    done = relay(scene, cancel_of(scene, terms))
    assert scene.event(done, "JobMarket", "JobCancelled")["by"] == scene.at(USER)
    assert (scene.credits(SPONSOR), scene.credits(USER)) == (HELD, 0)
    assert scene.read("SpendingBudgets", "leftOf", allowed) == 9_000 * UNIT_PRICE


def test_sponsored__session_closed_early__sponsor_gets_the_rest_back(sponsored: tuple[Scene, int]) -> None:
    scene, allowed = sponsored
    terms = scene.session(SPONSOR, USER, budget_id=allowed)
    relay(scene, session_of(scene, terms, 6_000))
    scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, 1_500, USER))
    scene.send("provider", "MeteredSessions", "close", terms.to_abi())
    assert (scene.credits(SPONSOR), scene.credits(USER)) == (HELD - 1_500, 0)
    assert scene.read("SpendingBudgets", "leftOf", allowed) == 7_500 * UNIT_PRICE


def authorized_purchase(scene: Scene, units: int, value: int) -> tuple[Any, ...]:
    """Arguments of `buyWithAuthorization`: the user's EIP-3009 signature, good for this purchase alone."""
    salt = keccak(text="first purchase")
    where = (scene.class_id, units, scene.at(USER))
    nonce = scene.read("CreditReserve", "purchaseNonce", *where, salt)
    form = (
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
        "uint256 validBefore,bytes32 nonce)"
    )
    types = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
    values = [scene.at(USER), scene.at("CreditReserve"), value, 0, NEVER, nonce]
    domain = eip712.domain_separator("Demo USD", *scene.domain("DemoUSD"))
    made = scene.sign(USER, eip712.digest(domain, eip712.hash_struct(form, types, values)))
    signature = (made[64], made[:32], made[32:64])
    return *where, (scene.at(USER), value, 0, NEVER, salt, *signature)
