"""The MCP server under a budget on chain, two levels deep: owner, team, agent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scrip.chain import Chain
from scrip.types_spending import NO_CAP, Limits
from tests.integration.mcp_lab import AGENT, HASHES, McpLab, data, error, over_stdio, prepare, run
from tests.integration.oracle_lab import lab
from tests.integration.system import System, account

WORK = {**HASHES, "max_credits": 10}
"""10 credits, 10,000 units: 20 base units of the token."""


@dataclass(frozen=True)
class Case:
    place: McpLab
    team: int
    agent: int


@pytest.fixture
def case(system: System, chain: Chain, tmp_path: Path) -> Iterator[Case]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        place = prepare(made)
        made.buy(place.class_id, 100_000)
        team, token = system.funded("team"), system.deployment.address("DemoUSD")
        for sender, function, parent, limits in (
            ("buyer", "createBudget", token, _limits("team", lifetime=100)),
            ("team", "createChild", 1, _limits(AGENT, per_action=50, per_period=80, period=86_400)),
        ):
            system.send(
                "SpendingBudgets", function, parent, limits.to_abi(), [], sender=account(sender).address
            )
        assert team.address
        yield Case(place, 1, 2)


def _limits(spender: str, **changes: Any) -> Limits:
    values = {"per_action": NO_CAP, "per_period": NO_CAP, "lifetime": NO_CAP, "period": 0, "expiry": 0,
              "listed": False} | changes  # fmt: skip
    return Limits(spender=account(spender).address, **values)


def calls(case: Case, state: Path, *wanted: tuple[str, dict[str, Any]]) -> list[Any]:
    async def body() -> list[Any]:
        async with over_stdio(case.place, state, "--budget", str(case.agent)) as client:
            return [await client.call_tool(name, arguments) for name, arguments in wanted]

    return run(body)


def test_redeem__over_a_level__is_refused_by_its_name_with_what_is_left(case: Case, tmp_path: Path) -> None:
    before = case.place.footprint()
    spend = {"dry_run": False, "idempotency_key": "big"}
    work, credits = calls(
        case, tmp_path,
        ("redeem", {**HASHES, **spend, "max_credits": 40}),
        ("buy", {**spend, "class_id": case.place.class_id, "credits": 1}),
    )  # fmt: skip
    text, told = error(work)
    assert f"budget {case.agent}: over its cap for one action" in text
    assert "asked 0.00008 dUSD, left 0.00005 dUSD" in text
    assert told["limits"]["source"] == f"budget {case.agent}"
    assert "scrip buy" in error(credits)[0]  # nobody offers any to the owner
    assert case.place.footprint() == before


def test_redeem__under_a_budget__owner_pays_and_every_level_counts(case: Case, tmp_path: Path) -> None:
    before = case.place.footprint()
    done, seen, spent = map(
        data,
        calls(
            case, tmp_path,
            ("redeem", {**WORK, "dry_run": False, "idempotency_key": "one"}), ("budget", {}), ("spend", {}),
        ),
    )  # fmt: skip
    assert done["state"] == "done"
    cost = int(done["spent"]["base_units"])
    assert 0 < cost < 20
    assert [level["budget"] for level in seen["levels"]] == ["2", "1"]
    assert [int(level["spent"]["base_units"]) for level in seen["levels"]] == [cost, cost]
    assert int(seen["levels"][0]["period_left"]["base_units"]) == 80 - 20  # of a period nothing comes back
    assert seen["limits"]["per_call"]["base_units"] == "50"
    assert spent["report"]["spend"][0]["class"] == str(case.place.class_id)
    assert case.place.footprint()[2:] == before[2:]  # the agent's own tokens and credits
