"""`scrip verify` against real contracts: a bundle and an RPC URL, nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak
from typer.testing import CliRunner

from scrip.attestation import report_nonce
from scrip.chain import Chain
from scrip.cli.main import app
from scrip.eip712 import (
    RECEIPT_TYPE,
    VERIFIER_DOMAIN,
    acceptance_digest,
    digest,
    domain_separator,
    job_id,
    receipt_digest,
    sign,
)
from scrip.evidence import Bundle, Result, Sample, evidence_root, output_hash, seal
from scrip.rpc import NodeProvider
from scrip.spec import JobSpec, spec_hash
from scrip.types import Attestation, JobTerms, Outcome, Receipt, Resource, Status
from tests.integration.system import System, account, signed
from tests.unit.attestation_factory import MadeUpGpu

OK, FAILED = Result(0, None, "ok"), Result(1, None, "failed")
SPEC = JobSpec("hash.chain", {"seed": "0x" + "ab" * 32, "steps": 1})
WATCHERS = ("watcher 0", "watcher 1")
ACCEPT_S = 60
MANY = 150


@dataclass
class Market:
    """A provider, a buyer and jobs whose evidence is made here."""

    system: System
    chain: Chain
    folder: Path
    salt: int = 0

    def class_(self, **changes: Any) -> int:
        made = self.system.create_class(**changes)
        self.system.buy(made, "buyer", 100_000)
        return made

    def open(self, class_id: int, **changes: Any) -> JobTerms:
        now, self.salt = self.chain.at().time(), self.salt + 1
        values = {
            "payer": account("buyer").address, "provider": account("provider").address, "class_id": class_id,
            "max_units": 1_000, "resources": 1, "accept_by": now + ACCEPT_S, "submit_by": now + 6_000,
            "spec_hash": spec_hash(SPEC), "budget_id": 0, "salt": self.salt,
        } | changes  # fmt: skip
        terms = JobTerms(**values)
        quote = sign(
            acceptance_digest(self.id_of(terms), self.chain.chain_id, self.address), account("oracle")
        )
        self.system.send("JobMarket", "open", terms.to_abi(), quote, sender=terms.payer)
        return terms

    @property
    def address(self) -> str:
        return self.chain.address("JobMarket")

    def id_of(self, terms: JobTerms) -> bytes:
        return job_id(terms, self.chain.chain_id, self.address)

    def bundle(
        self, terms: JobTerms, result: Result = OK, *, nonce: int | None = None, **receipt: Any
    ) -> Bundle:
        """What an honest provider records for a job that runs now."""
        job, view = self.id_of(terms), self.chain.at()
        state = view.job_state(job)
        drawn = state.nonce if nonce is None else nonce
        begun = (state.opened_at or view.time()) * 1000
        rows = [("start", "lease", "lease_ms", 0), ("start", "cpu-rusage", "cpu_us", 0),
                ("end", "lease", "lease_ms", 900), ("end", "cpu-rusage", "cpu_us", 900_000)]  # fmt: skip
        taken = tuple(
            Sample(
                seq,
                begun + value // (1 if metric == "lease_ms" else 1_000),
                0,
                edge,
                source,
                "cpu",
                metric,
                value,
            )
            for seq, (edge, source, metric, value) in enumerate(rows)
        )
        sealed = seal(taken, result=result, attempt=1, sku="test-cpu")
        made = Receipt(
            job_id=job, outcome=Outcome.COMPLETED if result.completed else Outcome.FAILED,
            units=900 if result.completed else 0, gpu_millijoules=0, input_tokens=0, output_tokens=0,
            started_at=state.opened_at, ended_at=state.opened_at, output_hash=output_hash(b"done"),
            evidence_root=evidence_root(self.chain.chain_id, self.address, job, drawn, sealed), assurance=1,
        )  # fmt: skip
        return Bundle(
            self.chain.chain_id, self.address, job, drawn, terms, SPEC, sealed, b"done", result,
            replace(made, **receipt), False, 1,
        )  # fmt: skip

    def submit(self, bundle: Bundle, watchers: tuple[str, ...] = ()) -> None:
        message = receipt_digest(bundle.receipt, self.chain.chain_id, self.chain.address("ReceiptVerifier"))
        attested = Attestation(sign(message, account("oracle")), tuple(signed(message, watchers)))
        self.system.send(
            "JobMarket", "submit", bundle.terms.to_abi(), bundle.receipt.to_abi(), attested.to_abi()
        )

    def pass_time(self, seconds: int) -> None:
        self.system.anvil.rpc("evm_increaseTime", seconds)
        self.system.anvil.rpc("evm_mine")

    def status(self, bundle: Bundle) -> Status:
        return self.chain.at().job_state(bundle.job_id).status

    # The command

    def verify(self, bundle: Bundle | bytes, *options: str) -> Any:
        path = self.folder / "bundle.json"
        path.write_bytes(bundle if isinstance(bundle, bytes) else bundle.encode())
        return self.run(str(path), *options)

    def run(self, *args: str) -> Any:
        env = {"SCRIP_RPC": self.system.anvil.url, "SCRIP_DEPLOYMENT": "", "SCRIP_KEYSTORE": ""}
        return CliRunner().invoke(app, ["verify", *args], env=env)

    def passes(self, bundle: Bundle) -> dict[str, str]:
        """The checks of a bundle that holds, by name."""
        result = self.verify(bundle, "--json")
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        shown = json.loads(result.stdout)
        assert (shown["ok"], shown["failed"]) == (True, None)
        return {check["name"]: check["detail"] for check in shown["checks"]}

    def fails(self, bundle: Bundle, *options: str) -> str:
        """The check that a bundle fails; the reason is one line."""
        result = self.verify(bundle, "--json", *options)
        assert result.exit_code == 1, result.output
        assert result.stderr.count("\n") == 1
        shown = json.loads(result.stdout)
        assert shown["ok"] is False
        assert shown["failed"]["name"] in result.stderr
        return str(shown["failed"]["name"])


@pytest.fixture
def market(system: System, chain: Chain, tmp_path: Path) -> Market:
    provider = system.funded("provider").address
    system.register(provider, system.funded("oracle").address)
    return Market(system, chain, tmp_path)


# --- what doesn't hold


def test_forged__each_refused_by_its_check(market: Market) -> None:
    honest = market.bundle(market.open(market.class_()))
    market.submit(honest)
    more = replace(honest.receipt, units=901)
    other = replace(honest.samples[3], value=900_001)
    forged = {
        "receipt.onchain": replace(honest, receipt=more),
        "evidence.root": replace(honest, samples=(*honest.samples[:3], other, *honest.samples[4:])),
        "output.hash": replace(honest, output=b"else"),
        "bundle.nonce": replace(honest, nonce=honest.nonce + 1),
        "market.code": replace(honest, terms=replace(honest.terms, max_units=5)),
        "spec.hash": replace(honest, spec=JobSpec("hash.chain", {})),
        "evidence.seal": replace(honest, attempt=2),
        "chain.id": replace(honest, chain_id=1),
    }
    assert {check: market.fails(bundle) for check, bundle in forged.items()} == {
        name: name for name in forged
    }


def test_market__no_contract_another_one_or_not_the_trusted_one__refused(market: Market) -> None:
    honest = market.bundle(market.open(market.class_()))
    assert market.fails(replace(honest, market="0x" + "11" * 20)) == "market.code"
    assert market.fails(replace(honest, market=market.chain.address("ComputeCredits"))) == "market.code"
    assert market.fails(honest, "--market", "0x" + "22" * 20) == "market.known"
    assert market.verify(honest, "--market", market.address).exit_code == 0


def test_job__never_opened_or_ended_without_a_receipt__refused(market: Market) -> None:
    terms = market.open(market.class_())
    assert market.fails(market.bundle(replace(terms, salt=99), nonce=5)) == "job.state"
    bundle = market.bundle(terms)
    market.system.send("JobMarket", "cancel", terms.to_abi(), sender=terms.provider)
    assert market.fails(bundle) == "receipt.onchain"


def test_receipt__below_the_class_or_of_another_sku__refused(market: Market) -> None:
    market.system.watcher_set(WATCHERS, 2)
    watched = market.bundle(market.open(market.class_(min_assurance=2, watcher_set=1)))
    assert market.fails(watched) == "class.terms"
    bundle = market.bundle(market.open(market.class_()))
    sealed = seal(bundle.samples[:4], result=OK, attempt=1, sku="another")
    assert market.fails(replace(bundle, samples=sealed)) == "class.terms"


def test_receipt__with_a_number_too_large_for_its_type__refused_and_no_crash(market: Market) -> None:
    """The market hashes a receipt's words as they come: a provider can settle one that can't be decoded."""
    bundle = market.bundle(market.open(market.class_()))
    contract, verifier = market.chain.contract("JobMarket"), market.chain.address("ReceiptVerifier")
    terms, receipt = bundle.terms.to_abi(), bundle.receipt.to_abi()

    def call(signature: bytes) -> bytes:
        args = [terms, receipt, Attestation(signature, ()).to_abi()]
        raw = bytearray.fromhex(contract.encode_abi("submit", args=args)[2:])
        raw[4 + 32 * 13] = 0xFF  # gpuMillijoules: after the selector and ten words of terms, the fourth word
        return bytes(raw)

    words = call(bytes(65))[4 + 320 : 4 + 320 + 352]
    domain = domain_separator(VERIFIER_DOMAIN, market.chain.chain_id, verifier)
    message = digest(domain, keccak(keccak(text=RECEIPT_TYPE) + words))
    tx = {"from": market.system.admin, "to": contract.address, "data": call(sign(message, account("oracle")))}
    sent = market.system.w3.eth.send_transaction(tx)
    assert market.system.mined(sent)["status"] == 1
    assert market.status(bundle) is Status.SETTLED
    assert market.fails(bundle) == "receipt.onchain"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_file__no_bundle__one_line(market: Market, content: bytes) -> None:
    result = market.verify(content)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "bundle.format" in result.stderr


def test_source__missing_file_or_dead_url__one_line(market: Market) -> None:
    for source in (str(market.folder / "absent.json"), "http://127.0.0.1:1/evidence"):
        result = market.run(source)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


# --- what holds


def test_running__passes_and_says_that_no_receipt_is_on_chain(market: Market) -> None:
    checks = market.passes(market.bundle(market.open(market.class_())))
    assert checks["job.state"].startswith("running")
    assert "not yet" in checks["receipt.onchain"]
    assert "not yet" in checks["receipt.signed"]


def test_settled__table_for_people_and_signer(market: Market) -> None:
    bundle = market.bundle(market.open(market.class_()))
    market.submit(bundle)
    assert market.status(bundle) is Status.SETTLED  # the slot is still there
    checks = market.passes(bundle)
    assert "settled for 900 units" in checks["receipt.onchain"]
    assert checks["receipt.signed"] == f"by {account('oracle').address}"
    assert "compare it" in checks["market.code"]
    text = market.verify(bundle).stdout
    assert "24 checks passed" not in text
    assert f"{len(checks)} checks passed" in text


def test_settled_long_ago__slot_emptied__found_by_few_log_queries(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.system.anvil.rpc("anvil_mine", hex(MANY), hex(42 * 86_400 // MANY))  # 42 days before the job
    bundle = market.bundle(market.open(market.class_()))
    market.pass_time(ACCEPT_S + 1)
    market.submit(bundle)
    market.system.anvil.rpc("anvil_mine", hex(MANY), hex(60))
    assert market.status(bundle) is Status.NONE
    asked: list[int] = []
    original = NodeProvider.make_request

    def counting(self: NodeProvider, method: Any, params: Any) -> Any:
        if method == "eth_getLogs":
            asked.append(int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1)
        return original(self, method, params)

    monkeypatch.setattr(NodeProvider, "make_request", counting)
    checks = market.passes(bundle)
    assert checks["job.state"].startswith("settled")
    assert sum(asked) < MANY + 50  # an hour before it began, and one query from there on


def test_failed__refunded__passes(market: Market) -> None:
    bundle = market.bundle(market.open(market.class_()), FAILED)
    market.submit(bundle)
    assert "refunded for 0 units" in market.passes(bundle)["receipt.onchain"]
    market.pass_time(ACCEPT_S + 1)
    late = market.bundle(market.open(market.class_()), FAILED)
    market.pass_time(ACCEPT_S + 1)
    market.submit(late)
    assert market.status(late) is Status.NONE
    assert market.passes(late)["job.state"].startswith("refunded")


def test_window__submitted_then_final__both_pass(market: Market) -> None:
    market.system.watcher_set(WATCHERS, 2)
    class_id = market.class_(challenge_window=3_600, arbiter_set=1, min_assurance=2, watcher_set=1)
    bundle = market.bundle(market.open(class_id), assurance=2)
    market.submit(bundle, WATCHERS)
    waiting = market.passes(bundle)
    assert waiting["receipt.onchain"].endswith("submitted")
    assert waiting["receipt.signed"].endswith("2 of the class's watchers")
    market.pass_time(3_601)
    market.system.send("JobMarket", "finalize", bundle.terms.to_abi())
    settled = market.passes(bundle)
    assert settled["job.state"].startswith("settled")
    assert settled["receipt.signed"] == waiting["receipt.signed"]


def test_hardware__reports_must_name_the_key_that_signed(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAKE GPU: its root stands in for NVIDIA's. Everything else is real."""
    gpu = MadeUpGpu()
    monkeypatch.setattr("scrip.attestation.certificates.nvidia_root", lambda: gpu.root)
    market.system.watcher_set(WATCHERS, 2)
    class_id = market.class_(min_assurance=3, watcher_set=1, resource=Resource.GPU_SECOND)
    for signer, failure in (("oracle", None), ("watcher 0", "attestation.nonce"), (None, "attestation.gpus")):
        bundle = market.bundle(market.open(class_id), assurance=3)
        seed = (market.chain.chain_id, market.address, bundle.job_id, bundle.nonce)
        named = () if signer is None else (gpu.report(report_nonce(*seed, account(signer).address), "GPU-1"),)
        leased = tuple(
            replace(sample, device="GPU-1") if sample.source == "lease" else sample
            for sample in bundle.samples[:4]
        )
        sealed = seal(leased, result=OK, attempt=1, sku="test-cpu", reports=[item.digest() for item in named])
        receipt = replace(bundle.receipt, evidence_root=evidence_root(*seed, sealed))
        bundle = replace(bundle, samples=sealed, receipt=receipt, gpu_reports=named)
        market.submit(bundle, WATCHERS)
        if failure is not None:
            assert market.fails(bundle) == failure
            continue
        assert market.passes(bundle)["attestation.report"].startswith("GPU-1: Made-up leaf")


def test_url__bundle_served_by_a_provider__passes(market: Market) -> None:
    bundle = market.bundle(market.open(market.class_()))
    with _serving(bundle.encode()) as url:
        assert market.run(url).exit_code == 0


@contextmanager
def _serving(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jobs/0x00/evidence"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
