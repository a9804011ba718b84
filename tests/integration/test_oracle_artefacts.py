"""Storage and bandwidth redeem like compute: real daemon, watcher and contracts, a real HTTP server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oracle.catalogue import Catalogue
from oracle.receipt import JobFacts
from oracle.verify import VerifyRequest, verify_request
from scrip.amounts import GB, HOUR_S
from scrip.chain import Chain
from scrip.evidence import Bundle
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobState, JobTerms, Receipt, Resource, Status, sku_id
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.system import System
from tests.unit.artefact_server import CONTENT, ArtefactServer, catalogue_file, serving

SECONDS = 4


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=1) as made:
        yield made


@pytest.fixture
def server() -> Iterator[ArtefactServer]:
    with serving() as made:
        yield made


def redeemed(place: OracleLab, server: ArtefactServer, resource: Resource, spec: JobSpec) -> VerifyRequest:
    """Open, wait until it is settled, and what a watcher checked."""
    label = {Resource.GB_HOUR: "test-disk", Resource.GB_TRANSFER: "test-line"}[resource]
    class_id = place.system.create_class(
        resource=resource, sku=sku_id(label), decimals=9, max_rate=10**10, min_assurance=2, watcher_set=1,
        price_per_million=5 * 10**15,
    )  # fmt: skip
    buyer = place.buy(class_id, 10**8)
    place.serve(label)
    offer = {
        "storage_sku": "test-disk", "network_sku": "test-line", "tick_ms": 100,
        "catalogue": catalogue_file(place.folder, server.origin),
    }  # fmt: skip
    place.start_all(provider=offer)
    terms = place.terms(buyer, class_id, spec_hash=spec_hash(spec), max_units=2_000_000)
    job = place.open(buyer, terms, place.quote(terms, spec))
    running = place.chain.at().job_state(job)
    place.wait_for([job], Status.SETTLED)
    receipt = Receipt.from_json(place.show(job)["receipt"])
    assert receipt.assurance == 2
    assert place.chain.at().balance(buyer.address, class_id) == 10**8 - receipt.units
    return request_of(place, terms, running, receipt)


def request_of(place: OracleLab, terms: JobTerms, running: JobState, receipt: Receipt) -> VerifyRequest:
    raw = httpx.get(f"{place.url}/jobs/0x{receipt.job_id.hex()}/evidence", trust_env=False).content
    view = place.chain.at()
    market, class_terms = place.chain.address("JobMarket"), view.class_terms(terms.class_id)
    facts = JobFacts(place.chain.chain_id, market, terms, class_terms, running, local=True)
    return VerifyRequest(Bundle.decode(raw), receipt, facts, view.time(), Catalogue.load(), None, bytes(16))


def checks(request: VerifyRequest) -> dict[str, Any]:
    return {check.name: check.detail for check in verify_request(request).checks}


def test_transfer__settles_for_the_bytes_that_moved(place: OracleLab, server: ArtefactServer) -> None:
    spec = JobSpec("transfer", server.params())
    request = redeemed(place, server, Resource.GB_TRANSFER, spec)
    assert request.receipt.units == len(CONTENT)  # with 9 decimals one base unit is one byte
    assert request.bundle.output == CONTENT
    assert checks(request)["bounds.moved"] == f"{len(CONTENT)} bytes"
    assert server.asked == ["/a"]


def test_keep__settles_for_the_byte_time_that_was_kept(place: OracleLab, server: ArtefactServer) -> None:
    params = server.params(seconds=SECONDS, proofs=4, seed="0x" + hashlib.sha256(b"x").hexdigest())
    request = redeemed(place, server, Resource.GB_HOUR, JobSpec("keep", params))
    asked = len(CONTENT) * SECONDS * 10**9 // (GB * HOUR_S)
    assert asked * 9 // 10 <= request.receipt.units <= asked * 3 // 2
    assert checks(request)["output.content"].startswith("4 proofs of sha256")
    assert "bounds.kept" in checks(request)
