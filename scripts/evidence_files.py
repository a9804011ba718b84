"""The published form of evidence: the JSON Schema of a bundle, and the test vectors.

    python -m scripts.evidence_files [--check]

Both are written from the code; `--check` only says whether they are up to date. What makes the vectors worth
something is that `tests/unit/test_evidence_vectors.py` recomputes them with implementations of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from scrip.attestation.report import MAX_CERTIFICATE_BYTES, MAX_REPORT_BYTES, GpuReport, report_nonce
from scrip.bundle import MAX_OUTPUT_BYTES, MAX_REPORTS, MAX_SAMPLES, VERSION, Bundle
from scrip.eip712 import job_id, receipt_digest, receipt_struct_hash
from scrip.merkle import merkle_proof, merkle_root
from scrip.samples import EDGES, MAX_INT, METRICS, REASONS, SOURCES, Result, Sample, output_hash, seal, seed
from scrip.spec import JobSpec, spec_hash
from scrip.structs import Struct
from scrip.types import JobTerms, Outcome, Receipt

ROOT: Final = Path(__file__).resolve().parents[1]
SCHEMA: Final = ROOT / "scrip" / "evidence.schema.json"
VECTORS: Final = ROOT / "tests" / "vectors" / "evidence.json"

CHAIN_ID: Final = 31337
MARKET: Final = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
VERIFIER: Final = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
ORACLE: Final = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
NONCE: Final = 0x0123456789ABCDEF01234567

_PATTERNS: Final = {"address": "^0x[0-9a-fA-F]{40}$", "bytes32": "^0x[0-9a-f]{64}$"}
_DECIMAL: Final = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,77})$"}


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a bundle."""
    members: dict[str, Any] = {
        "version": {"const": VERSION},
        "chainId": _DECIMAL,
        "market": _text("address"),
        "jobId": _text("bytes32"),
        "nonce": _DECIMAL,
        "terms": _struct(JobTerms),
        "spec": _object({"template": {"type": "string", "minLength": 1}, "params": {"type": "object"}}),
        "samples": {"type": "array", "minItems": 1, "maxItems": MAX_SAMPLES, "items": _sample()},
        "output": _base64(MAX_OUTPUT_BYTES),
        "result": _object({"exitCode": _byte(), "signal": _byte(), "reason": {"enum": sorted(REASONS)}}),
        "receipt": _struct(Receipt),
        "simulated": {"type": "boolean"},
        "attempt": {"type": "integer", "minimum": 1, "maximum": 2**32 - 1},
    }
    required = list(members)
    report = {
        "device": _device(),
        "report": _base64(MAX_REPORT_BYTES),
        "certificates": _base64(MAX_CERTIFICATE_BYTES),
    }
    members["gpuReports"] = {
        "type": "array", "minItems": 1, "maxItems": MAX_REPORTS, "items": _object(report),
    }  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scrip evidence bundle, version 1",
        "$comment": "The form only; docs/evidence.md has the meaning, the ranges of decimal strings and the "
        "checks. Written by scripts/evidence_files.py.",
        **_object(members, required),
    }


def vectors() -> dict[str, Any]:
    """Two jobs: one with tokens that completed, one with a GPU, a report of it and a failure."""
    spec = JobSpec("llm.generate", {"question": "What is a receipt? €", "max_tokens": 16})
    tokens = _rows(
        ("start", "lease", "cpu", "lease_ms", 0),
        ("start", "cpu-cgroup", "cpu", "cpu_us", 1),
        ("tick", "tokens", "a model", "input_tokens", 12),
        ("end", "tokens", "a model", "output_tokens", 9),
        ("end", "lease", "cpu", "lease_ms", 2_000),
    )
    gpu = _rows(
        ("start", "lease", "GPU-5f3c", "lease_ms", 0),
        ("start", "nvml", "GPU-5f3c", "energy_mj", MAX_INT - 1),
        ("end", "lease", "GPU-5f3c", "lease_ms", 1_000),
        ("end", "nvml", "GPU-5f3c", "energy_mj", MAX_INT),
    )
    report = GpuReport("GPU-5f3c", bytes(range(64)), b"-----BEGIN CERTIFICATE-----\n")
    work = JobSpec("matmul.int8", {"n": 64})
    return {
        "chainId": str(CHAIN_ID),
        "market": MARKET,
        "verifier": VERIFIER,
        "oracle": ORACLE,
        "jobs": [
            _vector(spec, tokens, Result(0, None, "ok"), "a model", "A receipt says what was used. €"),
            _vector(work, gpu, Result(None, 9, "timeout"), "nvidia-h100-80gb", "", (report,)),
        ],
    }


