"""The provider's HTTP API: typed errors, bounded bodies, truthful health, evidence with proofs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak
from fastapi.testclient import TestClient

from oracle.api import ProviderParts, provider_app
from oracle.health import Pulse, readiness
from oracle.metrics import Metrics
from oracle.states import State
from oracle.store import NOBODY
from scrip.eip712 import recover
from scrip.errors import NodeUnavailable
from scrip.evidence import Bundle, verify_proof
from scrip.signed_requests import SignedBy
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms, Receipt
from tests.unit.oracle_factory import SPEC, Lab, Node, terms
from tests.unit.oracle_market import CHAIN_ID, MARKET, ORACLE, PROVIDER

LIMIT = 4096
PARTY = Account.from_key("0x" + "22" * 32)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch)
    yield made
    made.close()


class Parties:
    """The payer's key, which the market of these tests has none of, may see its jobs; nobody else."""

    def has_signed(self, account: str, message: bytes, signature: bytes) -> bool:
        return recover(message, signature) == account

    def is_party(self, account: str, terms: JobTerms) -> bool:
        return account == PARTY.address


def parts_of(node: Node, **changes: Any) -> ProviderParts:
    api = node.settings.api.model_copy(update={"max_body_bytes": LIMIT})
    parts = ProviderParts(
        settings=node.settings.model_copy(update={"api": api}), store=node.store, desk=node.desk,
        evidence=node.evidence, metrics=Metrics(node.store), pulse=Pulse(1.0),
        probes={"chain": lambda: "block 1"}, parties=Parties(), oracle=ORACLE.address, chain_id=CHAIN_ID,
        market=MARKET, registry=MARKET,
    )  # fmt: skip
    return replace(parts, **changes)


def client(node: Node, signer: Any = None, **changes: Any) -> TestClient:
    app = provider_app(parts_of(node, **changes))
    made = TestClient(app, base_url=node.settings.api.public_url, raise_server_exceptions=False)
    made.auth = None if signer is None else SignedBy(signer, CHAIN_ID, MARKET)
    return made


def error(response: Any) -> dict[str, Any]:
    found: dict[str, Any] = response.json()["error"]
    assert set(found) == {"code", "message", "given", "limit"}
    return found


# Quotes and specs


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "bad_request"),
        ({"terms": {}, "spec": SPEC.to_json()}, 422, "bad_input"),
        ({"terms": None, "spec": None, "more": 1}, 422, "bad_input"),
        ({"terms": {}, "spec": SPEC.to_json(), "more": 1}, 422, "bad_input"),
        ([1, 2], 422, "bad_request"),
    ],
)
def test_quotes__malformed__is_a_typed_error(lab: Lab, body: Any, status: int, code: str) -> None:
    response = client(lab.start()).post("/quotes", json=body)
    assert (response.status_code, error(response)["code"]) == (status, code)


def test_quotes__declined__says_given_and_limit(lab: Lab) -> None:
    asked = terms(lab.market, max_units=999)
    body = {"terms": asked.to_json(), "spec": SPEC.to_json()}
    response = client(lab.start()).post("/quotes", json=body)
    assert response.status_code == 409
    assert error(response)["code"] == "units"
    assert error(response)["given"] == "999"


def test_quotes__no_place__is_429(lab: Lab) -> None:
    api = client(lab.start(slots=1, queue=0))
    for salt, status in ((1, 200), (2, 429)):
        body = {"terms": terms(lab.market, salt=salt).to_json(), "spec": SPEC.to_json()}
        assert api.post("/quotes", json=body).status_code == status


def test_quotes__dry_run__is_503_and_says_so(lab: Lab) -> None:
    body = {"terms": terms(lab.market).to_json(), "spec": SPEC.to_json()}
    response = client(lab.start(dry=True), oracle=None).post("/quotes", json=body)
    assert (response.status_code, error(response)["code"]) == (503, "dry_run")


