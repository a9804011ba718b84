"""What selling inference by the call costs: `python -m bench.gateway` writes bench/gateway.json.

added_ms_p50, added_ms_p99
    What a call takes through a provider's process, less the median of the same call straight to the server:
    `CALLS` of each, in turns, one at a time, over connections that are kept, from the first byte of a request
    to the last of its answer: how a client reads an answer's head is its own affair. The server is a process
    that answers 8 tokens after 20 ms, whatever else happens (`bench.gateway_upstream`): a real one's own
    spread would hide the difference. It holds the check of the API key, a signature and a charge that is
    logged; the database, the sync of the disk and the tokeniser's count of the prompt run beside.
added_awake_ms_p50
    The same on cores that are kept from sleeping between calls (`awake`), as on a machine that works. No goal
    is held against it.
stream_loss_pct
    How much slower tokens of a real llama.cpp arrive through the provider: the median of `STREAMS` answers
    of `STREAM_TOKENS` tokens each, in turns with as many straight from the server; 0 if it isn't slower.
gas_per_call_1, gas_per_call_100, gas_per_call_10000
    Gas of a whole session on Anvil (opened, claimed once, closed) for one of so many calls. gas_open,
    gas_claim and gas_close are the three.
voucher_checks_per_s and others
    `bench.gateway_vouchers`.

What else runs on the machine slows all of it down; the load is printed.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Any, Final
from urllib.parse import urlsplit

from hexbytes import HexBytes
from rich.console import Console
from rich.table import Table

from bench import gateway_upstream, gateway_vouchers, results
from demo import llm_server, stack
from demo.processes import free_ports
from demo.stack_config import PROVIDER, Options, render
from demo.stack_node import Node
from scrip import sessions
from scrip.session_api import SessionApi
from scrip.signed_requests import SignedBy
from scrip.types_spending import Claim, SessionTerms
from scrip.vouchers import sign_voucher

RESULTS: Final = "gateway.json"
GOALS: Final = {"added_ms_p50": 2.0, "added_ms_p99": 10.0, "stream_loss_pct": 5.0}
"""The most that each may be."""
CALLS, WARM = 500, 50
STREAMS, STREAM_TOKENS = 8, 80
SIZES: Final = (1, 100, 10_000)
DEPOSIT: Final = 20_000_000
CALL_UNITS: Final = 40
LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
POLL_MS: Final = 1_000
"""As nodes do unless told otherwise; the demonstration's looks five times as often."""


@dataclass(frozen=True, slots=True)
class Place:
    """A provider that sells two models, and a key that pays. `urls` are the servers' own, by model."""

    up: stack.Stack
    urls: dict[str, str]
    key: str


@contextmanager
def place() -> Iterator[Place]:
    """Bring everything up, and down in the end."""
    with ExitStack() as opened:
        up = opened.enter_context(stack.running(Options(poll_ms=POLL_MS)))
        llama = llm_server.server(up.layout.log("llm"), slots=1)
        (port,) = free_ports(1)
        steady = Steady(
            "steady", f"http://127.0.0.1:{port}",
            (sys.executable, "-m", "bench.gateway_upstream", str(port)), up.layout.log("steady"),
        )  # fmt: skip
        for engine in (llama, steady):
            opened.callback(engine.stop)
            engine.start()
            engine.wait_ready()
        urls = {llm_server.MODEL: llama.url, gateway_upstream.MODEL: steady.url}
        sell(up, urls)
        up.start_oracle()
        yield Place(up, urls, pay(up))


class Steady(Node):
    """The server that computes nothing, as a process."""

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return bool(Caller(self.url).ask("/tokenize", {}))
        except OSError:
            return False


def sell(up: stack.Stack, urls: dict[str, str]) -> None:
    """Add a gateway with these servers to the provider's settings, one unit a token."""
    upstreams = {model: llm_server.upstream(url, slots=1) for model, url in urls.items()}
    rate = {"class_id": up.classes.llm, "input": 1_000_000, "output": 1_000_000}
    rates = [{"model": model} | rate for model in urls]
    table = {"upstreams": json.dumps(upstreams), "rates": json.dumps(rates)}
    config = up.layout.config(PROVIDER)
    config.write_text(f"{config.read_text('utf-8')}\n{render({'gateway': table})}", "utf-8")


def deposited(up: stack.Stack, units: int) -> SessionTerms:
    """A session of the buyer's with so many units, whose vouchers its own key signs."""
    buyer = up.sender("buyer")
    reserve = up.chain.contract("CreditReserve")
    most = stack.BUYER_DOLLARS * stack.USD
    buyer.send(
        up.chain.contract("DemoUSD").functions.approve(reserve.address, most), label=f"approve {units}"
    )
    buyer.send(reserve.functions.buy(up.classes.llm, units, buyer.address, most), label=f"buy {units}")
    terms = sessions.terms_for(up.chain, buyer.address, up.provider, up.classes.llm, buyer.address)
    sessions.open_session(up.chain, buyer, terms, units)
    return terms


def pay(up: stack.Stack) -> str:
    """An API key of a session with a deposit for everything."""
    buyer = up.accounts["buyer"]
    terms = deposited(up, DEPOSIT)
    session = sessions.id_of(up.chain, terms)
    auth = SignedBy(buyer, up.chain.chain_id, up.chain.address("JobMarket"))
    with SessionApi(up.provider_url, auth=auth) as api:
        api.open_session(terms)
        contract = up.chain.address("MeteredSessions")
        api.authorise(sign_voucher(session, DEPOSIT, buyer, up.chain.chain_id, contract))
        return str(api.make_key(session, {"capUnits": str(DEPOSIT)})["secret"])


