"""GPU reports made by keys of this test (no hardware here): each check refuses what it is there to refuse."""

from __future__ import annotations

import base64
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from eth_abi import encode
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from scrip.attestation import GpuReport, certificates, check_gpu_reports, report_nonce, spdm, verify_report
from scrip.errors import BadInput, EvidenceInvalid
from scrip.evidence import Bundle, Check, evidence_root, seal, verify_bundle
from tests.unit.attestation_factory import FIRMWARE, MadeUpGpu, exchange, weaker
from tests.unit.evidence_factory import (
    CHAIN_ID,
    GPU,
    GPU_SKU,
    MARKET,
    NONCE,
    NOW,
    OK,
    gpu_samples,
    make_bundle,
    renumber,
    reseal,
)

ORACLE = "0x" + "0a" * 20
MADE_UP = MadeUpGpu()
NONCE_32 = bytes(range(32))
GOOD = MADE_UP.report(NONCE_32, GPU)


def refused(report: GpuReport, *, nonce: bytes = NONCE_32, root: Any = None, now: int = NOW) -> str:
    with pytest.raises(EvidenceInvalid) as error:
        verify_report(report, nonce=nonce, now=now, root=root or MADE_UP.root)
    return error.value.check


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]


# --- one report


def test_report_nonce__is_the_documented_encoding() -> None:
    types = ("uint256", "address", "bytes32", "uint96", "address")
    wanted = keccak(encode(types, (CHAIN_ID, MARKET, b"\x11" * 32, NONCE, ORACLE)))
    assert report_nonce(CHAIN_ID, MARKET, b"\x11" * 32, NONCE, ORACLE) == wanted


@pytest.mark.parametrize("change", [{"nonce": 2**96}, {"oracle": "0x00"}, {"job_id": b""}, {"chain_id": -1}])
def test_report_nonce__out_of_range__refused(change: dict[str, Any]) -> None:
    values = {"chain_id": 1, "market": MARKET, "job_id": bytes(32), "nonce": 1, "oracle": ORACLE} | change
    with pytest.raises(BadInput):
        report_nonce(**values)


def test_made_up_gpu__against_nvidias_root__refused() -> None:
    with pytest.raises(EvidenceInvalid) as error:
        verify_report(GOOD, nonce=NONCE_32, now=NOW)
    assert error.value.check == "attestation.root"


@pytest.mark.parametrize(
    ("at", "check"),
    [
        (0, "attestation.format"),  # SPDM version of the request
        (4, "attestation.signature"),  # our nonce
        (36, "attestation.signature"),  # slot
        (38, "attestation.format"),  # response code
        (41, "attestation.format"),  # number of blocks
        (45, "attestation.signature"),  # index of the first block, now 0
        (52, "attestation.signature"),  # a measurement
        (-97, "attestation.signature"),  # the firmware id
        (-96, "attestation.signature"),
        (-1, "attestation.signature"),
    ],
)
def test_report__bit_flipped__refused_by(at: int, check: str) -> None:
    raw = flipped(GOOD.report, at % len(GOOD.report))
    assert refused(replace(GOOD, report=raw)) == check


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(GOOD.report) - 1), bit=st.integers(0, 7))
def test_report__any_bit_flipped__refused(at: int, bit: int) -> None:
    raw = bytearray(GOOD.report)
    raw[at] ^= 1 << bit
    with pytest.raises(EvidenceInvalid, match=r"attestation\."):
        verify_report(replace(GOOD, report=bytes(raw)), nonce=NONCE_32, now=NOW, root=MADE_UP.root)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_parse__hostile_bytes__refused(data: bytes) -> None:
    with pytest.raises(EvidenceInvalid, match=r"attestation\.format"):
        spdm.parse(b"\x11\xe0\x01\xff" + data)


def test_report__answers_another_nonce__refused() -> None:
    assert refused(GOOD, nonce=flipped(NONCE_32, 0)) == "attestation.nonce"


def test_report__truncated_or_extended__refused() -> None:
    for raw in (GOOD.report[:-1], GOOD.report + b"\0", GOOD.report[:40]):
        assert refused(replace(GOOD, report=raw)) == "attestation.format"


def test_report__of_other_firmware_than_its_key__refused() -> None:
    assert refused(MADE_UP.report(NONCE_32, GPU, firmware=b"\xf2" * 48)) == "attestation.firmware"
    assert refused(MADE_UP.report(NONCE_32, GPU, firmware=FIRMWARE[:47])) == "attestation.firmware"
    verify_report(MADE_UP.report(NONCE_32, GPU, firmware=b""), nonce=NONCE_32, now=NOW, root=MADE_UP.root)


