"""Parses a report: an SPDM 1.1 GET_MEASUREMENTS request followed by its MEASUREMENTS response. Pure.

Layout from DMTF DSP0274 1.1.0, tables 38 and 41, with NVIDIA's measurement blocks and opaque data; integers
are little endian. Nothing here is checked but the form: `check.verify_report` checks the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scrip.errors import EvidenceInvalid

REQUEST_BYTES: Final = 37
SIGNATURE_BYTES: Final = 96
"""Two coordinates of a P-384 signature."""

FIRMWARE_ID: Final = 20
DRIVER_VERSION: Final = 3
"""Types of opaque data, numbered as in NVIDIA's nv-local-gpu-verifier (OPAQUE_FIELD_ID_FWID and so on)."""

_VERSION: Final = 0x11
_GET_MEASUREMENTS, _MEASUREMENTS = 0xE0, 0x60
_SIGNED, _ALL_BLOCKS = 0x01, 0xFF
_DMTF: Final = 1
"""Bit of MeasurementSpecification: the block is as DMTF describes it."""


@dataclass(frozen=True, slots=True)
class Report:
    """A parsed report.

    `nonce` is the requester's, `measurements` are values by index from 1, `opaque` NVIDIA's data by type.
    `signed` are the bytes under `signature` (r || s, big endian).
    """

    nonce: bytes
    measurements: Mapping[int, bytes]
    opaque: Mapping[int, bytes]
    signed: bytes
    signature: bytes

    @property
    def driver(self) -> str:
        """Version of the driver the GPU booted with, as it says."""
        return self.opaque.get(DRIVER_VERSION, b"").rstrip(b"\0").decode("ascii", errors="replace")


class _Reader:
    """Reads a buffer front to back. Raises EvidenceInvalid when it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int, what: str) -> bytes:
        end = self._at + count
        _require(end <= len(self._data), f"{what} ends beyond the {len(self._data)} bytes there are")
        found, self._at = self._data[self._at : end], end
        return found

    def number(self, count: int, what: str) -> int:
        return int.from_bytes(self.take(count, what), "little")

    @property
    def done(self) -> bool:
        return self._at == len(self._data)


def parse(raw: bytes) -> Report:
    """The report's parts. Raises EvidenceInvalid("attestation.format")."""
    data = _Reader(raw)
    asked = data.take(4, "the request")
    wanted = bytes((_VERSION, _GET_MEASUREMENTS, _SIGNED, _ALL_BLOCKS))
    _require(
        asked == wanted, f"the request is {asked.hex()}, not {wanted.hex()}: signed, of all measurements"
    )
    nonce = data.take(32, "the nonce")
    data.take(1, "the slot")
    answered = data.take(2, "the response")
    wanted = bytes((_VERSION, _MEASUREMENTS))
    _require(answered == wanted, f"the response is {answered.hex()}, not {wanted.hex()}: MEASUREMENTS")
    data.take(2, "the response's parameters")
    count = data.number(1, "the number of blocks")
    record = data.take(data.number(3, "the record's length"), "the measurement record")
    data.take(32, "the GPU's nonce")
    opaque = data.take(data.number(2, "the opaque data's length"), "the opaque data")
    signature = data.take(SIGNATURE_BYTES, "the signature")
    _require(data.done, "bytes follow the signature")
    return Report(nonce, _blocks(record, count), _opaque(opaque), raw[:-SIGNATURE_BYTES], signature)


def _blocks(record: bytes, count: int) -> dict[int, bytes]:
    data, found = _Reader(record), dict[int, bytes]()
    for _ in range(count):
        index, specification = data.number(1, "a block's index"), data.number(1, "a block's specification")
        _require(specification == _DMTF, f"block {index} follows specification {specification}, not DMTF's")
        block = _Reader(data.take(data.number(2, "a block's size"), f"block {index}"))
        block.take(1, "a value's type")
        value = block.take(block.number(2, "a value's size"), f"the value of block {index}")
        _require(
            block.done and index not in found, f"block {index} comes twice, or holds more than its value"
        )
        found[index] = value
    _require(data.done and bool(found), f"the record doesn't hold exactly {count} blocks")
    return found


def _opaque(raw: bytes) -> dict[int, bytes]:
    data, found = _Reader(raw), dict[int, bytes]()
    while not data.done:
        kind = data.number(2, "a type of opaque data")
        value = data.take(data.number(2, "the size of opaque data"), f"opaque data of type {kind}")
        _require(kind not in found, f"opaque data of type {kind} comes twice")
        found[kind] = value
    return found


def _require(ok: bool, detail: str) -> None:
    if not ok:
        raise EvidenceInvalid("attestation.format", detail)
