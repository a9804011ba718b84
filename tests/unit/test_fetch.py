"""HTTP to other nodes, against a server on the loopback: bounds hold whatever it does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from oracle import fetch

release = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            while not release.wait(0.05):
                self.wfile.write(b".")
                self.wfile.flush()
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/fine")
            self.end_headers()
            return
        self.send_response(200 if self.path == "/fine" else 500)
        self.end_headers()
        self.wfile.write(b"x" * 1000)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(409)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    release.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_get__more_than_the_limit__fails(url: str) -> None:
    with pytest.raises(fetch.FetchFailed, match="more than 999 bytes"):
        fetch.get(f"{url}/fine", limit=999, timeout_s=5)


def test_get__answer_that_drips__fails_at_the_deadline(url: str) -> None:
    with pytest.raises(fetch.FetchFailed, match="not done in"):
        fetch.get(f"{url}/slow", limit=10**6, timeout_s=0.4)


@pytest.mark.parametrize(("path", "status"), [("/moved", 302), ("/broken", 500)])
def test_get__anything_but_200__fails_without_following(url: str, path: str, status: int) -> None:
    with pytest.raises(fetch.FetchFailed, match=f"HTTP {status}"):
        fetch.get(url + path, limit=10**6, timeout_s=5)


@pytest.mark.parametrize(
    "bad", ["file:///etc/passwd", "http://user:pw@127.0.0.1/", "gopher://x", "http://127.0.0.1:1/"]
)
def test_get__no_server_or_no_http__fails_and_shows_no_more_than_the_origin(bad: str) -> None:
    with pytest.raises(fetch.FetchFailed) as caught:
        fetch.get(bad, limit=10, timeout_s=2)
    assert "pw" not in str(caught.value).replace("password", "")


def test_get__within_bounds__is_the_body(url: str) -> None:
    assert fetch.get(f"{url}/fine", limit=1000, timeout_s=5) == b"x" * 1000


def test_post__any_status__is_answered(url: str) -> None:
    answer = fetch.post(url, {"a": 1}, limit=1000, timeout_s=5)
    assert (answer.status, json.loads(answer.body)) == (409, {"a": 1})
