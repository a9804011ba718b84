"""The whole report: entries of a range of blocks, held against the chain, and handed on as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scrip.chargeback.call_tokens import CallTokens
from scrip.chargeback.entry import Entry, LedgerMismatch
from scrip.chargeback.facts import ChainFacts
from scrip.chargeback.ledger import SOURCES, Ledger, entries
from scrip.logs import merged
from scrip.types import ClassTerms, Funding
from scrip.view import ChainView


@dataclass(slots=True)
class Scope:
    """Which entries are asked for; None is any. A budget stands for those below it too."""

    view: ChainView
    account: str | None = None
    budget: int | None = None
    class_id: int | None = None
    _parents: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.budget is not None:
            self.view.budget(self.budget)  # NotFound, before a long scan finds nothing
        if self.class_id is not None:
            self.view.class_terms(self.class_id)

    def admits(self, entry: Entry) -> bool:
        """Whether an entry counts."""
        return (
            (self.account is None or entry.account == self.account)
            and (self.class_id is None or entry.class_id == self.class_id)
            and (self.budget is None or self.budget in self.path(entry.budget_id))
        )

    def path(self, budget: int) -> list[int]:
        """A budget and those above it, from the lowest; empty for 0."""
        found = []
        while budget:
            found.append(budget)
            if budget not in self._parents:
                self._parents[budget] = self.view.budget(budget).parent
            budget = self._parents[budget]
        return found


def read(
    view: ChainView, first: int, scope: Scope, calls: CallTokens, use: Callable[[Entry], None]
) -> dict[int, int]:
    """Give `use` every entry in scope from block `first` on. Returns the base units burned by class, of all.

    From the deployment's first block on, what was minted and burned is held against the supply of every
    class. Raises LedgerMismatch, ChainError.
    """
    chain = view.chain
    market, sessions, reserve = (
        chain.address(name) for name in ("JobMarket", "MeteredSessions", "CreditReserve")
    )
    ledger = Ledger(market, sessions, reserve, ChainFacts(view, calls))
    for entry in entries(ledger, merged(chain, SOURCES, first, view.block)):
        if scope.admits(entry):
            use(entry)
    if first <= chain.deployment.block:
        check_supply(view, ledger)
    return dict(ledger.burned)


def check_supply(view: ChainView, ledger: Ledger) -> None:
    """Raise LedgerMismatch unless minted less burned is the supply of every class."""
    for class_id in view.class_ids():
        counted = ledger.minted[class_id] - ledger.burned[class_id]
        supply = view.supply(class_id)
        if counted != supply:
            raise LedgerMismatch(
                f"class {class_id}: its events leave {counted} units, the chain says {supply}"
            )


class Classes:
    """Terms by class, each read once."""

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._known: dict[int, ClassTerms] = {}

    def __getitem__(self, class_id: int) -> ClassTerms:
        if class_id not in self._known:
            self._known[class_id] = self._view.class_terms(class_id)
        return self._known[class_id]

    def returned_in(self, class_id: int) -> str:
        """The token that a reclaim pays: of a stake-funded class the one that providers stake."""
        terms = self[class_id]
        if terms.funding is Funding.STAKE:
            return str(self._view.read("ProviderRegistry", "STAKE_TOKEN"))
        return terms.payment_token