def _vector(
    spec: JobSpec,
    samples: Sequence[Sample],
    result: Result,
    sku: str,
    output: str,
    reports: tuple[GpuReport, ...] = (),
) -> dict[str, Any]:
    terms = JobTerms(
        payer="0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        provider="0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        class_id=3, max_units=10**24, resources=1, accept_by=1_760_000_060, submit_by=1_760_000_600,
        spec_hash=spec_hash(spec), budget_id=0, salt=2**255 + 7,
    )  # fmt: skip
    job = job_id(terms, CHAIN_ID, MARKET)
    digests = [item.digest() for item in reports]
    sealed = seal(samples, result=result, attempt=1, sku=sku, reports=digests)
    receipt = Receipt(
        job_id=job,
        outcome=Outcome.COMPLETED if result.completed else Outcome.FAILED,
        units=9 if result.completed else 0,
        gpu_millijoules=1 if reports else 0, input_tokens=0 if reports else 12,
        output_tokens=0 if reports else 9, started_at=1_760_000_002, ended_at=1_760_000_004,
        output_hash=output_hash(output.encode()), evidence_root=bytes(32), assurance=1,
    )  # fmt: skip
    bundle = Bundle(
        CHAIN_ID, MARKET, job, NONCE, terms, spec, sealed, output.encode(), result, receipt, False, 1, reports
    )
    links = bundle.links()
    receipt = Receipt.from_json(receipt.to_json() | {"evidenceRoot": _hex(merkle_root(links))})
    full = Bundle.from_json(bundle.to_json() | {"receipt": receipt.to_json()})
    place = len(links) - 1
    return {
        "bundle": json.loads(full.encode()),
        "specHash": _hex(spec_hash(spec)),
        "jobId": _hex(job),
        "seed": _hex(seed(CHAIN_ID, MARKET, job, NONCE)),
        "canonical": [sample.canonical().decode() for sample in sealed],
        "links": [_hex(link) for link in links],
        "rootOfFirst": {str(n): _hex(merkle_root(links[:n])) for n in range(1, len(links) + 1)},
        "proofOfLast": {"index": place, "proof": [_hex(node) for node in merkle_proof(links, place)]},
        "gpuReportDigests": [_hex(digest) for digest in digests],
        "gpuReportNonce": _hex(report_nonce(CHAIN_ID, MARKET, job, NONCE, ORACLE)),
        "evidenceRoot": _hex(receipt.evidence_root),
        "outputHash": _hex(receipt.output_hash),
        "receiptHash": _hex(receipt_struct_hash(receipt)),
        "receiptDigest": _hex(receipt_digest(receipt, CHAIN_ID, VERIFIER)),
    }


def _rows(*readings: tuple[str, str, str, str, int]) -> tuple[Sample, ...]:
    begun = 1_760_000_002_000
    return tuple(
        Sample(seq, begun + 500 * seq, 500_000_000 * seq, edge, source, device, metric, value)
        for seq, (edge, source, device, metric, value) in enumerate(readings)
    )


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def _object(members: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": members,
        "required": list(members) if required is None else required,
        "additionalProperties": False,
    }


def _struct(kind: type[Struct]) -> dict[str, Any]:
    """Members of a mirrored Solidity struct, from its EIP-712 type."""
    fields = kind.type_string().partition("(")[2].removesuffix(")").split(",")
    pairs = (field.split(" ") for field in fields)
    return _object({name: _DECIMAL if sol.startswith("uint") else _text(sol) for sol, name in pairs})


def _text(sol: str) -> dict[str, Any]:
    return {"type": "string", "pattern": _PATTERNS[sol]}


def _base64(most: int) -> dict[str, Any]:
    return {"type": "string", "contentEncoding": "base64", "maxLength": 4 * ((most + 2) // 3)}


def _byte() -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 0, "maximum": 255}]}


def _device() -> dict[str, Any]:
    return {"type": "string", "pattern": r"^[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?$"}


def _sample() -> dict[str, Any]:
    number = {"type": "integer", "minimum": 0, "maximum": MAX_INT}
    return _object(
        {
            "seq": number, "at_ms": number, "mono_ns": number, "edge": {"enum": list(EDGES)},
            "source": {"enum": sorted(SOURCES)}, "device": _device(), "metric": {"enum": sorted(METRICS)},
            "value": number,
        }
    )  # fmt: skip


def main() -> int:
    """Write the files, or with `--check` name those that are out of date."""
    wanted = {SCHEMA: schema(), VECTORS: vectors()}
    stale = []
    for path, content in wanted.items():
        text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        if not path.is_file() or path.read_text("utf-8") != text:
            stale.append(path.relative_to(ROOT))
            if "--check" not in sys.argv[1:]:
                path.write_text(text, "utf-8")
    for path in stale:
        print(f"{path}: {'out of date' if '--check' in sys.argv[1:] else 'written'}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
