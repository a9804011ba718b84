"""Gas of spending through others: budgets, sessions and offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from bench.jobs import Jobs
from bench.lab import MONEY, Lab
from scrip import eip712
from scrip.eip712_sessions import session_id, voucher_digest
from scrip.types_spending import NO_CAP, Claim, Limits, SessionTerms

DEPOSIT, CLAIMED = 1_000, 60
SESSION_SECONDS = 86_400
PERIOD = 86_400


@dataclass(frozen=True, slots=True)
class Session:
    """An open session and the key that signs its vouchers."""

    terms: SessionTerms
    key: LocalAccount


@dataclass(frozen=True, slots=True)
class Spending:
    """Budgets and sessions of the lab's plain class."""

    lab: Lab

    def budgets(self) -> Iterator[tuple[str, int]]:
        """A job opened by the spender of a budget under another budget, both charged before."""
        lab, jobs = self.lab, Jobs(self.lab)
        owner, spender = lab.holder(lab.plain), lab.account()
        root = self._budget(owner, "createBudget", lab.up.payment_token, owner)
        child = self._budget(owner, "createChild", root, spender)
        for _ in range(2):
            terms = jobs.terms(owner, lab.plain, child)
            gas = lab.send(spender, lab.function("JobMarket", "openFor", terms.to_abi(), b""))
        yield "open_budget_2", gas

    def claims(self, size: int) -> int:
        """Gas of one `claimBatch` over `size` sessions of distinct buyers. Raises if a row was skipped."""
        lab = self.lab
        found = [self.open() for _ in range(size)]
        mined = lab.mine(lab.provider, self.claim_call([self.voucher(one, CLAIMED) for one in found]))
        if len(lab.events("MeteredSessions", "SessionClaimed", mined)) != size:
            raise AssertionError("a voucher was skipped")
        return int(mined["gasUsed"])

    def claim_call(self, rows: list[Any]) -> Any:
        """The call that claims these vouchers."""
        return self.lab.function("MeteredSessions", "claimBatch", self.lab.provider, rows)

    def open(self) -> Session:
        """A session of a fresh buyer."""
        lab, key = self.lab, self.lab.signer()
        buyer = lab.holder(lab.plain)
        terms = SessionTerms(
            payer=buyer, provider=lab.provider, class_id=lab.plain, key=key.address,
            expires_at=lab.now() + SESSION_SECONDS, budget_id=0, salt=(1 << 64) - lab.number(),
        )  # fmt: skip
        lab.send(buyer, lab.function("MeteredSessions", "openSession", terms.to_abi(), DEPOSIT))
        return Session(terms, key)

    def voucher(self, session: Session, units: int) -> Any:
        """A row of a claim: the session's key authorises twice the `units` that were used in all."""
        sessions = self.lab.address("MeteredSessions")
        found = session_id(session.terms, self.lab.chain_id, sessions)
        digest = voucher_digest(found, 2 * units, self.lab.chain_id, sessions)
        return Claim(session.terms, units, 2 * units, eip712.sign(digest, session.key)).to_abi()

    def _budget(self, owner: str, function: str, above: object, spender: str) -> int:
        limits = Limits(spender, NO_CAP, MONEY, MONEY, PERIOD, 0, False)
        call = self.lab.function("SpendingBudgets", function, above, limits.to_abi(), [])
        (created,) = self.lab.events("SpendingBudgets", "BudgetCreated", self.lab.mine(owner, call))
        return int(created["args"]["budgetId"])
