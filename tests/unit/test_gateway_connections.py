"""Connections to an inference server, which answers byte by byte what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from oracle.gateway.connections import MOST_AHEAD, Connections, ConnectSlow, Exchange, Lost

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Raw:
    """A server: each request gets the next answer, a connection closes after one that is in `closing`."""

    answers: list[bytes]
    closing: bool = False
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head + await reader.readexactly(2))
                writer.write(self.answers.pop(0))
                await writer.drain()
                if self.closing:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


def run(raw: Raw, work: Callable[[Connections], Awaitable[None]], path: str = "") -> None:
    async def main() -> None:
        async with _served(raw) as port:
            made = Connections(f"http://127.0.0.1:{port}{path}", {"Authorization": "Bearer x"}, 5)
            await asyncio.wait_for(work(made), 20)
            made.close()

    asyncio.run(main())


@asynccontextmanager
async def _served(raw: Raw) -> AsyncIterator[int]:
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def later(seconds: float = 20) -> float:
    return asyncio.get_running_loop().time() + seconds


async def whole(exchange: Exchange) -> bytes:
    found = b""
    while data := await exchange.read(later()):
        found += data
    return found


@pytest.mark.parametrize(
    ("answer", "body", "kept"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
        (OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    ],
)
def test_answer__whole__is_read_and_the_connection_kept(answer: bytes, body: bytes, kept: bool) -> None:
    raw = Raw([answer, answer])

    async def work(made: Connections) -> None:
        for _ in range(2):
            exchange = await made.post("/v1/x", b"{}", later())
            assert (exchange.status, await whole(exchange)) == (200, body)
            made.release(exchange)

    run(raw, work, "/api")
    assert raw.connections == (1 if kept else 2)
    lines = raw.asked[1].split(b"\r\n")
    assert (lines[0], lines[-1]) == (b"POST /api/v1/x HTTP/1.1", b"{}")
    assert {b"Authorization: Bearer x", b"Content-Length: 2"} <= set(lines)


def test_answer__of_no_length__ends_with_the_connection() -> None:
    async def work(made: Connections) -> None:
        exchange = await made.post("/", b"{}", later())
        assert await whole(exchange) == b"hello"

    run(Raw([OK + b"\r\nhello"], closing=True), work)


def test_answer__broken_off__raises_after_what_came() -> None:
    async def work(made: Connections) -> None:
        exchange = await made.post("/", b"{}", later())
        assert await exchange.read(later()) == b"hel"
        with pytest.raises(Lost):
            await exchange.read(later())

    run(Raw([OK + b"Content-Length: 5\r\n\r\nhel"], closing=True), work)


def test_answer__not_http__is_an_error_of_the_server() -> None:
    async def work(made: Connections) -> None:
        with pytest.raises(ConnectionError, match="not an answer"):
            await made.post("/", b"{}", later())

    run(Raw([b"SSH-2.0-server\r\n"]), work)


def test_server__hangs_up_unanswered__is_lost() -> None:
    async def work(made: Connections) -> None:
        with pytest.raises(Lost):
            await made.post("/", b"{}", later())

    run(Raw([b""], closing=True), work)


def test_answer__late__is_a_time_out_and_the_connection_is_closed() -> None:
    raw = Raw([b"", OK + b"Content-Length: 5\r\n\r\nhel", OK + b"Content-Length: 1\r\n\r\na"])

    async def work(made: Connections) -> None:
        with pytest.raises(TimeoutError):
            await made.post("/", b"{}", later(0.05))
        exchange = await made.post("/", b"{}", later())
        assert await exchange.read(later()) == b"hel"
        with pytest.raises(TimeoutError):
            await exchange.read(later(0.05))
        made.release(exchange)
        assert await whole(await made.post("/", b"{}", later())) == b"a"

    run(raw, work)
    assert raw.connections == 3


def test_answer__not_wanted_whole__ends_its_connection() -> None:
    raw = Raw([OK + b"Content-Length: 9\r\n\r\nhel", OK + b"Content-Length: 1\r\n\r\na"])

    async def work(made: Connections) -> None:
        made.release(await made.post("/", b"{}", later()))
        assert await whole(await made.post("/", b"{}", later())) == b"a"

    run(raw, work)
    assert raw.connections == 2


def test_connection__kept_too_long__is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Raw([OK + b"Content-Length: 1\r\n\r\na"] * 2)

    async def work(made: Connections) -> None:
        for _ in range(2):
            exchange = await made.post("/", b"{}", later())
            await whole(exchange)
            made.release(exchange)
            monkeypatch.setattr(exchange, "used_at", exchange.used_at - 4)

    run(raw, work)
    assert raw.connections == 2


def test_answer__read_slowly__waits_at_the_server() -> None:
    size = 64 * MOST_AHEAD
    raw = Raw([OK + f"Content-Length: {size}\r\n\r\n".encode() + bytes(size)])

    async def work(made: Connections) -> None:
        exchange = await made.post("/", b"{}", later())
        while not exchange.paused:
            await asyncio.sleep(0.01)
        assert len(await exchange.read(later())) < 4 * MOST_AHEAD
        assert len(await whole(exchange)) > size - 4 * MOST_AHEAD

    run(raw, work)


def test_server__takes_no_connection__is_told_apart() -> None:
    async def main() -> None:
        made = Connections("http://127.0.0.1:9", {}, 0.05)
        loop = asyncio.get_running_loop()
        loop.create_connection = lambda *_, **__: asyncio.sleep(9)  # type: ignore[assignment,method-assign]
        with pytest.raises(ConnectSlow):
            await made.post("/", b"{}", later())

    asyncio.run(main())
