"""The provider's HTTP API: quotes, specs, jobs with their evidence, health, metrics and the registration
file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp

from oracle import api_errors, statements
from oracle import api_models as models
from oracle.api_auth import Gate, Parties, Signer
from oracle.api_limits import RateLimit
from oracle.api_models import errors
from oracle.desk import Desk
from oracle.evidence import EvidenceStore
from oracle.gateway.api import add_sessions
from oracle.gateway.service import Gateway
from oracle.health import Probe, Pulse, readiness
from oracle.metrics import Metrics
from oracle.models import JobRow
from oracle.settings import Settings
from oracle.states import State
from oracle.store import Store
from scrip.errors import BadInput, NotFound
from scrip.evidence import Bundle, merkle_proof
from scrip.structs import to_bytes

if TYPE_CHECKING:
    from oracle.operator.api import OperatorSite
    from oracle.x402.shop import Shop

REGISTRATION_TYPE: Final = "https://eips.ethereum.org/EIPS/eip-8004#registration-v1"
SERVICE: Final = "scrip"
BUNDLE_TYPE: Final = "application/json"
MOST_LISTED: Final = 200

Hash = Annotated[str, Path(pattern=r"^(0x)?[0-9a-fA-F]{64}$")]
_BYTES: Final = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_TEXT: Final = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_OBJECT: Final = {"content": {BUNDLE_TYPE: {"schema": {"type": "object"}}}}


@dataclass(frozen=True, slots=True)
class ProviderParts:
    """What the API shows. `oracle` is our key's address, None in a dry run; `gateway` sells calls, if any;
    `operator` is the operator's page.
    """

    settings: Settings
    store: Store
    desk: Desk
    evidence: EvidenceStore
    metrics: Metrics
    pulse: Pulse
    probes: Mapping[str, Probe]
    parties: Parties
    oracle: str | None
    chain_id: int
    market: str
    registry: str
    shop: Shop | None = None
    gateway: Gateway | None = None
    operator: OperatorSite | None = None

    @property
    def gate(self) -> Gate:
        """Who may see what."""
        own = {self.settings.of_provider().address, self.oracle} - {None}
        operators = frozenset(item for item in own if item is not None)
        url = self.settings.api.public_url
        return Gate(self.parties, url, self.chain_id, self.market, operators)


def provider_app(parts: ProviderParts) -> ASGIApp:
    """The app of a provider node."""
    gateway = parts.gateway
    lifespan = None if gateway is None else gateway.proxy.lifespan
    app = FastAPI(title="Scrip provider", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.gate = parts.gate
    api_errors.install(app, parts.settings.api.max_body_bytes)
    add_common(app, parts.metrics, parts.pulse, parts.probes, parts.settings)
    _add_market(app, parts)
    _add_jobs(app, parts)
    _add_evidence(app, parts)
    if parts.shop is not None:
        from oracle.x402.api import add_shop

        add_shop(app, parts.shop, parts.store, parts.evidence)
    if parts.operator is not None:
        from oracle.operator.api import add_operator

        add_operator(app, parts.operator)
    if gateway is not None:
        add_sessions(app, gateway)
    served = app if gateway is None else gateway.proxy.before(app)
    return _open_to_pages(served, parts.settings.api.web_origins)


def _open_to_pages(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of these origins call the API from a browser. Added last: refusals need the headers as well.

    No cookie counts here, so a page can do no more than anybody: what isn't public takes a signature.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Retry-After", "X-Scrip-Simulated"],
    )


def add_common(
    app: FastAPI, metrics: Metrics, pulse: Pulse, probes: Mapping[str, Probe], settings: Settings
) -> None:
    """Rate limits, health, readiness and metrics: the same on every node."""
    limits = settings.api
    app.add_middleware(
        RateLimit, per_minute=limits.requests_per_minute, heavy_per_minute=limits.heavy_per_minute
    )

    @app.get("/healthz", response_model=models.Health, responses={503: {"model": models.Health}})
    def healthz() -> JSONResponse:
        """200 while the main loop makes progress."""
        content = {
            "ok": pulse.alive,
            "lastCycleSecondsAgo": round(pulse.age_s, 1),
            "role": settings.role.value,
        }
        return JSONResponse(content, 200 if pulse.alive else 503)

    @app.get("/readyz", response_model=models.Readiness, responses={503: {"model": models.Readiness}})
    def readyz() -> JSONResponse:
        """200 if the node can work now: every part is asked."""
        ready, found = readiness(probes)
        content = {"ok": ready, "dryRun": settings.dry, "checks": found}
        return JSONResponse(content, 200 if ready else 503)

    @app.get("/metrics", response_class=Response, responses={200: _TEXT})
    def render() -> Response:
        """Prometheus metrics."""
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _add_market(app: FastAPI, parts: ProviderParts) -> None:
    desk = parts.desk

    @app.post("/quotes", responses=errors(400, 404, 409, 413, 422, 503))
    def quote(asked: models.QuoteRequest) -> models.Quote:
        """Sign the acceptance of a job. Opening with it starts the job."""
        made = desk.quote(asked.terms, asked.spec)
        return models.Quote(
            jobId=_hex(made.job_id),
            quote=_hex(made.signature),
            seconds=made.seconds,
            simulated=made.simulated,
        )

    @app.put("/specs/{spec_hash}", responses=errors(400, 413, 422, 503))
    def put_spec(spec_hash: Hash, spec: models.SpecField) -> models.SpecKept:
        """Leave the spec of a job that is opened without a quote."""
        key = _hash("specHash", spec_hash)
        desk.keep_spec(key, spec)
        return models.SpecKept(specHash=_hex(key))

    @app.get("/.well-known/agent-registration.json", responses=errors())
    def registration() -> dict[str, Any]:
        """What this provider is and offers (shaped after ERC-8004's registration file)."""
        return registration_file(parts)


def _add_jobs(app: FastAPI, parts: ProviderParts) -> None:
    @app.get("/jobs", responses=errors(401, 403, 422))
    def jobs(
        signer: Signer,
        state: Annotated[State | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
        after: Annotated[str | None, Query(pattern=r"^[0-9]{1,16}-[0-9a-f]{64}$")] = None,
    ) -> models.JobPage:
        """All jobs of this node, newest first, for who runs it. `after` is the `next` of the page before."""
        app.state.gate.check_operator(signer)
        rows = parts.store.page(state, limit + 1, _cursor(after))
        last = rows[limit - 1] if len(rows) > limit else None
        return models.JobPage(
            jobs=[models.JobSummary(**_summary(row)) for row in rows[:limit]],
            next=None if last is None else f"{last.created_ms}-{last.job_id.hex()}",
        )

    @app.get("/jobs/{job_id}", responses=errors(404, 422))
    def job(job_id: Hash) -> models.Job:
        """State of a job, with reason, attempt, receipt and transaction."""
        row = parts.store.job(_hash("jobId", job_id))
        return models.Job(**job_json(row, parts.store))

    @app.get("/equivocations", responses=errors(422))
    def equivocations(limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50) -> models.Equivocations:
        """Proofs that a watcher we asked made two statements that contradict each other."""
        found = statements.equivocations(parts.store, limit)
        return models.Equivocations(equivocations=[models.Equivocation(**one) for one in found])


def _add_evidence(app: FastAPI, parts: ProviderParts) -> None:
    def of_party(job_id: str, signer: str) -> JobRow:
        row = parts.store.job(_hash("jobId", job_id))
        app.state.gate.check_party(signer, row.terms)
        return row

    @app.get(
        "/jobs/{job_id}/output",
        response_class=Response,
        responses=errors(401, 403, 404, 422, 503) | {200: _BYTES},
    )
    def output(job_id: Hash, signer: Signer) -> Response:
        """Output bytes of a job, for its parties; their keccak256 is the receipt's outputHash."""
        bundle = _bundle(parts, of_party(job_id, signer))
        headers = {"X-Scrip-Simulated": str(bundle.simulated).lower()}
        return Response(bundle.output, media_type="application/octet-stream", headers=headers)

    @app.get(
        "/jobs/{job_id}/evidence",
        response_class=Response,
        responses=errors(401, 403, 404, 422, 503) | {200: _OBJECT},
    )
    def evidence(job_id: Hash, signer: Signer) -> Response:
        """The evidence bundle, in its canonical bytes, for the job's parties."""
        row = of_party(job_id, signer)
        return Response(parts.evidence.raw(row.job_id, _attempt(row)), media_type=BUNDLE_TYPE)

    @app.get("/jobs/{job_id}/evidence/{seq}/proof", responses=errors(404, 422, 503))
    def proof(job_id: Hash, seq: Annotated[int, Path(ge=0)]) -> models.Proof:
        """Merkle proof that one sample is in the receipt's evidenceRoot."""
        bundle = _bundle(parts, parts.store.job(_hash("jobId", job_id)))
        if seq >= len(bundle.samples):
            raise NotFound("sample", seq, f"The bundle has {len(bundle.samples)}")
        links = bundle.links()
        return models.Proof(
            jobId=_hex(bundle.job_id),
            attempt=bundle.attempt,
            index=seq,
            count=len(links),
            sample=bundle.samples[seq].to_json(),
            previousLink=None if seq == 0 else _hex(links[seq - 1]),
            link=_hex(links[seq]),
            proof=[_hex(node) for node in merkle_proof(links, seq)],
            root=_hex(bundle.receipt.evidence_root),
            simulated=bundle.simulated,
        )


def job_json(row: JobRow, store: Store) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        **_summary(row),
        "receipt": row.receipt,
        "tx": None if row.tx_hash is None else _hex(row.tx_hash),
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


def _summary(row: JobRow) -> dict[str, Any]:
    return {
        "jobId": _hex(row.job_id),
        "state": row.state,
        "final": row.at.final,
        "reason": row.reason,
        "attempt": row.attempt,
        "simulated": row.simulated,
        "classId": str(row.terms.class_id),
        "createdMs": row.created_ms,
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
        "x402Support": parts.shop is not None,
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
            "sells": [] if parts.shop is None else [str(item) for item in parts.shop.rules.sell],
            "templates": [template.describe() for template in policy.catalogue if template.offered],
            "gateway": None if parts.gateway is None else parts.gateway.describe(parts.oracle),
        },
    }


def _model_skus(catalogue: Any) -> set[str]:
    return {template.sku for template in catalogue if template.sku}


def _bundle(parts: ProviderParts, row: JobRow) -> Bundle:
    return parts.evidence.get(row.job_id, _attempt(row))


def _attempt(row: JobRow) -> int:
    """The attempt that counts. An attempt that was cut off may have left evidence that nothing was signed
    for.
    """
    if row.receipt is None:
        raise NotFound("evidence", row.job_id, f"The job is {row.state}")
    return row.attempt


def _cursor(text: str | None) -> tuple[int, bytes] | None:
    if text is None:
        return None
    created, _, job = text.partition("-")
    if int(created) >= 1 << 63:
        raise BadInput("after", text, "a cursor that this API gave")
    return int(created), bytes.fromhex(job)


def _hash(field: str, text: str) -> bytes:
    return to_bytes(field, "0x" + text.removeprefix("0x").lower(), 32)


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
