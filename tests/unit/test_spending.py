"""Spend from events: what belongs to what within a transaction, and memory that doesn't grow with history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents.spending import Key, Spending
from scrip.logs import LogEvent
from tests.unit.evidence_factory import make_class

AGENT, PAYER, PROVIDER, MAKER = ("0x" + digit * 40 for digit in "1234")


class Stream:
    """Events in order; `tx` starts a transaction."""

    def __init__(self) -> None:
        self.number, self.hash = 0, 0

    def tx(self) -> Stream:
        self.hash += 1
        return self

    def event(self, name: str, **args: Any) -> LogEvent:
        self.number += 1
        return LogEvent(name, args, MAKER, self.hash, bytes(32), self.hash.to_bytes(32), self.number)

    def opened(self, job: int, units: int, budget: int = 1) -> LogEvent:
        return self.event(
            "JobOpened", jobId=job.to_bytes(32), payer=PAYER, provider=PROVIDER, classId=7, maxUnits=units,
            budgetId=budget,
        )  # fmt: skip

    def charged(self, value: int, budget: int = 1) -> LogEvent:
        return self.event("BudgetCharged", budgetId=budget, payee=PROVIDER, value=value)

    def released(self, value: int, budget: int = 1) -> LogEvent:
        return self.event("BudgetReleased", budgetId=budget, value=value)

    def settled(self, job: int, units: int) -> LogEvent:
        return self.event(
            "JobSettled", jobId=job.to_bytes(32), provider=PROVIDER, units=units, receiptHash=bytes(32)
        )


def tally(keep: int = 20) -> Spending:
    return Spending(lambda *_: True, lambda _: make_class(), lambda _: AGENT, keep)


def counted(*events: LogEvent) -> Spending:
    made = tally()
    for event in events:
        made.add(event)
    made.close()
    return made


def key(kind: str, payee: str = PROVIDER, budget: int = 1) -> Key:
    return Key(AGENT if budget else PAYER, budget, 7, payee, kind)


def test_add__session_fill_and_job_in_one_transaction__each_charge_finds_its_own() -> None:
    one = Stream().tx()
    session = one.event(
        "SessionOpened", sessionId=bytes(32), payer=PAYER, provider=PROVIDER, classId=7, units=10, budgetId=1
    )
    filled = one.event("OfferFilled", offerHash=bytes(32), maker=MAKER, taker=PAYER, units=3, price=50)
    events = [session, one.charged(10), filled, one.charged(50)]
    events += [one.event("TransferSingle", id=7, value=3), one.charged(7), one.opened(1, 7)]
    rows = counted(*events).rows
    assert {kind: row.charged for kind, row in rows.items()} == {
        key("session"): 10, key("fill", MAKER): 50, key("job"): 7,
    }  # fmt: skip


def test_add__jobs_of_two_budgets_settled_in_one_transaction__each_release_finds_its_own() -> None:
    one = Stream()
    opening = [one.tx().charged(10), one.opened(1, 10), one.tx().charged(20, 2), one.opened(2, 20, 2)]
    one.tx()
    ending = [one.settled(1, 4), one.released(6), one.settled(2, 20), one.settled(9, 9), one.released(1, 5)]
    made = counted(*opening, *ending)
    assert [made.rows[key("job", budget=budget)].spent for budget in (1, 2)] == [4, 20]
    assert [item.spent for item in made.receipts] == [4, 20]
    assert made.net == {1: 4, 2: 20, 5: -1}


def test_add__charge_of_a_budget_before_an_own_job__is_not_that_jobs() -> None:
    one = Stream().tx()
    session = one.event(
        "SessionToppedUp", sessionId=bytes(32), units=10, deposit=10
    )  # of a session opened before the scan
    made = counted(session, one.charged(10), one.opened(1, 7, budget=0))
    assert {kind: row.charged for kind, row in made.rows.items()} == {key("job", budget=0): 7}
    assert made.net == {1: 10}


def history(jobs: int) -> Iterator[LogEvent]:
    one = Stream()
    for job in range(jobs):
        yield one.tx().charged(10)
        yield one.opened(job, 10)
        yield one.tx().settled(job, 3)
        yield one.released(7)


def test_add__long_history__only_sums_and_the_newest_receipts_are_kept() -> None:
    made = tally(keep=5)
    for event in history(20_000):
        made.add(event)
        assert len(made._live) <= 1
    made.close()
    (row,) = made.rows.values()
    assert (row.count, row.live, row.spent, row.units) == (20_000, 0, 60_000, 60_000)
    assert len(made.receipts) == 5
    assert made.net == {1: 60_000}
