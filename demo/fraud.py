"""A dishonest provider, for the demonstration: it does a job honestly, then lies about it.

Runs while the provider's own node is down, with its oracle key and on its address, so the watchers and the
contract see what they would see if the provider itself had turned.
"""

from __future__ import annotations

import contextlib
import http.server
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from demo.classes import LLM_SKU
from demo.stack import Stack
from demo.stack_config import ORACLE
from oracle.attribution import attribute
from oracle.catalogue import Catalogue
from oracle.executors.local import LocalExecutor
from oracle.executors.result import read_output
from oracle.facts import Facts
from oracle.quorum import Quorum, Row, digest
from oracle.receipt import Attempt, anchor_interval, make_receipt, with_assurance
from oracle.settings import QuorumSettings
from oracle.store import Store
from oracle.telemetry.base import Lease
from oracle.telemetry.cpu import CpuMeter
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.tokens import UsageFileMeter
from scrip import redeem
from scrip.deploying.plan import FIRST_SET
from scrip.eip712 import acceptance_digest, job_id, receipt_digest, sign
from scrip.errors import Reverted, ScripError
from scrip.evidence import MAX_OUTPUT_BYTES, Bundle, Result, Sample, seal
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms, Receipt

EXTRA_TOKENS = 10
LIVES_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Lie:
    """One way to cheat: the evidence shown and the receipt claimed."""

    name: str
    bundle: Bundle
    receipt: Receipt


def lies(stack: Stack, spec: JobSpec, max_units: int) -> tuple[Bundle, tuple[Lie, ...]]:
    """Do a job honestly, and forge its evidence in four ways. The job stays running on chain."""
    honest = _honest(stack, spec, max_units)
    receipt = honest.receipt
    more = replace(
        receipt, units=receipt.units + EXTRA_TOKENS, output_tokens=receipt.output_tokens + EXTRA_TOKENS
    )
    flipped = bytes([honest.output[0] ^ 1]) + honest.output[1:]
    sample = honest.samples[-1]
    bent = (*honest.samples[:-1], replace(sample, value=sample.value + 1))
    return honest, (
        Lie(f"{EXTRA_TOKENS} tokens more than were made", replace(honest, receipt=more), more),
        Lie("one byte of the output changed", replace(honest, output=flipped), receipt),
        Lie("one sample of the telemetry changed", replace(honest, samples=bent), receipt),
        Lie("one sample of the telemetry left out", replace(honest, samples=honest.samples[1:]), receipt),
    )


def ask_watchers(stack: Stack, lie: Lie) -> set[str]:
    """Show the forged evidence to all watchers and return why they refuse. Raises unless all do."""
    facts, settings = Facts(stack.chain, local=True), QuorumSettings(watchers=stack.watcher_urls)
    message = digest([lie.receipt], stack.chain.chain_id, facts.verifier, batched=False)
    signature = sign(message, stack.accounts[ORACLE])
    with tempfile.TemporaryDirectory(prefix="scrip-demo-") as folder, _serving(stack, lie.bundle) as url:
        store = Store.open(f"sqlite:///{Path(folder) / 'asked.db'}")
        try:
            row = Row(lie.receipt, lie.bundle.terms, url)
            quorum = Quorum(settings, facts, store)
            outcome = quorum.collect([row], FIRST_SET, batched=False, signature=signature)
            refusals = store.refusals(lie.receipt.job_id)
        finally:
            store.close()
    if outcome.signatures or len(refusals) != len(stack.watcher_urls):
        raise ScripError(f"not every watcher refused a forgery: {outcome.reason}")
    return {f"{refusal.check}: {refusal.reason}" for refusal in refusals}


