"""A GPU's report as a bundle carries it, and the nonce that ties it to a job. Pure, no I/O."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Final, Self

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from scrip.samples import DEVICE, members, require
from scrip.structs import to_address, to_bytes, to_int

MAX_REPORT_BYTES: Final = 0x2000
"""NVML_CC_GPU_ATTESTATION_REPORT_SIZE of nvml.h."""
MAX_CERTIFICATE_BYTES: Final = 0x1400
"""NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE of nvml.h."""

_KEYS: Final = ("device", "report", "certificates")


@dataclass(frozen=True, slots=True)
class GpuReport:
    """What one GPU signed: `device` is its UUID (the provider's word), `report` the SPDM exchange as NVML
    gives it, `certificates` the chain in PEM, leaf first, root last.

    Raises EvidenceInvalid("bundle.format") on construction.
    """

    device: str
    report: bytes
    certificates: bytes

    def __post_init__(self) -> None:
        known = isinstance(self.device, str) and DEVICE.fullmatch(self.device)
        require(known, "bundle.format", "gpuReports.device is not 1..128 printable ASCII characters")
        for name, most in (("report", MAX_REPORT_BYTES), ("certificates", MAX_CERTIFICATE_BYTES)):
            size = len(getattr(self, name))
            require(1 <= size <= most, "bundle.format", f"gpuReports.{name} has {size} bytes, not 1..{most}")

    def to_json(self) -> dict[str, Any]:
        """JSON object of the bundle; bytes as base64."""
        return {
            "device": self.device,
            "report": b64encode(self.report).decode("ascii"),
            "certificates": b64encode(self.certificates).decode("ascii"),
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`. Raises EvidenceInvalid("bundle.format")."""
        got = members(data, _KEYS, "bundle.format")
        return cls(
            got["device"], _bytes("report", got["report"]), _bytes("certificates", got["certificates"])
        )

    def digest(self) -> bytes:
        """keccak256 of the object's canonical JSON. A closing sample holds it, so the evidence root covers
        it.
        """
        return bytes(
            keccak(json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode("ascii"))
        )


def report_nonce(chain_id: int, market: str, job_id: bytes, nonce: int, oracle: str) -> bytes:
    """keccak256(abi.encode(uint256 chainId, address market, bytes32 jobId, uint96 nonce, address oracle)).

    `oracle` is the key that signs the provider's receipts: a report made for one can't be shown by another.
    Raises BadInput.
    """
    values = (
        to_int("chain id", chain_id), to_address("market", market), to_bytes("job id", job_id, 32),
        to_int("nonce", nonce, 96), to_address("oracle", oracle),
    )  # fmt: skip
    return bytes(keccak(encode(("uint256", "address", "bytes32", "uint96", "address"), values)))


def _bytes(name: str, value: object) -> bytes:
    most = 4 * (MAX_REPORT_BYTES // 3 + 1)
    text = isinstance(value, str) and len(value) <= most
    require(text, "bundle.format", f"gpuReports.{name} is no base64 text of at most {most} characters")
    try:
        return b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        require(False, "bundle.format", f"gpuReports.{name} is no base64 text")
        raise
