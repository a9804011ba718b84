"""What orchestrators and Prometheus ask over HTTP: an app each, because different neighbours reach them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from oracle import api_errors
from oracle.admission.kubernetes import Review, Webhook
from oracle.admission.metrics import AdmissionMetrics
from oracle.admission.office import Office
from oracle.admission.rule import Denied
from oracle.admission.slurm import SYSTEM, Asked, Edge, Terms

ADMITTED: Final = "admitted"
"""The whole answer to a workload that may run. Anything else is why not."""
PASSING: Final = "temporarily unable to admit: "
"""Begins what may be different later: our own executor waits and asks again."""
_MOST_ASKED: Final = 8 * 1024
_MOST_REVIEW: Final = 8 * 2**20
"""Two objects, of at most 1.5 MiB each in etcd, as JSON."""


def slurm_app(office: Office, terms: Terms) -> FastAPI:
    """For slurmctld's scripts, on a unix socket. Answers are one line of text, for people."""
    app = FastAPI(title="Scrip admission, Slurm", version="1", docs_url=None, redoc_url=None)
    api_errors.install(app, _MOST_ASKED)
    app.add_exception_handler(Denied, _denied)
    app.add_exception_handler(RequestValidationError, _misunderstood)

    @app.post("/slurm/submit", response_class=PlainTextResponse)
    def submit(asked: Asked) -> str:
        """May this be submitted? Holds its job if so."""
        with office.metrics.decision(SYSTEM):
            office.admit(terms.claim(asked))
        return ADMITTED

    @app.post("/slurm/start", response_class=PlainTextResponse)
    def start(edge: Edge) -> str:
        """May this start now? The job may have ended while its workload waited."""
        with office.metrics.decision(SYSTEM):
            office.admit(edge.claim(), started=True)
        return ADMITTED

    @app.post("/slurm/end", response_class=PlainTextResponse)
    def end(edge: Edge) -> str:
        """It has ended."""
        return "released" if office.release(edge.claim()) else "not held"

    return app


def kubernetes_app(webhook: Webhook) -> FastAPI:
    """For the API server, by HTTPS."""
    app = FastAPI(title="Scrip admission, Kubernetes", version="1", docs_url=None, redoc_url=None)
    api_errors.install(app, _MOST_REVIEW)

    @app.post("/admission/validate")
    def validate(review: Review) -> dict[str, Any]:
        """Answer an AdmissionReview. One that can't be read is an error, on which the API server refuses."""
        return webhook.answer(review)

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        """For probes of the pod: it serves. Whether the chain answers is each review's to find out."""
        return "ok"

    return app


def metrics_app(metrics: AdmissionMetrics) -> FastAPI:
    """For Prometheus: what was decided, without a word of who asked."""
    app = FastAPI(title="Scrip admission, metrics", version="1", docs_url=None, redoc_url=None)

    @app.get("/metrics", response_class=Response)
    def scrape() -> Response:
        """Prometheus metrics."""
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return app


async def _denied(_: Request, denied: Any) -> PlainTextResponse:
    shown = (PASSING if denied.passing else "") + denied.reason
    return PlainTextResponse(shown, 503 if denied.passing else 403)


async def _misunderstood(_: Request, error: Any) -> PlainTextResponse:
    where = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors())
    return PlainTextResponse(f"the node doesn't understand this submission: {where}", 422)
