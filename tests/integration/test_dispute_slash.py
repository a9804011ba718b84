"""Disputes that cost: who pays what, to the last unit, whatever the arbiters decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from scrip import jobs
from scrip.eip712_watchers import verdict_digest
from scrip.types import Fault, JobTerms, Status, Verdict
from tests.integration.scene import PRICE, UNIT_PRICE, Scene
from tests.integration.system import signed

ARBITERS = ("arbiter 0", "arbiter 1", "arbiter 2")
WINDOW = 3_600
MAX_UNITS = 10_001
USED = 7_001
STAKE_PER_MILLION = 3 * 10**8 + 1
# 1,000,000 credits are 10**9 base units. Rounded up: 3000300.010001.
BEHIND = 3_001
STAKE = 10_000
PAYER = "payer"


@dataclass(slots=True)
class Case:
    """A submitted job of a class with a window and stake behind it."""

    scene: Scene
    class_id: int
    bond: int
    terms: JobTerms

    @property
    def job(self) -> bytes:
        return self.scene.job_id(self.terms)

    def verdict(self, units: int, fault: Fault, names: tuple[str, ...] = ARBITERS[:2]) -> tuple[Any, ...]:
        """Arguments of `resolve`, signed by these."""
        verdict = Verdict(self.job, units, fault)
        signatures = signed(verdict_digest(verdict, *self.scene.domain("JobMarket")), names)
        return self.terms.to_abi(), verdict.to_abi(), signatures

    def challenge(self) -> None:
        self.scene.send("challenger", "JobMarket", "challenge", self.terms.to_abi())

    def award(self, who: str) -> int:
        return int(self.scene.read("ProviderRegistry", "awardOf", self.scene.at(who)))

    def stake_of(self, function: str) -> int:
        return int(self.scene.read("ProviderRegistry", function, self.scene.at("provider")))


@pytest.fixture
def case(scene: Scene) -> Case:
    arbiters = scene.system.watcher_set(ARBITERS, 2)
    class_id = scene.system.create_class(
        price_per_million=PRICE, max_rate=10**9, challenge_window=WINDOW, arbiter_set=arbiters,
        stake_per_million=STAKE_PER_MILLION,
    )  # fmt: skip
    scene.system.stake(scene.at("provider"), STAKE)
    bond = int(scene.read("ProviderRegistry", "CHALLENGE_BOND"))
    scene.system.mint(scene.at("challenger"), bond)
    scene.send("challenger", "DemoUSD", "approve", scene.at("ProviderRegistry"), bond)
    scene.give(PAYER, MAX_UNITS, class_id)
    scene.system.funded(PAYER)
    terms = scene.job(PAYER, class_id=class_id, max_units=MAX_UNITS)
    scene.send(PAYER, "JobMarket", "open", terms.to_abi(), scene.quote(terms))
    scene.submit(terms, scene.receipt(terms, USED))
    return Case(scene, class_id, bond, terms)


# What is refused


def test_challenge__without_allowance__names_what_is_missing(case: Case) -> None:
    found = case.scene.refusal("buyer", "JobMarket", "challenge", case.terms.to_abi())
    assert found == ("ERC20InsufficientAllowance", case.scene.at("ProviderRegistry"), 0, case.bond)


def test_challenge__after_the_window__is_refused(case: Case) -> None:
    ends = case.scene.chain.at().submission(case.job).finalize_at
    case.scene.system.anvil.advance(WINDOW)
    found = case.scene.refusal("challenger", "JobMarket", "challenge", case.terms.to_abi())
    assert found == ("JobMarket_DeadlinePassed", case.job, case.scene.now, ends)


def test_challenge__twice__is_refused(case: Case) -> None:
    case.challenge()
    found = case.scene.refusal("challenger", "JobMarket", "challenge", case.terms.to_abi())
    assert found == ("JobMarket_WrongStatus", case.job, Status.DISPUTED, Status.SUBMITTED)


def test_finalize__while_arbiters_may_decide__is_refused(case: Case) -> None:
    case.challenge()
    decide_by = case.scene.chain.at().dispute(case.job).decide_by
    found = case.scene.refusal("relayer", "JobMarket", "finalize", case.terms.to_abi())
    assert found == ("JobMarket_DeadlineNotReached", case.job, case.scene.now, decide_by)


def test_resolve__one_arbiter_of_two__is_refused(case: Case) -> None:
    case.challenge()
    arbiters = case.scene.chain.at().class_terms(case.class_id).arbiter_set
    found = case.scene.refusal(
        "relayer", "JobMarket", "resolve", *case.verdict(0, Fault.PROVIDER, ARBITERS[:1])
    )
    assert found == ("ReceiptVerifier_TooFewWatchers", arbiters, 1, 2)


def test_resolve__more_units_than_submitted__is_refused(case: Case) -> None:
    case.challenge()
    found = case.scene.refusal("relayer", "JobMarket", "resolve", *case.verdict(USED + 1, Fault.NONE))
    assert found == ("JobMarket_TooManyUnits", case.job, USED + 1, USED)


def test_unstake__what_stands_behind_the_job__is_refused(case: Case) -> None:
    asked = STAKE - BEHIND + 1
    found = case.scene.refusal("provider", "ProviderRegistry", "unstake", asked)
    expected = ("ProviderRegistry_StakeExceeded", case.scene.at("provider"), BEHIND + asked, STAKE)
    assert found == expected


# What it costs


def test_resolve__provider_at_fault__stake_goes_to_payer_and_challenger(case: Case) -> None:
    scene = case.scene
    assert case.stake_of("reservedOf") == BEHIND
    case.challenge()
    registry = scene.tokens("ProviderRegistry")
    done = scene.send("relayer", "JobMarket", "resolve", *case.verdict(0, Fault.PROVIDER))
    to_payer, to_challenger = BEHIND // 2, BEHIND - BEHIND // 2
    assert scene.event(done, "ProviderRegistry", "Slashed") == {
        "jobId": case.job, "provider": scene.at("provider"), "amount": BEHIND, "toPayer": to_payer,
        "toChallenger": to_challenger,
    }  # fmt: skip
    assert (case.award(PAYER), case.award("challenger")) == (to_payer, to_challenger + case.bond)
    assert (case.stake_of("stakeOf"), case.stake_of("reservedOf")) == (STAKE - BEHIND, 0)
    assert jobs.status(scene.chain.at(), case.job) is Status.REFUNDED
    assert (scene.credits(PAYER, case.class_id), scene.earned("provider")) == (MAX_UNITS, 0)
    for who, due in ((PAYER, to_payer), ("challenger", to_challenger + case.bond)):
        before = scene.tokens(who)
        scene.send(who, "ProviderRegistry", "withdrawAward", scene.at(who))
        assert (scene.tokens(who) - before, case.award(who)) == (due, 0)
    assert registry - scene.tokens("ProviderRegistry") == BEHIND + case.bond
    assert scene.tokens("ProviderRegistry") == STAKE - BEHIND


def test_resolve__rest_of_the_stake_unbonding__only_what_stood_behind_the_job_is_taken(case: Case) -> None:
    scene = case.scene
    scene.send("provider", "ProviderRegistry", "unstake", STAKE - BEHIND)
    case.challenge()
    scene.send("relayer", "JobMarket", "resolve", *case.verdict(0, Fault.PROVIDER))
    unbonding, _ = scene.read("ProviderRegistry", "unbondingOf", scene.at("provider"))
    assert (case.stake_of("stakeOf"), unbonding) == (0, STAKE - BEHIND)


def test_resolve__provider_at_fault_for_a_part__payer_pays_the_rest(case: Case) -> None:
    scene, due = case.scene, 1_000
    case.challenge()
    done = scene.send("relayer", "JobMarket", "resolve", *case.verdict(due, Fault.PROVIDER))
    assert scene.event(done, "JobMarket", "JobSettled")["units"] == due
    assert scene.credits(PAYER, case.class_id) == MAX_UNITS - due
    assert scene.earned("provider") == due * UNIT_PRICE
    assert case.stake_of("stakeOf") == STAKE - BEHIND


def test_resolve__challenger_at_fault__bond_goes_to_the_provider(case: Case) -> None:
    scene = case.scene
    case.challenge()
    done = scene.send("relayer", "JobMarket", "resolve", *case.verdict(USED, Fault.CHALLENGER))
    assert scene.events(done, "ProviderRegistry", "Slashed") == []
    assert (case.award("provider"), case.award("challenger")) == (case.bond, 0)
    assert (case.stake_of("stakeOf"), case.stake_of("reservedOf")) == (STAKE, 0)
    assert scene.earned("provider") == USED * UNIT_PRICE
    assert scene.credits(PAYER, case.class_id) == MAX_UNITS - USED


def test_resolve__nobody_at_fault__bond_goes_back(case: Case) -> None:
    scene = case.scene
    case.challenge()
    scene.send("relayer", "JobMarket", "resolve", *case.verdict(USED, Fault.NONE))
    assert (case.award("provider"), case.award("challenger")) == (0, case.bond)
    assert (case.stake_of("stakeOf"), scene.earned("provider")) == (STAKE, USED * UNIT_PRICE)


def test_dispute__nobody_decides__payer_is_refunded_and_nothing_is_slashed(case: Case) -> None:
    scene = case.scene
    case.challenge()
    decide_by = scene.chain.at().dispute(case.job).decide_by
    scene.system.anvil.advance(decide_by - scene.now + 1)
    late = case.verdict(0, Fault.PROVIDER)
    found = scene.refusal("relayer", "JobMarket", "resolve", *late)
    assert found == ("JobMarket_DeadlinePassed", case.job, scene.now, decide_by)
    scene.send("relayer", "JobMarket", "finalize", case.terms.to_abi())
    assert jobs.status(scene.chain.at(), case.job) is Status.REFUNDED
    assert (case.award("challenger"), case.stake_of("stakeOf")) == (case.bond, STAKE)
    assert scene.credits(PAYER, case.class_id) == MAX_UNITS
