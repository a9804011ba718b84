"""A gateway over real sockets: its accounts are in memory, its inference server is the test's."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from oracle.gateway.app import Proxy
from oracle.gateway.calls import Calls
from oracle.gateway.rates import RateCard
from oracle.gateway.refusals import BadCredential, PaymentNeeded
from oracle.gateway.usage import CallUsage, Credential, KeyCredential, Reservation, TokenBounds
from oracle.server import Server
from oracle.settings_fields import CLIENT_S
from oracle.settings_gateway import GatewaySettings, RateSettings
from scrip.call_receipts import RECEIPT_HEADER, CallReceipt, SignedCallReceipt, model_id
from scrip.rates import Rate

MODEL: Final = "small"
CLASS: Final = 3
KEY: Final = "sk-scrip-test"
SESSION: Final = b"\x11" * 32
RATE: Final = Rate(1_000_000, 1_000_000, 1_000_000)
"""One unit a token."""


@dataclass
class MemoryAccounts:
    """One session of `deposit` units. Receipts aren't signed: what they say is under test here."""

    deposit: int = 1 << 60
    charged: int = 0
    reserved: int = 0
    used: list[CallUsage] = field(default_factory=list)
    held: list[TokenBounds] = field(default_factory=list)
    broken: Exception | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, credential: Credential, model: str, most: TokenBounds, *, waits: bool) -> Reservation:
        """By the one key, or any voucher."""
        if isinstance(credential, KeyCredential) and credential.secret != KEY:
            raise BadCredential("unknown API key")
        units = RATE.most(most.input, most.output)
        with self._lock:
            if self.charged + self.reserved + units > self.deposit:
                raise PaymentNeeded(
                    "not enough", needed=self.charged + self.reserved + units, authorised=self.deposit,
                    charged=self.charged, deposit=self.deposit,
                )  # fmt: skip
            self.reserved += units
            self.held.append(most)
        return Reservation(f"{len(self.held)}", SESSION, model, RATE, units)

    def catch_up(self) -> None:
        """Nothing is behind."""

    def charge(self, held: Reservation, used: CallUsage, *, waits: bool) -> SignedCallReceipt:
        """Charge one unit a token."""
        if self.broken is not None:
            raise self.broken
        units = held.rate.units(used.input, used.cached, used.output)
        with self._lock:
            self.reserved -= held.units
            self.charged += units
            self.used.append(used)
            number, total = len(self.used), self.charged
        receipt = CallReceipt(
            SESSION, number, bytes(32), model_id(held.model), used.request_hash, used.response_hash,
            used.input, used.cached, used.output, units, total, used.started_ms, used.ended_ms,
        )  # fmt: skip
        return SignedCallReceipt(receipt, bytes(65))

    def release(self, held: Reservation) -> None:
        """Charge nothing."""
        with self._lock:
            self.reserved -= held.units


@dataclass
class Lab:
    """A gateway that serves. `url` has no /v1."""

    url: str
    accounts: MemoryAccounts
    registry: CollectorRegistry
    calls: Calls

    def client(self, **headers: str) -> httpx.Client:
        """A client with the key."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {KEY}"} | headers,
            trust_env=False,
            timeout=20,
        )

    def ended(self, calls: int = 1) -> None:
        """Wait until nothing runs and nothing is held, and so many calls were begun."""
        deadline = time.monotonic() + 20
        while self.calls.running or self.accounts.reserved or len(self.accounts.held) < calls:
            assert time.monotonic() < deadline, f"{self.accounts.reserved} units are stuck"
            time.sleep(0.01)

    def counted(self, name: str, **labels: str) -> float:
        """A counter."""
        return self.registry.get_sample_value(name, labels) or 0.0


def settings(
    url: str, engine: str = "llama.cpp", general: dict[str, Any] | None = None, **upstream: Any
) -> Any:
    """Settings of a gateway with one model."""
    given = {"url": url, "engine": engine, "context_tokens": 4_096, "kinds": list(ALL_KINDS)} | upstream
    rate = RateSettings(model=MODEL, class_id=CLASS, input=1_000_000, output=1_000_000)
    return GatewaySettings.model_validate({"upstreams": {MODEL: given}, "rates": (rate,)} | (general or {}))


ALL_KINDS: Final = ("chat/completions", "completions", "embeddings")


@contextmanager
def gateway(
    chosen: GatewaySettings, accounts: MemoryAccounts | None = None, client_s: float = CLIENT_S
) -> Iterator[Lab]:
    """Serve, until the end."""
    account = accounts or MemoryAccounts()
    registry = CollectorRegistry()
    made = Proxy.of(chosen, account, RateCard(chosen.rates), "0x" + "ab" * 20, registry)
    app = FastAPI(lifespan=made.lifespan)
    server = Server(made.before(app), "127.0.0.1", 0, client_s=client_s)
    server.start()
    try:
        yield Lab(f"http://127.0.0.1:{server.port}", account, registry, made.calls)
    finally:
        server.stop()


CHAT: Final[dict[str, Any]] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
STREAM: Final[dict[str, Any]] = CHAT | {"stream": True}
PATH: Final = "/v1/chat/completions"


def receipt_of(response: httpx.Response) -> SignedCallReceipt:
    return SignedCallReceipt.parse(response.headers[RECEIPT_HEADER])


def events(text: str) -> list[tuple[str, str]]:
    """(name, data) of each event."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("event", ""), fields["data"]))
    return found


def error_of(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert {"message", "type", "code", "param"} <= set(error)
    return response.status_code, error["code"]


def raw_call(lab: Lab, body: Any) -> socket.socket:
    """A request whose answer nobody reads."""
    address, content = urlsplit(lab.url), json.dumps(body).encode()
    made = socket.create_connection((address.hostname, address.port))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(content)}"
    made.sendall(f"{head}\r\n\r\n".encode() + content)
    return made


def wait_for(holds: Any) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
