"""How often one address may ask for what is refused: guesses at keys, and requests that only cost us.

Calls that are paid have the limits of their key instead, and of their model.
"""

from __future__ import annotations

import time
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Scope

from oracle.api_limits import client_key
from oracle.gateway.refusals import GatewayRefused, TooManyCalls

COUNTED: Final = frozenset({400, 401, 403, 404, 405, 413})
"""A client that pays by vouchers is told by 402 what its next one must be: that is no offence."""
AGAIN_S: Final = 60


class RefusalLimit:
    """Refusals of each address within a minute, in memory."""

    def __init__(self, per_minute: int) -> None:
        self._most = RateLimitItemPerMinute(per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._clear_at = 0.0

    def check(self, scope: Scope) -> None:
        """Raises TooManyCalls for an address that was refused too often."""
        if time.monotonic() >= self._clear_at:
            return  # nobody was refused lately
        client = client_key(scope)
        if not self._limiter.test(self._most, client):
            limit = self._most.amount
            raise TooManyCalls(
                f"{client} was refused {limit} times within a minute, try again in {AGAIN_S} s", limit, limit,
                AGAIN_S,
            )  # fmt: skip

    def count(self, scope: Scope, refused: GatewayRefused) -> None:
        """Note a refusal."""
        if refused.status in COUNTED:
            self._limiter.hit(self._most, client_key(scope))
            self._clear_at = time.monotonic() + 2 * AGAIN_S  # a minute counts in the next one as well
