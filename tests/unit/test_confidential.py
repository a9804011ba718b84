"""Reports through NVML, and what the oracle does with them.

FAKE: no GPU here signs reports, so a made-up binding answers with NVML's structures, and a root of this test
stands in for NVIDIA's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from eth_account import Account

from oracle.intake import Declined, Why
from oracle.receipt import HARDWARE
from oracle.reports import GpuReports, ReportsMissing
from oracle.states import State
from oracle.telemetry.base import Note, Reading
from oracle.telemetry.confidential import Collected, ConfidentialGpus
from oracle.telemetry.nvml import MetricAbsent, NvmlFailed
from oracle.telemetry.replay.build import STEADY_TRACE
from oracle.verify import VerifyRequest, verify_request
from scrip.attestation import GpuReport, check_gpu_reports, report_nonce, verify_report
from scrip.errors import Refused
from scrip.evidence import evidence_root, seal
from scrip.spec import JobSpec, spec_hash
from scrip.types import Outcome, Resource, sku_id
from tests.unit.attestation_factory import MadeUpGpu
from tests.unit.evidence_factory import CHAIN_ID, GPU, GPU_SKU, MARKET, NONCE, NOW, OK
from tests.unit.oracle_factory import Lab, Node, terms
from tests.unit.oracle_market import CPU_CLASS, ORACLE, PROVIDER, cpu_class
from tests.unit.replay_gpu import simulated
from tests.unit.verify_factory import matmul, of_class

MADE_UP = MadeUpGpu()
NONCE_32 = bytes(range(32))


class FakeNvml:
    """FAKE. Answers like NVML in confidential-computing mode; `fails` raises for a symbol instead."""

    simulated = False

    def __init__(self, **changes: Any) -> None:
        self.gpus = {GPU: MADE_UP}
        self.state = SimpleNamespace(ccFeature=1, devToolsMode=0)
        self.fails: dict[str, Exception] = {}
        self.size_off = 0
        vars(self).update(changes)

    def ask(self, symbol: str, gpu: str, *arguments: object) -> Any:
        if symbol in self.fails:
            raise self.fails[symbol]
        assert symbol == "nvmlSystemGetConfComputeState"
        return self.state

    def call(self, symbol: str, gpu: str, *arguments: Any) -> Any:
        if symbol in self.fails:
            raise self.fails[symbol]
        made = self.gpus[gpu]
        if symbol == "nvmlDeviceGetConfComputeGpuCertificate":
            certificate = pynvml.c_nvmlConfComputeGpuCertificate_t()
            pem = made.pem() + b"\0"
            certificate.attestationCertChainSize = len(pem)
            ctypes.memmove(certificate.attestationCertChain, pem, len(pem))
            return certificate
        assert symbol == "nvmlDeviceGetConfComputeGpuAttestationReport"
        answer = pynvml.c_nvmlConfComputeGpuAttestationReport_t()
        raw = made.report(arguments[0], gpu).report
        answer.attestationReportSize = len(raw) + self.size_off
        ctypes.memmove(answer.attestationReport, raw, len(raw))
        return answer


def verify(report: GpuReport, *, nonce: bytes, now: int) -> object:
    """The watchers' checks, with the root of this test."""
    return verify_report(report, nonce=nonce, now=now, root=MADE_UP.root)


def asking(nvml: FakeNvml) -> ConfidentialGpus:
    return ConfidentialGpus(nvml, verify=verify, clock=lambda: NOW + 0.5)


# --- collecting


def test_collect__each_gpu_answers_for_the_nonce() -> None:
    found = asking(FakeNvml()).collect([GPU], NONCE_32)
    assert (found.notes, len(found.reports)) == ((), 1)
    assert found.reports[0] == replace(MADE_UP.report(NONCE_32, GPU), report=found.reports[0].report)
    verify(found.reports[0], nonce=NONCE_32, now=NOW)


ABSENT = MetricAbsent("nvmlX", GPU, "the GPU doesn't support it")
BROKEN = NvmlFailed("nvmlX", GPU, 2, "invalid argument")
STATE, CERTIFICATE, REPORT = (
    "nvmlSystemGetConfComputeState",
    "nvmlDeviceGetConfComputeGpuCertificate",
    "nvmlDeviceGetConfComputeGpuAttestationReport",
)


