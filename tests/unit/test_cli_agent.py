"""`scrip agent`: what it refuses, what it asks for, and what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents import buyer, market
from agents.ledger import LimitReached
from agents.market import Listing
from agents.policy import Means, Need, choose
from agents.reputation import Record
from scrip.cli import sending
from scrip.evidence import Check
from scrip.jobs import Ending
from scrip.redeem import Plan, Redemption
from scrip.spec import JobSpec
from scrip.types import Resource, Status
from tests.unit.agent_factory import TOKEN, listing
from tests.unit.cli_fakes import HOLDER, TX, Cli, FakeView
from tests.unit.evidence_factory import make_bundle, make_terms

OTHER_TOKEN = "0x" + "33" * 20
ASK = ("agent", "ask", "Why?", "--limit", "0.01")


class Agent:
    """Plays `Buyer.meet` after its choice. `listings` is the market; `needs` what was asked for."""

    def __init__(self, cli: Cli) -> None:
        self.listings: list[Listing] = [listing(1, price=10_000_000)]
        self.needs: list[Need] = []
        self.records: dict[str, Record] = {}
        self.ledgers: list[Path] = []
        self.limits: list[int] = []
        self.fails: BaseException | None = None
        cli.monkeypatch.setattr(market, "listings", lambda chain: tuple(self.listings))
        cli.monkeypatch.setattr("agents.reputation.Reputation.update", lambda _: self.records)
        cli.monkeypatch.setattr(sending, "sending", self.sending)
        cli.monkeypatch.setattr(buyer.Buyer, "meet", lambda made, need: self.meet(made, need))
        cli.monkeypatch.setattr("scrip.signatures.find", lambda *_: None)

    @contextmanager
    def sending(self, *_: object) -> Iterator[Any]:
        yield SimpleNamespace(address=HOLDER), SimpleNamespace(address=HOLDER)

    def meet(self, made: Any, need: Need) -> buyer.Bought:
        self.needs.append(need)
        self.ledgers.append(made.purse.ledger.path)
        self.limits.append(made.purse.ledger.limit)
        found = made._read_market(made.chain)
        choice = choose(found, need, Means(made.purse.ledger.left()), made._money)
        made._on_step(choice.reason)
        if self.fails:
            raise self.fails
        made.purse.ledger.reserve("class-1", choice.cost)
        ending = Ending(Status.SETTLED, 9, b"\x05" * 32, TX, 7)
        planned = Plan(b"\x1f" * 32, make_terms(max_units=need.max_units), need.spec, b"", "http://x")
        checks = (Check("output.hash", ""),)
        result = Redemption(planned, ending, make_bundle().receipt, b"Because.", False, checks)
        return buyer.Bought(choice, choice.cost, result)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    view = FakeView(tokens={TOKEN: ("dUSD", 6, 0), OTHER_TOKEN: ("EUR", 2, 0)}, units={1: 10})
    return Cli(tmp_path, monkeypatch, view).with_key()


@pytest.fixture
def agent(cli: Cli) -> Agent:
    return Agent(cli)


def paid_in(item: Listing, token: str) -> Listing:
    return replace(item, info=replace(item.info, terms=replace(item.info.terms, payment_token=token)))


def test_ask__no_limit__wrong_usage(cli: Cli, agent: Agent) -> None:
    for args in ((), ("--limit", "1", "--budget", "3")):
        assert "either --limit or --budget" in cli.fails("agent", "ask", "Why?", *args, status=2)
    assert "--ledger" in cli.fails("agent", "ask", "Why?", "--budget", "3", "--ledger", "x", status=2)
    assert "--offers" in cli.fails("agent", "ask", "Why?", "--limit", "1", "--offers", "x", status=2)


def test_ask__nobody_sells_tokens__says_where_to_look(cli: Cli, agent: Agent) -> None:
    agent.listings = [listing(resource=Resource.CPU_SECOND)]
    assert "See: scrip provider list" in cli.fails(*ASK)


def test_ask__two_payment_tokens__asks_which_the_limit_is_in(cli: Cli, agent: Agent) -> None:
    agent.listings.append(paid_in(listing(2, price=1), OTHER_TOKEN))
    line = cli.fails(*ASK)
    assert f"one of dUSD {TOKEN}, EUR {OTHER_TOKEN}" in line
    # 64 tokens at 1 cent a million are a cent, rounded up; the dUSD class isn't compared with it.
    assert cli.json(*ASK, "--token", OTHER_TOKEN)["spent"]["symbol"] == "EUR"


def test_ask__costs_more_than_the_limit__refused_in_the_tokens_unit(cli: Cli, agent: Agent) -> None:
    result = cli.run("agent", "ask", "Why?", "--limit", "0.0001")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "costs 0.00064 dUSD, 0.0001 dUSD of the limit is left" in result.stderr


@pytest.mark.parametrize("limit", ["-1", "0.0000001", "lots"])
def test_ask__bad_limit__refused(cli: Cli, agent: Agent, limit: str) -> None:
    cli.fails("agent", "ask", "Why?", f"--limit={limit}")
    assert agent.needs == []


def test_ask__context_is_not_text__refused(cli: Cli, agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"\xff")
    assert "--context" in cli.fails(*ASK, "--context", str(tmp_path / "c"))
    assert "No such file" in cli.fails(*ASK, "--context", str(tmp_path / "none"))


def test_ask__limit_reached_meanwhile__one_line(cli: Cli, agent: Agent) -> None:
    agent.fails = LimitReached(5, 4, 4)
    assert "Raise the limit" in cli.run(*ASK).stderr.splitlines()[-1]


def test_ask__interrupted__job_goes_on(cli: Cli, agent: Agent) -> None:
    agent.fails = KeyboardInterrupt()
    result = cli.run(*ASK)
    assert result.exit_code == 130
    assert "a job that was opened goes on" in result.stderr


def test_ask__answered__steps_answer_receipt_and_money(cli: Cli, agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "c").write_text("A text.")
    result = cli.run(*ASK, "--context", str(tmp_path / "c"), "--max-tokens", "32", "--min-assurance", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Because.\n\nReceipt\n")
    for text in ("9 of 32 credits", "spent now   0.00032 dUSD", "limit left  0.00968 dUSD"):
        assert text in result.stdout
    assert "0.00032 dUSD for up to 32 units is the lowest of 1 that fit" in result.stderr
    (need,) = agent.needs
    assert need.spec == JobSpec("llm.generate", {"question": "Why?", "max_tokens": 32, "context": "A text."})
    assert (need.max_units, need.min_assurance, agent.limits) == (32, 2, [10_000])


def test_ask__ledger__limit_bounds_all_that_was_spent_through_it(
    cli: Cli, agent: Agent, tmp_path: Path
) -> None:
    path = tmp_path / "spent.json"
    path.write_text('{"before": 9500}')
    assert "0.0005 dUSD of the limit is left" in cli.run(*ASK, "--ledger", str(path)).stderr
    assert (
        cli.json("agent", "ask", "Why?", "--limit", "0.02", "--ledger", str(path))["left"]["amount"]
        == "0.00986"
    )


def test_ask__no_ledger__each_command_has_its_own_and_leaves_no_file(cli: Cli, agent: Agent) -> None:
    assert [cli.json(*ASK)["left"]["amount"] for _ in range(2)] == ["0.00936", "0.00936"]
    assert [path.parent.exists() for path in agent.ledgers] == [False, False]


def test_market__several_offers__chosen_one_and_why_not_the_others(cli: Cli, agent: Agent) -> None:
    agent.listings += [
        listing(2, price=20_000_000), listing(3, reachable=False), listing(4, resource=Resource.CPU_SECOND),
    ]  # fmt: skip
    found = cli.json("agent", "market")
    assert [item["chosen"] for item in found["listings"]] == [True, False, False, False]
    assert [item["problem"] for item in found["listings"]] == [
        None, None, "its provider can't be reached", "pays CPU-seconds, not output tokens",
    ]  # fmt: skip
    assert "0.00064 dUSD for up to 64 units is the lowest of 2 that fit" in found["reason"]
    shown = cli.run("agent", "market").stdout
    assert "chosen" in shown
    assert "0.00128 dUSD" in shown


def test_market__limit_given__judged_by_it(cli: Cli, agent: Agent) -> None:
    cli.monkeypatch.delenv("SCRIP_KEYSTORE")
    found = cli.json("agent", "market", "--limit", "0.0005")
    assert found["reason"] is None
    assert found["listings"][0]["problem"] == "costs 0.00064 dUSD, 0.0005 dUSD of the limit is left"
    assert cli.run("agent", "market", "--limit", "0.0005").stdout.endswith("Nothing fits.\n")


def test_market__credits_held__only_the_rest_must_be_paid(cli: Cli, agent: Agent) -> None:
    # 10 of 64 are held, so 54 are bought: 0.00054.
    assert cli.json("agent", "market", "--limit", "0.00054")["listings"][0]["chosen"] is True


def test_market__provider_known_to_fail__is_shown_and_may_be_left_out(cli: Cli, agent: Agent) -> None:
    agent.records = {agent.listings[0].provider.address: Record(settled=1, failed=2)}
    (row,) = cli.json("agent", "market")["listings"]
    assert (row["reputation"], row["chosen"]) == (181, True)
    (row,) = cli.json("agent", "market", "--min-reputation", "200")["listings"]
    assert row["problem"] == "has a reputation of 181 permille, wanted 200"
    assert "181‰" in cli.run("agent", "market").stdout