def test_quotes__node_stands_by__is_503_and_nothing_is_signed(lab: Lab) -> None:
    node, asked = lab.start(), terms(lab.market)
    node.store.epoch = NOBODY
    response = client(node).post("/quotes", json={"terms": asked.to_json(), "spec": SPEC.to_json()})
    assert response.status_code == 503
    assert error(response)["code"] == "stands_by"
    assert "signature" not in response.text
    assert node.store.counts()[State.QUOTED] == 0


def test_quotes__fitting__is_signed(lab: Lab) -> None:
    node = lab.start()
    body = {"terms": terms(lab.market).to_json(), "spec": SPEC.to_json()}
    found = client(node).post("/quotes", json=body).json()
    row = node.store.job(bytes.fromhex(found["jobId"][2:]))
    assert row.quote is not None
    assert found["quote"] == "0x" + row.quote.hex()
    assert found["simulated"] is False


def test_specs__other_hash_or_unknown_template__is_refused(lab: Lab) -> None:
    api = client(lab.start())
    assert api.put(f"/specs/0x{'00' * 32}", json=SPEC.to_json()).status_code == 422
    odd = JobSpec("shell", {})
    response = api.put(f"/specs/0x{spec_hash(odd).hex()}", json=odd.to_json())
    assert (response.status_code, error(response)["code"]) == (422, "spec")
    assert api.put("/specs/0x12", json=SPEC.to_json()).status_code == 422


def test_specs__right_hash__is_kept(lab: Lab) -> None:
    node = lab.start()
    key = spec_hash(SPEC)
    assert client(node).put(f"/specs/0x{key.hex()}", json=SPEC.to_json()).status_code == 200
    assert node.store.spec(key) == SPEC


# Sizes and unexpected errors


def test_body__too_large__is_refused_announced_or_not(lab: Lab) -> None:
    api = client(lab.start())
    big = b"x" * (LIMIT + 1)
    assert error(api.post("/quotes", content=big))["code"] == "too_large"
    chunked = api.post("/quotes", content=iter([big[:100], big[100:]]))
    assert (chunked.status_code, error(chunked)["limit"]) == (413, f"{LIMIT} bytes")


def test_unknown_path_and_method__are_typed_errors(lab: Lab) -> None:
    api = client(lab.start())
    assert error(api.get("/nothing"))["code"] == "http"
    assert error(api.delete("/quotes"))["code"] == "http"


