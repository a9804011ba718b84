"""Connections to one inference server: requests by POST over HTTP/1.1, parsed by httptools, one at a time on
each connection, which is kept. A general client takes 0.3 ms of a call for what no inference server does:
cookies, redirects, proxies, compressed answers.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

import httptools

KEEP_ALIVE_S: Final = 3.0
"""Below what servers keep idle connections for: llama.cpp and uvicorn say five seconds."""
MOST_AHEAD: Final = 2**17
"""Bytes of an answer that wait to be read, before the server has to wait."""
_PORTS: Final = {"http": 80, "https": 443}


class Lost(ConnectionError):
    """The server closed the connection. Before its answer began, nothing came of the request."""


class ConnectSlow(TimeoutError):
    """The server doesn't take connections."""


class Exchange(asyncio.Protocol):
    """A connection, and the answer that it is getting. `status` is 0 until its head is there."""

    def __init__(self) -> None:
        self.status = 0
        self.at_end = True
        """Whether the answer is whole."""
        self.used_at = 0.0
        """When it was put aside, monotonic."""
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._parts: list[bytes] = []
        self._ahead = 0
        self._sized = self._keeps = False
        self.paused = False
        """Whether the server has to wait until more was read."""
        self._broken: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def fresh(self) -> bool:
        """Whether the server should still keep it."""
        return self._broken is None and time.monotonic() - self.used_at < KEEP_ALIVE_S

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return self.at_end and self._keeps and self._broken is None and not self._parts

    async def ask(self, request: bytes, due: float) -> None:
        """Send a request, and return with the head of its answer. Raises OSError, Lost, and TimeoutError if
        there is none at `due`, the loop's time.
        """
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.at_end, self._sized, self._keeps = 0, False, False, False
        if self._broken is None:
            self._transport.write(request)
        while not self.status:
            if self._broken is not None:
                raise self._broken
            await self._news(due)

    async def read(self, due: float) -> bytes:
        """The next bytes of the answer, b"" at its end. Raises OSError if the server broke off, TimeoutError
        if nothing has come at `due`, the loop's time.
        """
        while not self._parts:
            if self.at_end:
                return b""
            if self._broken is not None:
                raise self._broken
            await self._news(due)
        data, self._parts, self._ahead = b"".join(self._parts), [], 0
        if self.paused and self._broken is None:
            self.paused = False
            self._transport.resume_reading()
        return data

    def close(self) -> None:
        """End it: the server is to stop."""
        self._transport.abort()

    async def _news(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_at(due, self._late)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _late(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    # asyncio's events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]
        if not transport.get_extra_info("sslcontext"):  # as of `oracle.server`
            self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self.at_end:
            self._break(ConnectionError("the server sent what wasn't asked for"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(ConnectionError(f"not an answer by HTTP/1.1: {error}"))
        if self._ahead > MOST_AHEAD and not self.paused:
            self.paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed. That is how an answer ends that says nothing of its length."""
        if self.status and not self._sized and error is None:
            self.at_end = True
        self._broken = self._broken or Lost(str(error or "the server hung up"))
        self._wake()

    def _break(self, error: OSError) -> None:
        self._broken = self._broken or error
        self.close()
        self._wake()

    # httptools' events

    def on_header(self, name: bytes, _: bytes) -> None:
        """A header of the answer."""
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        """The head is whole. One below 200 only announces another."""
        status = self._parser.get_status_code()
        self.status = status if status >= 200 else 0

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._parts.append(data)
        self._ahead += len(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.status:
            self.at_end, self._keeps = True, self._parser.should_keep_alive()


class Connections:
    """The connections to the server at `url`, on one event loop. `headers` go with every request."""

    def __init__(self, url: str, headers: dict[str, str], connect_s: float) -> None:
        parts = urlsplit(url)
        self._tls, self._host = parts.scheme == "https", parts.hostname or ""
        self._port, self._prefix = parts.port or _PORTS[parts.scheme], parts.path.rstrip("/")
        shown = parts.netloc.rpartition("@")[2]
        lines = {"Host": shown, "Content-Type": "application/json", "Accept": "*/*", **headers}
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._connect_s = connect_s
        self._idle: list[Exchange] = []

    async def post(self, path: str, body: bytes, due: float, *, anew: bool = False) -> Exchange:
        """Send a request, over a new connection if `anew`. Returns with the head of the answer; whoever has
        read of it what it wants gives it to `release`. Raises OSError, Lost, ConnectSlow, and TimeoutError if
        there is no answer at `due`, the loop's time.
        """
        exchange = None if anew else self._kept()
        if exchange is None:
            exchange = await self._connect(due)
        head = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._lines}Content-Length: {len(body)}\r\n\r\n"
        try:
            await exchange.ask(head.encode("latin-1") + body, due)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def release(self, exchange: Exchange) -> None:
        """Keep the connection if its answer was read whole; else close it, so that the server stops."""
        if not exchange.reusable:
            exchange.close()
            return
        exchange.used_at = time.monotonic()
        self._idle.append(exchange)

    def close(self) -> None:
        """Close those that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> Exchange | None:
        """The one used last. Once that is too old, all are."""
        if self._idle and (newest := self._idle.pop()).fresh:
            return newest
        self.close()
        return None

    async def _connect(self, due: float) -> Exchange:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(due, loop.time() + self._connect_s)):
                _, made = await loop.create_connection(
                    Exchange, self._host, self._port, ssl=self._context if self._tls else None
                )
        except TimeoutError:
            raise ConnectSlow(f"no connection within {self._connect_s} s") from None
        return made

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context()
