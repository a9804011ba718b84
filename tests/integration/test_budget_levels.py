"""A budget two levels deep, spent by an agent on jobs, on sessions and on the exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from scrip.eip712_credits import offer_digest
from scrip.structs import ZERO_ADDRESS
from scrip.types import JobTerms, Status
from scrip.types_spending import SessionTerms
from tests.integration.scene import UNIT_PRICE, Scene

OWNER, TEAM, AGENT = "sponsor", "buyer", "agent"
HELD = 100_000
DAY = 86_400
# In base units of credits; what a budget counts is UNIT_PRICE as much.
TEAM_LIFETIME, AGENT_LIFETIME, AGENT_ACTION, AGENT_PERIOD = 30_000, 40_000, 12_000, 25_000


@dataclass(slots=True)
class Case:
    """The owner's budget for a team, and the team's for its agent."""

    scene: Scene
    team: int
    agent: int

    def job(self, units: int, payer: str = OWNER, budget: int | None = None) -> JobTerms:
        return self.scene.job(payer, max_units=units, budget_id=self.agent if budget is None else budget)

    def open(self, terms: JobTerms) -> bytes:
        """Open and start a job as the agent."""
        self.scene.send(AGENT, "JobMarket", "openFor", terms.to_abi(), self.scene.quote(terms))
        return self.scene.job_id(terms)

    def refused(self, terms: JobTerms, who: str = AGENT) -> tuple[Any, ...]:
        return self.scene.refusal(who, "JobMarket", "openFor", terms.to_abi(), b"")

    def session(self) -> SessionTerms:
        return self.scene.session(OWNER, budget_id=self.agent)

    def fill(self, units: int, price: int) -> tuple[Any, ...]:
        """Arguments of `fillFor` on a seller's offer."""
        offer = self.scene.offer("seller", units, price)
        signature = self.scene.sign("seller", offer_digest(offer, *self.scene.domain("CreditExchange")))
        return self.agent, (offer.to_abi(), signature, units, price)

    def spent(self) -> tuple[int, int]:
        """What team and agent have spent, in base units of credits."""
        view = self.scene.chain.at()
        return view.budget(self.team).spent // UNIT_PRICE, view.budget(self.agent).spent // UNIT_PRICE

    def left(self) -> int:
        """Most that the agent can spend now, in base units of credits."""
        return int(self.scene.read("SpendingBudgets", "leftOf", self.agent)) // UNIT_PRICE


