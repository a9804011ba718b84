"""A provider that sells inference, honest or not, and watchers that audit it, each with a llama.cpp."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from demo import llm_server
from demo.llm_server import MODEL, LlmServer
from oracle.gateway.refusals import NotAtHand
from oracle.gateway.service import Gateway
from oracle.gateway.usage import CallUsage, Credential, Reservation, TokenBounds
from oracle.settings import Settings
from oracle.settings_audits import AuditSettings
from scrip import sessions
from scrip.call_receipts import SignedCallReceipt
from scrip.session_api import SessionApi
from scrip.sessions import SessionInfo
from scrip.signed_requests import SignedBy
from scrip.vouchers import sign_voucher
from tests.integration.oracle_lab import OracleLab
from tests.integration.system import account

UNIT_PRICE: Final = 1_000
"""Token base units for a base unit of credits, which is a token's price."""
PRICE: Final = UNIT_PRICE * 10**9
STAKE: Final = 10**9
DEPOSIT: Final = 20_000
KEY: Final = "session key"
CALLS: Final = 12
OFTEN_ENOUGH: Final = 600_000
"""Two watchers draw from twelve calls: fewer than two of them in one of ten million runs."""


@dataclass
class Inflating:
    """What a dishonest provider puts between its gateway and its accounts: a tenth more output."""

    honest: Any
    added: int = 0

    def reserve(self, credential: Credential, model: str, most: TokenBounds, *, waits: bool) -> Reservation:
        most = replace(most, output=2 * most.output)
        held: Reservation = self.honest.reserve(credential, model, most, waits=waits)
        return held

    def charge(self, held: Reservation, used: CallUsage, *, waits: bool) -> SignedCallReceipt:
        if not waits:
            raise NotAtHand("asked again, it would add its tenth twice")
        more = math.ceil(used.output / 10)
        self.added += more
        signed: SignedCallReceipt = self.honest.charge(
            held, replace(used, output=used.output + more), waits=True
        )
        return signed

    def catch_up(self) -> None:
        self.honest.catch_up()

    def release(self, held: Reservation) -> None:
        self.honest.release(held)


@dataclass
class Trial:
    """A provider that sells inference, three watchers who are the class's arbiters, two of whom must sign."""

    place: OracleLab
    class_id: int
    server: LlmServer
    own: LlmServer

    # Nodes

    def start_provider(self) -> Gateway:
        table = {
            "rates": [{"model": MODEL, "class_id": self.class_id, "input": 10**6, "output": 10**6}],
            "upstreams": {MODEL: llm_server.upstream(self.server.url)},
            "claim_age_s": 1, "claim_retry_s": 1,
        }  # fmt: skip
        running = self.place.start("provider", self.place.provider_settings(gateway=table))
        found: Gateway = running.daemon._cycle._node.gateway  # type: ignore[attr-defined]
        return found

    def watcher(self, number: int, **changes: Any) -> Settings:
        others = [url for at, url in enumerate(self.place.watcher_urls) if at != number]
        rules = {
            "classes": [self.class_id], "upstreams": {MODEL: llm_server.upstream(self.own.url)},
            "rate_ppm": OFTEN_ENOUGH, "interval_s": 1, "arbiters": others,
        } | changes  # fmt: skip
        return self.place.watcher_settings(number).model_copy(
            update={"audits": AuditSettings.model_validate(rules)}
        )

    def start_watcher(self, number: int, **changes: Any) -> None:
        self.place.start(f"watcher-{number}", self.watcher(number, **changes))

    # Buying

    def open(self, salt: int) -> SessionInfo:
        place = self.place
        buyer = place.buy(self.class_id, DEPOSIT)
        signer = account(KEY)
        made = sessions.terms_for(
            place.chain, buyer.address, place.provider, self.class_id, signer.address, salt=salt
        )
        info = sessions.open_session(place.chain, buyer, made, DEPOSIT)
        with self.api(KEY) as client:
            client.open_session(info.terms)
            contract = place.chain.address("MeteredSessions")
            client.authorise(sign_voucher(info.session, DEPOSIT, signer, place.chain.chain_id, contract))
        return info

    def buy_calls(self, info: SessionInfo, calls: int = CALLS) -> int:
        """Deterministic calls; the tokens that their answers say they took."""
        with self.api(KEY) as client:
            secret = client.make_key(info.session, {"capUnits": str(DEPOSIT)})["secret"]
        tokens = 0
        for number in range(calls):
            body = {"model": MODEL, "prompt": f"Story {number}: once", "max_tokens": 24, "temperature": 0}
            answer = httpx.post(
                f"{self.place.url}/v1/completions", json=body, trust_env=False, timeout=60,
                headers={"Authorization": f"Bearer {secret}"},
            )  # fmt: skip
            assert answer.status_code == 200, answer.text
            tokens += answer.json()["usage"]["total_tokens"]
        return tokens

    def api(self, name: str) -> SessionApi:
        auth = SignedBy(account(name), self.place.chain.chain_id, self.place.chain.address("JobMarket"))
        return SessionApi(self.place.url, auth=auth)

    # Looking

    def claimed(self, info: SessionInfo) -> int:
        return self.place.chain.at().session(info.session).claimed

    def penalty(self, info: SessionInfo) -> int:
        return self.place.chain.at().penalty(info.session)

    def audits(self, number: int, info: SessionInfo) -> list[dict[str, Any]]:
        url = f"{self.place.watcher_urls[number]}/audits?limit=200"
        found = httpx.get(url, trust_env=False, timeout=30).json()["audits"]
        return [one for one in found if one["sessionId"] == "0x" + info.session.hex()]

    def audited(self, number: int, info: SessionInfo, claimed: int) -> bool:
        """Whether a watcher has come to the end of what was claimed."""
        audits = self.place.running[f"watcher-{number}"].daemon._cycle._node.audits  # type: ignore[attr-defined]
        rows = {row.session_id: row for row in audits.book.sessions()}
        return info.session in rows and rows[info.session].claimed == claimed

    def stake(self) -> int:
        return int(self.place.chain.at().read("ProviderRegistry", "stakeOf", self.place.provider))

    def earned(self) -> int:
        token = self.place.chain.at().class_terms(self.class_id).payment_token
        return self.place.chain.at().earnings(self.place.provider, token)

    def award(self, name: str) -> int:
        return int(self.place.chain.at().read("ProviderRegistry", "awardOf", account(name).address))

    def withdraw(self, name: str) -> int:
        """Token base units that an award brings."""
        who, dollar = account(name).address, self.place.system.contract("DemoUSD").functions
        before = dollar.balanceOf(who).call()
        self.place.system.send("ProviderRegistry", "withdrawAward", who, sender=who)
        return int(dollar.balanceOf(who).call()) - int(before)