@pytest.mark.parametrize(
    ("nvml", "reason"),
    [
        (FakeNvml(simulated=True), "simulated"),
        (FakeNvml(state=SimpleNamespace(ccFeature=0, devToolsMode=0)), "is off"),
        (FakeNvml(state=SimpleNamespace(ccFeature=1, devToolsMode=1)), "debugging"),
        (FakeNvml(fails={STATE: ABSENT}), "doesn't support"),
        (FakeNvml(fails={STATE: BROKEN}), "invalid argument"),
        (FakeNvml(fails={CERTIFICATE: ABSENT}), "doesn't support"),
        (FakeNvml(fails={REPORT: BROKEN}), "invalid argument"),
        (FakeNvml(size_off=-1), "attestation.format"),
        (FakeNvml(size_off=9_000), "field that holds 8192"),
        (FakeNvml(gpus={GPU: MadeUpGpu()}), "attestation.root"),
    ],
)
def test_collect__can_not_be_had__noted_and_none_kept(nvml: FakeNvml, reason: str) -> None:
    found = asking(nvml).collect([GPU], NONCE_32)
    assert found.reports == ()
    [note] = found.notes
    assert reason in note.reason
    assert (note.source, note.metric) == ("nvml", "gpu_report")


def test_collect__through_nvidias_binding_and_a_library_without_the_symbols__noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real way to NVML, as far as it leads on a machine whose GPUs can't do it."""
    with simulated(tmp_path, STEADY_TRACE) as (nvml, _clock):
        assert ConfidentialGpus(nvml).unready() == "the GPU is simulated"
        monkeypatch.setattr(nvml, "simulated", False)
        [note] = ConfidentialGpus(nvml).collect([nvml.gpus()[0].uuid], NONCE_32).notes
        assert "driver is too old" in note.reason


def test_collect__one_of_two_fails__none_kept() -> None:
    other = MadeUpGpu()
    nvml = FakeNvml(gpus={GPU: MADE_UP, "GPU-2": other})
    found = asking(nvml).collect([GPU, "GPU-2"], NONCE_32)
    assert found.reports == ()
    assert [note.device for note in found.notes] == ["GPU-2"]


# --- a watcher


def reported(request: VerifyRequest, *reports: GpuReport, oracle: str = ORACLE.address) -> VerifyRequest:
    """A GPU job's request at assurance 3 with these reports in its bundle."""
    recorded = request.bundle.samples[:7]
    digests = [item.digest() for item in reports]
    sealed = seal(recorded, result=OK, attempt=1, sku=GPU_SKU, reports=digests)
    root = evidence_root(CHAIN_ID, MARKET, request.facts.job_id, NONCE, sealed)
    receipt = replace(request.receipt, assurance=HARDWARE, evidence_root=root)
    bundle = replace(request.bundle, samples=sealed, receipt=receipt, gpu_reports=reports)
    return replace(request, bundle=bundle, receipt=receipt, oracle=oracle)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAKE: the root of this test in place of NVIDIA's."""
    monkeypatch.setattr("scrip.attestation.certificates.nvidia_root", lambda: MADE_UP.root)


HONEST = matmul("nvml")
JOB_NONCE = report_nonce(CHAIN_ID, MARKET, HONEST.facts.job_id, NONCE, ORACLE.address)
FOR_JOB = MADE_UP.report(JOB_NONCE, GPU)


@pytest.mark.usefixtures("ours")
def test_watcher__assurance_3_with_a_report_of_each_gpu__passes() -> None:
    request = reported(HONEST, FOR_JOB)
    assert "attestation.report" in [check.name for check in verify_request(request).checks]
    verify_request(of_class(request, min_assurance=HARDWARE))


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("request_", "check"),
    [
        (reported(HONEST), "receipt.assurance"),
        (reported(HONEST, FOR_JOB, oracle=PROVIDER), "attestation.nonce"),
        (reported(HONEST, replace(FOR_JOB, device="GPU-x")), "attestation.gpus"),
        (reported(HONEST, replace(FOR_JOB, report=FOR_JOB.report[:-1] + b"\0")), "attestation.signature"),
        (reported(matmul(), FOR_JOB), "simulated.assurance"),
    ],
    ids=["none", "another key", "another GPU", "not signed", "simulated"],
)
def test_watcher__assurance_3_without_genuine_reports__refused_by(
    request_: VerifyRequest, check: str
) -> None:
    with pytest.raises(Refused) as refused:
        verify_request(request_)
    assert refused.value.check == check


def test_watcher__report_that_nvidia_did_not_certify__refused() -> None:
    with pytest.raises(Refused) as refused:
        verify_request(reported(HONEST, FOR_JOB))
    assert refused.value.check == "attestation.root"


# --- a provider


MATMUL = JobSpec("matmul.int8", {"seed": "0x" + "cd" * 32, "size": 64})
WATCHERS = [Account.from_key(bytes([number]) * 32) for number in (7, 8)]


def collected(gpus: Any, nonce: bytes) -> Collected:
    return Collected(tuple(MADE_UP.report(nonce, gpu) for gpu in gpus))


def nothing(gpus: Any, nonce: bytes) -> Collected:
    return Collected((), (Note("nvml", gpus[0], "gpu_report", "it is off"),))


