"""The buying loop: read the market, choose, buy what is missing, redeem, verify. Never past its limit.

One need is paid once. A job that may be on chain is followed to its end before another is opened for the
same need; another is opened only once every credit of the one before came back. What came back of a job that
was paid is never taken unverified, and never bought again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agents.book import LIVE, Attempt, AttemptState, Book, NeedState
from agents.following import Follower
from agents.ledger import Ledger
from agents.market import Listing, known, listings, price_now
from agents.policy import CHEAPEST, Choice, Money, Need, Preferences, choose
from agents.purse import OwnPurse, Purse
from agents.reputation import Reputation
from scrip import budgets, jobs, redeem
from scrip.chain import Chain
from scrip.eip712 import Wallet
from scrip.errors import (
    BadInput,
    BadSignature,
    ChainError,
    EvidenceInvalid,
    NotFound,
    Refused,
    Reverted,
    ScripError,
    TxLost,
    TxRejected,
)
from scrip.journal import TxOutcome
from scrip.provider_client import ProviderClient, ProviderUnreachable
from scrip.redeem import Plan, Redemption
from scrip.sender import Sender
from scrip.types import Outcome, Status
from scrip.verify import checks_at

FOLLOW_SECONDS = 600.0
TRIES = 3
"""Providers that are tried for one need, by default."""

_PROVIDERS_FAULT = (Refused, ProviderUnreachable, NotFound, BadSignature)
"""What a provider can answer when it is asked for a quote: another one may do better."""


class Unverified(EvidenceInvalid):
    """A job was paid, and what came back of it doesn't hold. It isn't handed out, nor bought again."""

    def __init__(self, job: bytes, problem: EvidenceInvalid) -> None:
        self.job = job
        detail = f"{problem.detail}. Job 0x{job.hex()} was paid; its output is not accepted"
        super().__init__(problem.check, detail)


@dataclass(frozen=True, slots=True)
class Try:
    """One provider that was tried for a need, and what came of it. `job` is empty if none was planned."""

    provider: str
    job: bytes
    detail: str


@dataclass(frozen=True, slots=True)
class Bought:
    """A need that was met: what was chosen and why, and the verified result.

    `spent` is what credits bought for it cost and, under a budget, what its budget was charged for good, in
    payment-token base units. `tries` are the providers that failed before.
    """

    choice: Choice
    spent: int
    redemption: Redemption
    key: str = ""
    tries: tuple[Try, ...] = ()


class Buyer:
    """An agent with a purse. Threads may share it: needs are met side by side, money is spent in turn."""

    def __init__(
        self,
        chain: Chain,
        sender: Sender,
        wallet: Wallet,
        purse: Purse | Ledger,
        *,
        book: Path | None = None,
        tries: int = TRIES,
        preferences: Preferences = CHEAPEST,
        reputation: Reputation | None = None,
        read_market: Callable[[Chain], Sequence[Listing]] | None = None,
        on_step: Callable[[str], None] = lambda _: None,
        money: Money = str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """A ledger stands for the agent's own account, limited by it.

        `book` is the file that remembers what is under way, by default beside the ledger. `reputation` counts
        how providers' jobs ended on chain; without it nothing but the agent's own experience is known.
        `read_market` gives other listings; `on_step` is told each step; `money` words amounts; `wall_ms` is
        unix milliseconds. Raises BadInput without a book.
        """
        self.chain, self.sender, self.wallet = chain, sender, wallet
        self.purse: Purse = OwnPurse(chain, sender, wallet, purse) if isinstance(purse, Ledger) else purse
        place = book or self.purse.book_path()
        if place is None:
            raise BadInput("book", None, "a path", "Under a budget nothing else says where")
        if tries < 1:
            raise BadInput("tries", tries, "at least 1")
        self.book, self.tries, self.preferences = Book(place), tries, preferences
        self._read_market = read_market or listings
        self._reputation, self._on_step, self._money = reputation, on_step, money
        self._wall_ms = wall_ms
        self._follower = Follower(chain, sender, clock, sleep)

    # What others call

    def meet(self, need: Need, *, timeout: float = FOLLOW_SECONDS) -> Bought:
        """Have one piece of work done and return it verified.

        A need with a key that was met before is not bought again: its result is fetched once more. One whose
        outcome isn't known yet, after a kill or an error of the chain, is taken up where it was left.

        Raises Refused (nothing fits, or all who were tried failed; nothing was paid), LimitReached and
        BudgetRefused (level, asked, left), Unverified (paid, and not accepted), NotFinished after `timeout`
        seconds, ProviderUnreachable, NotFound or Refused if a paid job's evidence can't be had now, Busy, and
        as `Sender.send`. After any of them meeting the same need again is safe.
        """
        with self.book.holding(need) as held:
            try:
                return self._meet(held, self._follower.deadline(timeout))
            except ScripError as error:
                self._give_up(held.key, error)
                raise

    def resume(self, *, timeout: float = FOLLOW_SECONDS) -> list[Bought | ScripError]:
        """Take up every need that a kill or an error left unfinished; its result or its error, in order."""
        found: list[Bought | ScripError] = []
        for need in self.book.unfinished():
            try:
                found.append(self.meet(need, timeout=timeout))
            except ScripError as error:
                found.append(error)
        return found

    # A need, from wherever it stands

    def _meet(self, need: Need, deadline: float) -> Bought:
        tries: list[Try] = []
        for attempt in self.book.attempts(need.key):
            bought = self._take_up(attempt, need, deadline, tries)
            if bought is not None:
                return bought
        while len(tries) < self.tries:
            started = self._start(need, tries)
            bought = None if started is None else self._conclude(started, need, deadline, tries)
            if bought is not None:
                return bought
        raise _all_failed(tries)

    def _take_up(self, attempt: Attempt, need: Need, deadline: float, tries: list[Try]) -> Bought | None:
        """An earlier job of this need: its result, or None if it cost nothing and can't any more."""
        if attempt.state in (AttemptState.DONE, AttemptState.UNVERIFIED):
            return self._accept(attempt, need, tries)
        if attempt.state in LIVE:
            found = self._on_chain(attempt)
            # One that was too late to open says nothing of its provider.
            return None if found is None else self._conclude(found, need, deadline, tries)
        if attempt.state is AttemptState.FAILED:
            tries.append(_tried(attempt))
        return None

    def _start(self, need: Need, tries: list[Try]) -> Attempt | None:
        """Choose and open a job; None if that provider wouldn't have it, which is noted in `tries`."""
        with self.book.turn():
            self._settle_pending()
            choice = self._choose(need, tries)
            provider = choice.listing.provider.address
            self._on_step(choice.reason)
            try:
                self._ask_first(choice, need)
                bought = self._acquire(choice, need)
                planned = self._plan(choice, need)
            except _PROVIDERS_FAULT as error:
                tries.append(Try(provider, b"", str(error)))
                self._on_step(f"{provider[:10]} won't: {error}")
                return None
            attempt = Attempt(
                key=need.key,
                plan=planned,
                state=AttemptState.PLANNED,
                reason=choice.reason,
                bought=bought,
                started_ms=self._wall_ms(),
                charge=choice.charge,
            )
            self.book.write(attempt)
            self._on_step(f"opening job 0x{planned.job_id.hex()}")
            return self._open(attempt)

    def _conclude(self, attempt: Attempt, need: Need, deadline: float, tries: list[Try]) -> Bought | None:
        """Follow a job to its end; None if it ended without being paid, which is noted in `tries`."""
        if attempt.state is AttemptState.OPEN:
            attempt = self._follow(attempt, deadline)
        if attempt.state is AttemptState.SETTLED:
            return self._accept(attempt, need, tries)
        tries.append(_tried(attempt))
        self._on_step(f"{attempt.provider[:10]} failed: {attempt.detail}")
        return None

    def _give_up(self, key: str, error: ScripError) -> None:
        """Nothing of the need can cost anything any more, and no error of the chain hides what happened."""
        live = any(attempt.state in LIVE for attempt in self.book.attempts(key))
        if not live and not isinstance(error, ChainError) and self.book.state(key) is NeedState.ACTIVE:
            self.book.finish(key, NeedState.GIVEN_UP)

    # Its steps

    def _choose(self, need: Need, tries: list[Try]) -> Choice:
        """The best listing of a provider that hasn't failed this need yet. Raises Refused, BudgetRefused."""
        need = replace(need, avoid=need.avoid | {item.provider for item in tries})
        market = self._market()
        means = self.purse.means(market, need)
        try:
            return choose(market, need, means, self._money, self.preferences)
        except Refused as nothing:
            self.purse.explain(market, need, means)
            raise (_all_failed(tries, nothing.reason) if tries else nothing) from None

    def _ask_first(self, choice: Choice, need: Need) -> None:
        """Let the provider refuse a spec that it would never run before credits are bought for it."""
        if choice.to_buy and choice.listing.offer is not None:
            with ProviderClient(choice.listing.offer.endpoint) as client:
                client.put_spec(need.spec)

    def _acquire(self, choice: Choice, need: Need) -> int:
        if choice.to_buy:
            class_id = choice.listing.info.class_id
            self._on_step(f"buying {choice.to_buy} units of class {class_id} for {self._money(choice.cost)}")
        cost = self.purse.acquire(choice, need)
        if cost:
            self.book.add_bought(need.key, cost)
        return cost

    def _plan(self, choice: Choice, need: Need) -> Plan:
        return redeem.plan(
            self.chain,
            self.purse.payer,
            choice.listing.provider.address,
            choice.listing.info.class_id,
            need.spec,
            need.max_units,
            finish_seconds=need.seconds,
            budget_id=self.purse.budget_id,
        )

    def _open(self, attempt: Attempt) -> Attempt:
        """Send the opening of a written attempt; it is open then, or dead.

        Raises BudgetRefused, and as `Sender.send`; it stays planned where it may be on chain.
        """
        try:
            redeem.open_job(self.chain, self.sender, attempt.plan)
        except Reverted as error:
            dead, refused = self._dead(attempt, str(error)), budgets.refusal(error)
            if refused is not None:
                raise refused from error
            return dead
        except (TxRejected, TxLost) as error:
            self._dead(attempt, str(error))
            raise
        # Empty where the job has ended by now: the charge is the one expected then.
        charge = self.chain.at().job_state(attempt.plan.job_id).charge or attempt.charge
        return self.book.update(replace(attempt, state=AttemptState.OPEN, charge=charge))

    def _on_chain(self, attempt: Attempt) -> Attempt | None:
        """An attempt that may be on chain: opened now if it isn't there, None if it's too late for that."""
        if attempt.state is AttemptState.SETTLED:
            return attempt
        self._on_step(f"taking up job 0x{attempt.plan.job_id.hex()}")
        with self.book.turn():
            self._settle_pending()
            view, plan = self.chain.at(), attempt.plan
            if jobs.status(view, plan.job_id, plan.since) is Status.NONE:
                if view.time() > plan.terms.accept_by:
                    self._dead(attempt, "it was never opened, and its time to open has passed")
                    return None
                self._admit(attempt)
            return self._open(attempt)

    def _admit(self, attempt: Attempt) -> None:
        """Ask the purse once more: what it had left when the job was planned may be spent by now."""
        try:
            self.purse.admit(attempt.provider, attempt.charge)
        except budgets.BudgetRefused as refused:
            self._dead(attempt, str(refused))
            raise

    def _follow(self, attempt: Attempt, deadline: float) -> Attempt:
        """Wait until the job has ended, and end it where its deadline has passed. Raises NotFinished."""
        status = self._follower.until_final(attempt.plan, deadline)
        settled = status is Status.SETTLED
        return self.book.update(
            replace(
                attempt,
                state=AttemptState.SETTLED if settled else AttemptState.FAILED,
                detail=f"job 0x{attempt.plan.job_id.hex()} ended {status.name.lower()}",
                ended_ms=self._wall_ms(),
            )
        )

    def _accept(self, attempt: Attempt, need: Need, tries: list[Try]) -> Bought:
        """The verified result of a job that was paid. Raises Unverified, ProviderUnreachable, ChainError."""
        try:
            redemption = self._verified(attempt.plan, need)
        except EvidenceInvalid as problem:
            self.book.update(replace(attempt, state=AttemptState.UNVERIFIED, detail=str(problem)))
            self.book.finish(need.key, NeedState.UNVERIFIED)
            raise Unverified(attempt.plan.job_id, problem) from problem
        self.book.update(replace(attempt, state=AttemptState.DONE))
        choice = self._choice_of(attempt)
        spent = self.book.bought(need.key) + _kept(attempt, redemption.ending.units)
        # Last of all: until then an equal need without a key takes this one up instead of paying again.
        self.book.finish(need.key, NeedState.MET)
        return Bought(choice, spent, redemption, need.key, tuple(tries))

    def _verified(self, plan: Plan, need: Need) -> Redemption:
        """Everything that can be checked: the evidence against the chain, and both against the need."""
        found = redeem.evidence(self.chain, plan.job_id, plan.terms, plan.endpoint, self.wallet, plan.since)
        bundle = found.bundle
        checks = (*found.checks, *checks_at(self.chain, bundle))
        receipt = bundle.receipt
        if receipt.outcome is not Outcome.COMPLETED:
            raise EvidenceInvalid("need.outcome", f"the job was paid as {receipt.outcome.name.lower()}")
        if receipt.assurance < need.min_assurance:
            detail = f"the receipt has {receipt.assurance}, wanted {need.min_assurance}"
            raise EvidenceInvalid("need.assurance", detail)
        if plan.spec != need.spec:
            raise EvidenceInvalid("need.spec", "the job was opened for another spec")
        return Redemption(plan, found.ending, receipt, bundle.output, bundle.simulated, checks)

    # Small parts

    def _market(self) -> list[Listing]:
        """What this purse could pay for, with what the chain and the agent know of the providers."""
        records = self._reputation.update() if self._reputation else {}
        found = known(self._read_market(self.chain), records, self.book.experience())
        return self.purse.market(found)

    def _settle_pending(self) -> None:
        """Wait for what an earlier run or call left in flight: its credits must be seen. Raises TxUnknown."""
        for item in self.sender.reconcile():
            if item.outcome is TxOutcome.PENDING:
                self._on_step(f"waiting for an earlier transaction: {item.label}")
                try:
                    self.sender.follow(item.nonce)
                except (Reverted, TxLost, NotFound):
                    continue  # it came to nothing, or another thread has seen its end

    def _dead(self, attempt: Attempt, detail: str) -> Attempt:
        dead = replace(attempt, state=AttemptState.DEAD, detail=detail, ended_ms=self._wall_ms())
        return self.book.update(dead)

    def _choice_of(self, attempt: Attempt) -> Choice:
        """The choice again, from the chain: the one that was made may be of an earlier process."""
        view, terms = self.chain.at(), attempt.plan.terms
        info = view.class_info(terms.class_id)
        listing = Listing(info, view.provider(terms.provider), None, price_now(view, info))
        return Choice(listing, 0, attempt.bought, attempt.reason, (), attempt.charge)


def _all_failed(tries: Sequence[Try], others: str = "") -> Refused:
    told = "; ".join(f"{item.provider[:10]}: {item.detail}" for item in tries)
    rest = f". No other fits: {others}" if others else ""
    return Refused(f"{len(tries)} providers were tried, nothing was paid: {told}{rest}", "providers")


def _tried(attempt: Attempt) -> Try:
    return Try(attempt.provider, attempt.plan.job_id, attempt.detail)


def _kept(attempt: Attempt, used: int) -> int:
    """What the job's budget doesn't get back: by the contract, the unused share of the charge is rounded
    down (`JobBook._end`).
    """
    most = attempt.plan.terms.max_units
    return attempt.charge - attempt.charge * (most - used) // most
