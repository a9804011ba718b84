"""Where an agent's money comes from: its own account with a spending limit, or a budget on chain.

A purse says what may be spent, gets the credits that a choice lacks, and knows in whose name jobs are opened.
The limit of an own account is the ledger's; that of a budget is the chain's, at every level of its tree.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from agents.ledger import Ledger
from agents.market import Listing, paid_in
from agents.policy import Choice, Means, Need, choose
from scrip import budgets, offers
from scrip.buying import buy
from scrip.chain import Chain
from scrip.eip712 import Wallet
from scrip.errors import BadInput, NotFound, Refused, Reverted, TxLost, TxRejected
from scrip.offers import Lot, SignedOffer
from scrip.sender import Sender
from scrip.view import ChainView

NOTHING_SPENT = (BadInput, NotFound, Refused, Reverted, TxLost, TxRejected)
"""Errors after which a purchase surely did not happen. After any other it may have, and stays counted."""

_NO_LIMIT = 1 << 255


class Purse(Protocol):
    """What the buying loop needs of one. `payer` is whose credits are used; `budget_id` 0 is no budget."""

    chain: Chain
    sender: Sender
    wallet: Wallet

    @property
    def payer(self) -> str:
        """Whose credits are used."""

    @property
    def budget_id(self) -> int:
        """The budget that jobs are opened under, 0 for none."""

    def market(self, found: Sequence[Listing]) -> list[Listing]:
        """Those listings that this purse could pay for at all."""

    def means(self, market: Sequence[Listing], need: Need) -> Means:
        """What can be spent now. Raises BudgetRefused if that is nothing, whatever is asked."""

    def explain(self, market: Sequence[Listing], need: Need, means: Means) -> None:
        """Raise a refusal that names the limit, if a limit is why nothing fits."""

    def acquire(self, choice: Choice, need: Need) -> int:
        """Buy what is missing and return what it cost. Counted before anything is sent."""

    def admit(self, provider: str, charge: int) -> None:
        """Raise BudgetRefused if a job can't be charged now."""

    def left(self) -> int:
        """What may still be spent now, in payment-token base units."""

    def book_path(self) -> Path | None:
        """Where to keep what is under way, if the caller names no place."""


class OwnPurse:
    """The agent's own account: it buys credits from the reserve, within a ledger's limit.

    What counts is money, when it is spent on credits. Credits that are held already, or come back, are used
    without counting again.
    """

    budget_id = 0

    def __init__(self, chain: Chain, sender: Sender, wallet: Wallet, ledger: Ledger) -> None:
        self.chain, self.sender, self.wallet, self.ledger = chain, sender, wallet, ledger

    @property
    def payer(self) -> str:
        """The agent itself."""
        return str(self.wallet.address)

    def market(self, found: Sequence[Listing]) -> list[Listing]:
        """Everything: the caller knows which token the ledger counts."""
        return list(found)

    def means(self, market: Sequence[Listing], need: Need) -> Means:
        """What the ledger has left, and the account's free credits."""
        return Means(self.ledger.left(), free_credits(self.chain.at(), self.payer, market))

    def explain(self, market: Sequence[Listing], need: Need, means: Means) -> None:
        """The policy's words are enough: they say what each costs and what is left."""

    def acquire(self, choice: Choice, need: Need) -> int:
        """See Purse.acquire. Raises as `scrip.buying.buy`, and LimitReached."""
        if choice.to_buy == 0:
            return 0
        class_id = choice.listing.info.class_id
        key = f"class-{class_id}-{secrets.token_hex(8)}"
        self.ledger.reserve(key, choice.cost)
        try:
            purchase = buy(
                self.chain, self.sender, self.wallet, class_id, choice.to_buy, max_cost=choice.cost
            )
        except NOTHING_SPENT:
            self.ledger.settle(key, 0)
            raise
        self.ledger.settle(key, purchase.cost)
        return purchase.cost

    def admit(self, provider: str, charge: int) -> None:
        """Jobs are paid with credits, and those were counted when they were bought."""

    def left(self) -> int:
        """What the ledger has left."""
        return self.ledger.left()

    def book_path(self) -> Path | None:
        """Beside the ledger."""
        return self.ledger.path.with_suffix(".needs")


class _Fill(NamedTuple):
    """A part of an offer to take, and its price."""

    lot: Lot
    units: int
    price: int