def test_chain_away__is_503(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start()

    def away() -> int:
        raise NodeUnavailable("node.test", "ConnectionError")

    monkeypatch.setattr(node.desk._facts, "now", away)
    body = {"terms": terms(lab.market).to_json(), "spec": SPEC.to_json()}
    response = client(node).post("/quotes", json=body)
    assert (response.status_code, error(response)["code"]) == (503, "unavailable")


def test_bug__is_500_without_its_text(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    node = lab.start()

    def bug(*_: Any) -> Any:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(node.desk, "quote", bug)
    body = {"terms": terms(lab.market).to_json(), "spec": SPEC.to_json()}
    response = client(node).post("/quotes", json=body)
    assert response.status_code == 500
    assert "secret" not in response.text


# Jobs


def test_jobs__unknown__is_404(lab: Lab) -> None:
    response = client(lab.start()).get(f"/jobs/0x{'ab' * 32}")
    assert (response.status_code, error(response)["code"]) == (404, "not_found")


def test_jobs__not_metered_yet__has_no_evidence(lab: Lab) -> None:
    node = lab.start()
    job = "0x" + node.desk.quote(terms(lab.market), SPEC).job_id.hex()
    api = client(node, PARTY)
    assert api.get(f"/jobs/{job}").json()["state"] == "quoted"
    for path in ("output", "evidence", "evidence/0/proof"):
        assert api.get(f"/jobs/{job}/{path}").status_code == 404


def test_jobs__settled__shows_receipt_output_evidence_and_proofs(lab: Lab) -> None:
    node = lab.start()
    asked = terms(lab.market)
    key = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(key, State.SETTLED)
    api, job = client(node, PARTY), "0x" + key.hex()
    shown = api.get(f"/jobs/{job}").json()
    receipt = Receipt.from_json(shown["receipt"])
    assert (shown["state"], shown["final"], shown["simulated"]) == ("settled", True, False)
    assert shown["steps"][0]["state"] == "quoted"
    output = api.get(f"/jobs/{job}/output")
    assert keccak(output.content) == receipt.output_hash
    assert output.headers["X-Scrip-Simulated"] == "false"
    bundle = Bundle.decode(api.get(f"/jobs/{job}/evidence").content)
    assert bundle.receipt == receipt
    for seq in range(len(bundle.samples)):
        proof = api.get(f"/jobs/{job}/evidence/{seq}/proof").json()
        nodes = [bytes.fromhex(item[2:]) for item in proof["proof"]]
        link = bytes.fromhex(proof["link"][2:])
        assert verify_proof(receipt.evidence_root, link, seq, proof["count"], nodes)
    assert api.get(f"/jobs/{job}/evidence/{len(bundle.samples)}/proof").status_code == 404


# Registration, health, metrics


def test_registration__is_what_the_sdk_reads(lab: Lab) -> None:
    from scrip.provider_client import _offer

    data = client(lab.start()).get("/.well-known/agent-registration.json").json()
    offer = _offer("http://provider.test", data)
    assert offer.endpoint == "http://127.0.0.1:8800"
    assert set(offer.templates) == {
        "llm.generate", "matmul.int8", "hash.chain", "keep", "text.retrieve", "text.check",
    }  # fmt: skip
    assert not offer.simulated
    assert data["x402Support"] is False
    assert data["scrip"]["provider"] == PROVIDER
    assert data["registrations"][0]["agentRegistry"] == f"eip155:{CHAIN_ID}:{MARKET}"
    assert data["scrip"]["templates"][0]["params"]["type"] == "object"


def test_readyz__a_part_fails__is_503_and_names_it(lab: Lab) -> None:
    def away() -> str:
        raise NodeUnavailable("node.test", "ConnectionError")

    response = client(lab.start(), probes={"store": lambda: "writable", "chain": away}).get("/readyz")
    assert response.status_code == 503
    checks = response.json()["checks"]
    assert (checks["store"]["ok"], checks["chain"]["ok"]) == (True, False)


def test_readiness__unexpected_error__is_not_hidden() -> None:
    def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        readiness({"chain": bug})


def test_healthz__loop_stands_still__is_503(lab: Lab) -> None:
    now = [0.0]
    pulse = Pulse(1.0, clock=lambda: now[0])
    api = client(lab.start(), pulse=pulse)
    assert api.get("/healthz").status_code == 200
    now[0] = 301.0
    assert api.get("/healthz").status_code == 503
    pulse.beat()
    assert api.get("/healthz").status_code == 200


def test_metrics__count_jobs_by_state(lab: Lab) -> None:
    node = lab.start()
    node.desk.quote(terms(lab.market), SPEC)
    assert 'scrip_jobs{state="quoted"} 1.0' in client(node).get("/metrics").text


# Pages in a browser

PAGE = "https://app.example.org"


def open_to(node: Node, *origins: str) -> TestClient:
    api = node.settings.api.model_copy(update={"web_origins": origins, "max_body_bytes": LIMIT})
    return client(node, settings=node.settings.model_copy(update={"api": api}))


def test_api__page_of_a_listed_origin__may_call_it_and_reads_refusals_too(lab: Lab) -> None:
    api = open_to(lab.start(), PAGE)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    preflight = api.options("/quotes", headers=asked | {"Access-Control-Request-Headers": "content-type"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
    refused = api.post("/quotes", content=b"x" * (LIMIT + 1), headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (413, PAGE)


@pytest.mark.parametrize("listed", [(), (PAGE,)])
def test_api__page_of_another_origin__gets_no_leave(lab: Lab, listed: tuple[str, ...]) -> None:
    answer = open_to(lab.start(), *listed).get(
        "/jobs/" + "00" * 32, headers={"Origin": "https://other.example.org"}
    )
    assert answer.status_code == 404
    assert "access-control-allow-origin" not in answer.headers
