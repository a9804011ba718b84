"""A provider whose catalogue says `engine = "slurm"`: escrow to settled receipt, and over a kill -9."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.daemon import build
from oracle.findings import Mark
from oracle.preflight import check
from oracle.settings import Settings, SettingsProblem
from scrip.chain import Chain
from scrip.evidence import Bundle
from scrip.sender import Sender
from scrip.spec import JobSpec, spec_hash
from scrip.types import Receipt, Resource, Status, sku_id
from tests.integration.oracle_lab import OracleLab, catalogue_on, lab
from tests.integration.slurm_cluster import Slurm
from tests.integration.system import System

ROOT = Path(__file__).resolve().parents[2]
UNITS = 1_000_000
SEED = "0x" + "ab" * 32


@pytest.fixture
def place(system: System, chain: Chain, tmp_path: Path) -> Iterator[OracleLab]:
    with lab(system, chain, tmp_path / "lab", watchers=0) as made:
        yield made


def settings_of(place: OracleLab, slurm: Slurm, **provider: Any) -> Settings:
    """The usual provider, with everything on Slurm."""
    offer = {"catalogue": catalogue_on(place.folder, "slurm"), **provider}
    return place.provider_settings(provider=offer, slurm=slurm.settings.model_dump())


def opened(place: OracleLab, buyer: Sender, class_id: int, spec: JobSpec, **changes: Any) -> bytes:
    terms = place.terms(buyer, class_id, spec_hash=spec_hash(spec), **changes)
    return place.open(buyer, terms, place.quote(terms, spec))


def test_start__engine_that_is_not_set_up__is_a_clear_refusal(place: OracleLab, slurm: Slurm) -> None:
    settings = settings_of(place, slurm).model_copy(update={"slurm": None})
    with pytest.raises(SettingsProblem, match="slurm: missing, a template of the catalogue runs on it"):
        build(settings)


def test_check__names_the_engine(place: OracleLab, slurm: Slurm) -> None:
    (found,) = [item for item in check(settings_of(place, slurm)) if item.what == "slurm"]
    assert (found.mark, "1 node(s) answer" in found.detail) == (Mark.OK, True)


def test_job__on_slurm__settles_within_the_edges_of_prolog_and_epilog(place: OracleLab, slurm: Slurm) -> None:
    class_id = place.system.create_class(min_assurance=1)
    buyer = place.buy(class_id, UNITS)
    place.start("provider", settings_of(place, slurm))
    job = opened(place, buyer, class_id, JobSpec("hash.chain", {"seed": SEED, "steps": 2_000_000}))
    place.wait_for([job], Status.SETTLED)
    receipt = Receipt.from_json(place.show(job)["receipt"])
    assert receipt.units > 0
    (end,) = [path for path in slurm.spool.glob("*.end") if job.hex() in path.read_text()]
    assert "exit=0:0" in end.read_text()
    assert slurm.live() == []


def test_gpu_job__on_slurm__leases_the_gpus_that_slurm_chose(place: OracleLab, slurm: Slurm) -> None:
    sku = "test-gpu"
    class_id = place.system.create_class(resource=Resource.GPU_SECOND, sku=sku_id(sku), min_assurance=0)
    buyer = place.buy(class_id, UNITS)
    place.serve(sku)
    place.start("provider", settings_of(place, slurm, simulated_gpu=True, gpu_sku=sku))
    job = opened(place, buyer, class_id, JobSpec("matmul.int8", {"seed": SEED, "size": 512, "rounds": 8}))
    place.wait_for([job], Status.SETTLED)
    raw = place.private(job, "evidence").content
    samples = Bundle.decode(raw).samples
    (gpu,) = {sample.device for sample in samples if sample.metric == "lease_ms"}
    edges = {sample.edge for sample in samples if (sample.device, sample.metric) == (gpu, "energy_mj")}
    assert {"start", "end"} <= edges
    receipt = Receipt.from_json(place.show(job)["receipt"])
    lease = next(s.value for s in samples if (s.metric, s.edge) == ("lease_ms", "end"))
    assert (receipt.units, receipt.assurance) == (lease, 0)


DAEMON = """
import sys
from pathlib import Path
from oracle.daemon import build
from oracle.settings import Settings
build(Settings.model_validate_json(Path(sys.argv[1]).read_text())).run()
"""


def test_daemon__killed_during_a_job__next_one_ends_it_in_slurm_and_settles_once(
    place: OracleLab, slurm: Slurm
) -> None:
    class_id = place.system.create_class(min_assurance=1)
    buyer = place.buy(class_id, UNITS)
    settings = settings_of(place, slurm)
    given = place.folder / "settings.json"
    given.write_text(settings.model_dump_json())
    spec = JobSpec("hash.chain", {"seed": SEED, "steps": 10_000_000})
    log = place.folder / "first.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-c", DAEMON, str(given)], cwd=ROOT, stdout=out, stderr=out
        ) as first,
    ):
        try:
            place.wait(lambda: place._ready(place.url))
            job = opened(place, buyer, class_id, spec, max_units=60_000)
            comment = f"scrip:0x{job.hex()}"
            place.wait(lambda: [row for row in slurm.live() if "RUNNING" in row and comment in row])
            place.wait(lambda: list((settings.state_dir / "slurm").glob("*/begun.json")))
        finally:
            first.kill()
    (row,) = slurm.live()
    ticket = row.split()[0]
    assert "RUNNING" in row, "nobody has ended it yet"
    place.start("provider", settings)
    place.wait_for([job], Status.SETTLED)
    assert "JobState=CANCELLED" in slurm.run("scontrol", "show", "job", ticket)
    assert slurm.live() == []
    assert len(list(place.chain.at().events("JobMarket", "JobSettled", jobId=job))) == 1
    reasons = [step["reason"] for step in place.show(job)["steps"]]
    assert "the node restarted during this attempt" in reasons
