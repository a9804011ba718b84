"""One call for every kind of statement that our contracts take signed, up to the signature.

A function here makes the call possible (buys credits, opens the job...) and says whose signature over which
digest it needs, what it is refused with if that isn't it, and what is different when it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scrip import eip712, eip712_budgets, eip712_credits, eip712_sessions, eip712_watchers
from scrip.structs import ZERO_ADDRESS, to_address
from scrip.types import Attestation, Capacity, Fault, Status, Verdict
from scrip.types_spending import Overcharge
from tests.integration.scene import PRICE, UNIT_PRICE, WATCHERS, Refusal, Scene
from tests.integration.system import SKU, account, signed

USER = "user"
NONCE = 77
UNITS = 10_000


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A call to `function` of `contract`. Its signatures are bound to the domain of `domain`, if it differs.
    `sender` sends it: anybody may, unless it says who else.

    `error` is told who the first signature seems to be by; `seen` is compared with `expected` afterwards.
    """

    contract: str
    function: str
    signer: str
    digest: Callable[[int, str], bytes]
    args: Callable[[bytes], tuple[Any, ...]]
    error: Callable[[str], Refusal]
    seen: Callable[[], Any]
    expected: Any
    domain: str = ""
    sender: str = "relayer"


def job_terms(scene: Scene) -> SignedCall:
    scene.give(USER, UNITS)
    terms = scene.job(USER)
    job = scene.job_id(terms)
    return SignedCall(
        "JobMarket", "openBySig", USER,
        digest=lambda *domain: eip712.job_id(terms, *domain),
        args=lambda digest: (terms.to_abi(), scene.sign(USER, digest), b""),
        error=lambda _: ("JobMarket_BadSignature", job, 65, scene.number(USER)),
        seen=lambda: scene.chain.at().job_state(job).status,
        expected=Status.OPEN,
    )  # fmt: skip


def acceptance(scene: Scene) -> SignedCall:
    job, terms = _opened(scene, quoted=False)
    return SignedCall(
        "JobMarket", "acceptBySig", "oracle",
        digest=lambda *domain: eip712.acceptance_digest(job, *domain),
        args=lambda digest: (terms.to_abi(), scene.sign("oracle", digest)),
        error=lambda by: ("JobMarket_BadSignature", job, int(by, 16), scene.number("oracle")),
        seen=lambda: scene.chain.at().job_state(job).status,
        expected=Status.RUNNING,
    )  # fmt: skip


def cancel(scene: Scene) -> SignedCall:
    job, terms = _opened(scene, quoted=False)
    deadline = scene.now + 60
    return SignedCall(
        "JobMarket", "cancelBySig", "buyer",
        digest=lambda *domain: eip712.cancel_digest(job, deadline, *domain),
        args=lambda digest: (terms.to_abi(), deadline, scene.sign("buyer", digest)),
        error=lambda _: ("JobMarket_BadSignature", job, 65, scene.number("buyer")),
        seen=lambda: scene.chain.at().job_state(job).status,
        expected=Status.CANCELLED,
    )  # fmt: skip


def receipt(scene: Scene) -> SignedCall:
    job, terms = _opened(scene)
    made = scene.receipt(terms, 7_000, assurance=2)
    return SignedCall(
        "JobMarket", "submit", "oracle",
        digest=lambda *domain: eip712.receipt_digest(made, *domain),
        args=lambda digest: (terms.to_abi(), made.to_abi(), scene.attest(digest, 2).to_abi()),
        error=lambda by: ("JobMarket_BadSignature", job, int(by, 16), scene.number("oracle")),
        seen=lambda: scene.chain.at().job_state(job).status,
        expected=Status.SETTLED,
        domain="ReceiptVerifier",
    )  # fmt: skip


def receipt_by_watchers(scene: Scene) -> SignedCall:
    """The oracle's signature is good; this is about the watchers'."""
    job, terms = _opened(scene)
    made = scene.receipt(terms, 7_000, assurance=3)
    own = scene.sign("oracle", eip712.receipt_digest(made, *scene.domain("ReceiptVerifier")))
    return SignedCall(
        "JobMarket", "submit", _first(WATCHERS),
        digest=lambda *domain: eip712.receipt_digest(made, *domain),
        args=lambda digest: (
            terms.to_abi(), made.to_abi(), Attestation(own, tuple(signed(digest, WATCHERS)[:2])).to_abi(),
        ),
        error=lambda by: ("ReceiptVerifier_NotWatcher", 1, by, ZERO_ADDRESS),
        seen=lambda: scene.chain.at().job_state(job).status,
        expected=Status.SETTLED,
        domain="ReceiptVerifier",
    )  # fmt: skip


