"""Evidence of a real job, by a real provider and two watchers: form, proofs, verification and end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_utils import keccak
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from scrip.chain import Chain
from scrip.cli.main import app
from scrip.evidence import Sample, seed, verify_proof
from scrip.types import Status
from tests.integration.oracle_lab import PASSWORD, OracleLab, lab
from tests.integration.system import System, account

SCHEMA = Path(__file__).parents[2] / "scrip" / "evidence.schema.json"
UNITS = 1_000_000
DAYS_40 = 40 * 86_400


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=2) as made:
        yield made


@pytest.fixture
def job(place: OracleLab) -> bytes:
    """A job that two watchers checked and that settled at once."""
    class_id = place.system.create_class(min_assurance=2, watcher_set=1)
    buyer = place.buy(class_id, UNITS)
    place.start_all()
    terms = place.terms(buyer, class_id)
    opened = place.open(buyer, terms, place.quote(terms))
    place.wait_for([opened], Status.SETTLED)
    return opened


def served(place: OracleLab, job: bytes, seq: int) -> Any:
    """A sample's proof: public, unlike the bundle."""
    return httpx.get(f"{place.url}/jobs/0x{job.hex()}/evidence/{seq}/proof", trust_env=False).json()


def verify(place: OracleLab, job: bytes, *options: str, keystore: str = "") -> Any:
    """`scrip verify` of the evidence's URL."""
    env = {
        "SCRIP_RPC": place.system.anvil.url, "SCRIP_DEPLOYMENT": "", "SCRIP_KEYSTORE": keystore,
        "SCRIP_PASSWORD": PASSWORD, "NO_PROXY": "*",
    }  # fmt: skip
    url = f"{place.url}/jobs/0x{job.hex()}/evidence"
    return CliRunner().invoke(app, ["verify", url, *options], env=env)


def test_evidence__to_somebody_without_a_key__refused_with_the_next_step(
    place: OracleLab, job: bytes
) -> None:
    result = verify(place, job)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "--keystore" in result.stderr


def test_bundle__of_a_real_job__fits_the_schema_and_verifies_by_its_url(
    place: OracleLab, job: bytes, tmp_path: Path
) -> None:
    raw, kept = place.private(job, "evidence"), tmp_path / "kept.json"
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(raw.json())
    market, key = place.chain.address("JobMarket"), str(place.funded_keystore("buyer"))
    result = verify(place, job, "--market", market, "--save", str(kept), "--json", keystore=key)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert kept.read_bytes() == raw.content
    found = {check["name"]: check["detail"] for check in json.loads(result.stdout)["checks"]}
    assert found["receipt.onchain"].count("settled") == 1
    assert account("oracle").address in found["receipt.signed"]
    assert found["receipt.signed"].endswith("2 of the class's watchers")


def test_proofs__served_for_every_sample__lead_to_the_receipts_root(place: OracleLab, job: bytes) -> None:
    bundle = place.private(job, "evidence").json()
    root = bytes.fromhex(bundle["receipt"]["evidenceRoot"][2:])
    previous = seed(int(bundle["chainId"]), bundle["market"], job, int(bundle["nonce"]))
    for index, row in enumerate(bundle["samples"]):
        shown = served(place, job, index)
        assert shown["sample"] == row
        link = bytes(keccak(previous + keccak(Sample.from_json(row).canonical())))
        proof = [bytes.fromhex(node[2:]) for node in shown["proof"]]
        assert shown["link"] == "0x" + link.hex()
        assert verify_proof(root, link, index, len(bundle["samples"]), proof)
        assert not verify_proof(
            root, link, (index + 1) % len(bundle["samples"]), len(bundle["samples"]), proof
        )
        previous = link


def test_retention__both_clocks_must_pass__then_evidence_is_gone_and_says_so(
    place: OracleLab, job: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node: Any = place.running["provider"].daemon._cycle._node  # type: ignore[attr-defined]
    store, now_ms = node.base.store, node.base.store.now_ms
    place.wait(lambda: place.show(job)["tx"])
    place.system.anvil.rpc("evm_increaseTime", DAYS_40)
    place.system.anvil.rpc("evm_mine")
    place.wait(lambda: node.base.facts.now() >= place.chain.at().time())  # it looks now and then
    assert node.retention.prune() == 0  # the chain's clock alone
    assert place.private(job, "evidence").status_code == 200
    monkeypatch.setattr(store, "now_ms", lambda: now_ms() + DAYS_40 * 1000)
    assert node.retention.prune() == 1
    assert place.private(job, "evidence").status_code == 404
    assert place.show(job)["state"] == "settled"
    ready = httpx.get(f"{place.url}/readyz", trust_env=False).json()["checks"]["evidence"]
    assert ready["ok"] is True
    assert "MiB free" in ready["detail"]
