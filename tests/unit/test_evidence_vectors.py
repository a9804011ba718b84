"""The published vectors and schema. The implementation here was written from docs/evidence.md and shares no
code with scrip: another Keccak, JSON by hand, the tree by recursion.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from Crypto.Hash import keccak as reference_keccak
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from scrip.evidence import EDGES, METRICS, SOURCES, Bundle, verify_bundle, verify_proof
from tests.unit.evidence_factory import make_bundle

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "evidence.md").read_text()
SCHEMA = json.loads((ROOT / "scrip" / "evidence.schema.json").read_text())
FILE = json.loads((ROOT / "tests" / "vectors" / "evidence.json").read_text())
JOBS = range(len(FILE["jobs"]))


def keccak(*parts: bytes) -> bytes:
    return bytes(reference_keccak.new(digest_bits=256, data=b"".join(parts)).digest())


def canonical(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(k)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, str):
        return '"' + "".join(c if 32 <= ord(c) < 127 else f"\\u{ord(c):04x}" for c in value) + '"'
    return str(value)


def word(value: str) -> bytes:
    return int(value, 16 if value.startswith("0x") else 10).to_bytes(32, "big")


def hash_struct(type_string: str, struct: dict[str, str]) -> bytes:
    names = re.findall(r" (\w+)[,)]", type_string)
    return keccak(keccak(type_string.encode()), *(word(struct[name]) for name in names))


def digest(name: str, contract: str, struct_hash: bytes) -> bytes:
    domain = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    hashes = (keccak(domain), keccak(name.encode()), keccak(b"1"), word(FILE["chainId"]), word(contract))
    return keccak(b"\x19\x01", keccak(*hashes), struct_hash)


def documented(name: str) -> str:
    """An EIP-712 type as the page writes it, over several lines."""
    [found] = re.findall(rf"{name}\([a-z0-9A-Z, \n]+\)", DOCUMENT)
    return re.sub(r",\s+", ",", found)


def tree(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    pairs = [leaves[i : i + 2] for i in range(0, len(leaves), 2)]
    return tree([keccak(b"\x01", *pair) if len(pair) == 2 else pair[0] for pair in pairs])


def recomputed(bundle: dict[str, Any]) -> dict[str, Any]:
    terms, receipt = hash_struct(documented("JobTerms"), bundle["terms"]), bundle["receipt"]
    job = digest("Scrip JobMarket", FILE["market"], terms)
    start = (word(bundle["chainId"]), word(bundle["market"]), job, word(bundle["nonce"]))
    links: list[bytes] = []
    for sample in bundle["samples"]:
        previous = links[-1] if links else keccak(*start)
        links.append(keccak(previous, keccak(canonical(sample).encode())))
    leaves = [keccak(b"\x00", link) for link in links]
    receipt_hash = hash_struct(documented("Receipt"), receipt)
    values = {
        "specHash": keccak(canonical(bundle["spec"]).encode()),
        "jobId": job,
        "seed": keccak(*start),
        "links": links,
        "rootOfFirst": {str(n): tree(leaves[:n]) for n in range(1, len(leaves) + 1)},
        "gpuReportDigests": [keccak(canonical(item).encode()) for item in bundle.get("gpuReports", [])],
        "gpuReportNonce": keccak(*start, word(FILE["oracle"])),
        "evidenceRoot": tree(leaves),
        "outputHash": keccak(b64decode(bundle["output"])),
        "receiptHash": receipt_hash,
        "receiptDigest": digest("Scrip ReceiptVerifier", FILE["verifier"], receipt_hash),
    }
    return _shown(values) | {"canonical": [canonical(sample) for sample in bundle["samples"]]}


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else "0x" + value.hex()


@pytest.mark.parametrize("number", JOBS)
def test_vectors__equal_an_independent_implementation(number: int) -> None:
    job = FILE["jobs"][number]
    found = recomputed(job["bundle"])
    assert {name: job[name] for name in found} == found
    assert set(job) - set(found) == {"bundle", "proofOfLast"}
    assert job["bundle"]["receipt"]["evidenceRoot"] == job["evidenceRoot"]


def test_vectors__equal_an_implementation_in_javascript() -> None:
    node = shutil.which("node")
    assert node is not None, "the set-up needs Node.js"
    done = subprocess.run(
        [node, ROOT / "tests/vectors/check.cjs"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "24 values compared, 0 differ\n"), done.stderr


@pytest.mark.parametrize("number", JOBS)
def test_vectors__bundles_verify_and_the_proof_holds(number: int) -> None:
    job = FILE["jobs"][number]
    bundle = Bundle.from_json(job["bundle"])
    verify_bundle(
        bundle, chain_id=bundle.chain_id, market=FILE["market"], job_nonce=bundle.nonce, terms=bundle.terms,
        receipt=bundle.receipt,
    )  # fmt: skip
    last = job["proofOfLast"]
    root, link, *proof = (
        bytes.fromhex(text[2:]) for text in (job["evidenceRoot"], job["links"][-1], *last["proof"])
    )
    assert verify_proof(root, link, last["index"], len(job["links"]), proof)


def test_files__are_what_the_code_writes() -> None:
    command = [sys.executable, "-m", "scripts.evidence_files", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), "run: python -m scripts.evidence_files"


def test_documentation__quotes_the_first_vector() -> None:
    job = FILE["jobs"][0]
    quoted = [
        job["jobId"],
        job["seed"],
        *job["canonical"][:2],
        *job["links"][:2],
        job["evidenceRoot"],
        job["receiptHash"],
    ]
    assert [text for text in quoted if text not in DOCUMENT] == []


def test_documentation__names_every_word() -> None:
    words = set(DOCUMENT.replace("`", " ").split())
    assert {*EDGES, *SOURCES, *METRICS} - {word.strip(",.;") for word in words} == set()


# --- the schema


def test_schema__is_one_and_is_linked_from_the_documentation() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads((ROOT / "docs" / "evidence.schema.json").read_text()) == SCHEMA
    assert "(evidence.schema.json)" in DOCUMENT


@pytest.mark.parametrize("bundle", [make_bundle().to_json(), *(job["bundle"] for job in FILE["jobs"])])
def test_schema__bundles_of_the_code__fit(bundle: dict[str, Any]) -> None:
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(bundle, default=dict)))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"surprise": 1}, {"chainId": 31337}, {"chainId": "031"}, {"market": "0x00"},
        {"jobId": "0x" + "AB" * 32}, {"samples": []}, {"simulated": 0}, {"attempt": 0}, {"gpuReports": []},
        {"result": {"exitCode": 256, "signal": None, "reason": "ok"}}, {"terms": {}}, {"output": 7},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_schema__what_the_code_refuses__does_not_fit(change: dict[str, Any]) -> None:
    bundle = json.loads(json.dumps(make_bundle().to_json() | change, default=dict))
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(bundle)


@pytest.mark.parametrize("change", [{"metric": "watts"}, {"value": 2**53}, {"device": ""}, {"extra": 1}])
def test_schema__sample_outside_the_vocabulary__does_not_fit(change: dict[str, Any]) -> None:
    bundle = json.loads(json.dumps(make_bundle().to_json(), default=dict))
    bundle["samples"][0] |= change
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(bundle)
