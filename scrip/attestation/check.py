"""Verifies reports: one by itself, and those of a bundle against its job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scrip.attestation import certificates, spdm
from scrip.attestation.report import GpuReport, report_nonce
from scrip.errors import EvidenceInvalid
from scrip.samples import Check, is_simulated, leased_gpus, require

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from scrip.bundle import Bundle

HARDWARE: Final = 3
"""The assurance that needs a report of every GPU."""
_FIRMWARE_BYTES: Final = 48
"""SHA-384."""


def verify_report(
    given: GpuReport, *, nonce: bytes, now: int, root: Certificate | None = None
) -> tuple[certificates.Device, spdm.Report]:
    """Check that a genuine GPU made this report for `nonce`. `now` is unix seconds.

    `root` replaces NVIDIA's, for tests. Raises EvidenceInvalid with attestation.format, .root, .chain,
    .validity, .usage, .signature, .nonce or .firmware; AttestationUnavailable without `cryptography`.
    """
    report = spdm.parse(given.report)
    device = certificates.verify_chain(
        given.certificates, root=certificates.nvidia_root() if root is None else root, now=now
    )
    _check_signature(report, device)
    detail = f"the report answers 0x{report.nonce.hex()}, the job asks 0x{nonce.hex()}"
    require(report.nonce == nonce, "attestation.nonce", detail)
    _check_firmware(report, device)
    return device, report


def check_gpu_reports(
    bundle: Bundle, *, oracle: str, now: int, root: Certificate | None = None
) -> tuple[Check, ...]:
    """Check that each GPU a bundle says was leased answered for this job: what assurance 3 asks for.

    `oracle` is the provider's key that signed (or is to sign) the receipt, `now` unix seconds. The bundle
    itself must have passed `verify_bundle`, whose seal binds the reports into the evidence root. Raises
    EvidenceInvalid: attestation.gpus if a GPU has no report of its own, otherwise as `verify_report`;
    AttestationUnavailable.
    """
    require(not is_simulated(bundle.samples), "attestation.gpus", "simulated telemetry proves no hardware")
    leased = leased_gpus(bundle.samples)
    given = [item.device for item in bundle.gpu_reports]
    require(leased, "attestation.gpus", "no GPU was leased")
    detail = f"reports of {given}, leased were {list(leased)}"
    require(sorted(given) == sorted(leased), "attestation.gpus", detail)
    nonce = report_nonce(bundle.chain_id, bundle.market, bundle.job_id, bundle.nonce, oracle)
    seen: dict[bytes, str] = {}
    checks = []
    for item in bundle.gpu_reports:
        device, report = verify_report(item, nonce=nonce, now=now, root=root)
        twin = seen.setdefault(device.identity, item.device)
        require(twin == item.device, "attestation.gpus", f"{twin} and {item.device} are one and the same GPU")
        found = f"{item.device}: {device.label}, driver {report.driver or 'not stated'}"
        checks.append(Check("attestation.report", f"{found}, {len(report.measurements)} measurements"))
    return tuple(checks)


def _check_signature(report: spdm.Report, device: certificates.Device) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA384

    half = spdm.SIGNATURE_BYTES // 2
    r, s = (int.from_bytes(part, "big") for part in (report.signature[:half], report.signature[half:]))
    try:
        device.key.verify(encode_dss_signature(r, s), report.signed, ECDSA(SHA384()))
    except InvalidSignature as error:
        raise EvidenceInvalid("attestation.signature", f"not signed by the key of {device.label}") from error


def _check_firmware(report: spdm.Report, device: certificates.Device) -> None:
    """The firmware that signed is the one its certificate was made for (DICE), where the report names it."""
    named = report.opaque.get(spdm.FIRMWARE_ID, b"")
    if not named:
        return
    # The extension is DER whose last element is the digest: an octet string of 48 bytes.
    wanted = bytes((0x04, _FIRMWARE_BYTES)) + named
    fits = len(named) == _FIRMWARE_BYTES and device.firmware.endswith(wanted)
    require(fits, "attestation.firmware", f"the report names firmware {named.hex()[:16]}.., its key another")