class Caller:
    """One kept connection."""

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        self._head = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def ask(self, path: str, body: dict[str, Any]) -> bytes:
        """The whole answer. Raises AssertionError unless it is 200."""
        self._connection.request("POST", path, json.dumps(body).encode(), self._head)
        reply = self._connection.getresponse()
        content = reply.read()
        if reply.status != 200:
            raise AssertionError(f"{reply.status}: {content[:300]!r}")
        return content


class Wire:
    """One kept connection, for one request again and again."""

    def __init__(self, url: str, key: str, path: str, body: dict[str, Any]) -> None:
        parts, content = urlsplit(url), json.dumps(body).encode()
        self._connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=120)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", f"Authorization: Bearer {key}"
        head = "\r\n".join((*lines, "Content-Type: application/json", f"Content-Length: {len(content)}"))
        self._request = f"{head}\r\n\r\n".encode() + content

    def ask(self) -> None:
        """Send it, and read the answer to its last byte. Raises AssertionError unless it is 200."""
        self._connection.sendall(self._request)
        answer = b""
        while True:
            answer += self._connection.recv(2**16)
            head, end, content = answer.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise AssertionError(f"{answer[:300]!r}")
            if end and len(content) == int(LENGTH.findall(head)[0]):
                return


def added(there: Place) -> dict[str, float]:
    """What the gateway adds to a call, in milliseconds."""
    model = gateway_upstream.MODEL
    body = {"model": model, "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 16}
    path = "/v1/chat/completions"
    direct = Wire(there.urls[model], "", path, body)
    through = Wire(there.up.provider_url, there.key, path, body)
    alone: list[float] = []
    bought: list[float] = []
    for number in range(CALLS + WARM):
        for wire, times in ((direct, alone), (through, bought)):
            took = timed(wire.ask)
            if number >= WARM:
                times.append(took)
    base = median(alone)
    extra = quantiles(((took - base) * 1e3 for took in bought), n=100)
    return {"added_ms_p50": round(extra[49], 2), "added_ms_p99": round(extra[98], 2)}


@contextmanager
def awake() -> Iterator[None]:
    """Keep every core from sleeping, by a process that only runs while nothing else would."""
    spin = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})"
    spin += "; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    spinning = [subprocess.Popen((sys.executable, "-c", spin, str(core))) for core in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def stream_loss(there: Place) -> dict[str, float]:
    """How much throughput a stream loses, in per cent."""
    body = {
        "model": llm_server.MODEL, "prompt": "1 2 3 4 5 6 7 8", "max_tokens": STREAM_TOKENS, "temperature": 0,
        "stream": True,
    }  # fmt: skip
    places = (there.urls[llm_server.MODEL], there.up.provider_url)
    alone: list[float] = []
    bought: list[float] = []
    for _ in range(STREAMS):
        for url, times in zip(places, (alone, bought), strict=True):
            caller = Caller(url, there.key)  # llama.cpp closes idle connections
            times.append(timed(partial(caller.ask, "/v1/completions", body)))
    loss = 100 * (1 - median(alone) / median(bought))
    return {"stream_loss_pct": round(max(0.0, loss), 2)}


def timed(work: Callable[[], object]) -> float:
    """Seconds it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def gas(up: stack.Stack) -> dict[str, float]:
    """Gas of sessions, by how many calls share it. How many there were doesn't change it: a claim is of what
    all of them cost together.
    """
    figures: dict[str, float] = {}
    deposited(up, 1)  # what an account and a class pay once isn't of these sessions
    claim_and_close(up, deposited(up, CALL_UNITS), CALL_UNITS)
    for calls in SIZES:
        units = calls * CALL_UNITS
        terms = deposited(up, units)
        opened = last_gas(up, "SessionOpened")
        claimed, closed = claim_and_close(up, terms, units)
        figures[f"gas_per_call_{calls}"] = round((opened + claimed + closed) / calls, 1)
        figures |= {"gas_open": opened, "gas_claim": claimed, "gas_close": closed}
    return figures


def claim_and_close(up: stack.Stack, terms: SessionTerms, units: int) -> tuple[int, int]:
    """Gas of claiming everything, as the provider's process does, and of closing."""
    contract, provider = up.chain.contract("MeteredSessions"), up.sender(PROVIDER)
    place = up.chain.chain_id, contract.address
    voucher = sign_voucher(sessions.id_of(up.chain, terms), units, up.accounts["buyer"], *place)
    row = Claim(terms, units, units, voucher.signature)
    name = voucher.session.hex()
    claim = contract.functions.claimBatch(up.provider, [row.to_abi()])
    claimed = provider.send(claim, label=f"claim {name}")
    closed = provider.send(contract.functions.close(terms.to_abi()), label=f"close {name}")
    return int(claimed["gasUsed"]), int(closed["gasUsed"])


def last_gas(up: stack.Stack, event: str) -> int:
    """Gas of the transaction with the latest event of this name."""
    *_, last = up.chain.at().events("MeteredSessions", event)
    return int(up.chain.w3.eth.get_transaction_receipt(HexBytes(last.tx_hash))["gasUsed"])


def show(figures: dict[str, float]) -> None:
    """Print the figures beside what they may be at most."""
    table = Table("figure", "value", "at most")
    for name, value in figures.items():
        table.add_row(name, f"{value:,}", str(GOALS.get(name, "")))
    Console().print(table)
    Console().print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> int:
    """Measure all, write, print. Returns 1 where a goal is missed."""
    with place() as there:
        figures = added(there)
        with awake():
            figures["added_awake_ms_p50"] = added(there)["added_ms_p50"]
        figures |= stream_loss(there)
        there.up.stop_nodes()
        figures |= gas(there.up)
    figures |= gateway_vouchers.measure()
    results.merge(RESULTS, figures)
    show(figures)
    return int(any(figures[name] > most for name, most in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
