"""The watcher's HTTP API: POST /cosign, and why receipts were refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, Query

from oracle import api_errors
from oracle.api import add_common
from oracle.api_models import errors
from oracle.health import Probe, Pulse
from oracle.metrics import Metrics
from oracle.settings import Settings
from oracle.watcher import CosignRow, Watcher
from scrip.errors import BadInput
from scrip.types import Receipt

MOST_SHOWN: Final = 200
URL_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class WatcherParts:
    """What the API shows. `address` is our key's, None in a dry run."""

    settings: Settings
    watcher: Watcher
    metrics: Metrics
    pulse: Pulse
    probes: Mapping[str, Probe]
    address: str | None
    chain_id: int
    verifier: str


def watcher_app(parts: WatcherParts) -> FastAPI:
    """The app of a watcher node."""
    app = FastAPI(title="Scrip watcher", version="1", docs_url=None, redoc_url=None)
    api_errors.install(app, parts.settings.api.max_body_bytes)
    add_common(app, parts.metrics, parts.pulse, parts.probes, parts.settings)

    @app.post("/cosign", responses=errors(400, 404, 409, 413, 422, 503))
    def cosign(asked: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Review receipts and sign them: {batched, rows: [{bundle, receipt}]} -> {watcher, signature}.

        409 {error, check, reason, refused} if a row fails a check, 503 if it can't be judged now.
        """
        rows, batched = parse(asked)
        signature = parts.watcher.cosign(rows, batched=batched)
        return {"watcher": parts.address, "signature": "0x" + signature.hex()}

    @app.get("/refusals", responses=errors(422, 503))
    def refusals(limit: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 50) -> dict[str, Any]:
        """The latest refusals with their reasons."""
        return {"refusals": parts.watcher.refusals(limit)}

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


def parse(asked: Mapping[str, Any]) -> tuple[list[CosignRow], bool]:
    """Rows of a co-sign request and whether they are signed as a batch. Raises BadInput."""
    if set(asked) != {"batched", "rows"} or not isinstance(asked["batched"], bool):
        raise BadInput("request", sorted(asked), "an object with exactly batched (true or false) and rows")
    rows = asked["rows"]
    if not isinstance(rows, list):
        raise BadInput("rows", type(rows).__name__, "a list")
    return [_row(item) for item in rows], asked["batched"]


def _row(item: object) -> CosignRow:
    if not isinstance(item, Mapping) or set(item) != {"bundle", "receipt"}:
        raise BadInput("rows", item, "objects with exactly bundle and receipt")
    url = item["bundle"]
    if not isinstance(url, str) or len(url) > URL_CHARS:
        raise BadInput("rows.bundle", url, f"a URL of at most {URL_CHARS} characters")
    return CosignRow(Receipt.from_json(item["receipt"]), url)
