"""An agent buys from a real provider under a budget of two levels: owner, team, agent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agents.buyer import Bought, Buyer
from agents.ledger import Ledger
from agents.policy import Need
from agents.purse import BudgetPurse
from agents.reputation import Record, Reputation
from scrip import budgets, jobs
from scrip.budgets import BudgetRefused
from scrip.chain import Chain
from scrip.eip712 import sign
from scrip.eip712_credits import offer_digest
from scrip.errors import Refused
from scrip.journal import InMemoryJournal
from scrip.offers import SignedOffer
from scrip.redeem import NotFinished
from scrip.sender import LOCAL_POLICY, Sender
from scrip.structs import ZERO_ADDRESS
from scrip.types import Resource, Status
from scrip.types_spending import NO_CAP, Limits, Offer
from tests.integration.oracle_lab import SPEC, OracleLab, lab
from tests.integration.system import REGION, System, account

ROOT = Path(__file__).resolve().parents[2]
UNITS = 10_000
HELD = 100_000
COST = 20  # of UNITS: 2 base units of the token for each credit of 10**3 units
NEED = Need(SPEC, Resource.CPU_SECOND, UNITS, min_assurance=1, seconds=300)


@dataclass
class Case:
    """The buyer of the lab owns a budget for a team, which gave the agent a part of it."""

    place: OracleLab
    class_id: int
    team: int
    agent: int
    sender: Sender

    def limits(self, spender: str, **changes: Any) -> Limits:
        values = {"per_action": NO_CAP, "per_period": NO_CAP, "lifetime": NO_CAP, "period": 0, "expiry": 0,
                  "listed": False} | changes  # fmt: skip
        return Limits(spender=account(spender).address, **values)

    def set(self, who: str, budget: int, limits: Limits) -> None:
        self.send(who, "SpendingBudgets", "setBudget", budget, limits.to_abi())

    def send(self, who: str, contract: str, function: str, *args: Any) -> None:
        self.place.system.send(contract, function, *args, sender=account(who).address)

    def buyer(self, offers: Sequence[SignedOffer] = ()) -> Buyer:
        purse = BudgetPurse(self.place.chain, self.sender, account("agent"), self.agent, lambda: offers)
        book = self.place.folder / "agent.needs"
        return Buyer(self.place.chain, self.sender, account("agent"), purse, book=book)

    def spent(self) -> tuple[int, int]:
        view = self.place.chain.at()
        return view.budget(self.team).spent, view.budget(self.agent).spent

    def refused(self) -> BudgetRefused:
        """What the agent is told; nothing was sent."""
        nonce = self.place.chain.nonce(self.sender.address)
        with pytest.raises(BudgetRefused) as caught:
            self.buyer().meet(NEED)
        assert self.place.chain.nonce(self.sender.address) == nonce
        return caught.value


@pytest.fixture
def case(system: System, chain: Chain, tmp_path: Path) -> Iterator[Case]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as place:
        yield _case(place)


def _case(place: OracleLab) -> Case:
    system = place.system
    class_id = system.create_class(min_assurance=1)
    owner = place.buy(class_id, HELD)
    team, agent = (
        Sender(place.chain, system.funded(name), InMemoryJournal(), LOCAL_POLICY)
        for name in ("team", "agent")
    )
    made = Case(place, class_id, 0, 0, agent)
    token = system.deployment.address("DemoUSD")
    made.team = budgets.create(place.chain, owner, token, made.limits("team", lifetime=100))
    own = made.limits("agent", per_action=50, per_period=80, period=86_400)
    made.agent = budgets.create(place.chain, team, token, own, parent=made.team)
    return made


def test_meet__under_a_budget__owner_pays_and_the_unused_charge_comes_back(case: Case) -> None:
    place, owner = case.place, account("buyer").address
    place.start("provider", place.provider_settings())
    bought = case.buyer().meet(NEED)
    receipt = bought.redemption.receipt
    assert 0 < receipt.units < UNITS
    assert place.private(receipt.job_id, "output").content == bought.redemption.output
    assert place.chain.at().balance(owner, case.class_id) == HELD - receipt.units
    assert place.chain.at().available(account("agent").address, case.class_id) == 0
    kept = COST - COST * (UNITS - receipt.units) // UNITS
    assert (bought.spent, case.spent()) == (kept, (kept, kept))
    assert bought.redemption.plan.terms.budget_id == case.agent
    names = [check.name for check in bought.redemption.checks]
    assert {"receipt.settled", "receipt.onchain", "receipt.signed", "output.hash"} <= set(names)


def test_meet__same_key_again__result_is_fetched_and_not_bought(case: Case) -> None:
    case.place.start("provider", case.place.provider_settings())
    need = Need(SPEC, Resource.CPU_SECOND, UNITS, min_assurance=1, key="once")
    first = case.buyer().meet(need)
    spent = case.spent()
    again = case.buyer().meet(need)
    assert again.redemption.plan.job_id == first.redemption.plan.job_id
    assert (again.redemption.output, case.spent()) == (first.redemption.output, spent)


def test_meet__over_the_agents_action__names_its_level_asked_and_left(case: Case) -> None:
    case.place.start("provider", case.place.provider_settings())
    case.set("team", case.agent, case.limits("agent", per_action=COST - 1))
    error = case.refused()
    assert (error.level, error.reason, error.asked, error.left) == (case.agent, "OverAction", COST, COST - 1)


def test_meet__over_the_teams_lifetime__names_the_teams_level(case: Case) -> None:
    case.place.start("provider", case.place.provider_settings())
    case.set("buyer", case.team, case.limits("team", lifetime=COST - 5))
    error = case.refused()
    assert (error.level, error.reason, error.asked, error.left) == (case.team, "OverLifetime", COST, COST - 5)
    assert f"budget {case.team}: over what is left in all: asked {COST}, left {COST - 5}" in str(error)


def test_meet__revoked_above__stops_at_once(case: Case) -> None:
    case.place.start("provider", case.place.provider_settings())
    agent = case.buyer()
    agent.meet(NEED)
    owner = Sender(case.place.chain, account("buyer"), InMemoryJournal(), LOCAL_POLICY)
    budgets.revoke(case.place.chain, owner, case.team)
    with pytest.raises(BudgetRefused) as caught:
        agent.meet(NEED)
    assert (caught.value.level, caught.value.reason) == (case.team, "Revoked")


def test_meet__budget_lists_no_such_provider__is_refused_by_name(case: Case) -> None:
    case.place.start("provider", case.place.provider_settings())
    case.set("team", case.agent, case.limits("agent", listed=True))
    assert (case.refused().level, case.refused().reason) == (case.agent, "ProviderNotListed")
    case.send("team", "SpendingBudgets", "setProviders", case.agent, [case.place.provider], True)
    assert case.buyer().meet(NEED).redemption.output


def test_purse__budget_of_another_spender__is_refused(case: Case) -> None:
    with pytest.raises(BudgetRefused, match="another account's to spend"):
        BudgetPurse(case.place.chain, case.sender, account("agent"), case.team)


def test_levels__any_limits__agree_with_the_contract(case: Case) -> None:
    view = case.place.chain.at()
    tree = budgets.levels(view, case.agent)
    assert [level.budget_id for level in tree] == [case.agent, case.team]
    assert min(level.most for level in tree) == view.read("SpendingBudgets", "leftOf", case.agent) == 50
    assert budgets.left(tree) == 80


# Credits that the owner lacks


def _without_credits(case: Case) -> None:
    owner = account("buyer").address
    args = (owner, account("team").address, case.class_id, HELD, b"")
    case.send("buyer", "ComputeCredits", "safeTransferFrom", *args)


def test_meet__owner_has_no_credits_and_nobody_offers_any__says_what_to_do(case: Case) -> None:
    case.place.start("provider", case.place.provider_settings())
    _without_credits(case)
    with pytest.raises(Refused, match=rf"owner lacks {UNITS} units.*scrip buy {case.class_id}"):
        case.buyer().meet(NEED)


def test_meet__owner_lacks_credits__agent_buys_them_for_it_under_the_budget(case: Case) -> None:
    place, system = case.place, case.place.system
    place.start("provider", place.provider_settings())
    _without_credits(case)
    exchange, token = system.deployment.address("CreditExchange"), system.deployment.address("DemoUSD")
    case.send("team", "ComputeCredits", "setApprovalForAll", exchange, True)
    case.send("buyer", "DemoUSD", "approve", exchange, 10**12)
    offer = Offer(
        account("team").address, True, case.class_id, HELD, token, 150, ZERO_ADDRESS, 2**39, 0, 1,
    )  # fmt: skip
    digest = offer_digest(offer, place.chain.chain_id, exchange)
    good, forged = (SignedOffer(offer, sign(digest, account(name))) for name in ("team", "agent"))
    bought = case.buyer([forged, good, good]).meet(NEED)
    assert (
        place.chain.at().balance(account("buyer").address, case.class_id)
        == UNITS - bought.redemption.receipt.units
    )
    assert (bought.choice.cost, case.spent()) == (15, (bought.spent, bought.spent))


# Killed

KILLED = """
import os, signal, sys
from pathlib import Path
from agents.buyer import Buyer
from agents.purse import BudgetPurse
from scrip import deployments, redeem
from scrip.chain import Chain
from scrip.journal_file import FileJournal
from scrip.sender import LOCAL_POLICY, Sender
from tests.integration.system import account
from tests.integration.test_agent_budget import NEED

