"""How often one client may ask: a sliding window a minute, counted by address, kept in memory.

What costs a provider something (a quote reads the chain, evidence the disk) has a window of its own.
Behind a proxy clients are told apart by what it says of them: uvicorn takes that from loopback only.
"""

from __future__ import annotations

import ipaddress
import json
import math
import time
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from oracle.api_errors import body

UNLIMITED: Final = ("/healthz", "/readyz", "/metrics")
"""Asked by the operator's own machinery, and cheap."""
_HEAVY_ENDS: Final = ("/evidence", "/output", "/proof")
"""All of them read a whole bundle."""
_IPV6_SITE: Final = 64


class RateLimit:
    """Answers 429, with Retry-After, to clients that ask more than `per_minute` times, or `heavy_per_minute`
    times for what costs most.
    """

    def __init__(self, app: ASGIApp, per_minute: int, heavy_per_minute: int) -> None:
        self._app = app
        self._any, self._heavy = RateLimitItemPerMinute(per_minute), RateLimitItemPerMinute(heavy_per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        client = client_key(scope)
        kinds = [("heavy", self._heavy)] if is_heavy(scope["method"], scope["path"]) else []
        for kind, item in (*kinds, ("any", self._any)):
            if not self._limiter.hit(item, kind, client):
                await self._refuse(send, kind, item, client)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, send: Send, kind: str, item: RateLimitItemPerMinute, client: str) -> None:
        again_s = max(
            1, math.ceil(self._limiter.get_window_stats(item, kind, client).reset_time - time.time())
        )
        limit = f"{item.amount} a minute"
        content = json.dumps(
            body("rate", f"too many requests from {client}, try again in {again_s} s", None, limit)
        ).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"retry-after", str(again_s).encode()),
        ]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def is_heavy(method: str, path: str) -> bool:
    """Whether a request costs the node more than a look into its store."""
    return method not in ("GET", "HEAD", "OPTIONS") or path.endswith(_HEAVY_ENDS)


def client_key(scope: Scope) -> str:
    """The client's address; of IPv6 the site, since one client has as many addresses as it likes."""
    client = scope.get("client")
    host = str(client[0]) if client else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6:
        return str(ipaddress.ip_network((int(address), _IPV6_SITE), strict=False))
    return host
