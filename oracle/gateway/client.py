"""The other end of one request: what it asked, whether it is still there, how fast it takes what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from oracle.gateway.errors import ClientGone, TooLarge
from oracle.gateway.refusals import BadCredential, GatewayRefused
from oracle.gateway.usage import Credential, KeyCredential
from scrip.errors import BadInput
from scrip.vouchers import SESSION_HEADER, VOUCHER_HEADER, Voucher

JSON_TYPE: Final = "application/json"
STREAM_TYPE: Final = "text/event-stream; charset=utf-8"


class Client:
    """One HTTP exchange. Writes wait for the client, so nothing piles up here; who takes nothing for too long
    is hung up on (`oracle.server`).
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._headers = {key: value for key, value in scope["headers"]}
        self._watch: asyncio.Task[None] | None = None
        self.started = False

    def header(self, name: str) -> str:
        """A header of the request, "" without it."""
        value: bytes = self._headers.get(name.lower().encode(), b"")
        return value.decode("latin-1")

    def credential(self) -> Credential:
        """What the call is paid with. A voucher counts before an API key, which stock clients always send.

        Raises BadCredential.
        """
        session, voucher = self.header(SESSION_HEADER), self.header(VOUCHER_HEADER)
        if session or voucher:
            try:
                return Voucher.parse(session, voucher)
            except BadInput as bad:
                raise BadCredential(str(bad)) from None
        scheme, _, secret = self.header("Authorization").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise BadCredential(
                "no credential: send Authorization: Bearer <API key>, or "
                f"{SESSION_HEADER} and {VOUCHER_HEADER}"
            )
        return KeyCredential(secret.strip())

    async def body(self, most: int) -> bytes:
        """The body of the request. Raises TooLarge, before it is read whole, and ClientGone."""
        announced = self.header("Content-Length") or "0"
        if not announced.isdigit() or int(announced) > most:
            raise TooLarge(
                f"the request body has {announced[:20]} bytes, most is {most}", announced[:20], most
            )
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone("the client hung up before its request was whole")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise TooLarge(f"the request body has over {most} bytes", f"over {most}", most)
            if not message.get("more_body", False):
                return b"".join(parts)

    @property
    def gone(self) -> asyncio.Task[None]:
        """Ends when the client hangs up. Only after the body was read."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._wait_gone())
        return self._watch

    async def _wait_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def refuse(self, problem: GatewayRefused, content: bytes) -> None:
        """Answer with an error."""
        await self.answer(problem.status, content, problem.headers)

    async def answer(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer, JSON. Raises ClientGone."""
        length = {"Content-Length": str(len(content))}
        head = self._head(status, {"Content-Type": JSON_TYPE, **length, **(headers or {})})
        await self._put(head, {"type": "http.response.body", "body": content})

    async def write(self, data: bytes) -> None:
        """A part of a stream, which begins with the first. Raises ClientGone."""
        part = {"type": "http.response.body", "body": data, "more_body": True}
        await self._put(*self._stream_head(), part)

    async def end(self, data: bytes) -> None:
        """The last part of a stream. Raises ClientGone."""
        await self._put(*self._stream_head(), {"type": "http.response.body", "body": data})

    def close(self) -> None:
        """Stop looking for the client."""
        if self._watch is not None:
            self._watch.cancel()

    def _stream_head(self) -> Iterator[Message]:
        if not self.started:
            headers = {"Content-Type": STREAM_TYPE, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            yield self._head(200, headers)

    def _head(self, status: int, headers: Mapping[str, str]) -> Message:
        self.started = True
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        return {"type": "http.response.start", "status": status, "headers": raw}

    async def _put(self, *messages: Message) -> None:
        try:
            for message in messages:
                await self._send(message)
        except OSError as error:
            raise ClientGone(f"the client hung up: {type(error).__name__}") from None
