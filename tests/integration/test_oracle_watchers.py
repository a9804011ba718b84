"""Provider and two watchers over real HTTP on real contracts: honest work is co-signed, forged evidence
never settles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from oracle.ballot_box import BallotBox
from oracle.cli import app
from oracle.evidence import EvidenceStore
from oracle.quorum import Row
from oracle.store import Store
from scrip.ballots import SignedCommitment, SignedReveal
from scrip.chain import Chain
from scrip.eip712 import receipt_digest, sign
from scrip.evidence import Bundle
from scrip.sender import Sender
from scrip.types import Receipt, Status
from tests.integration.oracle_lab import PASSWORD, OracleLab, lab
from tests.integration.system import System, account

UNITS = 1_000_000


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=2) as made:
        yield made


@pytest.fixture
def class_id(place: OracleLab) -> int:
    return place.system.create_class(min_assurance=2, watcher_set=1)


@pytest.fixture
def buyer(place: OracleLab, class_id: int) -> Sender:
    return place.buy(class_id, UNITS)


def watchers_of(place: OracleLab) -> set[str]:
    return {account(f"watcher {number}").address for number in range(len(place.watcher_ports))}


def tamper(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """The provider's disk, or the provider, changes what is served as evidence."""
    raw = EvidenceStore.raw

    def tampered(self: EvidenceStore, job_id: bytes, attempt: int | None = None) -> bytes:
        data = json.loads(raw(self, job_id, attempt))
        change(data)
        return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()

    monkeypatch.setattr(EvidenceStore, "raw", tampered)


def one_sample(data: dict[str, Any]) -> None:
    data["samples"][0]["value"] += 1


def one_output_byte(data: dict[str, Any]) -> None:
    data["output"] = "AAAA" + data["output"][4:]


def one_unit_more(data: dict[str, Any]) -> None:
    data["receipt"]["units"] = str(int(data["receipt"]["units"]) + 1)


def test_honest_job__is_co_signed_by_both_and_settles(place: OracleLab, class_id: int, buyer: Sender) -> None:
    place.start_all()
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait_for([job], Status.SETTLED)
    receipt = Receipt.from_json(place.show(job)["receipt"])
    assert receipt.assurance == 2
    assert place.chain.at().balance(buyer.address, class_id) == UNITS - receipt.units
    assert place.show(job)["refusals"] == []


def test_batch__is_co_signed_once_for_all_rows(place: OracleLab, class_id: int, buyer: Sender) -> None:
    place.start_all(settle={"max_batch": 3, "max_age_s": 3600}, provider={"slots": 3})
    terms = [place.terms(buyer, class_id) for _ in range(3)]
    jobs = [place.open(buyer, one, place.quote(one)) for one in terms]
    place.wait_for(jobs, Status.SETTLED)
    place.wait(lambda: all(place.show(job)["tx"] for job in jobs))
    assert len({place.show(job)["tx"] for job in jobs}) == 1
    assert all(Receipt.from_json(place.show(job)["receipt"]).assurance == 2 for job in jobs)


@pytest.mark.parametrize(
    ("change", "check"),
    [(one_sample, "evidence.root"), (one_output_byte, "output.hash"), (one_unit_more, "bundle.receipt")],
)
def test_tampered_evidence__is_refused_and_the_lock_goes_back(
    place: OracleLab, class_id: int, buyer: Sender, monkeypatch: pytest.MonkeyPatch, change: Any, check: str
) -> None:
    tamper(monkeypatch, change)
    place.start_all()
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait_for([job], Status.CANCELLED)
    assert {item["check"] for item in place.show(job)["refusals"]} == {check}
    for url in place.watcher_urls:
        [refusal] = httpx.get(f"{url}/refusals", trust_env=False).json()["refusals"]
        assert (refusal["check"], refusal["jobId"]) == (check, "0x" + job.hex())
        assert SignedReveal.from_json(
            {name: refusal["statement"][name] for name in ("reveal", "signature")}
        ).signer(place.chain.chain_id, place.chain.address("ReceiptVerifier")) in watchers_of(place)
    assert place.chain.at().balance(buyer.address, class_id) == UNITS


