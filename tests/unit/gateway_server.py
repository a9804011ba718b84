"""A gateway over real accounts, with a model that uses as many tokens as the request says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from eth_utils.crypto import keccak
from fastapi import FastAPI, Request, Response

from oracle import api_errors
from oracle.api_auth import Gate
from oracle.gateway.accounts import CallUsage, TokenBounds
from oracle.gateway.api import _add_accounts, _add_keys, _Parties, install_refusals
from oracle.server import Server
from scrip.call_receipts import RECEIPT_EVENT, RECEIPT_HEADER, SignedCallReceipt, model_id
from scrip.eip712 import recover
from scrip.errors import BadSignature
from scrip.gateway_client import VoucherAuth
from scrip.session_payer import SessionPayer, Terms
from scrip.signed_requests import SignedBy
from scrip.vouchers import SESSION_HEADER, VOUCHER_HEADER, Voucher
from tests.unit.gateway_factory import CHAIN_ID, KEY, MODEL, ORACLE, RATES, SESSIONS, Till

MARKET = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"


class Signers:
    """Whoever signs by a key of its own."""

    def has_signed(self, account: str, message: bytes, signature: bytes) -> bool:
        try:
            return recover(message, signature) == account
        except BadSignature:
            return False

    def is_party(self, account: str, terms: Any) -> bool:
        return False


@dataclass
class Gateway:
    """A provider's process. `tamper` changes its receipts; `lose` ends a call after charging it."""

    till: Till
    url: str = ""
    receipts: list[SignedCallReceipt] = field(default_factory=list)
    tamper: dict[str, Any] = field(default_factory=dict)
    lose: int = 0
    wrong_body: bool = False

    def app(self) -> FastAPI:
        app = FastAPI()
        api_errors.install(app, 1 << 20)
        install_refusals(app)
        parties = _Parties(self.till.accounts)
        _add_accounts(app, self.till.accounts, parties)
        _add_keys(app, self.till.accounts, parties)

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            return self.complete(await request.body(), request)

        return app

    def complete(self, body: bytes, request: Request) -> Response:
        asked = json.loads(body)
        voucher = Voucher.parse(request.headers[SESSION_HEADER], request.headers[VOUCHER_HEADER])
        held = self.till.accounts.reserve(voucher, MODEL, TokenBounds(asked["most"], 0))
        answer = b'data: {"a": 1}\n\ndata: {"b": 2}\n\n' if asked.get("stream") else b'{"a": 1}'
        used = CallUsage(asked["tokens"], 0, 0, keccak(body), keccak(answer), 1, 2)
        signed = self.till.accounts.charge(held, used)
        self.receipts.append(signed)
        if self.tamper:
            changed = replace(signed.receipt, **self.tamper)
            signed = SignedCallReceipt.signed(changed, ORACLE, CHAIN_ID, SESSIONS)
        shown = answer.replace(b"1", b"7") if self.wrong_body else answer
        if self.lose:
            self.lose -= 1
            return Response(shown, media_type="application/json")
        if not asked.get("stream"):
            return Response(shown, headers={RECEIPT_HEADER: signed.header()}, media_type="application/json")
        trailer = f"data: [DONE]\n\nevent: {RECEIPT_EVENT}\ndata: {signed.header()}\n\n"
        return Response(shown + trailer.encode(), media_type="text/event-stream")


@contextmanager
def serving(till: Till) -> Iterator[Gateway]:
    """A gateway on a port of this machine."""
    made = Gateway(till)
    app = made.app()
    server = Server(app, "127.0.0.1", 0)
    server.start()
    made.url = f"http://127.0.0.1:{server.port}"
    app.state.gate = Gate(Signers(), made.url, CHAIN_ID, MARKET, frozenset())
    try:
        yield made
    finally:
        server.stop()


def auth_of(
    gateway: Gateway, terms: Any, cap: int = 10_000, call_cap: int = 500, path: Any = None
) -> VoucherAuth:
    """A client of the session with these terms."""
    known = Terms(
        session=gateway.till.sessions.session_id(terms), chain_id=CHAIN_ID, sessions=SESSIONS,
        oracle=ORACLE.address, rates={model_id(MODEL): RATES[0].rate}, cap=cap, call_cap=call_cap,
    )  # fmt: skip
    return VoucherAuth(SessionPayer(known, KEY, path), terms, gateway.url, SignedBy(KEY, CHAIN_ID, MARKET))
