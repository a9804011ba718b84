"""Two jobs at once on one simulated GPU, through the whole daemon: each is charged for its half, and proves
its part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.attribution import attribute
from oracle.catalogue import Catalogue
from oracle.receipt import JobFacts
from oracle.verify import VerifyRequest, verify_request
from scrip.chain import Chain
from scrip.evidence import Bundle
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobState, JobTerms, Receipt, Resource, Status, sku_id
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.system import System

SKU = "test-gpu-shared-2"
UNITS = 1_000_000
SPECS = [
    JobSpec("matmul.int8", {"seed": "0x" + digit * 64, "size": 512, "rounds": 120}) for digit in ("a", "b")
]


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


def request_of(place: OracleLab, terms: JobTerms, running: JobState) -> VerifyRequest:
    """What a watcher would check, had it been asked while the job ran."""
    job, view = place.id_of(terms), place.chain.at()
    raw = place.private(job, "evidence").content
    market, class_terms = place.chain.address("JobMarket"), view.class_terms(terms.class_id)
    facts = JobFacts(place.chain.chain_id, market, terms, class_terms, running, local=True)
    receipt = Receipt.from_json(place.show(job)["receipt"])
    return VerifyRequest(Bundle.decode(raw), receipt, facts, view.time(), Catalogue.load(), None, bytes(16))


def test_two_jobs_at_once__share_one_gpu_and_each_receipt_follows_from_its_evidence(place: OracleLab) -> None:
    class_id = place.system.create_class(resource=Resource.GPU_SECOND, sku=sku_id(SKU), min_assurance=0)
    buyer = place.buy(class_id, UNITS)
    place.serve(SKU)
    shared = {"gpu_sku": SKU, "gpu_tenants": 2, "gpu_idle_mw": 70_000, "simulated_gpu": True, "tick_ms": 200}
    place.start("provider", place.provider_settings(provider=shared))
    terms = [place.terms(buyer, class_id, spec_hash=spec_hash(spec), max_units=150_000) for spec in SPECS]
    quotes = [place.quote(one, spec) for one, spec in zip(terms, SPECS, strict=True)]
    jobs = [place.open(buyer, one, quote) for one, quote in zip(terms, quotes, strict=True)]
    states = [place.chain.at().job_state(job) for job in jobs]
    place.wait_for(jobs, Status.SETTLED)
    for one, running in zip(terms, states, strict=True):
        request = request_of(place, one, running)
        checks = dict(verify_request(request).checks)
        samples = request.bundle.samples
        assert max(sample.value for sample in samples if sample.metric == "share_total") == 2
        lease_ms = max(sample.value for sample in samples if sample.metric == "lease_ms")
        assert request.receipt.units == lease_ms // 2
        assert checks["usage.energy"] == f"{request.receipt.gpu_millijoules} mJ, shared"
        assert attribute(request.bundle.job_id, samples).gpu_millijoules > 0
