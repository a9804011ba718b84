"""Watchers with real stores, executors' stand-ins and the real HTTP API, over a chain in memory.

`Bench` serves bundles as a provider would; `ballot` takes a receipt through both rounds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account
from fastapi.testclient import TestClient

from oracle import fetch
from oracle.api_watcher import WatcherParts, watcher_app
from oracle.ballot_box import BallotBox
from oracle.catalogue import Catalogue
from oracle.executors.base import ExecutorError, Exit
from oracle.health import Pulse
from oracle.metrics import Metrics
from oracle.quorum import digest
from oracle.rerun import Rerunner
from oracle.reviews import Reviews
from oracle.sampling import Budget, Draw, Risk
from oracle.settings import WatcherSettings
from oracle.statements import Statements
from oracle.store import Store
from oracle.verify import VerifyRequest
from oracle.watcher import Watcher
from scrip.eip712 import sign
from scrip.evidence import CLOSING_METRICS, sealed_sku
from scrip.types import ClassTerms, JobState, JobTerms, Receipt
from tests.unit.evidence_factory import NOW, STATE
from tests.unit.oracle_factory import Lab
from tests.unit.oracle_market import CHAIN_ID, ORACLE, VERIFIER, FakeFacts, FakeMarket
from tests.unit.verify_factory import OUTPUT, honest, tokens

HOST = "http://provider.test:8800"
WATCHERS = [Account.from_key(bytes([number]) * 32) for number in (0x21, 0x22, 0x23)]
SECRET = b"\x07" * 32


class WatchedFacts(FakeFacts):
    """A chain on which the jobs in `requests` run, all of one class."""

    def __init__(self, threshold: int = 1) -> None:
        super().__init__(FakeMarket())
        self.state, self.at, self.stakes = STATE, NOW, Risk(0, 0)
        self.class_now: ClassTerms = tokens().facts.class_terms
        self.oracles: dict[str, str] = {}
        self.fake.watchers[1] = ({one.address for one in WATCHERS}, threshold)

    def now(self) -> int:
        return self.at

    def job(self, job: bytes, view: Any = None) -> JobState:
        return self.state

    def class_terms(self, class_id: int) -> ClassTerms:
        return self.class_now

    def oracle(self, provider: str) -> str:
        return self.oracles.get(provider, ORACLE.address)

    def risk(self, terms: JobTerms) -> Risk:
        return self.stakes


class FakeExecutor:
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


@dataclass
class Node:
    """One watcher: its key, its store and what it runs jobs with."""

    key: Any
    store: Store
    facts: WatchedFacts
    folder: Path
    executor: Any = field(default_factory=FakeExecutor)
    settings: WatcherSettings = field(default_factory=WatcherSettings)
    budget: Budget = field(default_factory=lambda: Budget(3_600))

    def parts(self) -> WatcherParts:
        """A fresh process on the same store."""
        metrics = Metrics(self.store)
        rules, place = self.settings, (CHAIN_ID, VERIFIER)
        draw = Draw(SECRET, rules.re_execute_floor_ppm)
        watcher = Watcher(
            facts=self.facts, reviews=Reviews(self.store), box=BallotBox(self.store, *place),  # type: ignore[arg-type]
            statements=Statements(self.store, *place), catalogue=Catalogue.load(), account=self.key,
            rerunner=Rerunner(self.executor, draw, self.budget, self.folder / "again", rules.slots),
            settings=rules, metrics=metrics,
        )  # fmt: skip
        settings = Lab.settings(SimpleNamespace(folder=self.folder, database=""))  # type: ignore[arg-type]
        address = None if self.key is None else self.key.address
        return WatcherParts(
            settings, watcher, self.store, metrics, Pulse(1.0), {}, address, CHAIN_ID, VERIFIER
        )

    def api(self) -> TestClient:
        """Its HTTP API."""
        return TestClient(watcher_app(self.parts()), raise_server_exceptions=False)


class Bench:
    """Up to three watchers on one chain, and a provider that serves `bundles` by their URL's path."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, watchers: int = 1, threshold: int = 1
    ) -> None:
        self.facts = WatchedFacts(threshold)
        self.bundles: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.nodes = [self._node(folder / str(number), WATCHERS[number]) for number in range(watchers)]
        monkeypatch.setattr(fetch, "get", self._get)

    def _node(self, folder: Path, key: Any) -> Node:
        store = Store.open(f"sqlite:///{folder / 'watcher.db'}")
        return Node(key, store, self.facts, folder)

    def close(self) -> None:
        for node in self.nodes:
            node.store.close()

    def _get(self, url: str, *, limit: int, timeout_s: float, auth: Any) -> bytes:
        self.fetched.append(url)
        found = self.bundles.get(url)
        if found is None:
            raise fetch.FetchFailed(url, "HTTP 404")
        return found

    def serve(self, request: VerifyRequest) -> str:
        """Serve the request's bundle and let the chain have its job's class; the URL."""
        url = f"{HOST}/jobs/{request.receipt.job_id.hex()}/evidence"
        self.bundles[url] = request.bundle.encode()
        self.facts.class_now = request.facts.class_terms
        return url

    def row(self, request: VerifyRequest, url: str | None = None, terms: JobTerms | None = None) -> Any:
        """A row of a first-round request."""
        where = self.serve(request) if url is None else url
        given = (terms or request.facts.terms).to_json()
        return {"bundle": where, "receipt": request.receipt.to_json(), "terms": given}

    def body(self, *rows: Any, batched: bool = False, key: Any = ORACLE) -> dict[str, Any]:
        """A first-round request, signed by the provider's key."""
        receipts = [Receipt.from_json(row["receipt"]) for row in rows]
        message = digest(receipts, CHAIN_ID, VERIFIER, batched=batched)
        return {"batched": batched, "rows": list(rows), "signature": "0x" + sign(message, key).hex()}

    def ballot(self, body: dict[str, Any]) -> list[Any]:
        """Both rounds at every watcher: the second's answers, or the first's where it wasn't 200."""
        apis = [node.api() for node in self.nodes]
        first = [api.post("/commitments", json=body) for api in apis]
        commitments = [answer.json() for answer in first if answer.status_code == 200]
        return [
            self.reveal(api, answer.json(), [one for one in commitments if one != answer.json()])
            if answer.status_code == 200
            else answer
            for api, answer in zip(apis, first, strict=True)
        ]

    @staticmethod
    def reveal(api: TestClient, own: Any, others: list[Any]) -> Any:
        """The second round at one watcher."""
        told = own["commitment"]
        asked = {"subject": told["subject"], "evidence": told["evidence"], "commitments": others}
        return api.post("/reveals", json=asked)

    def ask(self, request: VerifyRequest | None = None, **given: Any) -> Any:
        """The only answer of a bench with one watcher."""
        key = given.pop("key", ORACLE)
        return self.ballot(self.body(self.row(request or tokens(), **given), key=key))[0]


def check_of(answer: Any) -> str:
    """By which check a watcher refused the first row; "" if it co-signed."""
    content = answer.json()
    if answer.status_code == 409:
        return str(content["check"])
    assert answer.status_code == 200, content
    return str(content["findings"]["rows"][0]["check"])


def renamed(request: VerifyRequest, salt: int, **changes: Any) -> VerifyRequest:
    """The same job once more, under other terms, everything rebuilt by the provider's own code."""
    bundle = request.bundle
    recorded = tuple(sample for sample in bundle.samples if sample.metric not in CLOSING_METRICS)
    parts = (recorded, bundle.spec, bundle.output, sealed_sku(bundle.samples), bundle.result)
    return honest(request.facts.class_terms, *parts, salt=salt, **changes)