def test_report__same_block_twice__refused() -> None:
    raw = exchange(NONCE_32)
    twice = raw[:45] + b"\x02" + raw[46:]
    assert refused(GpuReport(GPU, MADE_UP.sign(twice), MADE_UP.pem())) == "attestation.format"


# --- its chain


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        ({"curve": ec.SECP256R1}, "attestation.chain"),
        ({"digest": weaker}, "attestation.chain"),
        ({"not_after": datetime.fromtimestamp(NOW - 1, UTC)}, "attestation.validity"),
        ({"leaf_signs": False}, "attestation.usage"),
        ({"issuers_issue": False}, "attestation.usage"),
        ({"path_length": 0}, "attestation.usage"),
        ({"critical": "1.2.3.4"}, "attestation.usage"),
    ],
)
def test_chain__wrong_certificate__refused_by(wrong: dict[str, Any], check: str) -> None:
    gpu = MadeUpGpu(**wrong)
    assert refused(GpuReport(GPU, GOOD.report, gpu.pem()), root=gpu.root) == check


def test_chain__not_valid_yet__refused() -> None:
    assert refused(GOOD, now=NOW - 2 * 86_400) == "attestation.validity"


def test_chain__not_complete_or_not_in_order__refused() -> None:
    chain, other = MADE_UP.chain, MadeUpGpu()
    for odd, check in (
        (chain[:-1], "attestation.root"),
        ([chain[0], chain[1], chain[3]], "attestation.chain"),
        ([chain[0], chain[2], chain[1], chain[3]], "attestation.chain"),
        ([chain[0], other.chain[1], *chain[2:]], "attestation.chain"),
        ([*chain[:3], other.root], "attestation.root"),
        ([chain[0], chain[3]], "attestation.chain"),
    ):
        assert refused(replace(GOOD, certificates=MADE_UP.pem(odd))) == check


@pytest.mark.parametrize("text", [b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_chain__no_certificates__refused(text: bytes) -> None:
    assert refused(replace(GOOD, certificates=text)) == "attestation.chain"


def pem_of(ders: list[bytes]) -> bytes:
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
    return b"".join(begin + base64.encodebytes(der) + end for der in ders)


DERS = [item.public_bytes(Encoding.DER) for item in MADE_UP.chain]


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(DERS) - 1), data=st.data())
def test_chain__any_bit_flipped__refused_and_no_crash(place: int, data: st.DataObject) -> None:
    raw = bytearray(DERS[place])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    pem = pem_of([*DERS[:place], bytes(raw), *DERS[place + 1 :]])
    assert refused(replace(GOOD, certificates=pem)).startswith("attestation.")


def test_chain__signature_with_unused_bits__refused() -> None:
    signature = MADE_UP.chain[1].signature
    at = len(DERS[1]) - len(signature) - 1
    assert DERS[1][at] == 0
    odd = DERS[1][:at] + bytes((1,)) + signature[:-1] + bytes((signature[-1] & 0xFE,))
    assert refused(replace(GOOD, certificates=pem_of([DERS[0], odd, *DERS[2:]]))) == "attestation.chain"


def test_chain__leaf_of_another_gpu__refused_by_signature() -> None:
    twin = MadeUpGpu(maker=MADE_UP)
    assert refused(replace(GOOD, certificates=twin.pem())) == "attestation.signature"


def test_nvidia_root__is_the_one_whose_fingerprint_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    root = certificates.nvidia_root()
    assert certificates.fingerprint(root) == certificates.ROOT_SHA256
    monkeypatch.setattr(certificates, "ROOT_SHA256", "00" * 32)
    certificates.nvidia_root.cache_clear()
    with pytest.raises(EvidenceInvalid, match=r"attestation\.root"):
        certificates.nvidia_root()
    certificates.nvidia_root.cache_clear()


def test_without_cryptography__everything_else_imports_and_the_error_names_the_package() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import scrip.evidence, scrip.cli.main\n"
        "from scrip.attestation.certificates import AttestationUnavailable, nvidia_root\n"
        "try:\n    nvidia_root()\n"
        "except AttestationUnavailable as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'scrip[attestation]'" in done.stdout


# --- in a bundle


def reported(*reports: GpuReport, samples: Any = None, bind: bool = True) -> Bundle:
    """A bundle of a GPU job at assurance 3; without `bind` its seal doesn't name the reports."""
    base = make_bundle(samples or gpu_samples(), sku=GPU_SKU, assurance=3, input_tokens=0, output_tokens=0)
    digests = [item.digest() for item in reports] if bind else []
    sealed = seal(samples or gpu_samples(), result=OK, attempt=1, sku=GPU_SKU, reports=digests)
    root = evidence_root(CHAIN_ID, MARKET, base.job_id, NONCE, sealed)
    receipt = replace(base.receipt, evidence_root=root)
    return replace(base, samples=sealed, gpu_reports=reports, receipt=receipt)


