"""The gateway of a provider node: its parts, and what they do in each pass of the main loop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from oracle.database import file_of
from oracle.dispatch import SEND
from oracle.facts import Facts
from oracle.gateway.accounts import Accounts
from oracle.gateway.app import Proxy
from oracle.gateway.book import Book
from oracle.gateway.chain import SessionChain
from oracle.gateway.charge_log import ChargeLog
from oracle.gateway.claim_book import ClaimBook
from oracle.gateway.claims import Claims
from oracle.gateway.metrics import GatewayMetrics
from oracle.gateway.rates import RateCard
from oracle.gateway.watch import Watch
from oracle.metrics import Metrics
from oracle.outbox import Outbox
from oracle.settings import Settings
from oracle.settings_gateway import GatewaySettings
from oracle.store import Store
from oracle.tasks import Tasks
from scrip.eip712 import Wallet


@dataclass(frozen=True, slots=True)
class Gateway:
    """Session accounts, their claims and their watch, and the calls they pay for."""

    settings: GatewaySettings
    accounts: Accounts
    rates: RateCard
    watch: Watch
    claims: Claims
    metrics: GatewayMetrics
    proxy: Proxy

    @classmethod
    def of(
        cls,
        given: GatewaySettings,
        settings: Settings,
        *,
        store: Store,
        facts: Facts,
        outbox: Outbox,
        signer: Wallet | None,
        metrics: Metrics,
    ) -> Gateway:
        """Join the parts. `signer` is the oracle key, None in a dry run."""
        counted, rates = GatewayMetrics(metrics.registry), RateCard(given.rates)
        book = Book(store, log_of(settings))
        accounts = Accounts(
            book=book,
            chain=SessionChain(facts, settings.of_provider().address, rates, given),
            rates=rates,
            signer=signer,
            metrics=counted,
            max_blind_s=given.max_blind_s,
            max_keys=given.max_keys,
        )
        claims = Claims(
            book=ClaimBook(store),
            accounts=accounts,
            chain=facts.chain,
            outbox=outbox,
            sender=None if signer is None else signer.address,
            settings=given,
            metrics=counted,
            now=facts.now,
        )
        watch = Watch(store, accounts, facts.chain, settings.reconcile_s)
        proxy = Proxy.of(given, accounts, rates, settings.of_provider().address, metrics.registry)
        return cls(given, accounts, rates, watch, claims, counted, proxy)

    def begin(self) -> None:
        """As this node begins to lead."""
        self.watch.begin()

    def end(self) -> None:
        """As this node stops leading."""
        self.accounts.end()

    def step(self, tasks: Tasks) -> None:
        """One pass: look at the chain, form claims, take each claim a step on."""
        self.watch.look()
        self.claims.form()
        for claim_id in self.claims.live():
            tasks.start(SEND, ("session claim", claim_id), partial(self.claims.step, claim_id))

    def prune(self) -> int:
        """Delete what is kept no longer. Returns how many rows went."""
        book = self.accounts.book
        now_ms = book.store.now_ms()
        return book.prune(
            now_ms - self.settings.audit_window_s * 1000, now_ms - self.settings.receipts_kept_s * 1000
        )

    def describe(self, oracle: str | None) -> dict[str, Any]:
        """For the registration file: where sessions are, who signs call receipts, and what calls cost."""
        return {
            "sessions": self.accounts.chain.contract,
            "oracle": oracle,
            "models": self.proxy.offer.describe(),
            "rates": self.rates.describe(),
        }


def log_of(settings: Settings) -> ChargeLog | None:
    """A log of charges, where no other node has the database: SQLite in this node's own folder."""
    file = file_of(settings.database_url)
    if file is None or file.resolve().parent != settings.state_dir.resolve():
        return None
    return ChargeLog(file)
