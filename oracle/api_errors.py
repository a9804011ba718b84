"""What both APIs do about errors and sizes: every error is `{"error": {code, message, given, limit}}`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oracle.api_auth import Forbidden, Unauthorised
from oracle.catalogue import SpecRefused
from oracle.evidence import StorageFailed
from oracle.executors.base import ExecutorError
from oracle.intake import Declined, Why
from oracle.logging import clean, get
from oracle.outbox import DryRun
from oracle.rerun import Unable
from oracle.sampling import BudgetSpent
from oracle.store import LeadLost
from oracle.watcher import RowsRefused, TooEarly
from scrip.errors import BadInput, ChainError, EvidenceInvalid, NotFound, ScripError
from scrip.signed_requests import SCHEME

SHOWN: Final = 300

_log = get(__name__)


def body(code: str, message: str, given: object = None, limit: object = None) -> dict[str, Any]:
    """The JSON of an error. Values are shortened, URLs cut down to their origin."""
    shown = {"given": given, "limit": limit}
    return {
        "error": {
            "code": code,
            "message": clean(message)[:SHOWN],
            **{name: None if value is None else clean(str(value))[:SHOWN] for name, value in shown.items()},
        }
    }


def answer(status: int, code: str, message: str, given: object = None, limit: object = None) -> JSONResponse:
    """An error as a response."""
    return JSONResponse(body(code, message, given, limit), status)


def install(app: FastAPI, max_body_bytes: int) -> None:
    """Give `app` these errors and a limit on request bodies."""
    handlers: Mapping[Any, Callable[[Request, Any], Awaitable[JSONResponse]]] = {
        Unauthorised: _unauthorised,
        Forbidden: _forbidden,
        Declined: _declined,
        SpecRefused: _spec_refused,
        RowsRefused: _rows_refused,
        BadInput: _bad_input,
        NotFound: _not_found,
        EvidenceInvalid: _unavailable,
        DryRun: _dry,
        LeadLost: _stands_by,
        Unable: _unavailable,
        BudgetSpent: _unavailable,
        TooEarly: _too_early,
        ChainError: _unavailable,
        ExecutorError: _unavailable,
        StorageFailed: _unavailable,
        SQLAlchemyError: _storage,
        ScripError: _refused,
        RequestValidationError: _invalid,
        HTTPException: _http,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(BodyLimit, limit=max_body_bytes)


async def _unauthorised(_: Request, error: Unauthorised) -> JSONResponse:
    refused = answer(401, "unauthorised", str(error))
    refused.headers["WWW-Authenticate"] = SCHEME
    return refused


async def _forbidden(_: Request, error: Forbidden) -> JSONResponse:
    return answer(403, "forbidden", str(error), error.signer, error.allowed)


async def _declined(_: Request, error: Declined) -> JSONResponse:
    status = 429 if error.why is Why.CAPACITY else 409
    return answer(status, error.why.value, error.reason, error.given, error.limit)


async def _spec_refused(_: Request, error: SpecRefused) -> JSONResponse:
    return answer(422, "spec", str(error), error.given, error.limit)


async def _rows_refused(_: Request, error: RowsRefused) -> JSONResponse:
    rows = [
        {"jobId": "0x" + verdict.job_id.hex(), "check": verdict.check, "reason": verdict.reason}
        for verdict in error.verdicts
    ]
    first = rows[0]
    content = body("refused", str(error), first["jobId"], first["check"])
    return JSONResponse(content | {"check": first["check"], "reason": first["reason"], "refused": rows}, 409)


async def _too_early(_: Request, error: TooEarly) -> JSONResponse:
    return answer(425, "too_early", str(error))


async def _bad_input(_: Request, error: BadInput) -> JSONResponse:
    return answer(422, "bad_input", str(error), error.given, error.limit)


async def _not_found(_: Request, error: NotFound) -> JSONResponse:
    return answer(404, "not_found", str(error), error.ident)


async def _refused(_: Request, error: ScripError) -> JSONResponse:
    return answer(409, "refused", str(error))


async def _dry(_: Request, error: DryRun) -> JSONResponse:
    return answer(503, "dry_run", str(error))


async def _stands_by(_: Request, error: LeadLost) -> JSONResponse:
    return answer(503, "stands_by", str(error))


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return answer(503, "unavailable", str(error))


async def _storage(_: Request, error: SQLAlchemyError) -> JSONResponse:
    # Its text holds the statement and its values; the log has it.
    _log.error("store failed", error=type(error).__name__, detail=str(error.__cause__ or ""))
    return answer(503, "storage", "the store can't be used now")


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return answer(422, "bad_request", f"{where}: {first['msg']}", first.get("input"), first["msg"])


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    refused = answer(error.status_code, "http", str(error.detail), request.url.path)
    refused.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        refused.headers["Allow"] = ", ".join(_allowed(request))
    return refused


def _allowed(request: Request) -> list[str]:
    """Methods of all routes of the path: the framework names those of the first."""
    found: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed", path=request.url.path, exc_info=error)
    return answer(500, "internal", "an unexpected error; see the node's log")


class BodyLimit:
    """Refuses request bodies over `limit` bytes, announced or not, before they are read whole."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or int(announced) > self._limit:
            await self._refuse(send, announced.decode("latin-1"))
            return
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit:
                await self._refuse(send, f"over {self._limit}")
                return
            if not message.get("more_body", False):
                break
        await self._app(scope, _replay(b"".join(parts), receive), send)

    async def _refuse(self, send: Send, given: str) -> None:
        content = json.dumps(
            body("too_large", "the request body is too large", f"{given} bytes", f"{self._limit} bytes")
        ).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _replay(content: bytes, receive: Receive) -> Receive:
    """The body again, then whatever the connection says (a disconnect)."""
    pending: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed
