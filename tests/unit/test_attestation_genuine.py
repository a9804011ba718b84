"""NVIDIA's own sample: a genuine GH100 report and its chain, from PyPI nv-local-gpu-verifier (test only)."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from scrip.attestation import GpuReport, certificates, spdm, verify_report
from scrip.errors import EvidenceInvalid
from tests.conftest import python_of

NOW = 1_790_000_000


@pytest.fixture(scope="module")
def sample() -> GpuReport:
    environment = python_of("attestation-samples").parents[1]
    [folder] = environment.glob("lib/python3*/site-packages/verifier")
    text = (folder / "samples" / "hopperAttestationReport.txt").read_text()
    report = bytes.fromhex(re.sub(r"[^0-9a-fA-F]", "", text))
    return GpuReport("GPU-sample", report, (folder / "samples" / "hopperCertChain.txt").read_bytes())


def refused(report: GpuReport, nonce: bytes, now: int = NOW) -> str:
    with pytest.raises(EvidenceInvalid) as error:
        verify_report(report, nonce=nonce, now=now)
    return error.value.check


def test_pinned_root__is_the_one_nvidia_ships(sample: GpuReport) -> None:
    environment = python_of("attestation-samples").parents[1]
    [shipped] = environment.glob("lib/python3*/site-packages/verifier/certs/verifier_device_root.pem")
    assert Path(shipped).read_bytes().split() == certificates.ROOT_FILE.read_bytes().split()


def test_genuine_report__every_link_up_to_nvidias_root(sample: GpuReport) -> None:
    nonce = sample.report[4:36]
    begun = time.perf_counter()
    device, report = verify_report(sample, nonce=nonce, now=NOW)
    assert time.perf_counter() - begun < 5
    assert device.label == "GH100 A01 GSP FMC LF"
    assert (report.driver, len(report.measurements), report.nonce) == ("550.90.07", 64, nonce)
    assert len(report.opaque[spdm.FIRMWARE_ID]) == 48
    assert device.firmware.endswith(report.opaque[spdm.FIRMWARE_ID])


@pytest.mark.parametrize(
    ("at", "check"),
    [
        (4, "attestation.signature"),
        (35, "attestation.signature"),
        (60, "attestation.signature"),  # in the first measurement
        (3000, "attestation.signature"),
        (-97, "attestation.signature"),  # opaque data
        (-96, "attestation.signature"),
        (-1, "attestation.signature"),
        (1, "attestation.format"),
    ],
)
def test_genuine_report__bit_flipped__refused_by(sample: GpuReport, at: int, check: str) -> None:
    raw = bytearray(sample.report)
    raw[at] ^= 1
    assert refused(replace(sample, report=bytes(raw)), bytes(raw[4:36])) == check


def test_genuine_report__for_another_job__refused(sample: GpuReport) -> None:
    nonce = bytes((sample.report[4] ^ 1, *sample.report[5:36]))
    assert refused(sample, nonce) == "attestation.nonce"


@pytest.mark.parametrize("place", range(5))
def test_genuine_chain__bit_flipped_in_a_certificate__refused(sample: GpuReport, place: int) -> None:
    from base64 import b64decode, b64encode

    blocks = sample.certificates.decode().split("-----BEGIN CERTIFICATE-----\n")[1:]
    bodies = [b64decode(block.split("-----END")[0]) for block in blocks]
    assert len(bodies) == 5
    bodies[place] = bodies[place][:-1] + bytes((bodies[place][-1] ^ 1,))  # the last byte of its signature
    texts = (b64encode(body).decode() for body in bodies)
    pem = "".join(f"-----BEGIN CERTIFICATE-----\n{t}\n-----END CERTIFICATE-----\n" for t in texts).encode()
    check = refused(replace(sample, certificates=pem), sample.report[4:36])
    assert check == ("attestation.root" if place == 4 else "attestation.chain")


def test_genuine_chain__before_it_was_issued__refused(sample: GpuReport) -> None:
    assert refused(sample, sample.report[4:36], now=1_500_000_000) == "attestation.validity"
