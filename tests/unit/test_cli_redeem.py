"""`scrip redeem`, `buy` and ending jobs, with the SDK's part played."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scrip import buying, redeem
from scrip.cli import sending
from scrip.cli.context import Context
from scrip.errors import EvidenceInvalid, Refused, TxUnknown
from scrip.evidence import Check
from scrip.jobs import Ending
from scrip.provider_client import ProviderUnreachable
from scrip.redeem import NotFinished, Plan, Redemption
from scrip.spec import JobSpec
from scrip.types import Funding, Outcome, Resource, Status
from tests.unit.cli_fakes import HOLDER, OFFER, PROVIDER, TX, Cli, FakeView, class_info, provider_info
from tests.unit.evidence_factory import MARKET, make_bundle, make_terms

ASK = ("redeem", "1", "llm.generate", "--param", "question=Why?", "--yes")
ACCOUNT = SimpleNamespace(address=HOLDER)
CHECKS = (Check("output.hash", "28 bytes"),)


class Sdk:
    """Plays `scrip.redeem`. `ends` are the statuses seen while following; `result` what is collected."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends: list[Status] = [Status.RUNNING, Status.SETTLED]
        self.result: Exception | dict[str, Any] = {}
        self.opening: Exception | None = None
        self.after: BaseException | None = None
        self.planned: Plan | None = None
        self.kinds: list[str] = []
        for name in ("plan", "open_job", "follow", "collect"):
            monkeypatch.setattr(redeem, name, getattr(self, name))
        monkeypatch.setattr("scrip.signatures.find", lambda *_: None)
        monkeypatch.setattr(sending, "sending", self.sending)

    @contextmanager
    def sending(self, context: Context, chain: Any, kind: str) -> Iterator[Any]:
        self.kinds.append(kind)
        yield SimpleNamespace(address=HOLDER), ACCOUNT

    def plan(
        self,
        chain: Any,
        payer: str,
        provider: str,
        class_id: int,
        spec: JobSpec,
        units: int,
        *,
        resources: int,
        budget_id: int,
    ) -> Plan:
        terms = make_terms(
            spec, payer=payer, provider=provider, class_id=class_id, max_units=units, resources=resources,
            budget_id=budget_id,
        )  # fmt: skip
        self.planned = Plan(b"\x1f" * 32, terms, spec, b"", "http://127.0.0.1:1")
        return self.planned

    def open_job(self, chain: Any, sender: Any, planned: Plan) -> bytes:
        if self.opening:
            raise self.opening
        return TX

    def follow(
        self,
        chain: Any,
        job: bytes,
        *,
        timeout: float,
        since: int | None,
        on_status: Callable[[Status], None],
    ) -> Status:
        for status in self.ends:
            on_status(status)
        if self.after:
            raise self.after
        return self.ends[-1]

    def collect(self, chain: Any, planned: Plan, account: Any) -> Redemption:
        assert account.address == planned.terms.payer
        if isinstance(self.result, Exception):
            raise self.result
        wanted = {
            "units": 9,
            "simulated": False,
            "outcome": Outcome.COMPLETED,
            "output": b"Because.",
        } | self.result
        ending = Ending(self.ends[-1], wanted["units"], b"\x05" * 32, TX, 7)
        receipt = make_bundle(simulated=wanted["simulated"], outcome=wanted["outcome"]).receipt
        return Redemption(planned, ending, receipt, wanted["output"], wanted["simulated"], CHECKS)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    view = FakeView(
        infos={
            1: class_info(name="tokens", price_per_million=10_000_000),
            2: class_info(2, resource=Resource.CPU_SECOND, decimals=3),
            3: class_info(3, funding=Funding.GRANT),
            4: class_info(4, closed=True),
        },
        units={1: 100, 2: 5_000},
        tokens={MARKET: ("dUSD", 6, 1_000)},
        registered=[provider_info()],
    )
    return Cli(tmp_path, monkeypatch, view).answers(OFFER).with_key()


@pytest.fixture
def sdk(cli: Cli) -> Sdk:
    return Sdk(cli.monkeypatch)


# Before anything is sent


def test_redeem__nobody_to_confirm__wrong_usage_and_nothing_sent(cli: Cli, sdk: Sdk) -> None:
    assert "add --yes" in cli.fails(*ASK[:-1], status=2)
    assert sdk.kinds == []


