"""The watcher's HTTP API: POST /commitments and /reveals, and what was refused or contradicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, Query

from oracle import api_errors, statements
from oracle.api import add_common
from oracle.api_models import errors
from oracle.audits.brought import BRING_PATH, Brought
from oracle.audits.service import Audits
from oracle.audits.verdicts import SIGN_PATH, Asked
from oracle.health import Probe, Pulse
from oracle.metrics import Metrics
from oracle.settings import Settings
from oracle.store import Store
from oracle.watcher import CosignRow, Watcher, opened_json
from scrip.ballots import SignedCommitment
from scrip.errors import BadInput
from scrip.structs import to_bytes
from scrip.types import JobTerms, Receipt

MOST_SHOWN: Final = 200
URL_CHARS: Final = 2_000
MOST_COMMITMENTS: Final = 64
"""Twice what a watcher set can have members."""

JsonObject = Annotated[dict[str, Any], Body()]
Limit = Annotated[int, Query(ge=1, le=MOST_SHOWN)]


@dataclass(frozen=True, slots=True)
class WatcherParts:
    """What the API shows. `address` is our key's, None in a dry run."""

    settings: Settings
    watcher: Watcher
    store: Store
    metrics: Metrics
    pulse: Pulse
    probes: Mapping[str, Probe]
    address: str | None
    chain_id: int
    verifier: str
    audits: Audits | None = None


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """A first-round request as it came in."""

    rows: tuple[CosignRow, ...]
    batched: bool
    signature: bytes


@dataclass(frozen=True, slots=True)
class RevealRequest:
    """A second-round request as it came in."""

    subject: bytes
    evidence: bytes
    commitments: tuple[SignedCommitment, ...]


def watcher_app(parts: WatcherParts) -> FastAPI:
    """The app of a watcher node."""
    app = FastAPI(title="Scrip watcher", version="1", docs_url=None, redoc_url=None)
    api_errors.install(app, parts.settings.api.max_body_bytes)
    add_common(app, parts.metrics, parts.pulse, parts.probes, parts.settings)
    _add_votes(app, parts)
    if parts.audits is not None:
        _add_audits(app, parts.audits)

    @app.get("/")
    def about() -> dict[str, Any]:
        """Who watches which chain."""
        return {
            "watcher": parts.address,
            "chainId": str(parts.chain_id),
            "verifier": parts.verifier,
            "dryRun": parts.settings.dry,
        }

    return app


def _add_votes(app: FastAPI, parts: WatcherParts) -> None:
    @app.post("/commitments", responses=errors(400, 404, 409, 413, 422, 503))
    def commit(asked: JsonObject) -> dict[str, Any]:
        """Review receipts and commit to a vote: {batched, rows: [{bundle, receipt, terms}], signature} ->
        {commitment, signature}.

        `signature` asked for is the provider's over the digest of the rows. 409 {error, check, reason,
        refused} if they aren't voted on, 503 if they can't be judged now.
        """
        request = parse_commit(asked)
        signed = parts.watcher.commit(request.rows, batched=request.batched, signature=request.signature)
        return signed.to_json()

    @app.post("/reveals", responses=errors(400, 404, 413, 422, 425, 503))
    def reveal(asked: JsonObject) -> Mapping[str, Any]:
        """Open a vote: {subject, evidence, commitments: [{commitment, signature}]} -> {reveal, signature,
        findings, cosignature}.

        425 until the commitments of enough other watchers are shown. `cosignature` is null if a row was
        refused; its findings say why.
        """
        request = parse_reveal(asked)
        return opened_json(parts.watcher.reveal(request.subject, request.evidence, request.commitments))

    @app.get("/refusals", responses=errors(422, 503))
    def refusals(limit: Limit = 50) -> dict[str, Any]:
        """The latest refusals with their reasons and signed statements."""
        return {"refusals": parts.watcher.refusals(limit)}

    @app.get("/equivocations", responses=errors(422, 503))
    def equivocations(limit: Limit = 50) -> dict[str, Any]:
        """Proofs that a watcher made two statements that contradict each other."""
        return {"equivocations": statements.equivocations(parts.store, limit)}


def _add_audits(app: FastAPI, audits: Audits) -> None:
    @app.post(SIGN_PATH, responses=errors(409, 413, 422, 503))
    def sign(asked: JsonObject) -> dict[str, Any]:
        """Sign a verdict on overcharging, {terms, units, reporter, calls, signature} -> {signature}: if we
        find as much when we run these calls again. 409 if we don't, 503 if we can't judge now.
        """
        return audits.sign(Asked.from_json(asked))

    @app.post(BRING_PATH, responses=errors(409, 413, 422, 503))
    def bring(asked: JsonObject) -> dict[str, str]:
        """Audit a call that the provider doesn't show, {terms, receipt, signature, request, response} (bytes
        in base64) -> {check, reason, units}: docs/gateway.md.
        """
        return audits.hear(Brought.from_json(asked))

    @app.get("/audits", responses=errors(422, 503))
    def show(limit: Limit = 50) -> dict[str, Any]:
        """The latest audits of calls, and the sessions that can't be audited now, with reasons."""
        return audits.shown(limit)


def parse_commit(asked: Mapping[str, Any]) -> CommitRequest:
    """A first-round request. Raises BadInput."""
    if set(asked) != {"batched", "rows", "signature"} or not isinstance(asked["batched"], bool):
        limit = "an object with exactly batched (true or false), rows and signature"
        raise BadInput("request", sorted(asked), limit)
    rows = _list("rows", asked["rows"])
    signature = to_bytes("signature", asked["signature"], 65)
    return CommitRequest(tuple(_row(item) for item in rows), asked["batched"], signature)


def parse_reveal(asked: Mapping[str, Any]) -> RevealRequest:
    """A second-round request. Raises BadInput."""
    if set(asked) != {"subject", "evidence", "commitments"}:
        limit = "an object with exactly subject, evidence and commitments"
        raise BadInput("request", sorted(asked), limit)
    shown = _list("commitments", asked["commitments"])
    if len(shown) > MOST_COMMITMENTS:
        raise BadInput("commitments", len(shown), f"at most {MOST_COMMITMENTS}")
    return RevealRequest(
        to_bytes("subject", asked["subject"], 32),
        to_bytes("evidence", asked["evidence"], 32),
        tuple(SignedCommitment.from_json(item) for item in shown),
    )


def _list(field: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(field, type(value).__name__, "a list")
    return value


def _row(item: object) -> CosignRow:
    if not isinstance(item, Mapping) or set(item) != {"bundle", "receipt", "terms"}:
        raise BadInput("rows", item, "objects with exactly bundle, receipt and terms")
    url = item["bundle"]
    if not isinstance(url, str) or len(url) > URL_CHARS:
        raise BadInput("rows.bundle", url, f"a URL of at most {URL_CHARS} characters")
    return CosignRow(Receipt.from_json(item["receipt"]), JobTerms.from_json(item["terms"]), url)
