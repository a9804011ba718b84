"""An inference server that does as a test says, behind a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

Json = dict[str, Any]
Script = Callable[[web.Request, Json], Awaitable[web.StreamResponse]]

USAGE: Final = {
    "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 2},
}  # fmt: skip


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> Json:
    """An event of a chat."""
    delta = {} if text is None else {"content": text}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream's",
            "choices": choices, **more}  # fmt: skip


def usage_chunk(**changes: Any) -> Json:
    """The last event, with the usage."""
    return chunk() | {"choices": [], "usage": USAGE | changes}


HELLO: Final = (chunk("a"), chunk("b"), chunk("c"), chunk(finish="length"), usage_chunk())
"""Three tokens, and what they cost."""


def encode(*events: Json | bytes) -> bytes:
    """Events as they are sent."""
    return b"".join(
        b"data: " + (item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n\n"
        for item in events
    )


async def begin(request: web.Request) -> web.StreamResponse:
    """The head of a stream."""
    reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await reply.prepare(request)
    return reply


def says(*events: Json | bytes, done: bool = True) -> Script:
    """Send these and end."""

    async def script(request: web.Request, _: Json) -> web.StreamResponse:
        reply = await begin(request)
        await reply.write(encode(*events, *((b"[DONE]",) if done else ())))
        return reply

    return script


def breaks_after(*events: Json | bytes) -> Script:
    """Send these, and cut the connection as a server does that is killed."""

    async def script(request: web.Request, _: Json) -> web.StreamResponse:
        reply = await begin(request)
        await reply.write(encode(*events))
        await asyncio.sleep(0.05)  # lets them leave: aborting drops what wasn't sent
        assert request.transport is not None
        request.transport.abort()
        return reply

    return script


def hangs_after(*events: Json | bytes) -> Script:
    """Send these, and then nothing."""

    async def script(request: web.Request, _: Json) -> web.StreamResponse:
        reply = await begin(request)
        await reply.write(encode(*events))
        await asyncio.Event().wait()
        return reply

    return script


def refuses(status: int, body: Json) -> Script:
    """Answer with an error."""

    async def script(_: web.Request, __: Json) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return script


@dataclass
class FakeUpstream:
    """`script` answers calls, `tokens` are what the tokeniser finds in any prompt (None: it fails)."""

    url: str
    script: Script = field(default_factory=lambda: says(*HELLO))
    tokens: int | None = 7
    text_tokens: int = 3
    asked: list[Json] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a call was given up by its client."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.json()
        self.paths.append(request.path)
        if request.path == "/apply-template":
            return web.json_response({"prompt": "rendered"})
        if request.path == "/tokenize":
            if self.tokens is None:
                return web.json_response({}, status=500)
            prompt = body.get("add_special") or body.get("add_special_tokens") or "messages" in body
            count = self.tokens if prompt else self.text_tokens
            return web.json_response({"tokens": [0] * count})
        self.asked.append(body)
        try:
            return await self.script(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise


@contextmanager
def fake_upstream() -> Iterator[FakeUpstream]:
    """Serve on a free port, until the end."""
    made: list[FakeUpstream] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        fake = FakeUpstream("")
        app.router.add_post("/{tail:.*}", fake.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        made.append(fake)
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
