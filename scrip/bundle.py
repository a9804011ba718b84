"""The bundle: everything that backs one receipt, and its one JSON form. Pure, no I/O.

`docs/evidence.md` has the encoding, `scrip/evidence.schema.json` the published schema of it. `scrip.evidence`
checks that the parts of a bundle belong together.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from scrip.attestation.report import GpuReport
from scrip.errors import BadInput, EvidenceInvalid
from scrip.samples import Result, Sample, chain_links, members, require, seed
from scrip.spec import JobSpec
from scrip.structs import to_address, to_bytes, to_int
from scrip.types import JobTerms, Receipt

VERSION: Final = 1
MAX_SAMPLES: Final = 200_000
MAX_OUTPUT_BYTES: Final = 16 * 2**20
MAX_BUNDLE_BYTES: Final = 64 * 2**20
MAX_REPORTS: Final = 64

_KEYS: Final = (
    "version", "chainId", "market", "jobId", "nonce", "terms", "spec", "samples", "output", "result",
    "receipt", "simulated", "attempt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything a watcher or a buyer needs to re-check one attempt at one job.

    `samples` are sealed (`seal`), `output` is the job's output, `receipt` the one to be signed, `gpu_reports`
    one for each leased GPU at assurance 3. Construction checks types and sizes only; `verify_bundle` checks
    that the parts belong together. Raises BadInput.
    """

    chain_id: int
    market: str
    job_id: bytes
    nonce: int
    terms: JobTerms
    spec: JobSpec
    samples: tuple[Sample, ...]
    output: bytes
    result: Result
    receipt: Receipt
    simulated: bool
    attempt: int
    gpu_reports: tuple[GpuReport, ...] = ()

    def __post_init__(self) -> None:
        to_int("bundle.chainId", self.chain_id)
        object.__setattr__(self, "market", to_address("bundle.market", self.market))
        to_bytes("bundle.jobId", self.job_id, 32)
        to_int("bundle.nonce", self.nonce, 96)
        if to_int("bundle.attempt", self.attempt, 32) < 1:
            raise BadInput("bundle.attempt", self.attempt, "at least 1")
        if type(self.simulated) is not bool:
            raise BadInput("bundle.simulated", self.simulated, "true or false")
        if not 1 <= len(self.samples) <= MAX_SAMPLES:
            raise BadInput("bundle.samples", len(self.samples), f"1 to {MAX_SAMPLES} samples")
        if len(self.output) > MAX_OUTPUT_BYTES:
            raise BadInput("bundle.output", f"{len(self.output)} bytes", f"at most {MAX_OUTPUT_BYTES} bytes")
        if len(self.gpu_reports) > MAX_REPORTS:
            raise BadInput("bundle.gpuReports", len(self.gpu_reports), f"at most {MAX_REPORTS}")

    def links(self) -> tuple[bytes, ...]:
        """The hash chain over the samples."""
        return chain_links(seed(self.chain_id, self.market, self.job_id, self.nonce), self.samples)

    def to_json(self) -> dict[str, Any]:
        """JSON object: integers of the chain as decimal strings, bytes as 0x hex, the output as base64.

        `gpuReports` is there only if there are any.
        """
        reports = [report.to_json() for report in self.gpu_reports]
        return ({"gpuReports": reports} if reports else {}) | {
            "version": VERSION,
            "chainId": str(self.chain_id),
            "market": self.market,
            "jobId": "0x" + self.job_id.hex(),
            "nonce": str(self.nonce),
            "terms": self.terms.to_json(),
            "spec": self.spec.to_json(),
            "samples": [sample.to_json() for sample in self.samples],
            "output": b64encode(self.output).decode("ascii"),
            "result": self.result.to_json(),
            "receipt": self.receipt.to_json(),
            "simulated": self.simulated,
            "attempt": self.attempt,
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`, accepting only what `to_json` writes: one content has one JSON value.

        Raises EvidenceInvalid("bundle.version"), ("bundle.format") or ("evidence.sample").
        """
        reported = isinstance(data, Mapping) and "gpuReports" in data
        got = members(data, (*_KEYS, "gpuReports") if reported else _KEYS, "bundle.format")
        require(
            type(got["version"]) is int and got["version"] == VERSION,
            "bundle.version",
            f"given {got['version']!r:.40}, this verifier knows version {VERSION}",
        )
        try:
            bundle = cls._parse(got)
        except BadInput as error:
            raise EvidenceInvalid("bundle.format", str(error)) from error
        require(
            bundle.to_json() == data,
            "bundle.format",
            "not written in the canonical form (case, leading zeros)",
        )
        return bundle

    @classmethod
    def _parse(cls, got: dict[str, Any]) -> Self:
        rows, reports = got["samples"], got.get("gpuReports", [])
        if not isinstance(reports, list) or len(reports) > MAX_REPORTS:
            raise BadInput("bundle.gpuReports", type(reports).__name__, f"a list of at most {MAX_REPORTS}")
        if not isinstance(rows, list) or len(rows) > MAX_SAMPLES:
            raise BadInput("bundle.samples", type(rows).__name__, f"a list of at most {MAX_SAMPLES}")
        return cls(
            chain_id=_decimal("bundle.chainId", got["chainId"]),
            market=got["market"],
            job_id=to_bytes("bundle.jobId", got["jobId"], 32),
            nonce=_decimal("bundle.nonce", got["nonce"]),
            terms=JobTerms.from_json(got["terms"]),
            spec=JobSpec.from_json(got["spec"]),
            samples=tuple(Sample.from_json(row) for row in rows),
            output=_base64("bundle.output", got["output"]),
            result=Result.from_json(got["result"]),
            receipt=Receipt.from_json(got["receipt"]),
            simulated=got["simulated"],
            attempt=got["attempt"],
            gpu_reports=tuple(GpuReport.from_json(item) for item in reports),
        )

    def encode(self) -> bytes:
        """Canonical bytes, as stored and served. Raises BadInput beyond MAX_BUNDLE_BYTES."""
        raw = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), default=dict).encode("ascii")
        if len(raw) > MAX_BUNDLE_BYTES:
            raise BadInput("bundle", f"{len(raw)} bytes", f"at most {MAX_BUNDLE_BYTES} bytes")
        return raw

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Inverse of `encode` for untrusted bytes. Raises EvidenceInvalid as `from_json` does."""
        require(
            len(raw) <= MAX_BUNDLE_BYTES, "bundle.format", f"{len(raw)} bytes, at most {MAX_BUNDLE_BYTES}"
        )
        try:
            data = json.loads(
                raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            raise EvidenceInvalid("bundle.format", f"not JSON: {error!s:.200}") from error
        return cls.from_json(data)


def _decimal(field: str, value: object) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 78:
        raise BadInput(field, value, "a decimal string")
    return int(value)


def _base64(field: str, value: object) -> bytes:
    if not isinstance(value, str) or len(value) > 4 * (MAX_OUTPUT_BYTES // 3 + 1):
        raise BadInput(field, type(value).__name__, f"base64 text of at most {MAX_OUTPUT_BYTES} bytes")
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(field, value, "base64 text") from error


def _no_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a member twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
