"""Money of a pipeline: set aside for the whole plan before it starts, given back at the end.

From an account of the agent's own, the plan's total is reserved in the agent's ledger, and the stages spend
from a ledger of the plan's with that limit. Under a budget on chain, the plan gets a child budget with the
total as its lifetime and an expiry, which is revoked at the end.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agents.book import LIVE, AttemptState, Book
from agents.buyer import Bought, Buyer
from agents.ledger import Ledger
from agents.market import Listing
from agents.pipeline import fit
from agents.pipeline.fit import DoesNotFit
from agents.pipeline.plan import Plan, Stage
from agents.pipeline.quote import usable
from agents.pipeline.state import State
from agents.policy import CHEAPEST, Money, Need, Preferences
from agents.purse import BudgetPurse, OwnPurse, Purse
from scrip.chain import Chain
from scrip.eip712 import Wallet
from scrip.errors import BadInput, Reverted, TxLost
from scrip.journal import TxOutcome
from scrip.redeem import ACCEPT_SECONDS
from scrip.sender import Sender
from scrip.structs import to_int
from scrip.types_spending import NO_CAP, Limits

DEEPEST: Final = 4
"""Levels of a tree of budgets (`BudgetTree.MAX_DEPTH`)."""

SPARE_SECONDS: Final = 3_600
"""What a plan's budget lasts beyond the time that all its stages may take one after the other."""

BOOK: Final = "book.sqlite3"


class Funds(Protocol):
    """Money set aside for one run. Every call may be repeated: a run that was killed makes it again."""

    def reserve(self) -> None:
        """Set the plan's total aside. Raises LimitReached, BudgetRefused, BadInput; then nothing was."""

    def purse(self, stage: Stage) -> Purse:
        """What a stage may spend from."""

    def spent(self, stage: Stage, bought: Bought | None) -> int:
        """What has gone for a stage, payment-token base units."""

    def release(self) -> None:
        """Give back what wasn't spent."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who pays and sends: the agent's account on a chain. Threads share the one sender."""

    chain: Chain
    sender: Sender
    wallet: Wallet


class LedgerFunds:
    """The plan's total reserved in the agent's ledger, and a ledger of the plan's within it."""

    def __init__(self, actor: Actor, ledger: Ledger, state: State) -> None:
        self._actor, self._ledger, self._state = actor, ledger, state
        self._key = f"pipeline-{state.now.run_id}"

    def reserve(self) -> None:
        """See Funds.reserve."""
        if not self._ledger.holds(self._key):
            self._ledger.reserve(self._key, self._state.now.total)

    def purse(self, stage: Stage) -> Purse:
        """The account, within the plan's ledger."""
        actor = self._actor
        return OwnPurse(actor.chain, actor.sender, actor.wallet, self._of_plan(stage.name))

    def spent(self, stage: Stage, bought: Bought | None) -> int:
        """What credits bought for it cost, those of failed tries included: they are the account's now."""
        return self._of_plan().spent(f"{stage.name}/")

    def release(self) -> None:
        """Count what was really spent, no more."""
        self._ledger.settle(self._key, self._of_plan().spent())

    def _of_plan(self, stage: str = "") -> StageLedger:
        return StageLedger(self._state.folder / "spent.json", self._state.now.total, stage)


class StageLedger(Ledger):
    """The plan's ledger as one stage writes in it. What it holds is bounded by the plan's total.

    Not by the stage's own share: credits are held by the account, so which stage has to buy them depends on
    which one comes first.
    """

    def __init__(self, path: Path, limit: int, stage: str) -> None:
        super().__init__(path, limit)
        self._stage = stage

    def reserve(self, key: str, amount: int) -> None:
        """See Ledger.reserve."""
        super().reserve(f"{self._stage}/{key}", amount)

    def settle(self, key: str, amount: int) -> None:
        """See Ledger.settle."""
        super().settle(f"{self._stage}/{key}", amount)