@pytest.fixture
def case(scene: Scene) -> Case:
    scene.give(OWNER, HELD)
    team = scene.budget(OWNER, scene.limits(TEAM, lifetime=TEAM_LIFETIME * UNIT_PRICE))
    agent = scene.child(
        TEAM,
        team,
        scene.limits(
            AGENT,
            per_action=AGENT_ACTION * UNIT_PRICE,
            per_period=AGENT_PERIOD * UNIT_PRICE,
            lifetime=AGENT_LIFETIME * UNIT_PRICE,
            period=DAY,
        ),
    )
    # Not at the turn of a day: what one test charges is charged in one period.
    scene.system.anvil.rpc("evm_setNextBlockTimestamp", (scene.now // DAY + 2) * DAY + 60)
    scene.system.anvil.mine()
    return Case(scene, team, agent)


# Refused, naming level, asked and left


def test_open_for__over_the_agents_action__names_the_agents_level(case: Case) -> None:
    asked = AGENT_ACTION + 1
    found = case.refused(case.job(asked))
    expected = (case.agent, asked * UNIT_PRICE, AGENT_ACTION * UNIT_PRICE)
    assert found == ("SpendingBudgets_OverAction", *expected)


def test_open_for__over_the_agents_period__names_what_the_period_has_left(case: Case) -> None:
    case.open(case.job(10_000))
    case.open(case.job(10_000))
    found = case.refused(case.job(5_001))
    expected = (case.agent, 5_001 * UNIT_PRICE, (AGENT_PERIOD - 20_000) * UNIT_PRICE)
    assert found == ("SpendingBudgets_OverPeriod", *expected)


def test_open_for__over_the_teams_lifetime__names_the_teams_level(case: Case) -> None:
    case.open(case.job(12_000))
    case.open(case.job(12_000))
    case.scene.system.anvil.advance(DAY)
    found = case.refused(case.job(6_001))
    expected = (case.team, 6_001 * UNIT_PRICE, (TEAM_LIFETIME - 24_000) * UNIT_PRICE)
    assert found == ("SpendingBudgets_OverLifetime", *expected)
    assert case.spent() == (24_000, 24_000)


def test_open_for__expired_at_the_top__names_the_teams_level(case: Case) -> None:
    limits = case.scene.limits(TEAM, expiry=case.scene.now - 1)
    case.scene.send(OWNER, "SpendingBudgets", "setBudget", case.team, limits.to_abi())
    found = case.refused(case.job(1))
    assert found == ("SpendingBudgets_Expired", case.team, case.scene.now, limits.expiry)


def test_open_for__revoked_at_the_top__is_refused_at_once(case: Case) -> None:
    case.open(case.job(1_000))
    case.scene.send(OWNER, "SpendingBudgets", "revoke", case.team)
    assert case.refused(case.job(1)) == ("SpendingBudgets_Revoked", case.team, UNIT_PRICE, 0)
    assert case.left() == 0


def test_open_for__provider_the_team_does_not_list__names_the_teams_level(case: Case) -> None:
    limits = case.scene.limits(TEAM, listed=True)
    case.scene.send(OWNER, "SpendingBudgets", "setBudget", case.team, limits.to_abi())
    found = case.refused(case.job(1))
    provider = case.scene.at("provider")
    assert found == ("SpendingBudgets_ProviderNotListed", case.team, provider, ZERO_ADDRESS)
    case.scene.send(OWNER, "SpendingBudgets", "setProviders", case.team, [provider], True)
    job = case.open(case.job(1))
    assert case.scene.chain.at().job_state(job).status is Status.RUNNING


def test_open_for__by_the_teams_spender__is_refused(case: Case) -> None:
    found = case.refused(case.job(1), who=TEAM)
    assert found == ("SpendingBudgets_NotSpender", case.agent, case.scene.at(TEAM), case.scene.at(AGENT))


def test_open_for__credits_of_somebody_else__are_refused(case: Case) -> None:
    case.scene.give("seller", 1)
    found = case.refused(case.job(1, payer="seller"))
    expected = (case.agent, case.scene.at("seller"), case.scene.at(OWNER))
    assert found == ("SpendingBudgets_WrongPayer", *expected)


def test_open_for__no_budget_named__is_refused(case: Case) -> None:
    terms = case.job(1, budget=0)
    assert case.refused(terms) == ("JobMarket_BudgetMismatch", case.scene.job_id(terms), 0, 1)


def test_open_session_for__over_the_agents_action__names_the_agents_level(case: Case) -> None:
    asked = AGENT_ACTION + 1
    found = case.scene.refusal(AGENT, "MeteredSessions", "openSessionFor", case.session().to_abi(), asked)
    expected = (case.agent, asked * UNIT_PRICE, AGENT_ACTION * UNIT_PRICE)
    assert found == ("SpendingBudgets_OverAction", *expected)


def test_fill_for__dearer_than_the_team_has_left__names_the_teams_level(case: Case) -> None:
    case.open(case.job(12_000))
    case.open(case.job(12_000))
    case.scene.system.anvil.advance(DAY)
    price = (TEAM_LIFETIME - 24_000) * UNIT_PRICE + 1
    found = case.scene.refusal(AGENT, "CreditExchange", "fillFor", *case.fill(1, price))
    assert found == ("SpendingBudgets_OverLifetime", case.team, price, price - 1)


def test_create_child__a_fifth_level__is_refused(case: Case) -> None:
    third = case.scene.child(AGENT, case.agent, case.scene.limits(AGENT))
    fourth = case.scene.child(AGENT, third, case.scene.limits(AGENT))
    limits = case.scene.limits(AGENT).to_abi()
    found = case.scene.refusal(AGENT, "SpendingBudgets", "createChild", fourth, limits, [])
    assert found == ("SpendingBudgets_TooDeep", fourth, 5, 4)


# Spent, on every level


def test_open_for__settled_for_less__rest_of_the_charge_comes_back_to_every_level(case: Case) -> None:
    scene, terms = case.scene, case.job(10_000)
    job = case.open(terms)
    assert scene.chain.at().job_state(job).charge == 10_000 * UNIT_PRICE
    assert (case.spent(), scene.locked(OWNER)) == ((10_000, 10_000), 10_000)
    done = scene.submit(terms, scene.receipt(terms, 4_000))
    released = scene.event(done, "SpendingBudgets", "BudgetReleased")
    assert released == {"budgetId": case.agent, "value": 6_000 * UNIT_PRICE}
    assert (case.spent(), scene.credits(OWNER)) == ((4_000, 4_000), HELD - 4_000)
    # The period counts gross: what came back can be spent in the next one only.
    assert scene.chain.at().budget(case.agent).period_spent == 10_000 * UNIT_PRICE
    assert case.left() == min(AGENT_ACTION, AGENT_PERIOD - 10_000)


def test_open_for__cancelled__whole_charge_comes_back(case: Case) -> None:
    terms = case.job(10_000)
    case.scene.send(AGENT, "JobMarket", "openFor", terms.to_abi(), b"")
    case.scene.send(AGENT, "JobMarket", "cancel", terms.to_abi())
    assert (case.spent(), case.scene.credits(OWNER)) == ((0, 0), HELD)


def test_period__over__the_whole_of_it_can_be_spent_again(case: Case) -> None:
    case.open(case.job(12_000))
    case.open(case.job(12_000))
    assert case.left() == AGENT_PERIOD - 24_000
    case.scene.system.anvil.advance(DAY)
    assert case.left() == TEAM_LIFETIME - 24_000


def test_open_session_for__closed_early__rest_comes_back(case: Case) -> None:
    scene, terms = case.scene, case.session()
    scene.send(AGENT, "MeteredSessions", "openSessionFor", terms.to_abi(), 9_000)
    assert case.spent() == (9_000, 9_000)
    assert scene.read("MeteredSessions", "chargeOf", scene.session_id(terms)) == 9_000 * UNIT_PRICE
    scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, 2_500))
    scene.send("provider", "MeteredSessions", "close", terms.to_abi())
    assert (case.spent(), scene.credits(OWNER)) == ((2_500, 2_500), HELD - 2_500)


def test_fill_for__owner_pays_and_receives__price_is_charged_for_good(case: Case) -> None:
    scene, units, price = case.scene, 2_000, 1_500 * UNIT_PRICE
    scene.give("seller", units)
    scene.send("seller", "ComputeCredits", "setApprovalForAll", scene.at("CreditExchange"), True)
    scene.system.mint(scene.at(OWNER), price)
    scene.send(OWNER, "DemoUSD", "approve", scene.at("CreditExchange"), price)
    scene.send(AGENT, "CreditExchange", "fillFor", *case.fill(units, price))
    assert (scene.credits(OWNER), scene.credits(AGENT)) == (HELD + units, 0)
    assert (scene.tokens(OWNER), scene.tokens("seller")) == (0, price)
    assert case.spent() == (1_500, 1_500)