JOB_NONCE = report_nonce(CHAIN_ID, MARKET, make_bundle(sku=GPU_SKU).job_id, NONCE, ORACLE)
FOR_JOB = MADE_UP.report(JOB_NONCE, GPU)


def check(bundle: Bundle, oracle: str = ORACLE) -> tuple[Check, ...]:
    verify_bundle(
        bundle, chain_id=CHAIN_ID, market=MARKET, job_nonce=NONCE, terms=bundle.terms, receipt=bundle.receipt
    )
    return check_gpu_reports(bundle, oracle=oracle, now=NOW, root=MADE_UP.root)


def check_fails(bundle: Bundle, oracle: str = ORACLE) -> str:
    with pytest.raises(EvidenceInvalid) as error:
        check(bundle, oracle)
    return error.value.check


def test_bundle_with_reports__encodes_and_decodes_to_the_same() -> None:
    bundle = reported(FOR_JOB)
    assert Bundle.decode(bundle.encode()) == bundle
    assert "gpuReports" not in make_bundle().to_json()


@pytest.mark.parametrize(
    "reports",
    [
        [],  # an empty list is written as no member at all
        {},
        [{"device": GPU, "report": "AAAA"}],
        [{"device": "", "report": "AAAA", "certificates": "AAAA"}],
        [{"device": GPU, "report": "@@", "certificates": "AAAA"}],
        [{"device": GPU, "report": "", "certificates": "AAAA"}],
        [{"device": GPU, "report": 1, "certificates": "AAAA"}],
        [{"device": GPU, "report": "A" * 20_000, "certificates": "AAAA"}],
        [FOR_JOB.to_json()] * 65,
    ],
)
def test_bundle_from_json__malformed_reports__refused(reports: Any) -> None:
    with pytest.raises(EvidenceInvalid) as error:
        Bundle.from_json(make_bundle().to_json() | {"gpuReports": reports})
    assert error.value.check == "bundle.format"


def test_reports__of_each_leased_gpu__pass() -> None:
    [found] = check(reported(FOR_JOB))
    assert found.name == "attestation.report"
    assert "driver 570.10" in found.detail


def test_reports__not_named_by_the_seal__refused() -> None:
    assert check_fails(reported(FOR_JOB, bind=False)) == "evidence.seal"
    assert check_fails(replace(reported(FOR_JOB), gpu_reports=())) == "evidence.seal"
    assert check_fails(replace(reported(FOR_JOB), gpu_reports=(GOOD,))) == "evidence.seal"


def test_reports__of_another_key_job_or_nonce__refused() -> None:
    assert check_fails(reported(FOR_JOB), oracle="0x" + "0b" * 20) == "attestation.nonce"
    assert check_fails(reported(GOOD)) == "attestation.nonce"


def test_reports__missing_or_of_a_gpu_not_leased__refused() -> None:
    assert check_fails(reported()) == "attestation.gpus"
    assert check_fails(reported(replace(FOR_JOB, device="GPU-other"))) == "attestation.gpus"
    assert check_fails(reported(FOR_JOB, FOR_JOB)) == "attestation.gpus"


def test_reports__one_gpu_answers_for_two__refused() -> None:
    both = renumber(
        tuple(sorted((*gpu_samples(), *gpu_samples(gpu="GPU-2")), key=lambda s: (s.mono_ns, s.edge == "end")))
    )
    other = MadeUpGpu(maker=MADE_UP)
    assert len(check(reported(FOR_JOB, other.report(JOB_NONCE, "GPU-2"), samples=both))) == 2
    twice = (FOR_JOB, MADE_UP.report(JOB_NONCE, "GPU-2"))
    assert check_fails(reported(*twice, samples=both)) == "attestation.gpus"


def test_reports__simulated_telemetry__refused() -> None:
    bundle = replace(reported(FOR_JOB, samples=gpu_samples("nvml-replay")), simulated=True)
    with pytest.raises(EvidenceInvalid, match=r"attestation\.gpus"):
        check_gpu_reports(bundle, oracle=ORACLE, now=NOW, root=MADE_UP.root)


def test_reports__forged_seal_with_matching_root__refused_by_seal() -> None:
    forged = reseal(reported(FOR_JOB), gpu_reports=(replace(FOR_JOB, device="GPU-x"),))
    assert check_fails(forged) == "evidence.seal"
