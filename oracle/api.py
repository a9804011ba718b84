"""The provider's HTTP API: quotes, specs, jobs with their evidence, health, metrics and the registration
file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, Path, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from oracle import api_errors, statements
from oracle.desk import Desk
from oracle.evidence import EvidenceStore
from oracle.health import Probe, Pulse, readiness
from oracle.metrics import Metrics
from oracle.models import JobRow
from oracle.settings import Settings
from oracle.store import Store
from scrip.errors import BadInput, NotFound
from scrip.evidence import Bundle, merkle_proof
from scrip.spec import JobSpec
from scrip.structs import to_bytes
from scrip.types import JobTerms

REGISTRATION_TYPE: Final = "https://eips.ethereum.org/EIPS/eip-8004#registration-v1"
SERVICE: Final = "scrip"
BUNDLE_TYPE: Final = "application/json"
MOST_SHOWN: Final = 200

Hash = Annotated[str, Path(pattern=r"^(0x)?[0-9a-fA-F]{64}$")]
JsonObject = Annotated[dict[str, Any], Body()]


@dataclass(frozen=True, slots=True)
class ProviderParts:
    """What the API shows. `oracle` is our key's address, None in a dry run."""

    settings: Settings
    store: Store
    desk: Desk
    evidence: EvidenceStore
    metrics: Metrics
    pulse: Pulse
    probes: Mapping[str, Probe]
    oracle: str | None
    chain_id: int
    market: str
    registry: str


def provider_app(parts: ProviderParts) -> FastAPI:
    """The app of a provider node."""
    app = FastAPI(title="Scrip provider", version="1", docs_url=None, redoc_url=None)
    api_errors.install(app, parts.settings.api.max_body_bytes)
    add_common(app, parts.metrics, parts.pulse, parts.probes, parts.settings)
    _add_market(app, parts)
    _add_jobs(app, parts)
    return app


def add_common(
    app: FastAPI, metrics: Metrics, pulse: Pulse, probes: Mapping[str, Probe], settings: Settings
) -> None:
    """Health, readiness and metrics: the same on every node."""

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        """200 while the main loop makes progress."""
        content = {
            "ok": pulse.alive,
            "lastCycleSecondsAgo": round(pulse.age_s, 1),
            "role": settings.role.value,
        }
        return JSONResponse(content, 200 if pulse.alive else 503)

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """200 if the node can work now: every part is asked."""
        ready, found = readiness(probes)
        content = {"ok": ready, "dryRun": settings.dry, "checks": found}
        return JSONResponse(content, 200 if ready else 503)

    @app.get("/metrics")
    def render() -> Response:
        """Prometheus metrics."""
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _add_market(app: FastAPI, parts: ProviderParts) -> None:
    desk = parts.desk

    @app.post("/quotes")
    def quote(asked: JsonObject) -> dict[str, Any]:
        """Sign the acceptance of a job: {terms, spec} -> {jobId, quote}. Opening with it starts the job."""
        if set(asked) != {"terms", "spec"}:
            raise BadInput("request", sorted(asked), "an object with exactly terms and spec")
        made = desk.quote(JobTerms.from_json(asked["terms"]), JobSpec.from_json(asked["spec"]))
        return {
            "jobId": "0x" + made.job_id.hex(),
            "quote": "0x" + made.signature.hex(),
            "seconds": made.seconds,
            "simulated": made.simulated,
        }

    @app.put("/specs/{spec_hash}")
    def put_spec(spec_hash: Hash, spec: JsonObject) -> dict[str, Any]:
        """Leave the spec of a job that is opened without a quote."""
        key = _hash("specHash", spec_hash)
        desk.keep_spec(key, JobSpec.from_json(spec))
        return {"specHash": "0x" + key.hex()}

    @app.get("/.well-known/agent-registration.json")
    def registration() -> dict[str, Any]:
        """What this provider is and offers (shaped after ERC-8004's registration file)."""
        return registration_file(parts)