class BudgetPurse:
    """A budget on chain whose spender the agent is: its owner's credits are used, never the agent's money.

    Every job is charged at its class's price when it is opened, and what it doesn't use is given back.
    Missing credits are bought for the owner from offers on the exchange, which is charged besides; the owner
    must have approved the exchange to take its tokens.
    """

    def __init__(
        self,
        chain: Chain,
        sender: Sender,
        wallet: Wallet,
        budget_id: int,
        read_offers: Callable[[], Sequence[SignedOffer]] = tuple,
    ) -> None:
        """Raises NotFound for an unknown budget, BudgetRefused if it is another account's to spend."""
        self.chain, self.sender, self.wallet, self.budget_id = chain, sender, wallet, budget_id
        self._read_offers = read_offers
        budget = chain.at().budget(budget_id)
        if budget.limits.spender != wallet.address:
            raise budgets.BudgetRefused(budget_id, "NotSpender")
        self.token, self._owner = budget.token, budget.owner

    @property
    def payer(self) -> str:
        """The owner of the tree."""
        return self._owner

    def market(self, found: Sequence[Listing]) -> list[Listing]:
        """Those classes that are paid in the budget's token."""
        return paid_in(found, self.token)

    def means(self, market: Sequence[Listing], need: Need) -> Means:
        """What every level has left, and the owner's free credits. Raises BudgetRefused."""
        view = self.chain.at()
        providers = sorted({item.provider.address for item in market})
        tree = budgets.levels(view, self.budget_id, providers)
        for level in tree:
            if level.budget.revoked or level.expired:
                level.check("", 0)
        return Means(
            left=budgets.left(tree),
            credits=free_credits(view, self.payer, market),
            each=min(level.most for level in tree),
            charges_credits=True,
            stock=cache(lambda class_id, units: self._price(view, class_id, units)),
            refused={who: why for who in providers if (why := _unlisted(tree, who))},
        )

    def explain(self, market: Sequence[Listing], need: Need, means: Means) -> None:
        """Raise BudgetRefused for what would be taken without the budget's limits, if they forbid it."""
        free = Means(_NO_LIMIT, means.credits, charges_credits=True, stock=means.stock)
        try:
            wanted = choose(market, need, free)
        except Refused:
            return
        view, provider = self.chain.at(), wanted.listing.provider.address
        tree = budgets.levels(view, self.budget_id, [provider])
        budgets.check(tree, provider, wanted.charge, before=wanted.cost)

    def acquire(self, choice: Choice, need: Need) -> int:
        """See Purse.acquire. Raises BudgetRefused, Refused if the offers are gone, and as `Sender.send`."""
        if choice.to_buy == 0:
            return 0
        class_id, view = choice.listing.info.class_id, self.chain.at()
        fills = self._fills(view, class_id, choice.to_buy)
        if fills is None or sum(fill.price for fill in fills) > choice.cost:
            raise Refused(f"the offers of class {class_id} were taken meanwhile", "exchange")
        paid = 0
        for fill in fills:
            label = f"fill {fill.units} of class {class_id} for budget {self.budget_id}"
            try:
                paid += offers.fill_for(
                    self.chain, self.sender, self.budget_id, fill.lot.signed, fill.units, fill.price, label
                )
            except Reverted as error:
                raise budgets.refusal(error) or error from None
        return paid

    def admit(self, provider: str, charge: int) -> None:
        """See Purse.admit."""
        tree = budgets.levels(self.chain.at(), self.budget_id, [provider])
        budgets.check(tree, provider, charge)

    def left(self) -> int:
        """What charges may come to together now, at every level."""
        return budgets.left(budgets.levels(self.chain.at(), self.budget_id))

    def book_path(self) -> Path | None:
        """None: a budget is nowhere on this machine."""
        return None

    def _price(self, view: ChainView, class_id: int, units: int) -> int | None:
        fills = self._fills(view, class_id, units)
        return None if fills is None else sum(fill.price for fill in fills)

    def _fills(self, view: ChainView, class_id: int, units: int) -> list[_Fill] | None:
        """Offers that make up `units`, cheapest first; None if they don't, or the owner couldn't pay them."""
        # By signature: an offer that is listed twice can be filled once.
        known = {one.signature: one for one in self._read_offers() if one.offer.class_id == class_id}
        wanted = list(known.values())
        if not wanted:
            return None
        makers = sorted({one.offer.maker for one in wanted})
        tree = budgets.levels(view, self.budget_id, makers)
        usable = [one for one in wanted if not _unlisted(tree, one.offer.maker)]
        found, missing = [], units
        for lot in sorted(offers.lots(view, usable, self.payer, self.token), key=_unit_price):
            part = min(missing, lot.units)
            if part:
                found.append(_Fill(lot, part, lot.signed.cost(part)))
                missing -= part
        if missing or sum(fill.price for fill in found) > self._owners_tokens(view):
            return None
        return found

    def _owners_tokens(self, view: ChainView) -> int:
        """What the exchange may take of the owner's payment tokens now."""
        exchange = self.chain.address("CreditExchange")
        return min(
            view.token_balance(self.token, self.payer),
            view.token_allowance(self.token, self.payer, exchange),
        )


def free_credits(view: ChainView, holder: str, market: Sequence[Listing]) -> dict[int, int]:
    """Credits that `holder` can use, by class, at one block."""
    class_ids = sorted({listing.info.class_id for listing in market})
    return {class_id: view.available(holder, class_id) for class_id in class_ids}


def _unit_price(lot: Lot) -> tuple[int, str]:
    # Tokens for 2**64 units, rounded up: exact enough to sort by, and an integer.
    return lot.signed.cost(1 << 64), lot.signed.signature.hex()


def _unlisted(tree: Sequence[budgets.Level], payee: str) -> str:
    """Why a budget can't pay this account, empty if it can."""
    for level in tree:
        if level.lists is not None and payee not in level.lists:
            return f"budget {level.budget_id} doesn't list it"
    return ""