def send_unwatched(stack: Stack, honest: Bundle, receipt: Receipt) -> Reverted:
    """Sign a receipt with the oracle key alone and send it to the market; return how it reverts."""
    digest = receipt_digest(receipt, stack.chain.chain_id, stack.chain.address("ReceiptVerifier"))
    attestation: tuple[bytes, list[bytes]] = (sign(digest, stack.accounts[ORACLE]), [])
    call = stack.chain.contract("JobMarket").functions.submit(
        honest.terms.to_abi(), receipt.to_abi(), attestation
    )
    try:
        stack.sender("stranger").simulate(call)
    except Reverted as error:
        return error
    raise ScripError("the market would take an unwatched receipt")


def _honest(stack: Stack, spec: JobSpec, max_units: int) -> Bundle:
    """Open a job with a quote of the oracle key, run it here, and write true evidence of it."""
    terms = _open(stack, spec, max_units)
    facts = Facts(stack.chain, local=True)
    state = facts.job(facts.job_id(terms))
    with tempfile.TemporaryDirectory(prefix="scrip-demo-") as folder:
        samples, result, output, times = _run(spec, facts.job_id(terms), state.nonce, Path(folder) / "job")
    sealed = seal(samples, result=result, attempt=1, sku=LLM_SKU)
    usage = attribute(facts.job_id(terms), sealed)
    started, ended = anchor_interval(state.opened_at, facts.now(), *times, time.time_ns() // 1_000_000)
    attempt = Attempt(sealed, usage, result, output, started, ended)
    receipt = with_assurance(make_receipt(facts.job_facts(terms, state), attempt).receipt, 2)
    return Bundle(
        chain_id=stack.chain.chain_id, market=facts.market, job_id=facts.job_id(terms), nonce=state.nonce,
        terms=terms, spec=spec, samples=sealed, output=output, result=result, receipt=receipt,
        simulated=False, attempt=1,
    )  # fmt: skip


def _open(stack: Stack, spec: JobSpec, max_units: int) -> JobTerms:
    now, buyer, market = stack.chain.at().time(), stack.accounts["buyer"], stack.chain.address("JobMarket")
    terms = JobTerms(
        payer=buyer.address, provider=stack.provider, class_id=stack.classes.llm, max_units=max_units,
        resources=1, accept_by=now + LIVES_SECONDS, submit_by=now + LIVES_SECONDS, spec_hash=spec_hash(spec),
        budget_id=0, salt=time.time_ns(),
    )  # fmt: skip
    job = job_id(terms, stack.chain.chain_id, market)
    quote = sign(acceptance_digest(job, stack.chain.chain_id, market), stack.accounts[ORACLE])
    redeem.open_job(stack.chain, stack.sender("buyer"), redeem.Plan(job, terms, spec, quote, ""))
    return terms


def _run(
    spec: JobSpec, job: bytes, nonce: int, workdir: Path
) -> tuple[list[Sample], Result, bytes, tuple[int, int]]:
    catalogue = Catalogue.load()
    template, params = catalogue.template(spec.template), catalogue.parse(spec)
    running = LocalExecutor().start(template.work(job, nonce, params, workdir))
    recorder = Recorder(
        Lease(job, running.pid, running.pgid, None, (), workdir), [CpuMeter(), UsageFileMeter(LLM_SKU)]
    )
    recorder.start()
    ended = running.wait(timeout=LIVES_SECONDS)
    samples = recorder.end(ended)
    output = read_output(workdir, MAX_OUTPUT_BYTES)
    result = Result(ended.code, ended.signal, ended.reason)
    return samples, result, output, (ended.started_wall_ms, ended.ended_wall_ms)


@contextlib.contextmanager
def _serving(stack: Stack, bundle: Bundle) -> Iterator[str]:
    """Serve one bundle where the provider's API would."""
    body, path = bundle.encode(), f"/jobs/0x{bundle.job_id.hex()}/evidence"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == path else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the demonstration prints what matters."""

    where = urlsplit(stack.provider_url)
    server = http.server.ThreadingHTTPServer((str(where.hostname), int(where.port or 0)), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stack.provider_url + path
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
