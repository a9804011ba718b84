"""From a plan to its receipt: quote, set money aside, run, give back; and on, after a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.ledger import Ledger, LimitReached
from agents.market import Listing, paid_in
from agents.pipeline.funds import (
    BOOK,
    Actor,
    BudgetFunds,
    BuyerWork,
    Funds,
    LedgerFunds,
    check_depth,
    expiry_of,
)
from agents.pipeline.plan import Plan, check_inputs
from agents.pipeline.quote import Quote, quote
from agents.pipeline.run import Result, Run, tree_of
from agents.pipeline.state import Phase, Snapshot, StageRecord, State
from agents.policy import CHEAPEST, Means, Money, Preferences
from agents.purse import BudgetPurse, OwnPurse, Purse
from scrip.chain import Chain
from scrip.errors import WrongChain

RECEIPT: Final = "receipt.json"

ReadMarket = Callable[[Chain], Sequence[Listing]]
OnStep = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the money comes from: a ledger's limit on the agent's own account, or (else) a budget on chain.

    `token` is the payment token that amounts are counted in.
    """

    token: str
    ledger: Ledger | None = None
    budget_id: int = 0

    def purse(self, actor: Actor) -> Purse:
        """What the whole plan may be bought from. Raises NotFound, BudgetRefused for a budget."""
        if self.ledger is not None:
            return OwnPurse(actor.chain, actor.sender, actor.wallet, self.ledger)
        return BudgetPurse(actor.chain, actor.sender, actor.wallet, self.budget_id)


class Driver:
    """Quotes and runs plans for one account."""

    def __init__(
        self,
        actor: Actor,
        read_market: ReadMarket,
        *,
        preferences: Preferences = CHEAPEST,
        on_step: OnStep = lambda _stage, _text: None,
        money: Money = str,
        book: Path | None = None,
    ) -> None:
        """`book` remembers the account's jobs; by default each run has its own, in its folder. Runs of one
        account that go on at the same time need the same one.
        """
        self._actor, self._read_market, self._book = actor, read_market, book
        self._preferences, self._on_step, self._money = preferences, on_step, money

    def quote(self, plan: Plan, inputs: Mapping[str, str], source: Source) -> Quote:
        """What the plan may cost. Raises PlanInvalid, BadInput, BudgetRefused; nothing is spent."""
        check_inputs(plan, inputs)
        if source.ledger is None:
            check_depth(self._actor.chain, source.budget_id)
        purse = source.purse(self._actor)
        market = purse.market(paid_in(self._read_market(self._actor.chain), source.token))
        means: Means = purse.means(market, plan.stages[0].need())
        return quote(plan, market, means, self._money, self._preferences)

    def start(
        self, folder: Path, plan: Plan, inputs: Mapping[str, str], source: Source, quoted: Quote
    ) -> Result:
        """Run a plan that was quoted, with its state in `folder`.

        Raises NotAffordable, BadInput (the folder holds a run), LimitReached, BudgetRefused, and as
        `Sender.send`; stages that fail are in the result.
        """
        quoted.check()
        chain = self._actor.chain
        view = chain.at()
        records = {each.stage.name: StageRecord(most=each.most, price=each.price) for each in quoted.stages}
        snapshot = Snapshot(
            plan=plan,
            inputs=dict(inputs),
            chain_id=chain.chain_id,
            market=chain.address("JobMarket"),
            genesis=_genesis(chain),
            account=str(self._actor.wallet.address),
            payer=source.purse(self._actor).payer,
            token=source.token,
            ledger=str(source.ledger.path.resolve()) if source.ledger is not None else "",
            limit=source.ledger.limit if source.ledger is not None else 0,
            parent_budget=source.budget_id,
            since=view.block,
            expiry=expiry_of(plan, view.time()),
            stages=records,
        )
        return self._go(State.create(folder, snapshot))

    def resume(self, folder: Path) -> Result:
        """Go on with a run, from wherever it was left; one that has ended only shows its result again.

        Raises NotFound, WrongChain if it is of another chain or account, and as `start`.
        """
        return self._go(State.open(folder))

    def _go(self, opening: AbstractContextManager[State]) -> Result:
        with opening as state:
            self._check_same(state.now)
            funds = self._funds(state)
            run = Run(state, self._work(state, funds), on_step=self._on_step)
            if state.now.phase is Phase.RESERVING:
                try:
                    funds.reserve()
                except LimitReached:
                    state.discard()
                    raise
                state.set(phase=Phase.RUNNING)
            result = run.go()
            if not result.unfinished and state.now.phase is Phase.RUNNING:
                funds.release()
                state.set(phase=Phase.ENDED)
            _write_receipt(state)
            return result

    def _funds(self, state: State) -> Funds:
        now = state.now
        if now.parent_budget:
            return BudgetFunds(self._actor, state, self._book_of(state))
        return LedgerFunds(self._actor, Ledger(Path(now.ledger), now.limit), state)

    def _work(self, state: State, funds: Funds) -> BuyerWork:
        return BuyerWork(
            self._actor,
            funds,
            self._book_of(state),
            state.key,
            lambda chain: paid_in(self._read_market(chain), state.now.token),
            preferences=self._preferences,
            on_step=self._on_step,
            money=self._money,
        )

    def _book_of(self, state: State) -> Path:
        return self._book or state.folder / BOOK

    def _check_same(self, now: Snapshot) -> None:
        chain, account = self._actor.chain, str(self._actor.wallet.address)
        here = (chain.chain_id, chain.address("JobMarket"), _genesis(chain), account)
        there = (now.chain_id, now.market, now.genesis, now.account)
        if here != there:
            raise WrongChain(
                f"the run is of chain {there[0]}, market {there[1]}, account {there[3]}; "
                f"this is chain {here[0]}, market {here[1]}, account {here[3]}"
            )


def _write_receipt(state: State) -> None:
    path = state.folder / RECEIPT
    draft = path.with_suffix(".draft")
    draft.write_text(tree_of(state).encode(), "ascii")
    os.replace(draft, path)


def _genesis(chain: Chain) -> str:
    """The chain's first block: a local chain that was started anew is another chain."""
    return bytes(chain.w3.eth.get_block(0)["hash"]).hex()
