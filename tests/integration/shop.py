"""A provider that takes x402 payments, and stock clients that pay it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from eth_account.signers.local import LocalAccount
from fastapi import FastAPI, Request
from x402 import x402Client, x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.http.clients.httpx import wrapHttpxWithPayment
from x402.http.middleware.fastapi import payment_middleware
from x402.http.utils import encode_payment_signature_header
from x402.mechanisms.evm.exact import ExactEvmClientScheme
from x402.schemas import PaymentPayload, PaymentRequired, PaymentRequirements

from oracle.server import Server
from scrip.spec import JobSpec
from scrip.x402.client import CreditEscrowClient
from scrip.x402.server import CreditEscrowServer
from tests.integration.oracle_lab import SPEC, USD, OracleLab
from tests.integration.system import account

JSON = dict[str, Any]
MAX_UNITS = 10_000


@dataclass
class Till:
    """The provider of a lab that sells credits of one class and takes jobs for them."""

    place: OracleLab
    class_id: int
    buyer: LocalAccount

    @property
    def network(self) -> str:
        return f"eip155:{self.place.chain.chain_id}"

    def settings(self, **rules: Any) -> JSON:
        """The section `[x402]`, and a short reconcile time."""
        return {"x402": {"sell": (self.class_id,), "wait_s": 60} | rules}

    def start(self, **sections: Any) -> None:
        self.place.start("provider", self.place.provider_settings(**(self.settings() | sections)))

    # Addresses and money

    def address(self, name: str) -> str:
        return self.place.system.deployment.address(name)

    def tokens(self, who: str) -> int:
        return self.place.chain.at().token_balance(self.address("DemoUSD"), who)

    def credits(self, who: str) -> int:
        return self.place.chain.at().balance(who, self.class_id)

    # Requests

    def credits_url(self, units: int) -> str:
        return f"{self.place.url}/x402/credits/{self.class_id}?units={units}"

    @property
    def jobs_url(self) -> str:
        return f"{self.place.url}/x402/jobs?class_id={self.class_id}&max_units={MAX_UNITS}"

    def post(self, url: str, payment: PaymentPayload | None = None, body: object = None) -> httpx.Response:
        """A request, with a payment if one is given."""
        headers = {} if payment is None else {"PAYMENT-SIGNATURE": encode_payment_signature_header(payment)}
        return httpx.post(url, headers=headers, json=body, trust_env=False, timeout=120)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(self.place.url + path, trust_env=False, timeout=60, **more)

    def required(self, url: str, body: object = None) -> PaymentRequired:
        """What a 402 asks for."""
        answer = self.post(url, body=body)
        assert answer.status_code == 402, answer.text
        return PaymentRequired.model_validate(header(answer, "PAYMENT-REQUIRED"))

    def spec_json(self, spec: JobSpec = SPEC) -> JSON:
        return spec.to_json()

    # Clients

    def client(self, who: LocalAccount | None = None) -> x402Client:
        """The SDK's client with its own `exact` scheme and ours for credits; both assets are allowed."""
        payer = who or self.buyer
        made = x402Client().set_spend_controls(
            {
                "allowed_assets": [
                    {"network": self.network, "asset": self.address("DemoUSD")},
                    {"network": self.network, "asset": self.address("ComputeCredits")},
                ]
            }
        )
        made.register("eip155:*", ExactEvmClientScheme(payer))
        made.register("eip155:*", CreditEscrowClient(payer, self.place.system.deployment, clock=self.now))
        return made

    def now(self) -> float:
        return float(self.place.chain.at().time())

    def pay(self, required: PaymentRequired, who: LocalAccount | None = None) -> PaymentPayload:
        """A signed payment."""
        return asyncio.run(self.client(who).create_payment_payload(required))

    def buy(self, url: str, body: object = None, client: x402Client | None = None) -> httpx.Response:
        """The SDK's httpx client at work: asks, pays, asks again."""

        async def work() -> httpx.Response:
            async with wrapHttpxWithPayment(client or self.client(), timeout=120) as http:
                return await http.post(url, json=body)

        return asyncio.run(work())

    def npm(self, url: str, body: object = None) -> JSON:
        """The npm client at work."""
        script = Path(__file__).with_name("x402_client.mjs")
        given = [] if body is None else [json.dumps(body)]
        environment = os.environ | {
            "KEY": "0x" + self.buyer.key.hex().removeprefix("0x"),
            "NETWORK": self.network,
            "ASSETS": f"{self.address('DemoUSD')},{self.address('ComputeCredits')}",
            "NOW": str(int(self.now())),
        }
        done = subprocess.run(
            ["node", script, "POST", url, *given],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found: JSON = json.loads(done.stdout)
        return found

    def facilitator(self, what: str, payment: PaymentPayload, **changed: Any) -> httpx.Response:
        """Ask the facilitator; `changed` are fields of the requirements."""
        fields = payment.accepted.model_dump(by_alias=True) | changed
        asked = {
            "x402Version": 2,
            "paymentPayload": payment.model_dump(by_alias=True, exclude_none=True),
            "paymentRequirements": fields,
        }
        return self.post(f"{self.place.url}/x402/facilitator/{what}", body=asked)


@contextmanager
def seller(place: OracleLab, required: PaymentRequirements, scheme: CreditEscrowServer) -> Iterator[str]:
    """A shop that isn't ours: the SDK's middleware, our scheme, our facilitator. Its URL."""
    facilitator = HTTPFacilitatorClient(FacilitatorConfig(url=f"{place.url}/x402/facilitator"))
    server = x402ResourceServer(facilitator)
    server.register(required.network, scheme)
    app = FastAPI()
    price = {"amount": required.amount, "asset": required.asset, "extra": required.extra}
    accepts = {
        "scheme": required.scheme, "payTo": required.pay_to, "network": required.network, "price": price,
        "maxTimeoutSeconds": required.max_timeout_seconds,
    }  # fmt: skip
    paywall = payment_middleware({"POST /answers": {"accepts": accepts}}, server)

    @app.middleware("http")
    async def paid(request: Request, handler: Any) -> Any:
        return await paywall(request, handler)

    @app.post("/answers")
    def answers() -> JSON:
        return {"answer": 42}

    running = Server(app, "127.0.0.1", 0)
    running.start()
    try:
        yield f"http://127.0.0.1:{running.port}/answers"
    finally:
        running.stop()


def header(answer: httpx.Response, name: str) -> JSON:
    """A protocol header, decoded."""
    found: JSON = json.loads(base64.b64decode(answer.headers[name]))
    return found


def parallel(count: int, work: Callable[[], Any]) -> list[Any]:
    """What `count` calls at the same time return."""
    start = threading.Barrier(count)

    def one(_: int) -> Any:
        start.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def changed(payment: PaymentPayload, path: str, value: object) -> PaymentPayload:
    """The payment with one thing in it replaced, e.g. `payload.terms.salt`."""
    data = json.loads(payment.model_dump_json(by_alias=True))
    *where, last = path.split(".")
    inner: Any = data
    for name in where:
        inner = inner[name]
    inner[last] = value
    return PaymentPayload.model_validate(data)


def named(payment: PaymentPayload, identifier: str) -> PaymentPayload:
    """The payment with a payment identifier."""
    extensions: Mapping[str, Any] = {"payment-identifier": {"info": {"required": False, "id": identifier}}}
    return payment.model_copy(update={"extensions": dict(extensions)})


def till_of(place: OracleLab) -> Till:
    """A class for sale, and a buyer with dollars and without ether."""
    buyer = account("payer")
    place.system.mint(buyer.address, 1000 * USD)
    class_id = place.system.create_class(min_assurance=1, price_per_million=2_000 * USD)
    return Till(place, class_id, buyer)
