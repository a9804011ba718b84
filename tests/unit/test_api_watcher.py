"""The watcher's HTTP API: honest receipts are co-signed, every forgery is refused by its check, none is
signed twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from oracle import fetch
from oracle.api_watcher import WatcherParts, watcher_app
from oracle.catalogue import Catalogue
from oracle.executors.base import ExecutorError, Exit
from oracle.health import Pulse
from oracle.metrics import Metrics
from oracle.reviews import Reviews
from oracle.settings import WatcherSettings
from oracle.store import Store
from oracle.watcher import Watcher
from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash, recover
from scrip.types import JobState, Receipt, Status
from tests.unit.evidence_factory import NOW, STATE
from tests.unit.oracle_factory import Lab
from tests.unit.oracle_market import CHAIN_ID, ORACLE, VERIFIER, FakeFacts, FakeMarket
from tests.unit.verify_factory import OUTPUT, tokens

URL = "http://provider.test:8800/jobs/x/evidence"


class WatchedFacts(FakeFacts):
    """The chain as the honest token job of `verify_factory` sees it."""

    def __init__(self) -> None:
        super().__init__(FakeMarket())
        request = tokens()
        self.request, self.state = request, STATE
        self.chain.at = lambda: SimpleNamespace(job_terms=lambda _: request.facts.terms)

    def now(self) -> int:
        return NOW

    def job(self, job: bytes, view: Any = None) -> JobState:
        return self.state

    def job_facts(self, asked: Any, state: JobState) -> Any:
        return replace(self.request.facts, state=state)


class Rerunner:
    """An executor whose job gives what `output` says."""

    confinement = "none"

    def __init__(self, output: bytes = OUTPUT, reason: str = "ok") -> None:
        self.output, self.reason, self.runs = output, reason, 0

    def start(self, work: Any) -> Any:
        self.runs += 1
        if self.reason == "broken":
            raise ExecutorError("no launcher")
        work.workdir.mkdir(parents=True)
        (work.workdir / "output.bin").write_bytes(self.output)
        usage = {"input_tokens": 12, "cached_tokens": 0, "output_tokens": 9}
        (work.workdir / "usage.json").write_text(json.dumps(usage))
        ended = Exit(0, None, self.reason, 0, 1, 1, (1, 1, 1), "")  # type: ignore[arg-type]
        return SimpleNamespace(wait=lambda: ended)


class Bench:
    """A watcher with its API; `bundle` is what the provider serves."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, executor: Rerunner | None = None
    ) -> None:
        self.store = Store.open(f"sqlite:///{folder / 'watcher.db'}")
        self.facts, self.executor = WatchedFacts(), executor or Rerunner()
        self.bundle, self.fetched = tokens().bundle.encode(), 0
        self.receipt = tokens().receipt
        self.key: Any = ORACLE
        self._folder = folder
        monkeypatch.setattr(fetch, "get", self._get)

    def _get(self, url: str, *, limit: int, timeout_s: float) -> bytes:
        self.fetched += 1
        if not self.bundle:
            raise fetch.FetchFailed(url, "HTTP 404")
        return self.bundle

    def api(self) -> TestClient:
        metrics = Metrics(self.store)
        watcher = Watcher(
            facts=self.facts, reviews=Reviews(self.store), catalogue=Catalogue.load(), executor=self.executor,  # type: ignore[arg-type]
            signer=self.key, workroot=self._folder / "again", settings=WatcherSettings(), metrics=metrics,
        )  # fmt: skip
        settings = Lab.settings(SimpleNamespace(folder=self._folder, database=""))  # type: ignore[arg-type]
        parts = WatcherParts(settings, watcher, metrics, Pulse(1.0), {}, ORACLE.address, CHAIN_ID, VERIFIER)
        return TestClient(watcher_app(parts), raise_server_exceptions=False)

    def ask(self, api: TestClient | None = None, url: str = URL, receipt: Receipt | None = None) -> Any:
        row = {"bundle": url, "receipt": (receipt or self.receipt).to_json()}
        return (api or self.api()).post("/cosign", json={"batched": False, "rows": [row]})


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.store.close()


def test_cosign__honest_receipt__is_signed_after_running_it_again(bench: Bench) -> None:
    response = bench.ask()
    assert response.status_code == 200
    message = receipt_digest(bench.receipt, CHAIN_ID, VERIFIER)
    assert recover(message, bytes.fromhex(response.json()["signature"][2:])) == ORACLE.address
    assert bench.executor.runs == 1


def test_cosign__asked_again__gives_the_same_answer_without_work(bench: Bench) -> None:
    first, second = bench.ask(), bench.ask()
    assert first.json() == second.json()
    assert (bench.fetched, bench.executor.runs) == (1, 1)


