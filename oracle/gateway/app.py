"""The OpenAI-compatible endpoints, as an ASGI app in front of the provider's own: its clients expect OpenAI's
errors, and the rate and size limits of accounts and models instead of those by address.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from oracle.gateway import errors, fast_json
from oracle.gateway.calls import Calls, Charging
from oracle.gateway.client import Client
from oracle.gateway.counters import CallCounters
from oracle.gateway.errors import BadMethod, ClientGone, Failed, UnknownModel
from oracle.gateway.limits import RefusalLimit
from oracle.gateway.models import Offer
from oracle.gateway.rates import RateCard
from oracle.gateway.refusals import GatewayRefused
from oracle.gateway.requests import parse
from oracle.logging import get
from oracle.settings_gateway import GatewaySettings
from oracle.settings_upstreams import Kind

MODELS: Final = "/v1/models"
_KINDS: Final = {f"/v1/{kind}": kind for kind in Kind}

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Proxy:
    """What a node needs to serve calls."""

    calls: Calls
    offer: Offer

    @classmethod
    def of(
        cls, settings: GatewaySettings, accounts: Charging, rates: RateCard, provider: str,
        registry: CollectorRegistry,
    ) -> Self:  # fmt: skip
        """Join the parts. `provider` is the address that sells, `registry` takes the metrics."""
        calls = Calls(settings, accounts, CallCounters(registry))
        return cls(calls, Offer(settings, rates, provider, int(time.time())))

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Of the app it is installed in: closes the connections to inference servers at the end."""
        yield
        await self.calls.close()

    def before(self, app: ASGIApp) -> ASGIApp:
        """Serve in front of `app`: not as a middleware of it, whose way in costs a call 0.1 ms."""
        return ProxyApp(app, self.calls, self.offer)


class ProxyApp:
    """Serves the gateway's paths, and leaves all others to `app`."""

    def __init__(self, app: ASGIApp, calls: Calls, offer: Offer) -> None:
        self._app, self._calls, self._offer = app, calls, offer
        self._refusals = RefusalLimit(offer.settings.refusals_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        path = scope["path"] if scope["type"] == "http" else ""
        kind = _KINDS.get(path)
        if kind is None and path != MODELS and not path.startswith(f"{MODELS}/"):
            await self._app(scope, receive, send)
            return
        client = Client(scope, receive, send)
        try:
            self._refusals.check(scope)
            if kind is None:
                await self._show(scope["method"], path.removeprefix(MODELS).removeprefix("/"), client)
            else:
                await self._call(scope["method"], kind, client)
        except ClientGone:
            return
        except GatewayRefused as refused:
            self._refusals.count(scope, refused)
            await self._refuse(client, refused)
        except Exception as error:
            _log.error("request failed", path=path, exc_info=error)
            await self._refuse(client, Failed("an unexpected error; see the node's log"))

    async def _call(self, method: str, kind: Kind, client: Client) -> None:
        _check_method(method, "POST")
        credential = client.credential()
        raw = await client.body(self._offer.settings.max_body_bytes)
        await self._calls.serve(parse(kind, raw, self._offer.settings), credential, client)

    async def _show(self, method: str, model: str, client: Client) -> None:
        _check_method(method, "GET")
        found: Any = self._offer.listed() if not model else self._offer.model(model)
        if found is None:
            raise UnknownModel(f"model {model[:100]!r} isn't offered here", model[:100], None, "model")
        await client.answer(200, fast_json.dumps(found))

    async def _refuse(self, client: Client, refused: GatewayRefused) -> None:
        if client.started:
            return
        try:
            await client.refuse(refused, errors.body(refused))
        except ClientGone:
            return


def _check_method(given: str, allowed: str) -> None:
    if given != allowed:
        raise BadMethod(f"{given}: must be {allowed}", given, allowed)