def receipt_batch(scene: Scene) -> SignedCall:
    made = [_opened(scene) for _ in range(3)]
    terms = [each.to_abi() for _, each in made]
    receipts = [scene.receipt(each, units, assurance=2) for units, (_, each) in enumerate(made, start=5)]
    hashes = [eip712.receipt_struct_hash(each) for each in receipts]
    return SignedCall(
        "JobMarket", "submitBatch", "oracle",
        digest=lambda *domain: eip712.batch_digest(hashes, *domain),
        args=lambda digest: (
            terms, [each.to_abi() for each in receipts], 1, scene.attest(digest, 2).to_abi(),
        ),
        error=lambda by: ("JobMarket_BadSignature", bytes(32), int(by, 16), scene.number("oracle")),
        seen=lambda: [scene.chain.at().job_state(job).status for job, _ in made],
        expected=[Status.SETTLED] * 3,
        domain="ReceiptVerifier",
    )  # fmt: skip


def verdict(scene: Scene) -> SignedCall:
    judges = scene.system.watcher_set(["arbiter"], 1)
    class_id = scene.system.create_class(
        price_per_million=PRICE, max_rate=10**9, challenge_window=60, arbiter_set=judges
    )
    job, terms = _opened(scene, class_id)
    scene.submit(terms, scene.receipt(terms, 7_000))
    bond = int(scene.read("ProviderRegistry", "CHALLENGE_BOND"))
    scene.system.mint(scene.at("challenger"), bond)
    scene.send("challenger", "DemoUSD", "approve", scene.at("ProviderRegistry"), bond)
    scene.send("challenger", "JobMarket", "challenge", terms.to_abi())
    made = Verdict(job, 6_000, Fault.NONE)
    return SignedCall(
        "JobMarket", "resolve", "arbiter",
        digest=lambda *domain: eip712_watchers.verdict_digest(made, *domain),
        args=lambda digest: (terms.to_abi(), made.to_abi(), [scene.sign("arbiter", digest)]),
        error=lambda by: ("ReceiptVerifier_NotWatcher", judges, by, ZERO_ADDRESS),
        seen=lambda: (scene.chain.at().job_state(job).status, scene.credits("buyer", class_id)),
        expected=(Status.SETTLED, UNITS - 6_000),
    )  # fmt: skip


def open_session(scene: Scene) -> SignedCall:
    scene.give(USER, UNITS)
    terms, deadline = scene.session(USER), scene.now + 60
    session = scene.session_id(terms)
    return SignedCall(
        "MeteredSessions", "openSessionBySig", USER,
        digest=lambda *domain: eip712_sessions.open_session_digest(session, 500, deadline, *domain),
        args=lambda digest: (terms.to_abi(), 500, deadline, scene.sign(USER, digest)),
        error=lambda _: ("MeteredSessions_BadSignature", session, 65, scene.number(USER)),
        seen=lambda: scene.chain.at().session(session).deposit,
        expected=500,
    )  # fmt: skip


def voucher(scene: Scene) -> SignedCall:
    scene.give("buyer", UNITS)
    terms = scene.session("buyer")
    session = scene.session_id(terms)
    scene.send("buyer", "MeteredSessions", "openSession", terms.to_abi(), 500)
    return SignedCall(
        "MeteredSessions", "claim", "key",
        digest=lambda *domain: eip712_sessions.voucher_digest(session, 123, *domain),
        args=lambda digest: ((terms.to_abi(), 45, 123, scene.sign("key", digest)),),
        error=lambda by: ("MeteredSessions_BadSignature", session, int(by, 16), scene.number("key")),
        seen=lambda: scene.chain.at().session(session).claimed,
        expected=45,
        sender="provider",
    )  # fmt: skip


