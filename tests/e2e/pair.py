"""Two nodes of one provider on one database, behind a front that asks the one that is ready.

Each node has a state folder and a way to the chain of its own; database, key and evidence are shared.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from sqlalchemy.exc import OperationalError

from demo import stack
from demo.anvil import NO_TLS
from demo.processes import free_ports
from demo.stack import Stack
from demo.stack_config import PROVIDER, Options
from demo.stack_node import Node
from oracle.models import JobRow, LeadRow
from oracle.store import Store
from tests.e2e.gate import Gate

LEASE_SECONDS = 2
STOPS = 5


class LateGate(Gate):
    """What was held reaches the chain after all, once released: a packet that was long on its way."""

    def pass_or_wait(self, method: str) -> bool:
        """Whether to forward the call: always, some later."""
        super().pass_or_wait(method)
        return True


@dataclass(frozen=True, slots=True)
class Member:
    """One of the nodes, and its way to the chain."""

    node: Node
    gate: LateGate

    def answers(self) -> bool:
        """Whether it runs and serves, leading or not."""
        try:
            url = f"{self.node.url}/healthz"
            return httpx.get(url, timeout=5, trust_env=False, verify=NO_TLS).is_success
        except httpx.HTTPError:
            return False

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.node.pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Pair:
    """The world: chain, watchers, both nodes, and the database as anybody may read it."""

    stack: Stack
    members: tuple[Member, Member]
    store: Store

    def leader(self) -> Member | None:
        """The node that is ready, if one is."""
        return next((one for one in self.members if one.node.is_running and one.node.is_ready()), None)

    def stop_in_its_tracks(self, member: Member) -> None:
        """SIGSTOP: every thread of it stands still, and knows nothing of it afterwards. Not within a write: a
        process that stands still with the lock of a SQLite file keeps everybody out for as long.
        """
        for _ in range(STOPS):
            os.kill(member.node.pid, signal.SIGSTOP)
            try:
                self.store.check_writable()
            except OperationalError:
                member.go_on()
            else:
                return
        raise AssertionError(f"{member.node.name} was in a write {STOPS} times")

    def other(self, member: Member) -> Member:
        """The one beside it."""
        first, second = self.members
        return second if member is first else first

    def start(self) -> None:
        """Start whichever doesn't run."""
        for member in self.members:
            member.node.start()

    def job(self, job_id: bytes) -> JobRow | None:
        """The job as the database has it."""
        return self.store.find(job_id)

    def epoch(self) -> int:
        """How often the lead changed."""
        with self.store.reading() as session:
            return session.get_one(LeadRow, 1).epoch


class Front(ThreadingHTTPServer):
    """A load balancer: forwards each request to the first node that says it is ready."""

    daemon_threads = True
    nodes: tuple[Node, ...] = ()


class _Forward(BaseHTTPRequestHandler):
    server: Front
    wbufsize = -1

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for node in self.server.nodes:
            if node.is_running and node.is_ready():
                self._answer(node, body)
                return
        self.send_error(503)

    do_GET = do_POST = do_PUT = _forward

    def _answer(self, node: Node, body: bytes) -> None:
        kept = ("Content-Type", "Authorization")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        with httpx.Client(trust_env=False, verify=NO_TLS, timeout=30) as client:
            answer = client.request(self.command, node.url + self.path, content=body, headers=headers)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def running(database_url: str) -> Iterator[Pair]:
    """The whole world, both nodes started."""
    with contextlib.ExitStack() as cleanup:
        up = cleanup.enter_context(stack.running(Options(poll_ms=100, watchers=1, threshold=1)))
        ports = free_ports(2)
        members = []
        for number, port in enumerate(ports, start=1):
            gate = LateGate(up.rpc_url)
            cleanup.enter_context(_served(gate))
            cleanup.callback(gate.release)
            node = _configure(up, f"provider-{number}", port, gate.url, database_url)
            cleanup.callback(node.stop)
            members.append(Member(node, gate))
        front = Front(("127.0.0.1", int(up.provider_url.rpartition(":")[2])), _Forward)
        front.nodes = tuple(member.node for member in members)
        cleanup.enter_context(_served(front))
        watcher = up.nodes["watcher-1"]
        watcher.start()
        watcher.wait_ready()
        store = Store.open(database_url)
        cleanup.callback(store.close)
        pair = Pair(up, (members[0], members[1]), store)
        members[0].node.start()
        members[0].node.wait_ready()
        pair.start()
        yield pair


def _configure(up: Stack, name: str, port: int, rpc_url: str, database_url: str) -> Node:
    """The stack's provider, once more: what is its own replaces what was the provider's."""
    text = up.layout.config(PROVIDER).read_text("utf-8")
    api_port = up.provider_url.rpartition(":")[2]
    shared = f'evidence_dir = "{up.layout.root / "evidence"}"\n'
    database = f'\n[database]\nurl = "{database_url}"\nlease_s = {LEASE_SECONDS}\n'
    replaced = {
        up.rpc_url: rpc_url,
        str(up.layout.state(PROVIDER)): str(up.layout.state(name)),
        f"port = {api_port}": f"port = {port}",
    }
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    up.layout.config(name).write_text(shared + text + database, "utf-8")
    original = up.nodes[PROVIDER]
    command = (*original.command[:-1], str(up.layout.config(name)))
    return Node(name, f"http://127.0.0.1:{port}", command, up.layout.log(name))


@contextlib.contextmanager
def _served(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