url, folder, budget, where = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
chain, me = Chain.connect(url, deployments.load(folder / "deployments", 31337)), account("agent")
sender = Sender(chain, me, FileJournal(folder / "journal"), LOCAL_POLICY)
agent = Buyer(chain, sender, me, BudgetPurse(chain, sender, me, budget), book=folder / "agent.needs")
real = redeem.open_job

def dying(*args):
    if where == "after":
        real(*args)
    os.kill(os.getpid(), signal.SIGKILL)

redeem.open_job = dying
agent.meet(NEED)
"""


@pytest.mark.parametrize("where", ["before", "after"])
def test_resume__killed_around_the_opening__one_job_and_one_charge(case: Case, where: str) -> None:
    place = case.place
    place.start("provider", place.provider_settings())
    command = [
        sys.executable,
        "-c",
        KILLED,
        place.system.anvil.url,
        str(place.folder),
        str(case.agent),
        where,
    ]
    died = subprocess.run(command, cwd=ROOT, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(jobs.openings(place.chain.at())) == (where == "after")
    (bought,) = case.buyer().resume()
    assert isinstance(bought, Bought)
    assert [one.job_id for one in jobs.openings(place.chain.at())] == [bought.redemption.plan.job_id]
    assert case.spent() == (bought.spent, bought.spent)
    assert case.buyer().resume() == []


# Other providers


class _Refusing(BaseHTTPRequestHandler):
    """A provider that has a registration file and no place for any job."""

    def do_GET(self) -> None:
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._answer(200, {
            "name": "busy", "active": True, "services": [{"name": "scrip", "endpoint": url}],
            "scrip": {"templates": [{"name": SPEC.template, "seconds": 1}]},
        })  # fmt: skip

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(409, {"error": {"message": "every place is taken"}})

    def _answer(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def refusing(case: Case) -> Iterator[str]:
    """Such a provider, with more at stake than the other, so that it is chosen first; its address."""
    system, who = case.place.system, case.place.system.funded("busy").address
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        system.register(who, account("busy oracle").address)
        uri = f"http://127.0.0.1:{server.server_address[1]}/r.json"
        system.send("ProviderRegistry", "update", account("busy oracle").address, REGION, uri, sender=who)
        system.stake(who, 1_000)
        yield who
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_meet__first_provider_refuses__the_second_does_it(case: Case) -> None:
    case.place.start("provider", case.place.provider_settings())
    with refusing(case) as busy:
        bought = case.buyer().meet(NEED)
    assert [(item.provider, item.job) for item in bought.tries] == [(busy, b"")]
    assert "every place is taken" in bought.tries[0].detail
    assert bought.redemption.plan.terms.provider == case.place.provider


def test_meet__provider_lets_the_deadline_pass__agent_ends_the_job_and_the_charge_is_back(case: Case) -> None:
    place = case.place
    place.start("provider", place.provider_settings())
    agent = case.buyer()
    agent._on_step = lambda text: place.stop("provider") if text.startswith("opening") else None
    with pytest.raises(NotFinished):
        agent.meet(NEED, timeout=0)
    assert case.spent() == (COST, COST)
    place.system.anvil.advance(3_600)
    with pytest.raises(Refused, match="ended expired"):
        agent.meet(NEED)
    assert case.spent() == (0, 0)
    assert place.chain.at().available(account("buyer").address, case.class_id) == HELD
    assert len(jobs.openings(place.chain.at())) == 1


def test_reputation__jobs_that_ended__are_counted_once_across_restarts(case: Case) -> None:
    place, kept = case.place, case.place.folder / "providers.json"
    place.start("provider", place.provider_settings())
    assert Reputation(place.chain, kept).update() == {}
    case.buyer().meet(NEED)
    for _ in range(2):
        assert Reputation(place.chain, kept).update() == {place.provider: Record(settled=1)}
    terms = place.terms(
        place.buy(case.class_id, UNITS), case.class_id, submit_by=place.chain.at().time() + 121
    )
    quote = place.quote(terms)
    place.stop("provider")
    job = place.open(place.buy(case.class_id, UNITS), terms, quote)
    place.system.anvil.advance(600)
    case.send("buyer", "JobMarket", "expire", terms.to_abi())
    assert jobs.status(place.chain.at(), job) is Status.EXPIRED
    assert Reputation(place.chain, kept).update() == {place.provider: Record(settled=1, expired=1)}


# An account of its own


def test_meet__own_account__buys_what_is_missing_within_its_limit(case: Case) -> None:
    place, me = case.place, account("agent")
    place.start("provider", place.provider_settings())
    place.system.mint(me.address, 1_000)
    ledger = Ledger(place.folder / "spent.json", COST + 5)
    agent = Buyer(place.chain, case.sender, me, ledger)
    bought = agent.meet(NEED)
    assert (bought.spent, ledger.spent()) == (COST, COST)
    token = place.system.deployment.address("DemoUSD")
    assert place.chain.at().token_balance(token, me.address) == 1_000 - COST
    # What the first job didn't use is used now: less is bought.
    again = agent.meet(NEED)
    assert 0 < again.spent < 5
    assert ledger.spent() == COST + again.spent
    with pytest.raises(Refused, match="of the limit is left"):
        agent.meet(Need(SPEC, Resource.CPU_SECOND, 3 * UNITS, min_assurance=1))
    assert case.spent() == (0, 0)