def overcharge(scene: Scene) -> SignedCall:
    judges = scene.system.watcher_set(["arbiter"], 1)
    class_id = scene.system.create_class(
        price_per_million=PRICE, max_rate=10**9, arbiter_set=judges, stake_per_million=PRICE
    )
    scene.system.stake(scene.at("provider"), 10**9)
    scene.give("buyer", UNITS, class_id)
    terms = scene.session("buyer", class_id=class_id)
    scene.send("buyer", "MeteredSessions", "openSession", terms.to_abi(), UNITS)
    scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, UNITS))
    made = Overcharge(scene.session_id(terms), 100, scene.at("relayer"))
    return SignedCall(
        "MeteredSessions", "penalise", "arbiter",
        digest=lambda *domain: eip712_sessions.overcharge_digest(made, *domain),
        args=lambda digest: (terms.to_abi(), 100, made.reporter, [scene.sign("arbiter", digest)]),
        error=lambda by: ("ReceiptVerifier_NotWatcher", judges, by, ZERO_ADDRESS),
        seen=lambda: scene.chain.at().penalty(made.session_id),
        expected=10 * 100 * UNIT_PRICE,
    )  # fmt: skip


def approval(scene: Scene) -> SignedCall:
    operator, deadline = scene.at("agent"), scene.now + 60
    return SignedCall(
        "ComputeCredits", "setApprovalForAllBySig", USER,
        digest=lambda *domain: eip712_credits.approval_digest(
            scene.at(USER), operator, True, NONCE, deadline, *domain
        ),
        args=lambda digest: (scene.at(USER), operator, True, NONCE, deadline, scene.sign(USER, digest)),
        error=lambda _: _unsigned(scene),
        seen=lambda: scene.read("ComputeCredits", "isApprovedForAll", scene.at(USER), operator),
        expected=True,
    )  # fmt: skip


def offer(scene: Scene) -> SignedCall:
    scene.give("seller", UNITS)
    scene.send("seller", "ComputeCredits", "setApprovalForAll", scene.at("CreditExchange"), True)
    scene.system.mint(scene.at("relayer"), 900)
    scene.send("relayer", "DemoUSD", "approve", scene.at("CreditExchange"), 900)
    made = scene.offer("seller", UNITS, 900)
    offer_hash = eip712_credits.offer_digest(made, *scene.domain("CreditExchange"))
    return SignedCall(
        "CreditExchange", "fill", "seller",
        digest=lambda *domain: eip712_credits.offer_digest(made, *domain),
        args=lambda digest: ((made.to_abi(), scene.sign("seller", digest), UNITS, 900),),
        error=lambda by: ("CreditExchange_BadSignature", offer_hash, by, scene.at("seller")),
        seen=lambda: scene.credits("relayer"),
        expected=UNITS,
    )  # fmt: skip


def create_budget(scene: Scene) -> SignedCall:
    limits, deadline = scene.limits("agent", lifetime=5, listed=True), scene.now + 60
    owner, token, providers = scene.at(USER), scene.at("DemoUSD"), [scene.at("provider"), scene.at("buyer")]
    return _budget_change(
        scene, "createBudgetBySig", (owner, token, limits.to_abi(), providers, NONCE, deadline),
        digest=lambda *domain: eip712_budgets.create_budget_digest(
            owner, token, limits, providers, NONCE, deadline, *domain
        ),
        seen=lambda: (scene.chain.at().budget(1).owner, scene.chain.at().budget(1).limits),
        expected=(owner, limits),
    )  # fmt: skip


def create_child(scene: Scene) -> SignedCall:
    parent = scene.budget("sponsor", scene.limits(USER))
    limits, deadline = scene.limits("agent", per_action=9), scene.now + 60
    return _budget_change(
        scene, "createChildBySig", (scene.at(USER), parent, limits.to_abi(), [], NONCE, deadline),
        digest=lambda *domain: eip712_budgets.create_child_digest(
            scene.at(USER), parent, limits, [], NONCE, deadline, *domain
        ),
        seen=lambda: (scene.chain.at().budget(2).parent, scene.chain.at().budget(2).limits),
        expected=(parent, limits),
    )  # fmt: skip


def set_budget(scene: Scene) -> SignedCall:
    parent = scene.budget("sponsor", scene.limits(USER))
    budget = scene.child("sponsor", parent, scene.limits("agent"))
    limits, deadline = scene.limits("buyer", lifetime=4, period=60), scene.now + 60
    return _budget_change(
        scene, "setBudgetBySig", (scene.at(USER), budget, limits.to_abi(), NONCE, deadline),
        digest=lambda *domain: eip712_budgets.set_budget_digest(
            scene.at(USER), budget, limits, NONCE, deadline, *domain
        ),
        seen=lambda: scene.chain.at().budget(budget).limits,
        expected=limits,
    )  # fmt: skip


