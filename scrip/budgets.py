"""Budgets as their spender meets them: what is left at each level, and why a charge wouldn't fit.

The contract decides (`BudgetTree`); what is here reads the same levels beforehand, so that an agent knows
what it may spend, and names the level, what was asked and what is left when the answer is no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from web3.logs import DISCARD

from scrip.errors import ChainError, NotFound, Reverted, ScripError
from scrip.structs import to_address
from scrip.types_spending import NO_CAP, Budget, Limits

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.sender import Sender
    from scrip.view import ChainView

_PREFIX: Final = "SpendingBudgets_"

_REASONS: Final = {
    "UnknownBudget": "there is no such budget",
    "NotSpender": "it is another account's to spend",
    "WrongPayer": "it isn't the payer's budget",
    "WrongToken": "it counts another payment token",
    "NoPrice": "it can't count a class without a price",
    "Revoked": "it is revoked",
    "Expired": "it has expired",
    "ProviderNotListed": "it doesn't list this provider",
    "OverAction": "over its cap for one action",
    "OverPeriod": "over what is left in this period",
    "OverLifetime": "over what is left in all",
}
_NEXT_STEPS: Final = {
    "Revoked": "A revoked budget stays so: ask its owner for another",
    "Expired": "Ask its controller for a later expiry (setBudget)",
    "ProviderNotListed": "Ask its controller to list it (setProviders)",
    "OverAction": "Ask for less at once, or its controller for a higher cap (setBudget)",
    "OverPeriod": "Wait for the next period, or ask its controller for a higher cap (setBudget)",
    "OverLifetime": "Ask its controller for more (setBudget)",
}


class BudgetRefused(ScripError):
    """A budget doesn't admit a charge. Nothing was spent.

    `level` is the budget of the tree that says no, `asked` and `left` are token base units, or None where the
    reason isn't an amount. `reason` is the contract's own name for it, e.g. "OverPeriod".
    """

    def __init__(self, level: int, reason: str, asked: int | None = None, left: int | None = None) -> None:
        self.level, self.reason, self.asked, self.left = level, reason, asked, left
        figures = "" if asked is None or left is None else f": asked {asked}, left {left}"
        step = _NEXT_STEPS.get(reason, "")
        super().__init__(
            f"budget {level}: {_REASONS.get(reason, reason)}{figures}{'. ' + step if step else ''}"
        )


@dataclass(frozen=True, slots=True)
class Level:
    """One budget of a tree at one block. `period_left` and `left` are token base units, at least 0.

    `lists` holds those of the asked providers that the level admits, None if it admits any.
    """

    budget_id: int
    budget: Budget
    period_left: int
    left: int
    expired: bool
    lists: frozenset[str] | None = None

    @property
    def most(self) -> int:
        """Most that one charge can take at this level."""
        if self.budget.revoked or self.expired:
            return 0
        return min(self.budget.limits.per_action, self.period_left, self.left)

    def check(self, payee: str, asked: int, *, before: int = 0) -> None:
        """Raise BudgetRefused as the contract would for a charge of `asked` after charges of `before` in all.

        The order is the contract's (`BudgetTree._chargeLevel`).
        """
        limits = self.budget.limits
        if self.budget.revoked:
            raise BudgetRefused(self.budget_id, "Revoked", asked, 0)
        if self.expired:
            raise BudgetRefused(self.budget_id, "Expired")
        if self.lists is not None and payee not in self.lists:
            raise BudgetRefused(self.budget_id, "ProviderNotListed")
        if asked > limits.per_action:
            raise BudgetRefused(self.budget_id, "OverAction", asked, limits.per_action)
        for reason, left in (("OverPeriod", self.period_left), ("OverLifetime", self.left)):
            if asked > left - before:
                raise BudgetRefused(self.budget_id, reason, asked, max(0, left - before))


def create(
    chain: Chain,
    sender: Sender,
    token: str,
    limits: Limits,
    providers: Sequence[str] = (),
    *,
    parent: int = 0,
) -> int:
    """Create a budget, below `parent` if one is given; its id.

    The sender owns a root, and controls the parent of a child. `token` is what a root counts in; a child
    counts in its root's. `providers` are listed, which matters where `limits.listed`.

    Raises as `Sender.send`.
    """
    functions, listed = chain.contract("SpendingBudgets").functions, list(providers)
    call = (
        functions.createChild(parent, limits.to_abi(), listed)
        if parent
        else functions.createBudget(to_address("token", token), limits.to_abi(), listed)
    )
    receipt = sender.send(call, label=f"budget for {limits.spender}")
    event = chain.contract("SpendingBudgets").events.BudgetCreated()
    for found in event.process_receipt(receipt, errors=DISCARD):
        if found["address"] == chain.address("SpendingBudgets"):
            return int(found["args"]["budgetId"])
    raise ChainError("the budget was created without a BudgetCreated event")


def revoke(chain: Chain, sender: Sender, budget_id: int) -> None:
    """End a budget and all below it, at once and for good. Its controller or its spender. Raises as
    `Sender.send`.
    """
    call = chain.contract("SpendingBudgets").functions.revoke(budget_id)
    sender.send(call, label=f"revoke budget {budget_id}")


def levels(view: ChainView, budget_id: int, payees: Sequence[str] = ()) -> tuple[Level, ...]:
    """The budget and every level above it, up to the root, at one block.

    `payees` are the accounts that levels with a list are asked about. Raises NotFound.
    """
    now, found, at = view.time(), [], budget_id
    while at:
        found.append(_level(view, at, now, payees))
        at = found[-1].budget.parent
    if not found:
        raise NotFound("budget", budget_id, "0 is no budget")
    return tuple(found)


def left(tree: Sequence[Level]) -> int:
    """What charges may still come to together, now: the least over all levels."""
    return min(0 if level.most == 0 else min(level.period_left, level.left) for level in tree)


def check(tree: Sequence[Level], payee: str, asked: int, *, before: int = 0) -> None:
    """Raise BudgetRefused unless a charge fits every level, asked from the lowest up as the contract does."""
    for level in tree:
        level.check(payee, asked, before=before)


def refusal(error: Reverted) -> BudgetRefused | None:
    """What a revert of the budgets means; None if it was no budget's."""
    if not error.name.startswith(_PREFIX):
        return None
    reason, params = error.name.removeprefix(_PREFIX), error.params
    given, limit = params.get("given"), params.get("limit")
    amounts = reason in ("OverAction", "OverPeriod", "OverLifetime", "Revoked")
    asked, most = (given, limit) if amounts and isinstance(given, int) else (None, None)
    return BudgetRefused(int(params.get("budgetId", 0)), reason, asked, most)


def _level(view: ChainView, budget_id: int, now: int, payees: Sequence[str]) -> Level:
    budget = view.budget(budget_id)
    limits = budget.limits
    lists = None
    if limits.listed:
        named = {to_address("payee", payee) for payee in payees}
        lists = frozenset(
            payee for payee in named if view.read("SpendingBudgets", "isListed", budget_id, payee)
        )
    return Level(
        budget_id=budget_id,
        budget=budget,
        period_left=_period_left(budget, now),
        left=max(0, limits.lifetime - budget.spent),
        expired=limits.expiry != 0 and now > limits.expiry,
        lists=lists,
    )


def _period_left(budget: Budget, now: int) -> int:
    limits = budget.limits
    if limits.period == 0:
        return NO_CAP
    same = now // limits.period == budget.period_index
    return max(0, limits.per_period - (budget.period_spent if same else 0))