def test_redeem__declined_at_the_prompt__nothing_sent(cli: Cli, sdk: Sdk) -> None:
    cli.monkeypatch.setattr(Context, "interactive", property(lambda context: True))
    result = cli.run(*ASK[:-1], answer="n\n")
    assert (result.exit_code, result.stdout.strip(), sdk.kinds) == (1, "n", [])
    # 64 tokens at 10 dUSD a million.
    assert "at most 64 output tokens of class 1 (0.00064 dUSD at the class's price)?" in result.stderr
    assert result.stderr.endswith("error: refused: not confirmed, nothing was sent\n")


def test_redeem__too_few_credits__says_how_many_to_buy(cli: Cli, sdk: Sdk) -> None:
    line = cli.fails(*ASK, "--param", "max_tokens=512")
    assert "may use 512 credits of class 1, you have 100 free. Buy more: scrip buy 1 412" in line
    assert sdk.kinds == []


@pytest.mark.parametrize("most", ["0", "1.5", "-1", "many"])
def test_redeem__bad_maximum__refused(cli: Cli, sdk: Sdk, most: str) -> None:
    cli.fails(*ASK, f"--max={most}")
    assert sdk.kinds == []


def test_redeem__no_key__says_what_to_give(cli: Cli, sdk: Sdk) -> None:
    cli.monkeypatch.delenv("SCRIP_KEYSTORE")
    assert "give --keystore" in cli.fails(*ASK)


def test_redeem__keystore_lies_about_its_address__refused(cli: Cli, sdk: Sdk) -> None:
    path = cli.folder / "key.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"address": MARKET[2:].lower()}))
    cli.monkeypatch.setattr(FakeView, "available", lambda *_: 100)
    assert "states another address" in cli.run(*ASK).stderr


# Opening and following


def test_redeem__opening_unknown__says_it_stays_in_the_journal(cli: Cli, sdk: Sdk) -> None:
    sdk.opening = TxUnknown("open", 3, [TX])
    result = cli.run(*ASK)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The next command that sends finishes it first" in result.stderr


def test_redeem__interrupted_while_waiting__job_goes_on(cli: Cli, sdk: Sdk) -> None:
    sdk.after = KeyboardInterrupt()
    result = cli.run(*ASK)
    assert (result.exit_code, result.stdout) == (130, "")
    assert (
        result.stderr.splitlines()[-1]
        == f"stopped waiting; the job goes on. See: scrip job show 0x{'1f' * 32}"
    )


def test_redeem__not_finished_in_time__says_how_to_look_later(cli: Cli, sdk: Sdk) -> None:
    sdk.after = NotFinished(b"\x1f" * 32, Status.RUNNING)
    assert "See: scrip job show 0x1f" in cli.run(*ASK).stderr


@pytest.mark.parametrize("status", [Status.EXPIRED, Status.CANCELLED])
def test_redeem__ended_without_receipt__fails_and_says_where_the_credits_are(
    cli: Cli, sdk: Sdk, status: Status
) -> None:
    sdk.ends = [status]
    result = cli.run(*ASK)
    assert result.exit_code == 1
    assert f"ended {status.name.lower()}, its credits are back" in result.stderr


def test_redeem__evidence_does_not_hold__no_output_is_shown(cli: Cli, sdk: Sdk) -> None:
    sdk.result = EvidenceInvalid("output.hash", "differs")
    result = cli.run(*ASK)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Don't trust the output" in result.stderr


def test_redeem__provider_gone_afterwards__says_how_to_get_the_output_later(cli: Cli, sdk: Sdk) -> None:
    sdk.result = ProviderUnreachable("http://127.0.0.1:1", "silence")
    line = cli.run(*ASK).stderr.splitlines()[-1]
    assert "is settled, but provider at http://127.0.0.1:1: silence. Later: scrip job show 0x1f" in line


def test_redeem__work_failed__object_on_stdout_and_error_on_stderr(cli: Cli, sdk: Sdk) -> None:
    sdk.ends, sdk.result = [Status.REFUNDED], {"units": 0, "outcome": Outcome.FAILED, "output": b""}
    result = cli.run(*ASK, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["completed"], found["returned"]["units"]) == (1, False, "64")
    assert "its credits are back" in json.loads(result.stderr)["error"]["message"]


def test_redeem__done__output_then_receipt(cli: Cli, sdk: Sdk) -> None:
    result = cli.run(*ASK)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Because.\n\nReceipt\n")
    for text in ("9 of 64 credits (output tokens), 55 returned", "12 in, 9 out", "not measured",
                 "1, hash-chained telemetry", "1 checks passed", "0x" + TX.hex()):  # fmt: skip
        assert text in result.stdout
    assert result.stderr.splitlines() == [f"opening job 0x{'1f' * 32}", "job running", "job settled"]
    assert sdk.kinds == ["open"]


