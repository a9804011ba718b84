"""An HTTP proxy in front of a node that loses answers and limits log queries on demand."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Proxy(ThreadingHTTPServer):
    """Forwards JSON-RPC. `lose[method]` answers of the node are lost; `most_blocks` limits eth_getLogs."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.lose: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.most_blocks: int | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def forward(self, body: bytes) -> bytes:
        """The node's answer."""
        request = urllib.request.Request(self.target, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return bytes(response.read())

    def pass_or_wait(self, method: str) -> bool:
        """Whether to forward a call; a subclass may hold it back first."""
        return True

    def refusal(self, method: str) -> int:
        """HTTP status that answers a call in the node's place, 0 for none; a subclass may refuse some."""
        return 0

    def change(self, call: Any, answer: bytes) -> bytes:
        """What is said instead of the node's answer; a subclass may lie."""
        return answer

    def limit(self, call: Any) -> bytes | None:
        """An error in place of the answer to a log query over too many blocks."""
        if call["method"] != "eth_getLogs" or self.most_blocks is None:
            return None
        query = call["params"][0]
        if int(query["toBlock"], 16) - int(query["fromBlock"], 16) < self.most_blocks:
            return None
        error = {"code": -32602, "message": f"eth_getLogs is limited to a {self.most_blocks} range"}
        return json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error}).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    wbufsize = -1  # head and body in one packet

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        call = json.loads(body)
        method = call["method"]
        self.server.seen[method] += 1
        if not self.server.pass_or_wait(method):
            return
        if status := self.server.refusal(method):
            self._say(status, b"")
            return
        answer = self.server.limit(call) or self.server.change(call, self.server.forward(body))
        if self.server.lose[method] > 0:
            self.server.lose[method] -= 1
            return
        self._say(200, answer)

    def _say(self, status: int, answer: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def running(target: str) -> Iterator[Proxy]:
    """A proxy to `target` that lives as long as the block."""
    with Proxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
