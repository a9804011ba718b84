"""`transfer` and `keep` as the executor runs them, on a real server: what they leave, and when they fail."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oracle.catalogue import Catalogue, SpecRefused
from oracle.executors.base import Exit, Work
from oracle.executors.local import LocalExecutor
from oracle.executors.result import read_output
from oracle.intake import Declined
from oracle.jobs import keep, transfer
from oracle.jobs.common import Unable
from oracle.jobs.names import CONTENT as CONTENT_FILE
from oracle.jobs.params import ArtefactSettings, KeepParams, TransferParams
from oracle.telemetry.base import Lease
from oracle.telemetry.network import NetworkMeter
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.storage import StorageMeter
from scrip.evidence import Sample
from scrip.types import Resource
from tests.unit.artefact_server import CONTENT, ArtefactServer, catalogue_file, serving
from tests.unit.evidence_factory import make_bundle
from tests.unit.oracle_factory import Lab, terms
from tests.unit.oracle_market import ORACLE

SEED = "0x" + "5e" * 32
KEEP = {"seconds": 2, "proofs": 3, "seed": SEED}


@pytest.fixture(scope="module")
def server() -> Iterator[ArtefactServer]:
    with serving() as made:
        yield made


@pytest.fixture
def catalogue(server: ArtefactServer, tmp_path: Path) -> Catalogue:
    return Catalogue.load(catalogue_file(tmp_path, server.origin))


@pytest.fixture(scope="module", params=["rlimits", "bubblewrap"])
def executor(request: pytest.FixtureRequest) -> LocalExecutor:
    return LocalExecutor(confinement=request.param)


def order(catalogue: Catalogue, name: str, params: dict[str, Any], folder: Path) -> Work:
    template = catalogue.template(name)
    return template.work(b"\x01" * 32, 1, template.parse(params), folder / "work")


def run(executor: LocalExecutor, work: Work, meter: StorageMeter | NetworkMeter) -> tuple[Exit, list[Sample]]:
    """Run and meter it, as the worker does."""
    running = executor.start(work)
    lease = Lease(work.job_id, running.pid, running.pgid, None, (), work.workdir)
    recorder = Recorder(lease, [meter], period_s=0.05)
    recorder.start()
    ended = running.wait(60)
    return ended, recorder.end(ended)


# WHAT IS REFUSED


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": "00" * 32}, "the spec names another"),
        ({"size": len(CONTENT) + 1}, "the spec names another"),
        ({"size": len(CONTENT) - 1}, "more than"),
        ({"url": "http://127.0.0.1:1/a"}, "isn't one that this provider fetches from"),
    ],
)
def test_transfer__not_what_was_named__fails_with_the_reason(
    server: ArtefactServer,
    catalogue: Catalogue,
    executor: LocalExecutor,
    tmp_path: Path,
    change: dict[str, Any],
    says: str,
) -> None:
    work = order(catalogue, "transfer", server.params() | change, tmp_path)
    ended, _ = run(executor, work, NetworkMeter())
    assert (ended.reason, ended.code in (2, 3)) == ("failed", True)
    assert says in ended.log


def test_transfer__nothing_there__fails(
    server: ArtefactServer, catalogue: Catalogue, executor: LocalExecutor, tmp_path: Path
) -> None:
    params = server.params() | {"url": f"{server.origin}/gone"}
    ended, _ = run(executor, order(catalogue, "transfer", params, tmp_path), NetworkMeter())
    assert ended.reason == "failed"
    assert "HTTP 404" in ended.log


def test_confined__without_network__reaches_nothing(
    server: ArtefactServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    work = replace(order(catalogue, "transfer", server.params(), tmp_path), network=False)
    ended, _ = run(LocalExecutor(confinement="bubblewrap"), work, NetworkMeter())
    assert ended.reason == "failed"
    assert "ConnectError" in ended.log


@pytest.mark.parametrize(
    ("template", "change", "field"),
    [
        ("keep", {"seconds": 0}, "seconds"),
        ("keep", {"seconds": 7_201}, "seconds"),
        ("keep", {"proofs": 257}, "proofs"),
        ("keep", {"seed": "0x12"}, "seed"),
        ("transfer", {"size": 16_000_001}, "size"),
        ("transfer", {"url": "file:///etc/passwd"}, "url"),
        ("transfer", {"sha256": "AB" * 32}, "sha256"),
    ],
)
def test_parse__out_of_bounds__is_refused(
    server: ArtefactServer, catalogue: Catalogue, template: str, change: dict[str, Any], field: str
) -> None:
    params = server.params(**(KEEP if template == "keep" else {})) | change
    with pytest.raises(SpecRefused) as error:
        catalogue.template(template).parse(params)
    assert error.value.field == field


@pytest.mark.parametrize("harm", ["gone", "one byte", "shorter"])
def test_keep__content_does_not_last__job_fails(
    server: ArtefactServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """As when a disk loses it after the first proof."""
    params = KeepParams(**server.params(**KEEP))
    proofs: list[bytes] = []
    whole = keep._from_disk

    def damaging(path: Path, given: KeepParams) -> bytes:
        content = whole(path, given)
        proofs.append(content)
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(content[:-1] + (b"x" if harm == "one byte" else b""))
        return content

    monkeypatch.setattr(keep, "_from_disk", damaging)
    with pytest.raises(Unable, match="the content"):
        keep.keep(params, ArtefactSettings(origins=[server.origin], timeout_s=20), tmp_path)
    assert len(proofs) == 1
    assert not (tmp_path / "output.bin").exists()


# WHAT IS DONE


def test_transfer__moves_exactly_the_artefact(
    server: ArtefactServer, catalogue: Catalogue, executor: LocalExecutor, tmp_path: Path
) -> None:
    work = order(catalogue, "transfer", server.params(), tmp_path)
    ended, samples = run(executor, work, NetworkMeter())
    assert ended.reason == "ok", ended.log
    output = read_output(work.workdir, work.limits.output_bytes)
    assert output == CONTENT
    transfer.check(TransferParams(**server.params()), output)
    moved = [sample.value for sample in samples if sample.metric == "moved_bytes"]
    assert (moved[0], moved[-1]) == (0, len(CONTENT))


def test_keep__proves_and_is_metered_for_as_long_as_asked(
    server: ArtefactServer, catalogue: Catalogue, executor: LocalExecutor, tmp_path: Path
) -> None:
    params = server.params(**KEEP)
    work = order(catalogue, "keep", params, tmp_path)
    ended, samples = run(executor, work, StorageMeter())
    assert ended.reason == "ok", ended.log
    output = read_output(work.workdir, work.limits.output_bytes)
    last_ms = keep.check(KeepParams(**params), output)
    assert 4 * 2000 // 6 <= last_ms <= 2000 + keep.LATE_MS
    assert output.endswith(CONTENT)
    sizes = [sample.value for sample in samples if sample.metric == "stored_bytes"]
    assert (sizes[0], sizes[-1], max(sizes)) == (0, len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("source", [{}, {"url": "http://x/a", "job": SEED}])
def test_keep__no_source_or_two__is_refused(catalogue: Catalogue, source: dict[str, str]) -> None:
    given = {"sha256": "ab" * 32, "size": 5, **KEEP, **source}
    with pytest.raises(SpecRefused, match="either a url or a job"):
        catalogue.template("keep").parse(given)


def test_keep__output_of_an_earlier_job__needs_no_network_and_no_origin(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    template = Catalogue.load().template("keep")
    given = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT), "job": SEED, **KEEP}
    params = template.parse(given | {"seconds": 1, "proofs": 1})
    work = template.work(b"\x01" * 32, 1, params, tmp_path / "work", content=CONTENT)
    ended, _ = run(executor, replace(work, network=False), StorageMeter())
    assert ended.reason == "ok", ended.log
    assert read_output(work.workdir, work.limits.output_bytes).endswith(CONTENT)


def test_worker__output_of_an_earlier_job__is_its_own_payers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, monkeypatch)
    node = lab.start()
    bundle = make_bundle()
    node.evidence.put(bundle)
    given = {"sha256": "ab" * 32, "size": 5, **KEEP}

    def content(payer: str, job: bytes) -> bytes | None:
        planned = SimpleNamespace(params=KeepParams(**given, job="0x" + job.hex()))
        asking = SimpleNamespace(terms=terms(lab.market, payer=payer))
        return node.worker._content(asking, planned)  # type: ignore[arg-type]

    assert content(bundle.terms.payer, bundle.job_id) == bundle.output
    for payer, job in ((ORACLE.address, bundle.job_id), (bundle.terms.payer, bytes(32))):
        with pytest.raises(Declined, match="no such output"):
            content(payer, job)
    lab.close()


def test_meters__links_and_folders__count_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(CONTENT)
    (tmp_path / CONTENT_FILE).symlink_to(tmp_path / "other")
    (tmp_path / "output.bin").mkdir()
    lease = Lease(b"\x01" * 32, 1, 1, None, (), tmp_path)
    assert [
        reading.value for meter in (StorageMeter(), NetworkMeter()) for reading in meter.start(lease)
    ] == [0, 0]


# PROOFS


def kept(**change: Any) -> tuple[KeepParams, list[keep.Proof], bytes]:
    """An honest output, by its parts."""
    content = bytes(range(256)) * 8
    sha256 = hashlib.sha256(content).hexdigest()
    params = KeepParams(url="http://x/a", sha256=sha256, size=len(content), **(KEEP | change))
    proofs = [keep.Proof(moment + 3, digest) for moment, digest in keep.chain(params, lambda _: content)]
    return params, proofs, content


def test_check__honest__is_the_time_of_the_last_proof() -> None:
    params, proofs, content = kept()
    assert keep.check(params, keep.encode(proofs, content)) == proofs[-1].at_ms


@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (lambda proofs, content: keep.encode(proofs[:-1], content), "bytes, must be"),
        (lambda proofs, content: b"x" + keep.encode(proofs, content)[1:], "header"),
        (lambda proofs, content: keep.encode(proofs, content[:-1] + b"x"), "content isn't"),
        (lambda proofs, content: keep.encode([proofs[1], proofs[0], proofs[2]], content), "proof 1 isn't"),
        (
            lambda proofs, content: keep.encode([replace(proofs[0], at_ms=0), *proofs[1:]], content),
            "proof 1 was due",
        ),
        (
            lambda proofs, content: keep.encode([*proofs[:-1], replace(proofs[-1], at_ms=60_000)], content),
            "proof 3 was due",
        ),
    ],
)  # fmt: skip
def test_check__forged__says_which(forge: Any, says: str) -> None:
    params, proofs, content = kept()
    with pytest.raises(ValueError, match=says):
        keep.check(params, forge(proofs, content))


def test_check__another_seed__is_another_chain() -> None:
    _, proofs, content = kept()
    params = kept(seed="0x" + "11" * 32)[0]
    with pytest.raises(ValueError, match="proof 1 "):
        keep.check(params, keep.encode(proofs, content))


@pytest.mark.parametrize("proofs", [1, 7, 256])
def test_moments__ascend_and_stay_in_their_windows(proofs: int) -> None:
    params, made, _ = kept(proofs=proofs, seconds=3600)
    window = 3_600_000 / proofs
    assert all(
        number * window - 1 <= proof.at_ms - 3 <= (number + 1) * window for number, proof in enumerate(made)
    )
    assert params.stored() == (2048, 3600)


# PRICES


@pytest.mark.parametrize(
    ("template", "resource", "decimals", "units"),
    [
        ("transfer", Resource.GB_TRANSFER, 9, 1_024_000),  # one base unit a byte
        ("transfer", Resource.GB_TRANSFER, 3, 2),  # rounded up
        ("keep", Resource.GB_HOUR, 9, 569),  # 1,024,000 bytes for 2 of 3600 s
        ("keep", Resource.GB_TRANSFER, 9, None),
        ("transfer", Resource.CPU_SECOND, 3, None),
    ],
)
def test_estimate__is_the_size_times_the_time_rounded_up(
    server: ArtefactServer,
    catalogue: Catalogue,
    template: str,
    resource: Resource,
    decimals: int,
    units: int | None,
) -> None:
    found = catalogue.template(template)
    params = found.parse(server.params(**(KEEP if template == "keep" else {})))
    assert found.estimate_units(params, resource, decimals) == units