def test_redeem__done_with_json__one_object_and_silence(cli: Cli, sdk: Sdk) -> None:
    found = cli.json(*ASK, "--max", "70", "--resources", "2")
    assert (found["output"], found["locked"]["credits"], found["provider"]) == ("Because.", "70", PROVIDER)
    assert sdk.planned is not None
    assert (sdk.planned.spec.params, sdk.planned.terms.resources) == ({"question": "Why?"}, 2)


def test_redeem__simulated__labelled(cli: Cli, sdk: Sdk) -> None:
    sdk.result = {"simulated": True}
    assert "SIMULATED" in cli.run(*ASK).stdout


def test_redeem__seconds__locks_what_is_held_where_that_is_less(cli: Cli, sdk: Sdk) -> None:
    cli.json("redeem", "2", "llm.generate", "--yes")
    assert sdk.planned is not None
    assert sdk.planned.terms.max_units == 5_000


def test_redeem__detached__prints_the_job_and_does_not_wait(cli: Cli, sdk: Sdk) -> None:
    sdk.after = AssertionError("it waited")
    assert cli.run(*ASK, "--detach").stdout == f"0x{'1f' * 32}\n"
    assert cli.json(*ASK, "--detach") == {"jobId": f"0x{'1f' * 32}", "transaction": "0x" + TX.hex()}


def test_redeem__output_file__holds_the_bytes(cli: Cli, sdk: Sdk, tmp_path: Path) -> None:
    result = cli.run(*ASK, "--output", str(tmp_path / "answer"))
    assert (tmp_path / "answer").read_bytes() == b"Because."
    assert result.stdout.startswith("8 bytes written to")


# Buying


@pytest.fixture
def bought(cli: Cli, sdk: Sdk) -> list[tuple[int, int, int | None]]:
    made: list[tuple[int, int, int | None]] = []

    def buy(
        chain: Any, sender: Any, wallet: Any, class_id: int, units: int, *, max_cost: int | None
    ) -> buying.Purchase:
        made.append((class_id, units, max_cost))
        return buying.Purchase(class_id, units, units, TX)

    cli.monkeypatch.setattr(buying, "buy", buy)
    return made


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("1", "1.5"), "at most 0 digits after the point"),
        (("1", "0"), "more than 0"),
        (("1", "ten"), "a decimal number"),
        (("9", "1"), "class 9 not found. See: scrip class list"),
        (("3", "1"), "is not for sale: it is funded by grant"),
        (("4", "1"), "is not for sale: it is closed"),
        (
            ("1", "100", "--max-cost", "0.000099"),
            "100 credits cost 0.0001 dUSD, --max-cost allows 0.000099 dUSD",
        ),
        (("1", "1001"), f"1001 credits cost 0.001001 dUSD, {HOLDER} holds 0.001 dUSD"),
    ],
)
def test_buy__impossible__one_line_in_the_tokens_own_unit_and_nothing_sent(
    cli: Cli, bought: list[Any], args: tuple[str, ...], line: str
) -> None:
    assert line in cli.fails("buy", *args)
    assert bought == []


def test_buy__interrupted_one_has_gone_through__said_and_nothing_new(cli: Cli, bought: list[Any]) -> None:
    @contextmanager
    def already(*_: object) -> Iterator[Any]:
        raise sending.AlreadyDone("buy 5 of class 1", TX)
        yield

    cli.monkeypatch.setattr(sending, "sending", already)
    assert "Nothing new was sent; run this again" in cli.fails("buy", "1", "5")
    assert bought == []


def test_buy__done__cost_balance_and_transaction(cli: Cli, bought: list[Any]) -> None:
    found = cli.json("buy", "2", "0.5", "--max-cost", "0.001")
    assert (found["bought"]["credits"], found["cost"]["amount"]) == ("0.5", "0.0005")
    assert (found["balance"]["credits"], found["transaction"]) == ("5", "0x" + TX.hex())
    assert bought == [(2, 500, 1_000)]
    assert "0.0005 dUSD" in cli.run("buy", "2", "0.5").stdout


def test_buy__negative_amount__is_no_option(cli: Cli, bought: list[Any]) -> None:
    assert cli.run("buy", "1", "-5").exit_code == 2
    assert "given '-5'" in cli.fails("buy", "1", "--", "-5")


def test_buy__refused_by_the_sdk__its_words(cli: Cli, bought: list[Any]) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Refused("the price moved")

    cli.monkeypatch.setattr(buying, "buy", refuse)
    assert cli.fails("buy", "1", "5") == "error: refused: the price moved"
