"""A provider that sells inference by the call: a real llama.cpp, its gateway, and a session that pays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from demo import llm_server, stack_config
from demo.stack_config import Table
from scrip.call_receipts import SignedCallReceipt
from scrip.eip712_sessions import session_id
from scrip.signed_requests import SignedBy
from scrip.types import Resource
from scrip.types_spending import SessionTerms
from scrip.vouchers import sign_voucher
from tests.e2e.site import Site
from tests.integration.system import account

SESSIONS: Final = "/v1/scrip/sessions"
TOKEN_RATE: Final = 1_000_000
"""A unit a token, so that units are tokens."""


def tables(class_id: int, llama_url: str, slots: int, **changes: Any) -> Mapping[str, Table]:
    """Settings of the provider's gateway."""
    rate = {"model": llm_server.MODEL, "class_id": class_id, "input": TOKEN_RATE, "output": TOKEN_RATE}
    upstream = llm_server.upstream(llama_url, slots=slots)
    table = stack_config.gateway_table(class_id, llm_server.MODEL, upstream)["gateway"]
    return {"gateway": {**table, "rates": json.dumps([rate]), **changes}}


@dataclass
class Inference:
    """One session of the buyer's, whose vouchers the account `key` signs."""

    site: Site
    class_id: int
    terms: SessionTerms

    @classmethod
    def open(cls, site: Site, class_id: int, deposit: int, salt: int = 1) -> Inference:
        """Buy credits, open a session on chain and have the provider take it in, which must run."""
        lab = site.lab
        buyer = lab.buy(class_id, deposit)
        now = lab.chain.at().time()
        terms = SessionTerms(
            payer=buyer.address, provider=lab.provider, class_id=class_id, key=account("session key").address,
            expires_at=now + 86_400, budget_id=0, salt=salt,
        )  # fmt: skip
        call = lab.chain.contract("MeteredSessions").functions.openSession(terms.to_abi(), deposit)
        buyer.send(call, label="open session")
        made = cls(site, class_id, terms)
        made.ask("POST", SESSIONS, {"terms": terms.to_json()})
        return made

    @staticmethod
    def token_class(site: Site) -> int:
        """A class whose credits pay for tokens: one unit is one credit's thousandth."""
        return site.system.create_class(resource=Resource.OUTPUT_TOKEN, min_assurance=1, name="Tokens")

    @property
    def session(self) -> bytes:
        """Its id."""
        chain = self.site.lab.chain
        return session_id(self.terms, chain.chain_id, chain.address("MeteredSessions"))

    @property
    def path(self) -> str:
        """Of the account at the provider."""
        return f"{SESSIONS}/0x{self.session.hex()}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request signed by the session's key; the JSON of its answer."""
        chain = self.site.lab.chain
        auth = SignedBy(account("session key"), chain.chain_id, chain.address("JobMarket"))
        answer = httpx.request(
            method, self.site.lab.url + path, json=body, auth=auth, trust_env=False, timeout=30
        )
        assert answer.is_success, answer.text
        return answer.json()

    def authorise(self, units: int) -> None:
        """A voucher over `units` in all, left with the provider for API keys to spend."""
        chain = self.site.lab.chain
        voucher = sign_voucher(
            self.session, units, account("session key"), chain.chain_id, chain.address("MeteredSessions")
        )
        body = {"units": str(units), "signature": "0x" + voucher.signature.hex()}
        self.ask("POST", f"{self.path}/vouchers", body)

    def api_key(self, cap: int) -> str:
        """A new API key."""
        asked = {"capUnits": str(cap), "models": [], "expiresAt": 0, "callsPerMinute": 0, "name": "test"}
        secret: str = self.ask("POST", f"{self.path}/keys", asked)["secret"]
        return secret

    def account(self) -> dict[str, Any]:
        """The account as the provider shows it."""
        found: dict[str, Any] = self.ask("GET", self.path)
        return found

    def receipts(self) -> list[SignedCallReceipt]:
        """Receipts of all calls, in order."""
        found: list[SignedCallReceipt] = []
        after: int | None = 0
        while after is not None:
            page = self.ask("GET", f"{self.path}/calls?after={after}&limit=200")
            found += [
                SignedCallReceipt.from_json({"receipt": call["receipt"], "signature": call["signature"]})
                for call in page["calls"]
            ]
            after = page["next"]
        return found

    def claimed(self) -> int:
        """Units that the provider has claimed on chain."""
        return int(self.site.lab.chain.at().session(self.session).claimed)
