"""Pipelines on real contracts with two real providers: failures, kills, budgets and the one receipt."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.pipeline.driver import RECEIPT, Source
from agents.pipeline.funds import BudgetFunds, expiry_of
from agents.pipeline.plan import Plan
from agents.pipeline.quote import NotAffordable
from agents.pipeline.run import Result
from agents.pipeline.state import State
from agents.pipeline.tree import ReceiptTree
from agents.pipeline.verify import checks
from scrip.amounts import cost
from scrip.chain import Chain
from scrip.errors import BadInput, EvidenceInvalid, WrongChain
from scrip.types import Status
from scrip.types_spending import NO_CAP, Limits
from tests.integration.pipeline_place import CHEAP, DEAR, INPUTS, PLAN, USD, Place, place
from tests.integration.system import System, account
from tests.unit.pipeline_factory import snapshot

NO_OUTPUT = "limits = { seconds = 30, memory_bytes = 268_435_456, output_bytes = 1, processes = 8 }"
SECONDS = 120.0


@pytest.fixture
def site(system: System, chain: Chain, tmp_path: Path) -> Iterator[Place]:
    with place(system, chain, tmp_path / "lab") as made:
        yield made


def verified(site: Place, raw: bytes | None = None) -> list[str]:
    text = (site.folder / RECEIPT).read_bytes() if raw is None else raw
    return [check.name for check in checks(text, site.lab.system.anvil.url)]


def outcome(result: Result) -> dict[str, tuple[str, str]]:
    return {
        name: (record.status.value, str(record.terms.get("provider", "")))
        for name, record in result.stages.items()
    }


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


# WHEN THINGS FAIL


def test_run__provider_fails_a_stage__retried_on_the_other_and_refunded(site: Place) -> None:
    site.start(check=NO_OUTPUT)
    actor, source = site.actor(), site.source()
    result = site.run(actor, source)
    assert outcome(result) == {
        "retrieve": ("settled", site.lab.provider),
        "check": ("settled", site.second),
    }
    assert result.stages["check"].tried == 1
    ended = [site.lab.status(job.job_id) for job in site.opened(actor.wallet.address)]
    assert sorted(ended) == [Status.SETTLED, Status.SETTLED, Status.REFUNDED]
    # Only what was used is gone: the failed job's credits are the agent's again, its money is counted.
    view, used = site.chain.at(), {name: record.units for name, record in result.stages.items()}
    bought = 10 * USD - view.token_balance(site.token, actor.wallet.address)
    assert bought == result.spent == source.ledger.spent()  # type: ignore[union-attr]
    held = view.balance(actor.wallet.address, site.cheap), view.balance(actor.wallet.address, site.dear)
    spent = cost(held[0] + used["retrieve"], CHEAP, 3) + cost(held[1] + used["check"], DEAR, 3)
    assert spent == bought
    assert verified(site)[-1] == "cost.check"


def test_run__every_provider_fails__what_needs_it_is_skipped_and_nothing_is_paid(site: Place) -> None:
    site.start(retrieve=NO_OUTPUT)
    site.lab.stop("second")
    actor, source = site.actor(), site.source()
    result = site.run(actor, source)
    assert {name: status for name, (status, _) in outcome(result).items()} == {
        "retrieve": "failed",
        "check": "skipped",
    }
    [job] = site.opened(actor.wallet.address)
    assert site.lab.status(job.job_id) is Status.REFUNDED
    assert site.chain.at().balance(actor.wallet.address, site.cheap) == job.terms.max_units
    assert result.stages["check"].spent == 0
    assert source.ledger.spent() == result.spent  # type: ignore[union-attr]
    assert verified(site) == ["tree.root", "tree.links", "chain.market"]


def test_run__output_does_not_fit__found_before_anything_is_bought_for_it(site: Place) -> None:
    site.start()
    actor = site.actor()
    text = PLAN.replace('at = "/text"', 'at = "/passages"')
    result = site.run(actor, site.source(), text)
    assert result.stages["check"].status.value == "failed"
    assert "sources: [" in result.stages["check"].detail
    assert "is not of type 'string'" in result.stages["check"].detail
    assert len(site.opened(actor.wallet.address)) == 1


def test_run__limit_too_low__nothing_is_bought(site: Place) -> None:
    site.start()
    actor = site.actor()
    with pytest.raises(NotAffordable, match="of the limit is left"):
        site.run(actor, site.source(limit=4))
    assert site.opened(actor.wallet.address) == []
    assert site.chain.at().token_balance(site.token, actor.wallet.address) == 10 * USD


@pytest.mark.parametrize("moment", ["first job opened", "first stage settled", "second job opened"])
def test_run__killed__resumed_without_paying_a_stage_twice(site: Place, moment: str) -> None:
    site.start()
    buyer = site.actor().wallet.address
    state = site.folder / "state.json"

    def reached() -> bool:
        if moment == "first stage settled":
            return state.exists() and '"status": "settled"' in state.read_text()
        return len(site.opened(buyer)) >= (1 if moment.startswith("first") else 2)

    given = [f"--text=question={INPUTS['question']}", "--file=document=docs/scrip.txt"]
    run = ["run", str(site.plan()), *given, "--limit=1", f"--run-dir={site.folder}"]
    process = subprocess.Popen(site.command(*run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(reached, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(site.opened(buyer))
    asked = site.scrip("resume", str(site.folder), "--dry-run")
    assert asked.returncode == 0, asked.stderr
    stages = json.loads(asked.stdout)["stages"]
    assert [one["stage"] for one in stages] == ["retrieve", "check"]
    assert all(int(one["setAside"]["baseUnits"]) > 0 for one in stages)
    assert len(site.opened(buyer)) == before
    done = site.scrip("resume", str(site.folder))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["complete"]
    ended = site.opened(buyer)
    assert len(ended) == 2 >= before
    assert {site.lab.status(job.job_id) for job in ended} == {Status.SETTLED}
    bought = 10 * USD - site.chain.at().token_balance(site.token, buyer)
    assert bought == int(shown["spent"]["baseUnits"])
    checked = site.scrip("verify", str(site.folder / RECEIPT), "--run-dir", str(site.folder))
    assert checked.returncode == 0, checked.stderr
    names = [check["name"] for check in json.loads(checked.stdout)["checks"]]
    assert names[-2:] == ["links.retrieve", "links.check"]


def test_run__two_stages_that_need_nothing_of_each_other__at_the_same_time(site: Place) -> None:
    site.start()
    more = PLAN[PLAN.index("[[stage]]") : PLAN.index("[[stage]]", PLAN.index("[[stage]]") + 1)]
    text = PLAN.replace(more, more + more.replace('"retrieve"', '"again"'))
    text = text.replace(
        'sources = { from = "retrieve", at = "/text" }',
        "sources = { join = [" + '{ from = "retrieve", at = "/text" }, { from = "again", at = "/text" }] }',
    )
    actor = site.actor()
    result = site.run(actor, site.source(), text)
    assert result.complete, result.to_json()
    told = [(stage, text.split()[0]) for stage, text in site.steps]
    first_end = next(at for at, (_, what) in enumerate(told) if what == "settled")
    assert {("retrieve", "opening"), ("again", "opening")} <= set(told[:first_end])
    assert len(site.opened(actor.wallet.address)) == 3
    assert len(verified(site)) == 3 + 2 * 3


# UNDER A BUDGET


def limits(spender: str, lifetime: int = NO_CAP) -> Limits:
    return Limits(spender, NO_CAP, NO_CAP, lifetime, 0, 0, False)


def test_run__under_a_budget__a_child_bounds_it_and_only_what_was_used_is_charged(site: Place) -> None:
    site.start()
    system, agent = site.lab.system, site.actor()
    owner = system.buy(site.cheap, "owner", 100_000)
    who = agent.wallet.address
    system.send("SpendingBudgets", "createBudget", site.token, limits(who, USD).to_abi(), [], sender=owner)
    system.send("ComputeCredits", "setApprovalForAll", site.chain.address("JobMarket"), True, sender=owner)
    source = Source(site.token, budget_id=1)
    result = site.run(agent, source)
    assert result.complete, result.to_json()
    view, used = site.chain.at(), sum(record.units for record in result.stages.values())
    parent, child = view.budget(1), view.budget(2)
    assert (child.parent, child.limits.lifetime, child.revoked) == (1, 2 * cost(4_000, CHEAP, 3), True)
    assert child.spent == parent.spent == result.spent <= child.limits.lifetime
    assert view.balance(owner, site.cheap) == 100_000 - used
    assert view.token_balance(site.token, who) == 10 * USD
    assert {job.terms.budget_id for job in site.opened(owner)} == {2}
    assert verified(site)[-1] == "cost.check"


def test_reserve__killed_after_the_child_was_made__the_same_child_is_taken(site: Place) -> None:
    agent = site.actor()
    who = agent.wallet.address
    site.lab.system.send("SpendingBudgets", "createBudget", site.token, limits(who).to_abi(), [], sender=who)
    made = Plan.load(site.plan())
    view = site.chain.at()
    run = snapshot(made)
    run = replace(run, parent_budget=1, since=view.block, expiry=expiry_of(made, view.time()))
    with State.create(site.folder, run) as state:
        funds = BudgetFunds(agent, state, site.folder / "book")
        funds.reserve()
        assert state.now.budget_id == 2
        state.set(budget_id=0)
        funds.reserve()
        assert state.now.budget_id == 2
        assert site.chain.at().read("SpendingBudgets", "budgetCount") == 2
        for _ in range(2):
            funds.release()
    child = site.chain.at().budget(2)
    assert (child.limits.lifetime, child.limits.spender, child.revoked) == (run.total, who, True)


def test_quote__budget_at_the_deepest_level__refused_with_the_next_step(site: Place) -> None:
    site.start()
    system, agent = site.lab.system, site.actor()
    who = agent.wallet.address
    system.send("SpendingBudgets", "createBudget", site.token, limits(who).to_abi(), [], sender=who)
    for parent in (1, 2, 3):
        system.send("SpendingBudgets", "createChild", parent, limits(who).to_abi(), [], sender=who)
    with pytest.raises(BadInput, match="4 at depth 4', must be at depth 3 at most"):
        site.driver(agent).quote(Plan.load(site.plan()), INPUTS, Source(site.token, budget_id=4))


# THE RECEIPT


def test_verify__forged_with_a_root_of_its_own__the_chain_says_no(site: Place) -> None:
    site.start()
    site.run(site.actor(), site.source())
    tree, _ = ReceiptTree.decode((site.folder / RECEIPT).read_bytes())
    first, second = tree.stages
    stranger = account("stranger").address
    forgeries: dict[str, Any] = {
        "stage.check": [
            replace(second, units=second.units - 1),
            replace(second, receipt=replace(second.receipt, gpu_millijoules=1)),
            replace(second, receipt=replace(second.receipt, output_hash=b"\x01" * 32)),
            replace(second, receipt=replace(second.receipt, units=second.units + 1)),
        ],
        "cost.check": [replace(second, cost=second.cost + 1)],
    }
    for check, leaves in forgeries.items():
        for leaf in leaves:
            with pytest.raises(EvidenceInvalid) as caught:
                verified(site, replace(tree, stages=(first, leaf)).encode().encode())
            assert caught.value.check == check
    for other in (replace(tree, chain_id=1), replace(tree, market=stranger), replace(tree, payer=stranger)):
        with pytest.raises(EvidenceInvalid):
            verified(site, other.encode().encode())
    with pytest.raises(EvidenceInvalid, match=r"market\.known"):
        list(checks((site.folder / RECEIPT).read_bytes(), site.lab.system.anvil.url, market=stranger))


def test_resume__another_account__refused(site: Place) -> None:
    site.start()
    site.run(site.actor(), site.source())
    with pytest.raises(WrongChain, match="this is chain"):
        site.driver(site.actor("other")).resume(site.folder)


def test_cli__quote_and_dry_run__spend_nothing_and_say_the_total(site: Place) -> None:
    site.start()
    buyer = site.actor().wallet.address
    given = ["--text=question=Where?", "--file=document=docs/scrip.txt"]
    quoted = site.scrip("quote", str(site.plan()), *given)
    dry = site.scrip("run", str(site.plan()), *given, "--dry-run", "--limit=1")
    assert (quoted.returncode, dry.returncode) == (0, 0), quoted.stderr + dry.stderr
    shown = json.loads(dry.stdout)
    assert shown == json.loads(quoted.stdout)
    # Two tries for each stage, of a class each.
    assert shown["total"]["baseUnits"] == str(2 * (cost(4_000, CHEAP, 3) + cost(4_000, DEAR, 3)))
    assert site.opened(buyer) == []
    low = site.scrip("run", str(site.plan()), *given, "--dry-run", "--limit=0.000001")
    assert low.returncode != 0
    assert "of the limit is left" in low.stderr
