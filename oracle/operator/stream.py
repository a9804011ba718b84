"""The response that streams events to one viewer for as long as it takes what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from oracle.operator.feed import Seat

SEND_S: Final = 30.0
"""A viewer that takes nothing for so long is gone, whatever its connection says."""


class EventStream(Response):
    """Ends, and gives the seat back, when the viewer goes, takes nothing any more, or the node stops."""

    media_type = "text/event-stream"

    def __init__(self, seat: Seat, headers: Mapping[str, str], send_s: float = SEND_S) -> None:
        super().__init__(headers=dict(headers))
        del self.headers["content-length"]
        self._seat, self._send_s = seat, send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            done, _ = await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(TimeoutError, OSError):
                    task.result()
        finally:
            self._seat.leave()
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for part in self._seat.events():
            async with asyncio.timeout(self._send_s):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
