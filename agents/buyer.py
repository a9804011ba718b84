"""The buying loop: read the market, choose, buy what is missing, redeem, verify. Never past its limit."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.ledger import Ledger
from agents.market import Listing, listings
from agents.policy import Choice, Means, Money, Need, choose
from scrip import redeem
from scrip.buying import buy
from scrip.chain import Chain
from scrip.eip712 import Wallet
from scrip.errors import BadInput, NotFound, Refused, Reverted, TxLost, TxRejected
from scrip.provider_client import ProviderClient
from scrip.redeem import Redemption
from scrip.sender import Sender
from scrip.types import Outcome, Status

FOLLOW_SECONDS = 600.0

NOTHING_SPENT = (BadInput, NotFound, Refused, Reverted, TxLost, TxRejected)
"""Errors after which a purchase surely did not happen. After any other it may have, and stays counted."""


@dataclass(frozen=True, slots=True)
class Bought:
    """A need that was met: what was chosen and why, and the verified result."""

    choice: Choice
    spent: int
    redemption: Redemption


class Buyer:
    """An agent with an account and a spending limit. One at a time per account."""

    def __init__(
        self,
        chain: Chain,
        sender: Sender,
        wallet: Wallet,
        ledger: Ledger,
        *,
        read_market: Callable[[Chain], Sequence[Listing]] = listings,
        on_step: Callable[[str], None] = lambda _: None,
        money: Money = str,
    ) -> None:
        """`read_market` gives the listings; `on_step` is told each step; `money` words amounts."""
        self.chain, self.sender, self.wallet, self.ledger = chain, sender, wallet, ledger
        self._read_market, self._on_step, self._money = read_market, on_step, money

    def meet(self, need: Need, *, timeout: float = FOLLOW_SECONDS) -> Bought:
        """Have one piece of work done and return it verified.

        Raises Refused (nothing fits, or the work failed and was refunded), LimitReached, EvidenceInvalid if
        what came back doesn't hold, NotFinished after `timeout` seconds, and as `Sender.send`.
        """
        market = self._read_market(self.chain)
        choice = choose(market, need, self._means(market), self._money)
        self._on_step(choice.reason)
        self._ask_first(choice, need)
        spent = self._buy(choice)
        planned = redeem.plan(
            self.chain,
            self.wallet.address,
            choice.listing.provider.address,
            choice.listing.info.class_id,
            need.spec,
            need.max_units,
        )
        self._on_step(f"opening job 0x{planned.job_id.hex()}")
        redeem.open_job(self.chain, self.sender, planned)
        status = redeem.follow(self.chain, planned.job_id, timeout=timeout, since=planned.since)
        return Bought(choice, spent, self._checked(planned, status))

    def _means(self, market: Sequence[Listing]) -> Means:
        view = self.chain.at()
        class_ids = {listing.info.class_id for listing in market}
        held = {class_id: view.available(self.wallet.address, class_id) for class_id in class_ids}
        return Means(self.ledger.left(), held)

    def _ask_first(self, choice: Choice, need: Need) -> None:
        """Let the provider refuse a spec that it would never run before credits are bought for it."""
        if choice.to_buy and choice.listing.offer is not None:
            with ProviderClient(choice.listing.offer.endpoint) as client:
                client.put_spec(need.spec)

    def _buy(self, choice: Choice) -> int:
        """Buy what is missing and return its cost. The limit is charged before anything is sent."""
        if choice.to_buy == 0:
            return 0
        class_id = choice.listing.info.class_id
        key = f"class-{class_id}-{secrets.token_hex(8)}"
        self.ledger.reserve(key, choice.cost)
        self._on_step(f"buying {choice.to_buy} units of class {class_id} for {self._money(choice.cost)}")
        try:
            purchase = buy(
                self.chain, self.sender, self.wallet, class_id, choice.to_buy, max_cost=choice.cost
            )
        except NOTHING_SPENT:
            self.ledger.settle(key, 0)
            raise
        self.ledger.settle(key, purchase.cost)
        return purchase.cost

    def _checked(self, planned: redeem.Plan, status: Status) -> Redemption:
        if status not in (Status.SETTLED, Status.REFUNDED):
            raise Refused(
                f"job 0x{planned.job_id.hex()} ended {status.name.lower()}; its credits are back", "job"
            )
        redemption = redeem.collect(self.chain, planned, self.wallet)
        if redemption.receipt.outcome is not Outcome.COMPLETED:
            raise Refused(f"job 0x{planned.job_id.hex()} failed and was refunded", "job")
        return redemption
