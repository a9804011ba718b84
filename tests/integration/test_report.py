"""`scrip report` on a history of jobs, sessions and reclaims: its sums are the chain's burns."""

from __future__ import annotations

import csv
import json
import subprocess
from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from scrip import deployments
from scrip.call_receipts import CallReceipt, SignedCallReceipt
from scrip.chargeback.call_tokens import CallTokens
from scrip.chargeback.entry import LedgerMismatch
from scrip.chargeback.report import Scope, read
from scrip.cli.main import app
from scrip.eip712 import batch_digest, receipt_struct_hash
from scrip.logs import LogEvent, merged
from scrip.structs import ZERO_ADDRESS, ZERO_BYTES32
from scrip.types import JobTerms, Resource
from scrip.types_spending import SessionTerms
from tests.conftest import python_of
from tests.integration.scene import PRICE, UNIT_PRICE, Scene
from tests.integration.system import account

OWNER, AGENT, OTHER = "sponsor", "agent", "buyer"


@dataclass(slots=True)
class Bill:
    """Who works on whose budget, and the report of it."""

    scene: Scene
    folder: Path
    team: int
    agent: int

    def job(self, units: int, used: int, who: str = AGENT, **changes: Any) -> JobTerms:
        """A job that is opened on the agent's budget and settled."""
        terms = self.open(units, who)
        self.settle((terms, used), **changes)
        return terms

    def open(self, units: int, who: str = AGENT) -> JobTerms:
        scene = self.scene
        if who != AGENT:
            terms = scene.job(who, max_units=units)
            scene.send(who, "JobMarket", "open", terms.to_abi(), scene.quote(terms))
            return terms
        terms = scene.job(OWNER, max_units=units, budget_id=self.agent)
        scene.send(who, "JobMarket", "openFor", terms.to_abi(), scene.quote(terms))
        return terms

    def settle(self, *jobs: tuple[JobTerms, int], **changes: Any) -> None:
        receipts = [self.scene.receipt(terms, units, **changes) for terms, units in jobs]
        hashes = [receipt_struct_hash(receipt) for receipt in receipts]
        attestation = self.scene.attest(batch_digest(hashes, *self.scene.domain("ReceiptVerifier")))
        rows = [terms.to_abi() for terms, _ in jobs], [receipt.to_abi() for receipt in receipts]
        self.scene.send("relayer", "JobMarket", "submitBatch", *rows, 0, attestation.to_abi())

    def session(self, units: int, who: str = OWNER) -> SessionTerms:
        terms = self.scene.session(who)
        self.scene.send(who, "MeteredSessions", "openSession", terms.to_abi(), units)
        return terms

    def claim(self, *rows: tuple[SessionTerms, int]) -> None:
        claims = [self.scene.claim(terms, units) for terms, units in rows]
        self.scene.send("provider", "MeteredSessions", "claimBatch", self.scene.at("provider"), claims)

    def burns(self) -> dict[int, int]:
        """What the chain says was burned of each class: its transfers to nobody."""
        found: dict[int, int] = defaultdict(int)
        events = self.scene.system.contract("ComputeCredits").events.TransferSingle
        for one in events.get_logs(from_block=0, argument_filters={"to": ZERO_ADDRESS}):
            found[one["args"]["id"]] += one["args"]["value"]
        return dict(found)

    def of_class(self, **terms: Any) -> Scene:
        """Go on with a class of its own: credits cost what they always do."""
        class_id = self.scene.system.create_class(
            price_per_million=PRICE, max_rate=10**9, watcher_set=1, **terms
        )
        self.scene = replace(self.scene, class_id=class_id)
        return self.scene

    def run(self, *args: str) -> Any:
        path = deployments.save(self.scene.system.deployment, self.folder)
        options = ["--rpc", self.scene.system.anvil.url, "--deployment", str(path)]
        return CliRunner().invoke(app, [*options, "report", *args])

    def report(self, *args: str) -> Any:
        result = self.run(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def calls(self, terms: SessionTerms, *rows: tuple[int, int, int, int], key: str = "oracle") -> list[str]:
        """Lines of call receipts: input, cached and output tokens, and units, of each call."""
        previous, total, lines = ZERO_BYTES32, 0, []
        domain = self.scene.domain("MeteredSessions")
        for number, (given, cached, out, units) in enumerate(rows, 1):
            total += units
            receipt = CallReceipt(
                self.scene.session_id(terms), number, previous, b"\x03" * 32, b"\x04" * 32, b"\x05" * 32,
                given, cached, out, units, total, 1_000, 2_000,
            )  # fmt: skip
            previous = receipt.digest(*domain)
            lines.append(SignedCallReceipt.signed(receipt, account(key), *domain).header())
        return lines


@pytest.fixture
def bill(scene: Scene, tmp_path: Path) -> Bill:
    scene.give(OWNER, 200_000)
    scene.give(OTHER, 50_000)
    team = scene.budget(OWNER, scene.limits(OTHER))
    return Bill(scene, tmp_path, team, scene.child(OTHER, team, scene.limits(AGENT)))


@pytest.fixture
def year(bill: Bill) -> Bill:
    """Jobs one by one and in a batch, one unused, claims of two sessions at once."""
    scene = bill.scene
    bill.job(10_000, 4_321)
    first, other, idle = bill.open(7_000), bill.open(5_000, OTHER), bill.open(100)
    bill.settle((first, 7_000), (other, 1), (idle, 0))
    dropped = bill.open(500)
    scene.send("provider", "JobMarket", "cancel", dropped.to_abi())
    one, two = bill.session(5_000), bill.session(3_000, OTHER)
    bill.claim((one, 1_000), (two, 777))
    bill.claim((one, 2_500))
    scene.send("provider", "MeteredSessions", "close", one.to_abi())
    bill.job(20_000, 13_579)
    return bill


def test_report__jobs_sessions_and_reclaims__sums_are_the_burns(year: Bill) -> None:
    scene = year.scene
    scene.system.send("ComputeCredits", "closeClass", scene.class_id)
    scene.send(OWNER, "CreditReserve", "reclaim", scene.class_id, 11_111)
    found = year.report()
    used = 4_321 + 7_000 + 1 + 2_500 + 777 + 13_579
    assert year.burns() == {scene.class_id: used + 11_111}
    assert [(row["class"], row["units"]) for row in found["burned"]] == [
        (str(scene.class_id), str(used + 11_111))
    ]
    rows = {(row["account"], row["budget"]): row for row in found["rows"]}
    owner, other = scene.at(OWNER), scene.at(OTHER)
    units = {key: int(row["used"]["units"]) for key, row in rows.items()}
    assert units == {(owner, str(year.agent)): 24_900, (owner, None): 2_500, (other, None): 778}
    assert rows[owner, None]["reclaimed"]["units"] == "11111"
    (kind,) = found["classes"]
    assert (int(kind["used"]["units"]), int(kind["reclaimed"]["units"])) == (used, 11_111)
    (total,) = found["totals"]
    assert int(total["baseUnits"]) == used * UNIT_PRICE == scene.earned("provider")
    assert int(kind["returned"]["baseUnits"]) == 11_111 * UNIT_PRICE
    budgets = {row["budget"]: int(row["costs"][0]["baseUnits"]) for row in found["budgets"]}
    assert budgets == {str(year.team): 24_900 * UNIT_PRICE, str(year.agent): 24_900 * UNIT_PRICE}


def test_report__receipts_in_calldata__tokens_energy_and_cost_per_million(bill: Bill) -> None:
    scene = bill.of_class(resource=Resource.GPU_SECOND)
    scene.give(OTHER, 9_000)
    bill.job(6_000, 4_000, OTHER, input_tokens=300, output_tokens=100, gpu_millijoules=2_500)
    (kind,) = [
        one for one in bill.report("--rates", "1,1,5")["classes"] if one["class"] == str(scene.class_id)
    ]
    assert kind["tokens"] == {"input": 300, "cached": 0, "output": 100, "unknown": 0}
    assert kind["energyMillijoules"] == "2500"
    # 4 dollars for 400 tokens: blended 10,000 dollars a million; output weighs five times an input token.
    assert kind["perMillionTokens"] == {
        "input": "5000", "cached": "5000", "output": "25000", "blended": "10000", "gpuSeconds": "10000",
        "joules": "6250",
    }  # fmt: skip
    plain = bill.report("--class", str(scene.class_id))["classes"][0]["perMillionTokens"]
    assert (plain["input"], plain["output"], plain["blended"]) == (None, None, "10000")


def test_report__narrowed__only_what_was_asked_for(year: Bill) -> None:
    scene = year.scene
    owner, other = scene.at(OWNER), scene.at(OTHER)

    def units(*args: str) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for row in year.report(*args)["rows"]:
            found[row["account"]] += int(row["used"]["units"])
        return dict(found)

    assert units() == {owner: 27_400, other: 778}
    assert units("--account", other) == {other: 778}
    assert units("--budget", str(year.team)) == units("--budget", str(year.agent)) == {owner: 24_900}
    assert units("--class", str(scene.class_id)) == units()
    since = scene.chain.head() + 1
    year.job(100, 60)
    assert units("--since", str(since)) == {owner: 60}


def test_report__since_after_the_openings__accounts_and_budgets_are_still_known(bill: Bill) -> None:
    scene = bill.scene
    terms, session = bill.open(1_000), bill.session(500)
    bill.claim((session, 100))
    since = str(scene.chain.head() + 1)
    bill.settle((terms, 900))
    bill.claim((session, 350))
    rows = {row["budget"]: int(row["used"]["units"]) for row in bill.report("--since", since)["rows"]}
    assert rows == {str(bill.agent): 900, None: 250}


def test_report__challenge_window__receipt_is_that_of_the_submission(bill: Bill) -> None:
    scene = bill.of_class(challenge_window=60, arbiter_set=1)
    scene.give(OTHER, 9_000)
    terms = bill.job(6_000, 4_000, OTHER, input_tokens=30, output_tokens=10)
    assert bill.report("--class", str(scene.class_id))["rows"] == []
    scene.system.anvil.advance(100)
    since = str(scene.chain.head() + 1)
    scene.send("relayer", "JobMarket", "finalize", terms.to_abi())
    for args in ((), ("--since", since)):
        (kind,) = bill.report("--class", str(scene.class_id), *args)["classes"]
        assert (kind["used"]["units"], kind["tokens"]["input"], kind["tokens"]["unknown"]) == ("4000", 30, 0)


def test_report__call_receipts__tell_the_tokens_of_a_session(bill: Bill) -> None:
    session = bill.session(5_000)
    lines = bill.calls(session, (100, 40, 10, 600), (50, 0, 20, 400), (7, 0, 7, 300))
    path = bill.folder / "calls.jsonl"
    path.write_text("\n".join(lines) + "\n")
    bill.claim((session, 1_000))
    bill.claim((session, 1_200))  # ends within the third call: its tokens aren't anybody's yet
    (kind,) = bill.report("--calls", str(path))["classes"]
    assert kind["tokens"] == {"input": 150, "cached": 40, "output": 30, "unknown": 1}
    assert kind["perMillionTokens"]["blended"] == "5555.555555555556"
    assert bill.report()["classes"][0]["tokens"]["unknown"] == 2


def test_report__call_receipts_of_another_signer__refused(bill: Bill) -> None:
    path = bill.folder / "calls.jsonl"
    path.write_text("\n".join(bill.calls(bill.session(5_000), (1, 0, 1, 10), key="relayer")))
    result = bill.run("--calls", str(path))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "must be the oracle key" in result.stderr


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_report__focus_file__passes_the_validator_and_adds_up(year: Bill, suffix: str) -> None:
    scene = year.scene
    scene.system.send("ComputeCredits", "closeClass", scene.class_id)
    scene.send(OWNER, "CreditReserve", "reclaim", scene.class_id, 11_111)
    path = year.folder / f"bill.{suffix}"
    year.report("--focus", str(path))
    validate(path)
    rows = focus_rows(path)
    burned: dict[int, int] = defaultdict(int)
    for row in rows:
        if row["x_Kind"] in ("job", "session", "reclaim"):
            burned[int(row["x_ClassId"])] += int(row["x_Units"])
    assert dict(burned) == year.burns()
    earned = sum(int(row["x_Amount"]) for row in rows if row["ChargeCategory"] == "Usage")
    assert earned == scene.earned("provider")
    effective = sum(Decimal(row["EffectiveCost"]) for row in rows)
    assert effective == pytest.approx(Decimal(earned).scaleb(-6))
    bought = sum(Decimal(row["BilledCost"]) for row in rows)
    assert bought == pytest.approx(Decimal((250_000 - 11_111) * UNIT_PRICE).scaleb(-6))
    jobs = [row for row in rows if row["x_Kind"] == "job"]
    assert all(row["x_ReceiptHash"] and row["x_Assurance"] == "1" for row in jobs)
    assert {row["PricingCurrency"] for row in jobs} == {f"Scrip class {scene.class_id} credits"}


def test_report__chart__is_an_image(year: Bill) -> None:
    for name, head in (("costs.svg", b"<?xml"), ("costs.png", b"\x89PNG")):
        path = year.folder / name
        year.report("--chart", str(path))
        assert path.read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--focus", "bill.xls"), "ends in .csv or .parquet"),
        (("--chart", "bill.gif"), "ends in .png or .svg"),
        (("--focus", "/nowhere/at/all.csv"), "a file that can be written"),
        (("--rates", "1,2"), "three whole numbers"),
        (("--budget", "99"), "budget 99 not found"),
        (("--class", "99"), "class 99 not found"),
        (("--account", "0x12"), "--account"),
        (("--since", "yesterday"), "--since"),
        (("--calls", "/nowhere.jsonl"), "call receipts"),
    ],
)
def test_report__bad_input__one_line(bill: Bill, args: tuple[str, ...], text: str) -> None:
    result = bill.run(*args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    assert text in result.stderr


def test_report__for_people__tables_and_the_sum(year: Bill) -> None:
    shown = year.run("--rates", "1,1,5").stdout
    assert "In all 28.178 dUSD." in shown
    assert "Tokens of 3 entries aren't known: see --calls." in shown
    for text in (year.scene.at(OWNER), "budget, with those below", "24.9 dUSD", "per 1M tokens of class"):
        assert text in shown


def test_report__nothing_used__says_so(bill: Bill) -> None:
    assert "Nothing was used." in bill.run().stdout


@pytest.mark.parametrize("hidden", ["JobSettled", "SessionClaimed", "PaidOut", "burn", "mint", "Bought"])
def test_read__node_hides_an_event__is_a_mismatch(
    year: Bill, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_but_one(*given: Any) -> Any:
        left = [None]
        for event in merged(*given):
            if left and _is(event, hidden):
                left.pop()
                continue
            yield event

    monkeypatch.setattr("scrip.chargeback.report.merged", all_but_one)
    view = year.scene.chain.at()
    with pytest.raises(LedgerMismatch, match="logs aren't complete"):
        read(view, year.scene.chain.deployment.block, Scope(view), CallTokens(), lambda _: None)


def _is(event: LogEvent, hidden: str) -> bool:
    if event.name == "TransferSingle":
        return hidden == ("mint" if event.args["from"] == ZERO_ADDRESS else "burn")
    return event.name == hidden


def focus_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def validate(path: Path) -> None:
    """Run the FinOps Foundation's own validator, which reads its currencies from where it is installed."""
    python = python_of("focus")
    program = (
        "import os, sys, focus_validator; from focus_validator.main import main;"
        "os.chdir(os.path.dirname(os.path.dirname(focus_validator.__file__)));"
        "sys.argv = ['focus-validator', '--data-file', sys.argv[1]]; main()"
    )
    done = subprocess.run([python, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout.lower().replace("0 failed", ""), done.stdout