def job_row(class_id: int = 1) -> Any:
    return SimpleNamespace(job_id=b"\x11" * 32, label="0x11", terms=SimpleNamespace(class_id=class_id))


def reports(collect: Any, *, key: str | None = ORACLE.address, least: int = 0) -> GpuReports:
    chain = SimpleNamespace(chain_id=CHAIN_ID)
    facts: Any = SimpleNamespace(
        chain=chain, market=MARKET, class_terms=lambda _: SimpleNamespace(min_assurance=least)
    )
    return GpuReports(facts, key, collect)


GPU_SAMPLES = HONEST.bundle.samples
CPU_SAMPLES = tuple(sample for sample in GPU_SAMPLES if sample.device != GPU)


def test_reports__asked_over_the_job_and_our_key() -> None:
    [report] = reports(collected).of(job_row(), GPU_SAMPLES, NONCE)
    verify(report, nonce=report_nonce(CHAIN_ID, MARKET, b"\x11" * 32, NONCE, ORACLE.address), now=NOW)


def test_reports__no_gpu_no_key_or_none_that_signs__none_asked() -> None:
    def never(*_: object) -> Collected:
        raise AssertionError("asked")

    assert reports(never).of(job_row(), CPU_SAMPLES, NONCE) == ()
    assert reports(never, key=None).of(job_row(), GPU_SAMPLES, NONCE) == ()
    assert reports(None).of(job_row(), GPU_SAMPLES, NONCE) == ()


def test_reports__not_to_be_had__lower_assurance_unless_the_class_needs_them() -> None:
    assert reports(nothing, least=2).of(job_row(), GPU_SAMPLES, NONCE) == ()
    with pytest.raises(ReportsMissing, match="it is off"):
        reports(nothing, least=HARDWARE).of(job_row(), GPU_SAMPLES, NONCE)


class FakeGpuMeter:
    """FAKE. 300 J of one GPU."""

    name, simulated = "nvml", False

    def start(self, lease: Any) -> list[Reading]:
        return [Reading("nvml", GPU, "energy_mj", 0)]

    def tick(self) -> list[Reading]:
        return []

    def end(self, finished: Any) -> list[Reading]:
        return [Reading("nvml", GPU, "energy_mj", 0)]

    def notes(self) -> tuple[Any, ...]:
        return ()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A market with a GPU class that needs assurance 2, and two watchers who sign anything."""
    monkeypatch.setattr("tests.unit.oracle_factory.FakeMeter", FakeGpuMeter)
    made = Lab(tmp_path / "state", monkeypatch)
    sold = cpu_class(resource=Resource.GPU_SECOND, sku=sku_id("h100"), watcher_set=1, min_assurance=2)
    made.market.classes[CPU_CLASS] = sold
    made.market.watchers[1] = ({one.address for one in WATCHERS}, 2)
    made.signers = WATCHERS
    yield made
    made.close()


def run(lab: Lab) -> tuple[Node, bytes]:
    """A GPU job on a provider with watchers."""
    watchers = {"watchers": ["http://127.0.0.1:1", "http://127.0.0.1:2"]}
    node = lab.start(gpus=[GPU], gpu_sku="h100", quorum=watchers, max_attempts=1)
    asked = terms(lab.market, spec_hash=spec_hash(MATMUL))
    return node, lab.market.open(asked, node.desk.quote(asked, MATMUL).signature)


@pytest.mark.parametrize(("collect", "level"), [(None, 2), (nothing, 2), (collected, 3)])
def test_provider__settles_at_the_assurance_its_gpus_allow(lab: Lab, collect: Any, level: int) -> None:
    lab.collect = collect
    node, job = run(lab)
    node.until_at(job, State.SETTLED)
    [receipt] = lab.market.settled[job]
    assert (receipt.outcome, receipt.assurance) == (Outcome.COMPLETED, level)
    bundle = node.evidence.get(job)
    assert len(bundle.gpu_reports) == (level == HARDWARE)
    if level == HARDWARE:
        check_gpu_reports(bundle, oracle=ORACLE.address, now=NOW, root=MADE_UP.root)


def test_provider__class_needs_reports_and_its_gpus_sign_none__declined(lab: Lab) -> None:
    lab.market.classes[CPU_CLASS] = replace(lab.market.classes[CPU_CLASS], min_assurance=HARDWARE)
    with pytest.raises(Declined) as declined:
        run(lab)
    assert declined.value.why is Why.ASSURANCE


def test_provider__class_needs_reports_and_they_fail__job_given_back(lab: Lab) -> None:
    lab.market.classes[CPU_CLASS] = replace(lab.market.classes[CPU_CLASS], min_assurance=HARDWARE)
    lab.collect = nothing
    node, job = run(lab)
    node.until_at(job, State.CANCELLED)
    assert any("needs reports of the GPUs" in step.reason for step in node.store.steps(job))
    assert job not in lab.market.settled