class BudgetFunds:
    """A child of the agent's budget on chain, with the plan's total as its lifetime."""

    def __init__(self, actor: Actor, state: State, book: Path) -> None:
        self._actor, self._state, self._book = actor, state, book

    def reserve(self) -> None:
        """See Funds.reserve. Looks first whether an earlier process made the child."""
        if self._state.now.budget_id:
            return
        now, chain = self._state.now, self._actor.chain
        self._finish_earlier()
        made = self._made()
        if made is None:
            call = chain.contract("SpendingBudgets").functions.createChild(
                now.parent_budget, self._limits().to_abi(), []
            )
            self._actor.sender.send(call, label=f"budget of pipeline {now.run_id}")
            made = self._made()
        if made is None:
            raise BadInput("budget", now.parent_budget, "one whose child the chain shows", "Try again")
        self._state.set(budget_id=made)

    def purse(self, stage: Stage) -> Purse:
        """The plan's budget."""
        actor = self._actor
        return BudgetPurse(actor.chain, actor.sender, actor.wallet, self._state.now.budget_id)

    def spent(self, stage: Stage, bought: Bought | None) -> int:
        """What its budget was charged for good; at most, where what was paid for wasn't accepted."""
        if bought is not None:
            return bought.spent
        attempts = Book(self._book).attempts(self._state.key(stage.name))
        lost = sum(each.charge for each in attempts if each.state is AttemptState.UNVERIFIED)
        return lost + sum(each.bought for each in attempts)

    def release(self) -> None:
        """Revoke the child: nothing can be charged to it any more, and what comes back still does."""
        budget_id, chain = self._state.now.budget_id, self._actor.chain
        if budget_id and not chain.at().budget(budget_id).revoked:
            call = chain.contract("SpendingBudgets").functions.revoke(budget_id)
            self._actor.sender.send(call, label=f"revoke budget {budget_id}")

    def _finish_earlier(self) -> None:
        """Wait for what an earlier process left in flight: it may be the very child. Raises TxUnknown."""
        sender = self._actor.sender
        for item in sender.reconcile():
            if item.outcome is TxOutcome.PENDING:
                with suppress(Reverted, TxLost):
                    sender.follow(item.nonce)

    def _limits(self) -> Limits:
        now = self._state.now
        return Limits(
            spender=str(self._actor.wallet.address),
            per_action=NO_CAP,
            per_period=NO_CAP,
            lifetime=now.total,
            period=0,
            expiry=now.expiry,
            listed=False,
        )

    def _made(self) -> int | None:
        """The child that was made for this run, told by its limits: their expiry is drawn at random."""
        now, view = self._state.now, self._actor.chain.at()
        events = view.events("SpendingBudgets", "BudgetCreated", since=now.since, parent=now.parent_budget)
        for event in events:
            budget_id = int(event.args["budgetId"])
            if view.budget(budget_id).limits == self._limits():
                return budget_id
        return None


class BuyerWork:
    """Stages met by the buying loop, each from its own share of the plan's money. Threads may share it."""

    def __init__(
        self,
        actor: Actor,
        funds: Funds,
        book: Path,
        key: Callable[[str], str],
        read_market: Callable[[Chain], Sequence[Listing]],
        *,
        preferences: Preferences = CHEAPEST,
        on_step: Callable[[str, str], None] = lambda _stage, _text: None,
        money: Money = str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`key` gives the key of a stage's need by its name."""
        self._actor, self._funds, self._book, self._read_market = actor, funds, book, read_market
        self._key = key
        self._clock, self._sleep = clock, sleep
        self._preferences, self._on_step, self._money = preferences, on_step, money

    def meet(self, stage: Stage, need: Need, price: int) -> Bought:
        """See Work.meet. Raises DoesNotFit if no provider's template takes the stage's parameters."""
        actor = self._actor
        buyer = Buyer(
            actor.chain,
            actor.sender,
            actor.wallet,
            self._funds.purse(stage),
            book=self._book,
            tries=stage.tries,
            preferences=self._preferences,
            read_market=lambda chain: _fitting(stage, need, usable(stage, self._read_market(chain), price)),
            on_step=lambda text: self._on_step(stage.name, text),
            money=self._money,
            clock=self._clock,
            sleep=self._sleep,
        )
        # What a try may take at most: to be accepted, to be done, and to be told.
        seconds = stage.tries * (ACCEPT_SECONDS + stage.deadline_s)
        return buyer.meet(need, timeout=seconds)

    def spent(self, stage: Stage, bought: Bought | None) -> int:
        """See Work.spent."""
        return self._funds.spent(stage, bought)

    def is_open(self, stage: Stage) -> bool:
        """See Work.is_open: a provider that refuses to show what was paid for hasn't ended the stage."""
        return any(each.state in LIVE for each in Book(self._book).attempts(self._key(stage.name)))


def expiry_of(plan: Plan, now: int) -> int:
    """When a plan's budget ends, unix seconds: no two runs' are likely to be the same."""
    longest = sum(stage.tries * (ACCEPT_SECONDS + stage.deadline_s) for stage in plan.stages)
    return to_int("expiry", now + longest + SPARE_SECONDS + secrets.randbelow(SPARE_SECONDS), 40)


def check_depth(chain: Chain, budget_id: int) -> None:
    """Raise BadInput if the budget can't have a child, NotFound if there is none."""
    depth = chain.at().budget(budget_id).depth
    if depth >= DEEPEST:
        hint = "Give the budget above it, or one of its own to the agent"
        raise BadInput("budget", f"{budget_id} at depth {depth}", f"at depth {DEEPEST - 1} at most", hint)


def _fitting(stage: Stage, need: Need, offered: Sequence[Listing]) -> list[Listing]:
    """Those listings whose template takes the parameters. Raises DoesNotFit if that leaves none."""
    found, misfit = [], None
    for listing in offered:
        try:
            fit.check(stage, need.spec.params, listing)
        except DoesNotFit as error:
            misfit = error
        else:
            found.append(listing)
    if not found and misfit is not None:
        raise misfit
    return found
