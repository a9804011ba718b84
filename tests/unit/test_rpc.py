"""The connection to a node: what is retried, what isn't, and that no message shows the URL."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from scrip.chain import Chain
from scrip.errors import NodeDeclined, NodeUnavailable, Reverted
from scrip.rpc import is_transient, make_web3
from scrip.types import Deployment

AT: Any = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
OK = (200, {"jsonrpc": "2.0", "id": 1, "result": "0x5"})
Answers = list[tuple[int, Any]]


def error(code: int, message: str, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, **more}}


class Node(HTTPServer):
    """Gives `answers` in order, the last one for ever; an answer of status 0 is a closed connection."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: Answers = [OK]
        self.asked: list[str] = []

    def chain(self, *answers: tuple[int, Any], attempts: int = 3) -> Chain:
        self.answers = list(answers)
        url = f"http://127.0.0.1:{self.server_address[1]}/v2/secret-key"
        return Chain(make_web3(url, timeout=5, attempts=attempts), Deployment(31337, 0, {}))


class _Handler(BaseHTTPRequestHandler):
    server: Node

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["method"])
        answers = self.server.answers
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if status:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_request__status_that_stays__raises_at_once(node: Node, status: int) -> None:
    with pytest.raises(NodeUnavailable, match=f"HTTP {status}. Check the node's URL") as caught:
        node.chain((status, b"no")).head()
    assert (len(node.asked), is_transient(caught.value)) == (1, False)


@pytest.mark.parametrize("answer", [(503, b""), (429, b""), (0, b""), (200, b"<html>"), (200, b'"odd"')])
def test_request__trouble_that_goes_on__raises_after_all_attempts(
    node: Node, answer: tuple[int, bytes]
) -> None:
    with pytest.raises(NodeUnavailable) as caught:
        node.chain(answer).head()
    assert len(node.asked) == 3
    assert is_transient(caught.value)
    assert "secret-key" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "answer",
    [
        (503, b""),
        (429, b""),
        (0, b""),
        (200, b"<html>"),
        (200, error(-32005, "rate limit exceeded")),
        (200, error(429, "Your app has exceeded its compute units per second capacity")),
        (200, error(-32000, "header not found")),
    ],
)
def test_request__trouble_that_passes__is_retried(node: Node, answer: tuple[int, Any]) -> None:
    assert node.chain(answer, answer, OK).head() == 5
    assert len(node.asked) == 3


@pytest.mark.parametrize(("status", "slow"), [(413, True), (504, True), (503, False)])
def test_request__status_of_too_large_a_request__says_so(node: Node, status: int, slow: bool) -> None:
    with pytest.raises(NodeUnavailable) as caught:
        node.chain((status, b""), attempts=1).head()
    assert (caught.value.status, caught.value.too_slow) == (status, slow)


def test_request__other_rpc_error__is_typed_and_not_retried(node: Node) -> None:
    with pytest.raises(NodeDeclined, match="-32601 method not found"):
        node.chain((200, error(-32601, "method not found"))).head()
    assert len(node.asked) == 1


def test_request__rpc_error_with_a_4xx_status__is_read(node: Node) -> None:
    with pytest.raises(NodeDeclined, match="invalid params"):
        node.chain((400, error(-32602, "invalid params"))).head()


def test_send_raw__no_answer__is_not_retried(node: Node) -> None:
    chain = node.chain((503, b""), OK)
    with pytest.raises(NodeUnavailable):
        chain.w3.provider.make_request("eth_sendRawTransaction", ["0x"])  # type: ignore[arg-type]
    assert node.asked == ["eth_sendRawTransaction"]


def test_call__revert_that_sounds_transient__is_a_revert(node: Node) -> None:
    data = (
        "0x08c379a0"
        + (32).to_bytes(32, "big").hex()
        + (9).to_bytes(32, "big").hex()
        + b"try again".hex().ljust(64, "0")
    )
    chain = node.chain((200, error(3, "execution reverted: try again", data=data)))
    with pytest.raises(Reverted, match=r"Error\(reason=try again\)"):
        chain.call({"to": AT})
    assert node.asked == ["eth_call"]


def test_call__revert_that_names_a_url__fetches_nothing(node: Node) -> None:
    # OffchainLookup (EIP-3668): a hostile contract must not make us call its server.
    chain = node.chain((200, error(3, "execution reverted", data="0x556f1830" + "00" * 160)))
    with pytest.raises(Reverted):
        chain.call({"to": AT})
    assert node.asked == ["eth_call"]


@pytest.mark.parametrize(
    "data", ["0xdeadbeef", "0x4e487b71", "0x4e487b71" + "ff" * 32, "0x08c379a0" + "ff" * 32]
)
def test_call__revert_data_made_to_confuse__is_an_unknown_or_odd_revert(node: Node, data: str) -> None:
    chain = node.chain((200, error(3, "execution reverted", data=data)))
    with pytest.raises(Reverted):
        chain.call({"to": AT})


def test_suggested_tip__node_without_the_method__has_a_fallback(node: Node) -> None:
    assert node.chain((200, error(-32601, "method not found"))).suggested_tip() == 10**9