@pytest.mark.parametrize(
    ("forge", "check"),
    [
        (lambda b: b.replace(b'"value":2700000', b'"value":2700001'), "evidence.root"),
        (lambda b: b.replace(b'"nonce":"', b'"nonce":"1'), "bundle.nonce"),
        (lambda b: b[:-1], "bundle.format"),
        (lambda _: b"[]", "bundle.format"),
    ],
)
def test_cosign__tampered_bundle__is_refused_with_the_check(bench: Bench, forge: Any, check: str) -> None:
    bench.bundle = forge(bench.bundle)
    response = bench.ask()
    assert response.status_code == 409
    assert response.json()["check"] == check
    assert response.json()["refused"][0]["jobId"] == "0x" + bench.receipt.job_id.hex()
    shown = bench.api().get("/refusals").json()["refusals"]
    assert [row["check"] for row in shown] == [check]


def test_cosign__one_token_more__is_refused(bench: Bench) -> None:
    receipt = replace(bench.receipt, output_tokens=bench.receipt.output_tokens + 1)
    assert bench.ask(receipt=receipt).json()["check"] == "bundle.receipt"


def test_cosign__damaged_copy_of_an_honest_bundle__stains_neither_receipt_nor_job(bench: Bench) -> None:
    honest, bench.bundle = bench.bundle, b"[]"
    assert bench.ask().status_code == 409
    assert bench.ask().status_code == 409
    assert bench.executor.runs == 0
    bench.bundle = honest
    assert bench.ask().status_code == 200


def test_cosign__another_output_when_run_again__is_refused(bench: Bench) -> None:
    bench.executor = Rerunner(output=b"something else")
    assert bench.ask().json()["check"] == "output.recompute"


def test_cosign__two_receipts_of_one_job__only_the_first_is_ever_signed(bench: Bench) -> None:
    assert bench.ask().status_code == 200
    second = replace(bench.receipt, ended_at=bench.receipt.ended_at + 1)
    bench.bundle = replace(tokens().bundle, receipt=second).encode()
    response = bench.ask(bench.api(), receipt=second)
    assert response.status_code == 409
    assert response.json()["check"] == "receipt.equivocation"
    assert bench.ask(bench.api()).status_code == 200


def test_cosign__job_not_running_as_our_node_sees__may_be_asked_again(bench: Bench) -> None:
    bench.facts.state = replace(STATE, status=Status.OPEN)
    assert bench.ask().json()["check"] == "job.state"
    bench.facts.state = STATE
    assert bench.ask().status_code == 200


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:22/", "file:///etc/passwd", "https://provider.test:8800/x", "http://provider.test/x"],
)
def test_cosign__evidence_elsewhere__is_not_fetched(bench: Bench, url: str) -> None:
    assert bench.ask(url=url).json()["check"] == "bundle.origin"
    assert bench.fetched == 0


def test_cosign__evidence_or_machine_away__is_503_and_no_refusal(bench: Bench) -> None:
    honest, bench.bundle = bench.bundle, b""
    assert bench.ask().status_code == 503
    bench.bundle, bench.executor = honest, Rerunner(reason="broken")
    assert bench.ask().status_code == 503
    bench.executor = Rerunner(reason="memory")
    assert bench.ask().status_code == 503
    bench.executor = Rerunner()
    assert bench.ask().status_code == 200


def test_cosign__dry_run__checks_but_never_signs(bench: Bench) -> None:
    bench.key = None
    response = bench.ask()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "dry_run")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"batched": "yes", "rows": []},
        {"batched": False, "rows": []},
        {"batched": False, "rows": {}},
        {"batched": True, "rows": [{"bundle": URL}]},
        {"batched": True, "rows": [{"bundle": 5, "receipt": {}}]},
        {"batched": True, "rows": [{"bundle": URL, "receipt": {}}]},
    ],
)
def test_cosign__malformed__is_a_typed_error(bench: Bench, body: Any) -> None:
    response = bench.api().post("/cosign", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "bad_input")


def test_cosign__one_job_twice_in_a_batch__is_refused(bench: Bench) -> None:
    row = {"bundle": URL, "receipt": bench.receipt.to_json()}
    response = bench.api().post("/cosign", json={"batched": True, "rows": [row, row]})
    assert response.status_code == 422


def test_cosign__batch__is_signed_as_a_list(bench: Bench) -> None:
    row = {"bundle": URL, "receipt": bench.receipt.to_json()}
    response = bench.api().post("/cosign", json={"batched": True, "rows": [row]})
    message = batch_digest([receipt_struct_hash(bench.receipt)], CHAIN_ID, VERIFIER)
    assert recover(message, bytes.fromhex(response.json()["signature"][2:])) == ORACLE.address