def _add_jobs(app: FastAPI, parts: ProviderParts) -> None:
    @app.get("/jobs/{job_id}")
    def job(job_id: Hash) -> dict[str, Any]:
        """State of a job, with reason, attempt, receipt and transaction."""
        row = parts.store.job(_hash("jobId", job_id))
        return job_json(row, parts.store)

    @app.get("/equivocations")
    def equivocations(limit: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 50) -> dict[str, Any]:
        """Proofs that a watcher we asked made two statements that contradict each other."""
        return {"equivocations": statements.equivocations(parts.store, limit)}

    @app.get("/jobs/{job_id}/output")
    def output(job_id: Hash) -> Response:
        """Output bytes of a job; their keccak256 is the receipt's outputHash."""
        bundle = _bundle(parts, job_id)
        headers = {"X-Scrip-Simulated": str(bundle.simulated).lower()}
        return Response(bundle.output, media_type="application/octet-stream", headers=headers)

    @app.get("/jobs/{job_id}/evidence")
    def evidence(job_id: Hash) -> Response:
        """The evidence bundle, in its canonical bytes."""
        key = _hash("jobId", job_id)
        return Response(parts.evidence.raw(key, _attempt(parts, key)), media_type=BUNDLE_TYPE)

    @app.get("/jobs/{job_id}/evidence/{seq}/proof")
    def proof(job_id: Hash, seq: Annotated[int, Path(ge=0)]) -> dict[str, Any]:
        """Merkle proof that one sample is in the receipt's evidenceRoot."""
        bundle = _bundle(parts, job_id)
        if seq >= len(bundle.samples):
            raise NotFound("sample", seq, f"The bundle has {len(bundle.samples)}")
        links = bundle.links()
        return {
            "jobId": "0x" + bundle.job_id.hex(),
            "attempt": bundle.attempt,
            "index": seq,
            "count": len(links),
            "sample": bundle.samples[seq].to_json(),
            "previousLink": None if seq == 0 else "0x" + links[seq - 1].hex(),
            "link": "0x" + links[seq].hex(),
            "proof": ["0x" + node.hex() for node in merkle_proof(links, seq)],
            "root": "0x" + bundle.receipt.evidence_root.hex(),
            "simulated": bundle.simulated,
        }


def job_json(row: JobRow, store: Store) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "jobId": "0x" + row.job_id.hex(),
        "state": row.state,
        "final": row.at.final,
        "reason": row.reason,
        "attempt": row.attempt,
        "simulated": row.simulated,
        "classId": str(row.terms.class_id),
        "receipt": None if row.receipt is None else row.receipt.to_json(),
        "tx": None if row.tx_hash is None else "0x" + row.tx_hash.hex(),
        "refusals": [
            {
                "watcher": item.watcher,
                "check": item.check,
                "reason": item.reason,
                "atMs": item.at_ms,
                "statement": json.loads(item.statement) if item.statement else None,
            }
            for item in store.refusals(row.job_id)
        ],
        "steps": [
            {"state": step.state, "atMs": step.at_ms, "reason": step.reason}
            for step in store.steps(row.job_id)
        ],
    }


def registration_file(parts: ProviderParts) -> dict[str, Any]:
    """The registration file. Claims of this node about itself; `active` is False without a key."""
    offer, api = parts.settings.of_provider(), parts.settings.api
    policy = parts.desk.policy
    return {
        "type": REGISTRATION_TYPE,
        "name": f"Scrip provider {offer.address}",
        "description": "Compute paid in credits and settled by signed receipts",
        "services": [
            {"name": SERVICE, "endpoint": api.public_url, "version": "1"},
            {"name": "web", "endpoint": api.public_url},
        ],
        "x402Support": False,
        "active": parts.oracle is not None,
        "registrations": [
            {"agentId": offer.address, "agentRegistry": f"eip155:{parts.chain_id}:{parts.registry}"}
        ],
        "supportedTrust": ["crypto-economic"] + (["watchers"] if policy.watchers else []),
        SERVICE: {
            "provider": offer.address,
            "oracle": parts.oracle,
            "chainId": str(parts.chain_id),
            "market": parts.market,
            "classes": [str(item) for item in offer.classes],
            "skus": sorted(
                {sku for sku in (offer.cpu_sku, offer.gpu_sku) if sku} | _model_skus(policy.catalogue)
            ),
            "slots": offer.slots,
            "dryRun": parts.settings.dry,
            "simulated": policy.simulated,
            "templates": [template.describe() for template in policy.catalogue],
        },
    }


def _model_skus(catalogue: Any) -> set[str]:
    return {template.sku for template in catalogue if template.sku}


def _bundle(parts: ProviderParts, job_id: str) -> Bundle:
    key = _hash("jobId", job_id)
    return parts.evidence.get(key, _attempt(parts, key))


def _attempt(parts: ProviderParts, job_id: bytes) -> int:
    """The attempt that counts. An attempt that was cut off may have left evidence that nothing was signed
    for.
    """
    row = parts.store.job(job_id)
    if row.receipt is None:
        raise NotFound("evidence", job_id, f"The job is {row.state}")
    return row.attempt


def _hash(field: str, text: str) -> bytes:
    return to_bytes(field, "0x" + text.removeprefix("0x").lower(), 32)