def set_providers(scene: Scene) -> SignedCall:
    parent = scene.budget("sponsor", scene.limits(USER))
    budget = scene.child("sponsor", parent, scene.limits("agent"))
    providers, deadline = [scene.at("provider"), scene.at("buyer")], scene.now + 60
    return _budget_change(
        scene, "setProvidersBySig", (scene.at(USER), budget, providers, True, NONCE, deadline),
        digest=lambda *domain: eip712_budgets.set_providers_digest(
            scene.at(USER), budget, providers, True, NONCE, deadline, *domain
        ),
        seen=lambda: [scene.read("SpendingBudgets", "isListed", budget, one) for one in providers],
        expected=[True, True],
    )  # fmt: skip


def revoke(scene: Scene) -> SignedCall:
    budget, deadline = scene.budget("sponsor", scene.limits(USER)), scene.now + 60
    return _budget_change(
        scene, "revokeBySig", (scene.at(USER), budget, NONCE, deadline),
        digest=lambda *domain: eip712_budgets.revoke_digest(
            scene.at(USER), budget, NONCE, deadline, *domain
        ),
        seen=lambda: scene.chain.at().budget(budget).revoked,
        expected=True,
    )  # fmt: skip


def capacity(scene: Scene) -> SignedCall:
    now = scene.now
    made = Capacity(scene.at("provider"), SKU, 1, 8, now + 3_600, now)
    return SignedCall(
        "ProviderRegistry", "attestCapacity", _first(WATCHERS),
        digest=lambda *domain: eip712_watchers.capacity_digest(made, *domain),
        args=lambda digest: (*made.to_abi(), signed(digest, WATCHERS)[:2]),
        error=lambda by: ("ReceiptVerifier_NotWatcher", 1, by, ZERO_ADDRESS),
        seen=lambda: tuple(scene.read("ProviderRegistry", "capacityOf", made.provider, SKU, 1)),
        expected=(8, now + 3_600, now),
    )  # fmt: skip


def price(scene: Scene) -> SignedCall:
    now = scene.now
    return SignedCall(
        "PriceFeed", "post", _first(WATCHERS),
        digest=lambda *domain: eip712_watchers.answer_digest(1, 250, now, *domain),
        args=lambda digest: (1, 250, now, signed(digest, WATCHERS)[:2]),
        error=lambda by: ("ReceiptVerifier_NotWatcher", 1, by, ZERO_ADDRESS),
        seen=lambda: tuple(scene.read("PriceFeed", "latestRoundData")),
        expected=(1, 250, now, now, 1),
    )  # fmt: skip


CALLS = (
    job_terms, acceptance, cancel, receipt, receipt_by_watchers, receipt_batch, verdict, open_session,
    voucher, overcharge, approval, offer, create_budget, create_child, set_budget, set_providers, revoke,
    capacity, price,
)  # fmt: skip


def _opened(scene: Scene, class_id: int = 0, *, quoted: bool = True) -> tuple[bytes, Any]:
    """A job of the buyer's, running unless it has no quote: id and terms."""
    scene.give("buyer", UNITS, class_id)
    terms = scene.job("buyer", class_id=class_id or scene.class_id)
    scene.send("buyer", "JobMarket", "open", terms.to_abi(), scene.quote(terms) if quoted else b"")
    return scene.job_id(terms), terms


def _budget_change(
    scene: Scene,
    function: str,
    args: tuple[Any, ...],
    digest: Callable[[int, str], bytes],
    seen: Callable[[], Any],
    expected: Any,
) -> SignedCall:
    return SignedCall(
        "SpendingBudgets", function, USER,
        digest=digest,
        args=lambda digest: (*args, scene.sign(USER, digest)),
        error=lambda _: _unsigned(scene),
        seen=seen,
        expected=expected,
    )  # fmt: skip


def _unsigned(scene: Scene) -> Refusal:
    return "UnorderedNonces_BadSignature", to_address("user", scene.at(USER)), 65, 65


def _first(names: tuple[str, ...]) -> str:
    """Whose signature the verifier looks at first."""
    return min(names, key=lambda name: int(account(name).address, 16))
