"""A node's process: readiness, failure, kill and restart, with a small server in the oracle's place."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import free_ports
from demo.stack_node import Node, NodeFailed
from scrip.errors import NotFound

SERVER = """
import http.server, os, pathlib, signal, sys
calls = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global calls
        calls += 1
        self.send_response(200 if calls > 2 and self.path == "/readyz" else 503)
        self.end_headers()
print("serving", len([name for name in os.environ if name.startswith("SCRIP_")]), flush=True)
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def _node(tmp_path: Path, program: str = SERVER, *arguments: str) -> Node:
    (port,) = free_ports(1)
    command = (sys.executable, "-c", program, str(port), *(arguments or ("polite",)))
    return Node("provider", f"http://127.0.0.1:{port}", command, tmp_path / "log")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = _node(tmp_path)
    yield made
    made.stop()


def test_wait_ready__process_ends__raises_with_its_last_words(tmp_path: Path) -> None:
    node = _node(tmp_path, "raise SystemExit('3 setting(s) missing or wrong')")
    node.start()
    with pytest.raises(
        NodeFailed, match=r"(?s)provider ended with status 1:.*3 setting\(s\) missing or wrong"
    ):
        node.wait_ready()


def test_wait_ready__never_ready__raises_in_time(tmp_path: Path) -> None:
    node = _node(tmp_path, "import signal; signal.pause()")
    node.start()
    try:
        with pytest.raises(NodeFailed, match="not ready after 0 s"):
            node.wait_ready(0)
    finally:
        node.stop()


def test_kill__ignored__raises_and_stop_ends_it_all_the_same(tmp_path: Path) -> None:
    node = _node(tmp_path, SERVER, "deaf")
    node.start()
    try:
        node.wait_ready()
        with pytest.raises(NodeFailed, match="still runs 0 s after SIGTERM"):
            node.kill(signal.SIGTERM, seconds=0)
    finally:
        node.kill()
    assert not node.is_running


def test_pid__never_started__raises(node: Node) -> None:
    with pytest.raises(NotFound, match=r"start\(\) it first"):
        _ = node.pid


def test_start__killed_and_started_again__ready_again_with_one_log(node: Node) -> None:
    node.start()
    node.wait_ready()
    first = node.pid
    node.start()
    assert (node.pid, node.kill()) == (first, -signal.SIGKILL)
    assert not node.is_running
    node.start()
    node.wait_ready()
    assert node.pid != first
    assert node.log.read_text().count("serving") == 2


def test_start__variables_of_the_shell__do_not_reach_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SCRIP_CHAIN_RPC_URL", "http://127.0.0.1:1")
    node.start()
    node.wait_ready()
    assert node.log.read_text().startswith("serving 0\n")


def test_stop__twice__does_no_harm(node: Node) -> None:
    node.stop()
    node.start()
    node.stop()
    node.stop()
    assert not node.is_running
