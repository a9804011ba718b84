"""`scrip agent spend` on a history of jobs, sessions and fills: its sums are the chain's, to the unit."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents import spending
from agents.spending import Spending, SpendMismatch
from scrip import deployments
from scrip.cli.main import app
from scrip.eip712 import batch_digest, receipt_struct_hash
from scrip.eip712_credits import offer_digest
from scrip.types import JobTerms
from scrip.types_spending import SessionTerms
from tests.integration.scene import UNIT_PRICE, Scene

OWNER, TEAM, AGENT = "sponsor", "buyer", "agent"
DAY = 86_400


@dataclass(slots=True)
class History:
    """A budget for a team, one of its agent below it, and what they did."""

    scene: Scene
    folder: Path
    team: int
    agent: int

    def open(self, units: int, who: str = AGENT) -> JobTerms:
        terms = self.scene.job(OWNER, max_units=units, budget_id=self.agent if who == AGENT else self.team)
        self.scene.send(who, "JobMarket", "openFor", terms.to_abi(), self.scene.quote(terms))
        return terms

    def settle(self, *jobs: tuple[JobTerms, int]) -> bytes:
        """All in one transaction; its hash."""
        receipts = [self.scene.receipt(terms, units) for terms, units in jobs]
        hashes = [receipt_struct_hash(receipt) for receipt in receipts]
        attestation = self.scene.attest(batch_digest(hashes, *self.scene.domain("ReceiptVerifier")))
        rows = [terms.to_abi() for terms, _ in jobs], [receipt.to_abi() for receipt in receipts]
        done = self.scene.send("relayer", "JobMarket", "submitBatch", *rows, 0, attestation.to_abi())
        return bytes(done["transactionHash"])

    def session(self, units: int) -> SessionTerms:
        terms = self.scene.session(OWNER, budget_id=self.agent)
        self.scene.send(AGENT, "MeteredSessions", "openSessionFor", terms.to_abi(), units)
        return terms

    def fill(self, units: int, price: int) -> None:
        scene = self.scene
        scene.give("seller", units)
        scene.send("seller", "ComputeCredits", "setApprovalForAll", scene.at("CreditExchange"), True)
        scene.system.mint(scene.at(OWNER), price)
        scene.send(OWNER, "DemoUSD", "approve", scene.at("CreditExchange"), price)
        offer = scene.offer("seller", units, price)
        signature = scene.sign("seller", offer_digest(offer, *scene.domain("CreditExchange")))
        order = (offer.to_abi(), signature, units, price)
        scene.send(AGENT, "CreditExchange", "fillFor", self.agent, order)

    def spent(self, budget: int) -> int:
        return self.scene.chain.at().budget(budget).spent

    def report(self, *args: str) -> Any:
        result = self.run(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def run(self, *args: str) -> Any:
        deployment = replace(self.scene.system.deployment, explorer="https://scan.example/")
        path = deployments.save(deployment, self.folder)
        options = ["--rpc", self.scene.system.anvil.url, "--deployment", str(path)]
        return CliRunner().invoke(app, [*options, "agent", "spend", *args])


@pytest.fixture
def history(scene: Scene, tmp_path: Path) -> History:
    scene.give(OWNER, 200_000)
    team = scene.budget(OWNER, scene.limits(TEAM))
    agent = scene.child(TEAM, team, scene.limits(AGENT, period=DAY))
    return History(scene, tmp_path, team, agent)


def test_spend__jobs_sessions_and_fills__sums_are_the_chains(history: History) -> None:
    scene = history.scene
    jobs = [history.open(units) for units in (10_000, 7_777, 3)]
    tx = history.settle((jobs[0], 4_000), (jobs[1], 1), (jobs[2], 3))
    dropped, lost, running = (history.open(units) for units in (500, 600, 700))
    scene.send("provider", "JobMarket", "cancel", dropped.to_abi())
    session = history.session(5_000)
    scene.give("seller", 50)
    scene.send("seller", "JobMarket", "open", scene.job("seller", max_units=50).to_abi(), b"")  # not ours
    scene.send(AGENT, "MeteredSessions", "topUp", session.to_abi(), 1_000)
    teams = history.open(900, TEAM)
    history.settle((teams, 0 + 900))
    history.fill(2_000, 1_234_567)
    scene.send("relayer", "MeteredSessions", "claim", scene.voucher(session, 2_500))
    scene.send("provider", "MeteredSessions", "close", session.to_abi())
    scene.system.anvil.advance(4_000)
    scene.send("relayer", "JobMarket", "expire", lost.to_abi())
    found = history.report()
    rows = {(row["for"], row["budget"]): row for row in found["spend"]}
    team, agent = str(history.team), str(history.agent)
    assert set(rows) == {("job", agent), ("job", team), ("session", agent), ("fill", agent)}
    job = rows["job", str(history.agent)]
    assert (job["agent"], job["provider"]) == (scene.at(AGENT), scene.at("provider"))
    assert (job["count"], job["live"], job["failed"], job["used"]["units"]) == (6, 1, 2, "4004")
    assert int(job["spent"]["baseUnits"]) == (4_004 + running.max_units) * UNIT_PRICE
    assert int(rows["session", str(history.agent)]["spent"]["baseUnits"]) == 2_500 * UNIT_PRICE
    assert rows["fill", str(history.agent)]["spent"]["baseUnits"] == "1234567"
    assert rows["fill", str(history.agent)]["class"] == str(scene.class_id)
    assert found["budgets"] == [
        {"budget": str(one), "spent": str(history.spent(one))} for one in (history.team, history.agent)
    ]
    total = sum(int(row["spent"]["baseUnits"]) for row in found["spend"])
    assert total == history.spent(history.team) == int(found["totals"][0]["baseUnits"])
    settled = [one for one in found["receipts"] if one["id"] == "0x" + scene.job_id(jobs[0]).hex()]
    assert settled[0]["url"] == f"https://scan.example/tx/0x{tx.hex()}"
    ending = next(iter(scene.chain.at().events("JobMarket", "JobSettled", jobId=scene.job_id(jobs[0]))))
    assert settled[0]["receiptHash"] == "0x" + bytes(ending.args["receiptHash"]).hex()
    assert int(settled[0]["spent"]["baseUnits"]) == 4_000 * UNIT_PRICE


def test_spend__narrowed__only_what_was_asked_for(history: History) -> None:
    scene = history.scene
    history.settle((history.open(100), 60))
    history.settle((history.open(100, TEAM), 100))
    middle = scene.chain.head() + 1
    history.settle((history.open(100), 10))
    own = scene.job(OWNER, max_units=50)
    scene.send(OWNER, "JobMarket", "open", own.to_abi(), scene.quote(own))
    history.settle((own, 20))

    def spent(*args: str) -> list[tuple[str | None, int]]:
        rows = history.report(*args)["spend"]
        return [(row["budget"], int(row["spent"]["baseUnits"]) // UNIT_PRICE) for row in rows]

    team, agent = str(history.team), str(history.agent)
    assert sorted(spent()) == [(team, 100), (agent, 70)]
    assert sorted(spent("--budget", team)) == [(team, 100), (agent, 70)]
    assert spent("--budget", agent) == spent("--agent", scene.at(AGENT)) == [(agent, 70)]
    assert spent("--agent", scene.at(OWNER)) == [(None, 20)]
    assert spent("--budget", agent, "--since", str(middle)) == [(agent, 10)]
    assert spent("--agent", scene.at("key")) == []
    assert history.report("--since", "7d")["budgets"] is not None
    assert len(history.report("--limit", "1")["receipts"]) == 1
    shown = history.run("--agent", scene.at(AGENT)).stdout
    assert "0.07 dUSD" in shown
    assert "what the chain says is spent" in shown


def test_spend__bad_input__refused(history: History) -> None:
    for args, text in ((("--since", "yesterday"), "--since"), (("--budget", "99"), "budget 99 not found")):
        result = history.run(*args)
        assert (result.exit_code, result.stdout) == (1, "")
        assert text in result.stderr


def test_check__node_hides_an_event__is_a_mismatch(history: History) -> None:
    history.settle((history.open(100), 60))
    chain = history.scene.chain
    view, first = chain.at(), chain.deployment.block
    tally = Spending(lambda *_: True, view.class_terms, lambda budget: view.budget(budget).limits.spender)
    for event in spending.stream(chain, first, view.block):
        if event.name != "BudgetReleased":
            tally.add(event)
    tally.close()
    with pytest.raises(SpendMismatch, match="logs aren't complete"):
        spending.check(chain, tally, view.block)
