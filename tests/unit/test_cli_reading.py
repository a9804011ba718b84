"""Commands that only read: errors first, then what programs and people get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scrip import redeem
from scrip.errors import EvidenceInvalid, NodeUnavailable
from scrip.evidence import Check
from scrip.jobs import Ending
from scrip.provider_client import ProviderUnreachable
from scrip.structs import ZERO_ADDRESS
from scrip.types import Resource, Status
from tests.unit.cli_fakes import (
    HOLDER,
    OFFER,
    PROVIDER,
    TX,
    Cli,
    FakeView,
    class_info,
    metadata,
    provider_info,
    state,
)
from tests.unit.evidence_factory import MARKET, NOW, OPENED_AT, make_bundle, make_terms

JOB = b"\x1f" * 32
JOB_ID = "0x" + JOB.hex()
GONE = ProviderUnreachable("http://127.0.0.1:1", "connection refused")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    view = FakeView(
        infos={
            1: class_info(supply=3_000_000, backing=2_000_000, name="tokens", price_per_million=10_000_000),
            2: class_info(2, closed=True, resource=Resource.CPU_SECOND, decimals=3, name="a\x1b[31mred"),
            3: class_info(3, supply=2_500, resource=Resource.CPU_SECOND, decimals=3, name="secs"),
        },
        units={1: 64, 2: 2_500},
        tokens={MARKET: ("dUSD", 6, 999_500_000)},
        registered=[provider_info()],
        uri=metadata({"name": "tokens", "properties": {"sku": "0x12", "evil": "\x1b[2J"}}),
    )
    return Cli(tmp_path, monkeypatch, view).answers(OFFER)


# Classes


def test_class_show__unknown__says_where_to_look(cli: Cli) -> None:
    assert cli.fails("class", "show", "9") == "error: class 9 not found. See: scrip class list"


def test_class_show__metadata_of_another_kind__one_line(cli: Cli) -> None:
    cli.view.uri = "https://example.org"
    assert "class metadata" in cli.fails("class", "show", "1")


def test_class_list__no_classes__says_so(cli: Cli) -> None:
    cli.view.infos = {}
    assert cli.run("class", "list").stdout == "No classes yet.\n"


def test_class_list__json__exact_integers_as_texts(cli: Cli) -> None:
    first, closed, _ = cli.json("class", "list")["classes"]
    assert first["supply"] == {"credits": "3000000", "units": "3000000"}
    assert (first["backing"]["amount"], first["backing"]["baseUnits"]) == ("2", "2000000")
    assert first["pricePerMillion"]["amount"] == "10"
    # Rounded down: 2 dUSD over 3 million credits.
    assert first["payOutPerMillion"]["amount"] == "0.666666"
    assert (closed["state"], closed["forSale"], closed["payOutPerMillion"]) == ("closed", False, None)


def test_class_list__for_people__one_row_each_and_no_control_characters(cli: Cli) -> None:
    shown = cli.run("class", "list").stdout
    assert "10 dUSD" in shown
    assert "not for sale" in shown
    assert "\x1b" not in shown


def test_class_show__for_people__terms_money_and_metadata(cli: Cli) -> None:
    shown = cli.run("class", "show", "1").stdout
    for text in ("10 dUSD per 1M credits", "0.666666 dUSD per 1M credits", "transferable", "sku", "0x12"):
        assert text in shown
    assert "\x1b" not in shown


def test_class_show__json__has_the_metadata(cli: Cli) -> None:
    assert cli.json("class", "show", "1")["metadata"]["properties"]["sku"] == "0x12"


# Balance


def test_balance__no_address_and_no_keystore__says_what_to_give(cli: Cli) -> None:
    assert "give --keystore or SCRIP_KEYSTORE" in cli.fails("balance")


def test_balance__malformed_address__refused(cli: Cli) -> None:
    assert "0x and 40 hex digits" in cli.fails("balance", "0x12")


def test_balance__keystores_account__needs_no_password(cli: Cli) -> None:
    cli.with_key().monkeypatch.delenv("SCRIP_PASSWORD")
    found = cli.json("balance")
    assert found["address"] == HOLDER
    assert [item["credits"] for item in found["credits"]] == ["64", "2.5", "0"]
    assert found["tokens"][0]["amount"] == "999.5"
    assert found["coin"] == {"amount": "0.3", "wei": "300000000000000000"}


def test_balance__for_people__amount_and_unit_of_each(cli: Cli) -> None:
    shown = cli.run("balance", HOLDER).stdout
    for text in ("64", "output token, class 1 tokens", "2.5", "999.5", "dUSD", "0.3", "coin for gas"):
        assert text in shown


def test_balance__locked_in_jobs__shown_beside_what_is_held(cli: Cli) -> None:
    cli.view.in_jobs = {2: 1_500}
    found = cli.json("balance", HOLDER)["credits"]
    assert [(item["credits"], item["locked"]["credits"]) for item in found] == [
        ("64", "0"), ("2.5", "1.5"), ("0", "0"),
    ]  # fmt: skip
    assert "1.5" in cli.run("balance", HOLDER).stdout


def test_balance__class_without_a_payment_token__is_shown(cli: Cli) -> None:
    cli.view.infos[4] = class_info(4, payment_token=ZERO_ADDRESS, price_per_million=0, name="granted")
    found = cli.json("balance", HOLDER)
    assert [item["name"] for item in found["credits"]][-1] == "granted"
    assert [item["token"] for item in found["tokens"]] == [MARKET]


# Providers


def test_provider_show__unknown__says_where_to_look(cli: Cli) -> None:
    assert "See: scrip provider list" in cli.fails("provider", "show", HOLDER)


def test_provider_list__one_is_silent__listed_all_the_same(cli: Cli) -> None:
    found = cli.answers(GONE).json("provider", "list")["providers"]
    assert [(item["address"], item["reachable"], item["templates"]) for item in found] == [
        (PROVIDER, False, None)
    ]
    assert "connection refused" in found[0]["problem"]
    assert "can't be reached" in cli.run("provider", "list").stdout


def test_provider_list__none__says_so(cli: Cli) -> None:
    cli.view.registered = []
    assert cli.run("provider", "list").stdout == "No providers yet.\n"


def test_provider_list__json__stake_classes_and_templates(cli: Cli) -> None:
    (found,) = cli.json("provider", "list")["providers"]
    assert (found["stake"]["amount"], found["classes"]) == ("5", ["1", "2", "3"])
    assert (found["templates"], found["region"], found["simulated"]) == (["llm.generate"], "eu", False)


def test_provider_show__for_people__parameters_of_each_template(cli: Cli) -> None:
    shown = cli.run("provider", "show", PROVIDER).stdout
    for text in ("0.25 dUSD", "question", "required", "at most 512", "by default 64"):
        assert text in shown


def test_provider_show__fee_on_withdrawals__said_beside_the_earnings(cli: Cli) -> None:
    assert "fee" not in cli.run("provider", "show", PROVIDER).stdout
    cli.view.fee = 250
    assert "0.25 dUSD, less a fee of 2.5 %" in cli.run("provider", "show", PROVIDER).stdout
    assert cli.json("provider", "show", PROVIDER)["withdrawalFeeBps"] == 250


# Jobs


def opened(cli: Cli, status: Status, **terms: Any) -> Cli:
    made = make_terms(**{"payer": HOLDER, "class_id": 1, "max_units": 100, "accept_by": NOW + 60, **terms})
    cli.view.jobs[JOB] = (made, state(status))
    return cli


def evidence_of(cli: Cli, answer: Any) -> Cli:
    def evidence(
        chain: Any, job: bytes, terms: Any, endpoint: str, account: Any, since: int
    ) -> redeem.Evidence:
        assert (account.address, since) == (HOLDER, 3)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    cli.monkeypatch.setattr(redeem, "evidence", evidence)
    cli.monkeypatch.setattr("scrip.signatures.find", lambda *_: None)
    return cli.with_key()


def ended(status: Status = Status.SETTLED, units: int = 9, **changes: Any) -> redeem.Evidence:
    ending = Ending(status, units, b"\x05" * 32, TX, 7)
    return redeem.Evidence(ending, make_bundle(**changes), (Check("output.hash", "28 bytes"),))


@pytest.mark.parametrize("name", ["show", "expire", "cancel"])
def test_job__malformed_or_unknown_id__one_line(cli: Cli, name: str) -> None:
    assert "exactly 32 bytes" in cli.fails("job", name, "0x12")
    assert "See: scrip job list" in cli.fails("job", name, JOB_ID)


def test_job_show__without_a_key__says_who_may_see_the_evidence(cli: Cli) -> None:
    opened(evidence_of(cli, ended()), Status.SETTLED)
    cli.monkeypatch.delenv("SCRIP_KEYSTORE")
    cli.monkeypatch.setattr("scrip.cli.jobs._said", lambda *_: "settled")
    shown = cli.run("job", "show", JOB_ID)
    assert shown.exit_code == 0
    assert "for the job's parties: give one's key with --keystore" in " ".join(shown.stdout.split())


def test_job_show__evidence_does_not_hold__fails(cli: Cli) -> None:
    opened(evidence_of(cli, EvidenceInvalid("output.hash", "differs")), Status.SETTLED)
    assert "evidence fails output.hash: differs. Don't trust the output" in cli.fails("job", "show", JOB_ID)


def test_job_show__provider_is_gone__shows_what_the_chain_knows(cli: Cli) -> None:
    opened(cli.answers(GONE), Status.SETTLED)
    found = cli.json("job", "show", JOB_ID)
    assert (found["status"], "receipt" in found) == ("SETTLED", False)
    assert "connection refused" in found["problem"]


@pytest.mark.parametrize(
    ("status", "accept_by", "submit_by", "step"),
    [
        (Status.OPEN, NOW + 60, NOW + 90, "scrip job cancel"),
        (Status.OPEN, NOW - 1, NOW + 90, "scrip job expire"),
        (Status.RUNNING, NOW - 5, NOW + 90, "must end by"),
        (Status.RUNNING, NOW - 5, NOW - 1, "scrip job expire"),
    ],
)
def test_job_show__still_going__says_the_next_step(
    cli: Cli, status: Status, accept_by: int, submit_by: int, step: str
) -> None:
    opened(cli.answers(GONE), status, accept_by=accept_by, submit_by=submit_by)
    assert step in cli.run("job", "show", JOB_ID).stdout


def test_job_show__settled__json_has_receipt_checks_and_output(cli: Cli) -> None:
    opened(evidence_of(cli, ended()), Status.SETTLED)
    found = cli.json("job", "show", JOB_ID)
    assert (found["used"]["units"], found["returned"]["units"], found["completed"]) == ("9", "91", True)
    assert found["output"] == "A receipt says what was used."
    assert found["checks"] == [{"name": "output.hash", "detail": "28 bytes"}]
    assert found["transactions"] == {"open": "0x" + TX.hex(), "end": "0x" + TX.hex()}
    assert found["signatures"] is None


def test_job_show__simulated__label_is_on_the_screen_and_in_the_json(cli: Cli) -> None:
    opened(evidence_of(cli, ended(simulated=True)), Status.SETTLED)
    assert "SIMULATED" in cli.run("job", "show", JOB_ID).stdout
    assert cli.json("job", "show", JOB_ID)["simulated"] is True


def test_job_show__output_wanted__bytes_are_saved_as_they_are(cli: Cli, tmp_path: Path) -> None:
    opened(evidence_of(cli, ended(output=b"\xff\x00raw")), Status.SETTLED)
    target = tmp_path / "out.bin"
    assert "aren't text" in cli.run("job", "show", JOB_ID).stdout
    assert "7 bytes" not in cli.run("job", "show", JOB_ID, "--output", str(target)).stdout
    assert target.read_bytes() == b"\xff\x00raw"
    assert "--output" in cli.fails("job", "show", JOB_ID, "--output", str(tmp_path / "no" / "x"))


def test_job_show__hostile_output__cannot_control_the_terminal(cli: Cli) -> None:
    opened(evidence_of(cli, ended(output=b"\x1b]0;owned\x07\nnext")), Status.SETTLED)
    shown = cli.run("job", "show", JOB_ID).stdout
    assert "\x1b" not in shown
    assert "\nnext\n" in shown


def test_job_list__none__says_so(cli: Cli) -> None:
    assert cli.run("job", "list").stdout == "No jobs.\n"


def test_job_list__payer__only_its_jobs(cli: Cli) -> None:
    opened(cli, Status.RUNNING)
    cli.view.jobs[b"\x02" * 32] = (make_terms(class_id=3), state(Status.SETTLED, OPENED_AT))
    assert len(cli.json("job", "list")["jobs"]) == 2
    (mine,) = cli.with_key().json("job", "list")["jobs"]
    assert (mine["jobId"], mine["status"], mine["locked"]["credits"]) == (JOB_ID, "RUNNING", "100")
    other = cli.json("job", "list", "--payer", make_terms().payer)
    assert [item["locked"]["credits"] for item in other["jobs"]] == ["1000"]


@pytest.mark.parametrize("status", [Status.SETTLED, Status.EXPIRED])
def test_job_list__slot_emptied_by_a_late_end__status_and_time_from_its_events(
    cli: Cli, status: Status
) -> None:
    opened(cli, Status.RUNNING)
    cli.view.ended[JOB] = status
    cli.view.jobs[b"\x02" * 32] = (make_terms(class_id=1), state(Status.OPEN, NOW - 7))
    found = cli.json("job", "list")["jobs"]
    assert [(item["status"], item["openedAt"]) for item in found] == [
        (status.name, str(NOW - 10)), ("OPEN", str(NOW - 7)),
    ]  # fmt: skip


def test_job_show__slot_emptied_by_a_late_end__receipt_is_shown(cli: Cli) -> None:
    opened(evidence_of(cli, ended()), Status.RUNNING)
    cli.view.ended[JOB] = Status.SETTLED
    found = cli.json("job", "show", JOB_ID)
    assert (found["status"], found["used"]["units"]) == ("SETTLED", "9")


def test_job_list__more_than_the_limit__newest_shown_and_counted(cli: Cli) -> None:
    for number in range(3):
        cli.view.jobs[bytes([number]) * 32] = (make_terms(class_id=1), state(Status.SETTLED))
    found = cli.json("job", "list", "--limit", "1")
    assert (found["total"], [item["jobId"][:4] for item in found["jobs"]]) == (3, ["0x02"])
    assert "2 older ones: --limit 3" in cli.run("job", "list", "--limit", "1").stdout


def test_any_command__node_is_gone__one_line_with_the_option(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise NodeUnavailable("127.0.0.1", "ConnectionError")

    monkeypatch.setattr("scrip.cli.context.Context.chain", gone)
    assert "Name another with --rpc or SCRIP_RPC" in cli.fails("class", "list")