def test_watcher_down__job_waits_and_settles_when_it_is_back(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    place.start("watcher-0", place.watcher_settings(0))
    place.start("provider", place.provider_settings())
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait(lambda: "1 of 2 watchers have committed" in place.show(job)["reason"])
    place.start("watcher-1", place.watcher_settings(1))
    place.wait_for([job], Status.SETTLED)


def test_class_that_takes_less__settles_at_1_without_watchers(place: OracleLab) -> None:
    class_id = place.system.create_class(min_assurance=1, watcher_set=1)
    buyer = place.buy(class_id, UNITS)
    place.start("provider", place.provider_settings())
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait_for([job], Status.SETTLED)
    receipt = Receipt.from_json(place.show(job)["receipt"])
    raw = place.private(job, "evidence").content
    assert receipt.assurance == 1
    assert Bundle.decode(raw).receipt == receipt


def test_watcher_restarted__still_refuses_a_second_receipt(
    place: OracleLab, class_id: int, buyer: Sender
) -> None:
    place.start_all()
    terms = place.terms(buyer, class_id)
    job = place.open(buyer, terms, place.quote(terms))
    place.wait_for([job], Status.SETTLED)
    secret = place.watcher_settings(0).state_dir / "draw.key"
    drawn_by = secret.read_text()
    place.stop("watcher-0")
    place.start("watcher-0", place.watcher_settings(0))
    assert secret.read_text() == drawn_by
    receipt = replace(Receipt.from_json(place.show(job)["receipt"]), units=1)
    verifier = place.chain.address("ReceiptVerifier")
    message = receipt_digest(receipt, place.chain.chain_id, verifier)
    url = f"{place.url}/jobs/0x{job.hex()}/evidence"
    row = Row(receipt, terms, url).to_json()
    body = {"batched": False, "rows": [row], "signature": "0x" + sign(message, account("oracle")).hex()}
    answer = httpx.post(f"{place.watcher_urls[0]}/commitments", json=body, trust_env=False)
    assert answer.status_code == 200
    with closing(Store.open(place.watcher_settings(0).database_url)) as store:
        told = SignedCommitment.from_json(answer.json()).commitment
        box = BallotBox(store, place.chain.chain_id, verifier)
        [found] = box.find(told.subject, told.evidence).findings["rows"]
    assert (found["passed"], found["check"]) == (False, "receipt.equivocation")


# The command line


def _config(place: OracleLab, **changes: str) -> Path:
    values = {
        "provider": place.provider,
        "rpc": place.system.anvil.url,
        "keystore": str(place.funded_keystore("oracle")),
        "url": place.url,
        **changes,
    }
    place.provider_settings()  # writes the deployment and the password file
    path = place.folder / "oracle.toml"
    path.write_text(
        f"""
role = "provider"
state_dir = "state"
[chain]
rpc_url = "{values["rpc"]}"
chain_id = 31337
[key]
keystore = "{values["keystore"]}"
password_file = "password"
[api]
port = {place.port}
public_url = "{values["url"]}"
[provider]
address = "{values["provider"]}"
cpu_sku = "test-cpu"
[quorum]
watchers = {json.dumps(place.watcher_urls)}
"""
    )
    return path


def test_check__everything_there__says_so_and_succeeds(place: OracleLab, class_id: int) -> None:
    result = CliRunner().invoke(app, ["check", "--config", str(_config(place))], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for what in ("key", "chain", "contracts", "clock", "confinement", "catalogue", "registration", "stake"):
        assert what in result.output
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"rpc": "http://127.0.0.1:9"}, "chain"),
        ({"provider": account("stranger").address}, "Register the provider first"),
        ({"url": "http://elsewhere.test"}, "watchers refuse our evidence"),
        ({"keystore": "missing.json"}, "keystore"),
    ],
)
def test_check__something_wrong__says_what_and_fails(
    place: OracleLab, class_id: int, changes: dict[str, str], what: str
) -> None:
    result = CliRunner().invoke(
        app, ["check", "--config", str(_config(place, **changes))], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 1
    assert what in result.output
    assert "Traceback" not in result.output


def test_run__node_of_the_chain_away__ends_with_one_line(place: OracleLab) -> None:
    result = CliRunner().invoke(app, ["run", "--config", str(_config(place, rpc="http://127.0.0.1:9"))])
    assert result.exit_code == 1
    assert "scrip oracle: NodeUnavailable: node 127.0.0.1" in result.output


def test_once__nothing_to_do__ends_by_itself(place: OracleLab) -> None:
    result = CliRunner().invoke(app, ["once", "--config", str(_config(place))])
    assert result.exit_code == 0, result.output


def test_run__settings_wrong__names_all_and_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "oracle.toml"
    path.write_text('role = "judge"\n')
    result = CliRunner().invoke(app, ["run", "--config", str(path)])
    assert result.exit_code == 2
    assert "state_dir: missing" in result.output
    assert "role" in result.output
