"""Storage and bandwidth redeem like compute: real daemon, watcher and contracts, a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
SEED = "0x" + "2d" * 32


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=1) as made:
        yield made


@pytest.fixture
def server() -> Iterator[ArtefactServer]:
    with serving() as made:
        yield made


LABELS = {Resource.GB_HOUR: "test-disk", Resource.GB_TRANSFER: "test-line"}


def start(place: OracleLab, server: ArtefactServer) -> None:
    """A provider that fetches from the server; a watcher with the default catalogue."""
    for label in LABELS.values():
        place.serve(label)
    offer = {
        "storage_sku": LABELS[Resource.GB_HOUR], "network_sku": LABELS[Resource.GB_TRANSFER], "tick_ms": 100,
        "catalogue": catalogue_file(place.folder, server.origin),
    }  # fmt: skip
    place.start_all(provider=offer)


def redeemed(place: OracleLab, resource: Resource, spec: JobSpec) -> VerifyRequest:
    """Buy, open, wait until it is settled; what a watcher checked."""
    class_id = place.system.create_class(
        resource=resource, sku=sku_id(LABELS[resource]), decimals=9, max_rate=10**10, min_assurance=2,
        watcher_set=1, price_per_million=5 * 10**14,
    )  # fmt: skip
    buyer = place.buy(class_id, 10**8)
    terms = place.terms(buyer, class_id, spec_hash=spec_hash(spec), max_units=2_000_000)
    job = place.open(buyer, terms, place.quote(terms, spec))
    running = place.chain.at().job_state(job)
    place.wait_for([job], Status.SETTLED)
    receipt = Receipt.from_json(place.show(job)["receipt"])
    assert receipt.assurance == 2
    assert place.chain.at().balance(buyer.address, class_id) == 10**8 - receipt.units
    return request_of(place, terms, running, receipt)


def request_of(place: OracleLab, terms: JobTerms, running: JobState, receipt: Receipt) -> VerifyRequest:
    raw = place.private(receipt.job_id, "evidence").content
    view = place.chain.at()
    market, class_terms = place.chain.address("JobMarket"), view.class_terms(terms.class_id)
    facts = JobFacts(place.chain.chain_id, market, terms, class_terms, running, local=True)
    return VerifyRequest(Bundle.decode(raw), receipt, facts, view.time(), Catalogue.load(), None, bytes(16))


def checks(request: VerifyRequest) -> dict[str, Any]:
    return {check.name: check.detail for check in verify_request(request).checks}


def test_transfer_and_keep__settle_for_bytes_and_for_byte_time(
    place: OracleLab, server: ArtefactServer
) -> None:
    """An artefact is moved to the provider; the output of that job is then kept for its buyer."""
    start(place, server)
    artefact = server.params()
    content = {name: artefact[name] for name in ("sha256", "size")}
    moved = redeemed(place, Resource.GB_TRANSFER, JobSpec("transfer", artefact))
    assert moved.receipt.units == len(CONTENT)  # with 9 decimals one base unit is one byte
    assert moved.bundle.output == CONTENT
    assert checks(moved)["bounds.moved"] == f"{len(CONTENT)} bytes"
    assert server.asked == ["/a"]

    asked = {"job": "0x" + moved.receipt.job_id.hex(), "seconds": SECONDS, "proofs": 4, "seed": SEED}
    kept = redeemed(place, Resource.GB_HOUR, JobSpec("keep", content | asked))
    expected = len(CONTENT) * SECONDS * 10**9 // (GB * HOUR_S)
    assert expected * 9 // 10 <= kept.receipt.units <= expected * 3 // 2
    assert checks(kept)["output.content"].startswith("4 proofs of sha256")
    assert "bounds.kept" in checks(kept)
    assert server.asked == ["/a"]


def test_transfer__content_that_is_gone__is_refunded_whole(place: OracleLab, server: ArtefactServer) -> None:
    start(place, server)
    spec = JobSpec("transfer", server.params() | {"url": f"{server.origin}/gone"})
    class_id = place.system.create_class(
        resource=Resource.GB_TRANSFER, sku=sku_id("test-line"), decimals=9, max_rate=10**10, min_assurance=1,
        price_per_million=5 * 10**14,
    )  # fmt: skip
    buyer = place.buy(class_id, 10**8)
    terms = place.terms(buyer, class_id, spec_hash=spec_hash(spec), max_units=2_000_000)
    job = place.open(buyer, terms, place.quote(terms, spec))
    place.wait_for([job], Status.REFUNDED)
    assert "HTTP 404" in place.show(job)["reason"]
    assert place.chain.at().balance(buyer.address, class_id) == 10**8
