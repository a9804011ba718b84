"""Overcharging in a session: what a provider claimed and was not due costs it more than it gained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from scrip.eip712_sessions import overcharge_digest
from scrip.types_spending import Overcharge, SessionTerms
from tests.integration.scene import PRICE, UNIT_PRICE, Scene
from tests.integration.system import signed

ARBITERS = ("arbiter 0", "arbiter 1", "arbiter 2")
PAYER, REPORTER = "payer", "watcher 0"
DEPOSIT, TRUE_UNITS, ADDED = 1_000, 100, 10
STAKE = 1_000_000
PENALTY = 10
# A million credits have as much stake behind them as they cost.
BEHIND = UNIT_PRICE
LOST = PENALTY * ADDED * BEHIND


@dataclass(slots=True)
class Case:
    """A session of a class with arbiters and stake; its provider claimed a tenth more than it is due."""

    scene: Scene
    arbiters: int
    class_id: int
    terms: SessionTerms

    @property
    def session(self) -> bytes:
        return self.scene.session_id(self.terms)

    def verdict(
        self, units: int, names: tuple[str, ...] = ARBITERS[:2], by: str = REPORTER
    ) -> tuple[Any, ...]:
        """Arguments of `penalise`, signed by these."""
        found = Overcharge(self.session, units, self.scene.at(by))
        signatures = signed(overcharge_digest(found, *self.scene.domain("MeteredSessions")), names)
        return self.terms.to_abi(), units, found.reporter, signatures

    def penalise(self, units: int) -> Any:
        return self.scene.send("relayer", "MeteredSessions", "penalise", *self.verdict(units))

    def refusal(self, *verdict: Any) -> tuple[Any, ...]:
        return self.scene.refusal("relayer", "MeteredSessions", "penalise", *verdict)

    def award(self, who: str) -> int:
        return int(self.scene.read("ProviderRegistry", "awardOf", self.scene.at(who)))

    def stake(self) -> int:
        return int(self.scene.read("ProviderRegistry", "stakeOf", self.scene.at("provider")))


@pytest.fixture
def case(scene: Scene) -> Case:
    arbiters = scene.system.watcher_set(ARBITERS, 2)
    class_id = scene.system.create_class(
        price_per_million=PRICE, max_rate=10**9, arbiter_set=arbiters, stake_per_million=PRICE
    )
    scene.system.stake(scene.at("provider"), STAKE)
    scene.give(PAYER, DEPOSIT, class_id)
    for name in (PAYER, REPORTER):
        scene.system.funded(name)
    terms = scene.session(PAYER, class_id=class_id)
    scene.send(PAYER, "MeteredSessions", "openSession", terms.to_abi(), DEPOSIT)
    row = scene.claim(terms, TRUE_UNITS + ADDED, authorised=DEPOSIT)
    scene.send("provider", "MeteredSessions", "claim", row)
    return Case(scene, arbiters, class_id, terms)


# What is refused


def test_penalise__more_than_was_claimed__is_refused(case: Case) -> None:
    claimed = TRUE_UNITS + ADDED
    found = case.refusal(*case.verdict(claimed + 1))
    assert found == ("MeteredSessions_OverClaimed", case.session, claimed + 1, claimed)


def test_penalise__one_arbiter_of_two__is_refused(case: Case) -> None:
    found = case.refusal(*case.verdict(ADDED, ARBITERS[:1]))
    assert found == ("ReceiptVerifier_TooFewWatchers", case.arbiters, 1, 2)


def test_penalise__sender_names_itself_the_reporter__is_refused(case: Case) -> None:
    terms, units, _, signatures = case.verdict(ADDED)
    name, set_id, *_ = case.refusal(terms, units, case.scene.at("relayer"), signatures)
    assert (name, set_id) == ("ReceiptVerifier_NotWatcher", case.arbiters)


def test_penalise__twice__is_refused(case: Case) -> None:
    case.penalise(ADDED)
    assert case.refusal(*case.verdict(ADDED)) == ("MeteredSessions_NothingNew", case.session, LOST, LOST)


def test_penalise__class_without_arbiters__is_refused(case: Case) -> None:
    scene = case.scene
    scene.give("buyer", DEPOSIT)
    terms = scene.session("buyer")
    scene.send("buyer", "MeteredSessions", "openSession", terms.to_abi(), DEPOSIT)
    other = Case(scene, case.arbiters, scene.class_id, terms)
    scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, 1))
    assert case.refusal(*other.verdict(1)) == ("MeteredSessions_NoArbiters", other.session, 0, 1)


def test_penalise__long_after_the_session_ended__is_refused(case: Case) -> None:
    scene = case.scene
    scene.send("provider", "MeteredSessions", "close", case.terms.to_abi())
    until = scene.chain.at().session(case.session).close_at + int(
        scene.read("MeteredSessions", "AUDIT_PERIOD")
    )
    scene.system.anvil.advance(until - scene.now + 1)
    found = case.refusal(*case.verdict(ADDED))
    assert found == ("MeteredSessions_DeadlinePassed", case.session, scene.now, until)


# What it costs


def test_penalise__a_tenth_added__costs_more_than_it_brought(case: Case) -> None:
    scene = case.scene
    gained = scene.earned("provider") - TRUE_UNITS * UNIT_PRICE
    assert gained == ADDED * UNIT_PRICE
    done = case.penalise(ADDED)
    assert scene.event(done, "MeteredSessions", "SessionPenalised") == {
        "sessionId": case.session, "provider": scene.at("provider"), "reporter": scene.at(REPORTER),
        "units": ADDED, "taken": LOST,
    }  # fmt: skip
    assert scene.event(done, "ProviderRegistry", "Slashed") == {
        "jobId": case.session, "provider": scene.at("provider"), "amount": LOST,
        "toPayer": LOST // 2, "toChallenger": LOST // 2,
    }  # fmt: skip
    assert (case.stake(), scene.chain.at().penalty(case.session)) == (STAKE - LOST, LOST)
    # More than all that it earned in the session, of which a tenth was gained by cheating.
    assert STAKE - case.stake() == 10 * gained
    for who in (PAYER, REPORTER):
        before = scene.tokens(who)
        scene.send(who, "ProviderRegistry", "withdrawAward", scene.at(who))
        assert (scene.tokens(who) - before, case.award(who)) == (LOST // 2, 0)
    # The payer has back five times what it was overcharged; what the provider earned is its own.
    assert 5 * gained == LOST // 2
    assert scene.earned("provider") == (TRUE_UNITS + ADDED) * UNIT_PRICE


def test_penalise__more_is_found_after_the_session_ended__takes_the_difference(case: Case) -> None:
    scene = case.scene
    case.penalise(ADDED // 2)
    scene.send("provider", "MeteredSessions", "close", case.terms.to_abi())
    assert scene.credits(PAYER, case.class_id) == DEPOSIT - TRUE_UNITS - ADDED
    done = case.penalise(ADDED)
    assert scene.event(done, "MeteredSessions", "SessionPenalised")["taken"] == LOST // 2
    assert (case.stake(), case.award(PAYER), case.award(REPORTER)) == (STAKE - LOST, LOST // 2, LOST // 2)


def test_penalise__stake_is_unbonding__is_taken_all_the_same(case: Case) -> None:
    scene = case.scene
    scene.send("provider", "ProviderRegistry", "unstake", STAKE)
    assert scene.chain.at().free_stake(scene.at("provider")) == STAKE
    case.penalise(ADDED)
    assert scene.chain.at().free_stake(scene.at("provider")) == STAKE - LOST
