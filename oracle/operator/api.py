"""The routes of the operator's page. Every answer forbids what the page doesn't need, and caching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from oracle.api_auth import Unauthorised
from oracle.api_errors import answer
from oracle.operator.access import COOKIE, PATH, SIGNED_IN_S, Access, WrongHost
from oracle.operator.feed import Feed, TooManyViewers
from oracle.operator.stream import EventStream

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
AGAIN_S: Final = 30
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PUBLIC: Final = ("page.css", "page.js", "rows.js", "icon.svg")
"""Files that say nothing about this node: whoever may ask it for anything gets them."""


@dataclass(frozen=True, slots=True)
class OperatorSite:
    """The page of a node: who may see it, and what is told."""

    access: Access
    feed: Feed


async def _for_us(request: Request) -> OperatorSite:
    site: OperatorSite = request.app.state.operator
    site.access.check_host(request.url.scheme, request.headers.get("host", ""))
    return site


async def _signed_in(request: Request) -> OperatorSite:
    site = await _for_us(request)
    site.access.check(request.cookies)
    return site


ForUs = Annotated[OperatorSite, Depends(_for_us)]
SignedIn = Annotated[OperatorSite, Depends(_signed_in)]


def add_operator(app: FastAPI, site: OperatorSite) -> None:
    """Serve the page."""
    app.state.operator = site

    @app.get(PATH, include_in_schema=False)
    async def page(request: Request, site: ForUs) -> Response:
        """The page, or the form that asks for the token."""
        try:
            site.access.check(request.cookies)
        except Unauthorised:
            return _html("signin.html", 401)
        return _html("index.html", 200)

    @app.post(f"{PATH}/session", include_in_schema=False)
    async def sign_in(request: Request, site: ForUs) -> Response:
        """The cookie, for the token."""
        given = parse_qs((await request.body()).decode("latin-1")).get("token", [""])[0]
        try:
            made = site.access.sign_in(given)
        except Unauthorised:
            return _html("signin.html", 401, refused=True)
        response = RedirectResponse(PATH, 303, headers=dict(HEADERS))
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, made, max_age=SIGNED_IN_S, path=PATH, secure=secure, httponly=True, samesite="strict"
        )
        return response

    @app.post(f"{PATH}/leave", include_in_schema=False)
    async def sign_out(site: SignedIn) -> Response:
        """Forget the cookie."""
        response = RedirectResponse(PATH, 303, headers=dict(HEADERS))
        response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")
        return response

    @app.get(f"{PATH}/events", include_in_schema=False)
    async def events(site: SignedIn) -> Response:
        """All sections, then what changes, until the viewer goes."""
        return EventStream(site.feed.enter(), {**HEADERS, "X-Accel-Buffering": "no"})

    for name in _PUBLIC:
        app.get(f"{PATH}/{name}", include_in_schema=False, dependencies=[Depends(_for_us)])(_file(name))
    app.add_exception_handler(WrongHost, _wrong_host)
    app.add_exception_handler(TooManyViewers, _too_many)


def _file(name: str) -> Callable[[], Response]:
    content, kind = _static(name), _TYPES[name.rpartition(".")[2]]

    def file() -> Response:
        return Response(content, media_type=kind, headers=dict(HEADERS))

    return file


def _html(name: str, status: int, *, refused: bool = False) -> Response:
    headers = dict(HEADERS) | ({"WWW-Authenticate": "Scrip-Operator"} if status == 401 else {})
    content = _static(name)
    if refused:
        content = content.replace(b'role="alert" hidden', b'role="alert"')
    return Response(content, status, headers, "text/html")


def _static(name: str) -> bytes:
    return files(__package__).joinpath("static", name).read_bytes()


async def _wrong_host(_: Request, error: Exception) -> JSONResponse:
    return answer(421, "wrong_host", str(error))


async def _too_many(_: Request, error: Exception) -> JSONResponse:
    refused = answer(503, "viewers", str(error))
    refused.headers["Retry-After"] = str(AGAIN_S)
    return refused
