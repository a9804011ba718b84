"""An inference server that computes nothing, so that what a gateway adds to a call isn't lost in noise: each
answer is `TOKENS` tokens, after `ANSWER_S`. `python -m bench.gateway_upstream PORT`.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
from typing import Any, Final

MODEL: Final = "steady"
ANSWER_S: Final = 0.02
"""What a fast server takes for a few tokens. The tokeniser answers at once."""
PROMPT_TOKENS: Final = 12
TOKENS: Final = 8


def _event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}


USAGE: Final = {
    "prompt_tokens": PROMPT_TOKENS, "completion_tokens": TOKENS, "total_tokens": PROMPT_TOKENS + TOKENS,
    "prompt_tokens_details": {"cached_tokens": 0},
}  # fmt: skip
STREAM: Final = b"".join([
    *(_event(_chunk({"content": "word "})) for _ in range(TOKENS)), _event(_chunk({}, "length")),
    _event({**_chunk({}), "choices": [], "usage": USAGE}), _event(b"[DONE]"),
])  # fmt: skip
WHOLE: Final = json.dumps({
    "id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "usage": USAGE,
    "choices": [{"index": 0, "finish_reason": "length",
                 "message": {"role": "assistant", "content": "word " * TOKENS}}],
}).encode()  # fmt: skip
RENDERED: Final = json.dumps({"prompt": "rendered"}).encode()
COUNTED: Final = json.dumps({"tokens": [0] * PROMPT_TOKENS}).encode()


def _answer(path: str, body: bytes) -> tuple[str, bytes]:
    if path == "/apply-template":
        return "application/json", RENDERED
    if path == "/tokenize":
        return "application/json", COUNTED
    if json.loads(body).get("stream"):
        return "text/event-stream", STREAM
    return "application/json", WHOLE


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *lines = head.split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            path = request.split(" ")[1]
            kind, content = _answer(path, body)
            if path.startswith("/v1/"):
                await asyncio.sleep(ANSWER_S)
            reply = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
            writer.write(reply.encode() + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def loop() -> asyncio.AbstractEventLoop:
    """One that keeps time to the microsecond. By epoll a wait is a whole number of milliseconds: each request
    that comes meanwhile, as those of a tokeniser do, would put off the answer by up to one.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main(int(sys.argv[1])))
