"""Whom a server acts for: an account, its purse and the caps that were set when the server was started."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agents.book import Book
from agents.ledger import Ledger
from agents.market import Listing, known, listings, paid_in
from agents.mcp.account import Turn
from agents.mcp.answers import BudgetReport, Level, Limits, Money
from agents.mcp.errands import Errands
from agents.mcp.orders import Orders
from agents.policy import Choice, Means, Need
from agents.purse import BudgetPurse, OwnPurse, Purse
from agents.reputation import Record, Reputation
from scrip import budgets
from scrip.chain import Chain
from scrip.cli.output import Token, utc
from scrip.eip712 import Wallet
from scrip.errors import ScripError
from scrip.offers import SignedOffer
from scrip.sender import Sender
from scrip.types_spending import NO_CAP


class OverCall(ScripError):
    """One call would cost more than a call may. Nothing was sent."""

    def __init__(self, asked: str, most: str) -> None:
        super().__init__(
            f"this call may cost {asked}, one call at most {most} (--per-call). Ask for less "
            "(max_credits), or have the server started with a higher --per-call"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Files of an account on one deployment."""

    book: Path
    orders: Path
    ledger: Path
    lock: Path
    reputation: Path


class SharedReputation(Reputation):
    """Counts that threads read at the same time: each event counts once."""

    def __init__(self, chain: Chain, path: Path) -> None:
        super().__init__(chain, path)
        self._turn = threading.Lock()

    def update(self) -> Mapping[str, Record]:
        """See Reputation.update."""
        with self._turn:
            return super().update()


@dataclass
class Agent:
    """Everything a tool needs. `rpc` is the node's URL, `limit` None under a budget.

    Amounts are payment-token base units.
    """

    rpc: str
    chain: Chain
    sender: Sender
    wallet: Wallet
    token: Token
    per_call: int
    place: Place
    limit: int | None = None
    budget_id: int = 0
    offers: tuple[SignedOffer, ...] = ()
    orders: Orders = field(init=False)
    book: Book = field(init=False)
    turn: Turn = field(init=False)
    reputation: Reputation = field(init=False)
    errands: Errands = field(init=False, default_factory=Errands)

    def __post_init__(self) -> None:
        self.orders, self.book = Orders(self.place.orders), Book(self.place.book)
        self.turn = Turn(self.place.lock, self.sender.address)
        self.reputation = SharedReputation(self.chain, self.place.reputation)

    def purse(self, sender: Sender | None = None) -> Purse:
        """The purse; `sender` sends its transactions."""
        by = sender or self.sender
        if self.limit is None:
            return BudgetPurse(self.chain, by, self.wallet, self.budget_id, lambda: self.offers)
        return OwnPurse(self.chain, by, self.wallet, Ledger(self.place.ledger, self.limit))

    def read_market(self, _: Chain | None = None) -> list[Listing]:
        """What is on offer for this server's token."""
        return paid_in(listings(self.chain), self.token.address)

    def market(self) -> list[Listing]:
        """The same, with what the chain and this agent know of the providers."""
        return known(self.read_market(), self.reputation.update(), self.book.experience())

    def money(self, amount: int) -> Money:
        """An amount as tools answer it."""
        shown = self.token.to_json(amount)
        return Money(
            amount=shown["amount"],
            symbol=shown["symbol"],
            base_units=shown["baseUnits"],
        )

    def check_call(self, amount: int) -> None:
        """Raises OverCall if one call may not cost that."""
        if amount > self.per_call:
            raise OverCall(self.token.text(amount), self.token.text(self.per_call))

    # Limits

    def limits(self) -> Limits:
        """What may be spent now."""
        if self.limit is not None:
            ledger = Ledger(self.place.ledger, self.limit)
            return self._limits("ledger", self.per_call, self.limit, ledger.spent(), ledger.left())
        return self._budget_limits(budgets.levels(self.chain.at(), self.budget_id))

    def report(self) -> BudgetReport:
        """The limits, level by level."""
        if self.limit is not None:
            return BudgetReport(limits=self.limits(), levels=[])
        tree = budgets.levels(self.chain.at(), self.budget_id)
        return BudgetReport(limits=self._budget_limits(tree), levels=[self._level(level) for level in tree])

    def _budget_limits(self, tree: Sequence[budgets.Level]) -> Limits:
        own = tree[0].budget
        each = min(self.per_call, *(level.most for level in tree))
        lifetime = own.limits.lifetime
        limit = None if lifetime >= NO_CAP else lifetime
        return self._limits(f"budget {self.budget_id}", each, limit, own.spent, budgets.left(tree))

    def _limits(self, source: str, each: int, limit: int | None, spent: int, left: int) -> Limits:
        return Limits(
            source=source,
            token=self.token.address,
            per_call=self.money(each),
            limit=None if limit is None else self.money(limit),
            spent=self.money(spent),
            left=self.money(left),
        )

    def _level(self, level: budgets.Level) -> Level:
        limits = level.budget.limits
        return Level(
            budget=str(level.budget_id),
            spender=limits.spender,
            revoked=level.budget.revoked,
            expires=utc(limits.expiry),
            per_action=self._cap(limits.per_action),
            period_seconds=limits.period,
            period_limit=self._cap(limits.per_period) if limits.period else None,
            period_left=self._cap(level.period_left) if limits.period else None,
            limit=self._cap(limits.lifetime),
            spent=self.money(level.budget.spent),
            left=self._cap(level.left) if limits.lifetime < NO_CAP else None,
            lists_providers=limits.listed,
        )

    def _cap(self, amount: int) -> Money | None:
        return None if amount >= NO_CAP else self.money(amount)


class CallPurse:
    """A purse for one call: whatever fails and is tried again, the call's purchases stay within its cap.

    `bought` is what earlier attempts of the same call have bought, in payment-token base units.
    """

    def __init__(self, purse: Purse, cap: int, bought: int = 0) -> None:
        self._purse, self._cap, self._bought = purse, cap, bought
        self.chain, self.sender, self.wallet = purse.chain, purse.sender, purse.wallet

    @property
    def payer(self) -> str:
        """Whose credits are used."""
        return self._purse.payer

    @property
    def budget_id(self) -> int:
        """The budget that jobs are opened under, 0 for none."""
        return self._purse.budget_id

    def market(self, found: Sequence[Listing]) -> list[Listing]:
        """See Purse.market."""
        return self._purse.market(found)

    def means(self, market: Sequence[Listing], need: Need) -> Means:
        """See Purse.means; never more than what the call has left."""
        found = self._purse.means(market, need)
        return replace(found, left=min(found.left, max(0, self._cap - self._bought)))

    def explain(self, market: Sequence[Listing], need: Need, means: Means) -> None:
        """See Purse.explain."""
        self._purse.explain(market, need, means)

    def acquire(self, choice: Choice, need: Need) -> int:
        """See Purse.acquire. Counted at its highest before it is sent."""
        self._bought += choice.cost
        return self._purse.acquire(choice, need)

    def admit(self, provider: str, charge: int) -> None:
        """See Purse.admit."""
        self._purse.admit(provider, charge)

    def left(self) -> int:
        """See Purse.left."""
        return self._purse.left()

    def book_path(self) -> Path | None:
        """See Purse.book_path."""
        return self._purse.book_path()
