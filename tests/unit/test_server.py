"""The HTTP server and clients that take their time: a slow one is waited for, one that stands still isn't."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from oracle.server import Server

CLIENT_S = 0.5
BIG = 64 * 2**20


class Site:
    """An app that answers with what it was sent: after `think_s`, or `/big` with more than sockets hold.
    `left` is set once it has answered, or was left.
    """

    def __init__(self) -> None:
        self.think_s = 0.0
        self.left = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            answer: Response = StreamingResponse(parts())
            if scope["path"] != "/big":
                answer = PlainTextResponse(await Request(scope, receive).body())
                await asyncio.sleep(self.think_s)
            await answer(scope, receive, send)
        finally:
            self.left.set()


async def parts() -> AsyncIterator[bytes]:
    for _ in range(BIG // 2**16):
        yield b"x" * 2**16


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as made:
        yield made


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    made = Server(site, "127.0.0.1", 0, client_s=CLIENT_S)
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /next",
    ],
    ids=["nothing", "half a head", "no body", "half a body", "half of a second one"],
)
def test_client__stops_in_its_request__is_hung_up_on(server: Server, sent: bytes) -> None:
    with connected(server) as client:
        client.sendall(sent)
        try:
            while client.recv(4_096):
                pass
        except ConnectionResetError:
            pass


def test_client__sends_slowly__is_heard_to_its_end(server: Server) -> None:
    body = b"a" * 20
    stop = threading.Event()
    with connected(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20\r\n\r\n")
        for byte in body:
            assert not stop.wait(CLIENT_S / 10)
            client.sendall(bytes([byte]))
        found = b"".join(iter(lambda: client.recv(4_096), b""))
    assert found.endswith(b"\r\n\r\n" + body)


def test_client__takes_nothing__is_hung_up_on(server: Server, site: Site) -> None:
    with connected(server) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert site.left.wait(20)
        assert len(b"".join(iter(lambda: client.recv(2**20), b""))) < BIG


def test_client__takes_slowly__gets_all(server: Server) -> None:
    stop, size = threading.Event(), 0
    with connected(server) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while data := client.recv(2**22):
            size += len(data)
            stop.wait(CLIENT_S / 20)
    assert size > BIG


def test_client__waits_for_its_answer__is_not_hung_up_on(server: Server, site: Site) -> None:
    site.think_s = 3 * CLIENT_S
    with connected(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert b"".join(iter(lambda: client.recv(4_096), b"")).endswith(b"hi")
