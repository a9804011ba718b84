"""The table of payments: the same payment is the same row, and never means another one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.metrics import Metrics
from oracle.models_x402 import PaymentRow
from oracle.store import StateConflict, Store
from oracle.tasks import Tasks
from oracle.x402.payments import Kind, Order, PaymentConflict, Payments, Stage
from oracle.x402.settlements import PAY, Settlements
from scrip.errors import NodeUnavailable, NotFound
from scrip.x402.escrow import PaymentInvalid

ID = b"\x01" * 32
ORDER = Order(ID, Kind.JOB, "0x" + "11" * 20, {"requirements": {"amount": "1"}, "payload": {"nonce": "1"}})
OTHER = replace(ORDER, request={"requirements": {"amount": "2"}, "payload": {"nonce": "1"}})
NAME = "pay_0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    yield made
    made.close()


@pytest.fixture
def payments(store: Store) -> Payments:
    return Payments(store)


def test_begin__other_request_for_the_same_payment__is_a_conflict(payments: Payments) -> None:
    payments.begin(ORDER, 5)
    for take in (payments.known, lambda order: payments.begin(order, 5)):
        with pytest.raises(PaymentConflict):
            take(OTHER)


def test_begin__identifier_of_another_payment__is_a_conflict(payments: Payments) -> None:
    payments.begin(replace(ORDER, identifier=NAME), 5)
    second = replace(OTHER, payment_id=b"\x02" * 32, identifier=NAME)
    for take in (payments.known, lambda order: payments.begin(order, 5)):
        with pytest.raises(PaymentConflict, match="identifier"):
            take(second)
    with pytest.raises(NotFound):
        payments.get(second.payment_id)


def test_advance__from_a_stage_it_has_left__is_a_conflict(payments: Payments) -> None:
    row = payments.begin(ORDER, 5)
    payments.advance(row, Stage.TAKEN)
    with pytest.raises(StateConflict):
        payments.advance(row, Stage.FAILED)


def test_begin__again__is_the_same_row(payments: Payments) -> None:
    payments.begin(ORDER, 5)
    row = payments.begin(replace(ORDER, identifier=NAME), 9)
    assert (row.since, row.stage) == (5, Stage.TAKING)
    assert payments.unfinished() == [ID]


def test_begin__after_a_failure__starts_anew_with_what_is_asked_now(payments: Payments) -> None:
    payments.advance(payments.begin(ORDER, 5), Stage.FAILED, "no money")
    assert payments.known(OTHER) is None
    row = payments.begin(OTHER, 9)
    assert (row.since, row.stage, row.reason, row.fingerprint) == (5, Stage.TAKING, "", OTHER.fingerprint)


def test_fingerprint__a_quote_beside_what_was_signed__changes_nothing() -> None:
    quoted = replace(ORDER, request={**ORDER.request, "payload": {"nonce": "1", "quote": "0x01"}})
    assert quoted.fingerprint == ORDER.fingerprint != OTHER.fingerprint


def test_report__is_true_once(payments: Payments) -> None:
    row = payments.begin(ORDER, 5)
    assert [payments.report(row) for _ in range(3)] == [True, False, False]


# Settling


class Slow:
    """Steps that go on when they are let, and count themselves."""

    def __init__(self, payments: Payments, failures: int = 0) -> None:
        self.payments, self.failures, self.taken = payments, failures, 0
        self.go = threading.Event()

    def step(self, row: PaymentRow) -> PaymentRow | None:
        self.taken += 1
        self.go.wait(20)
        if self.failures:
            self.failures -= 1
            raise NodeUnavailable("node", "away")
        return self.payments.advance(row, Stage.DONE)


def settlements(payments: Payments, steps: Slow, store: Store, wait_s: float = 10.0) -> Settlements:
    tasks = Tasks(Metrics(store, Path(".")), {PAY: 4})
    return Settlements(payments, {Kind.JOB: steps}, tasks, wait_s, threading.Event())


def test_settle__payment_that_is_refused__leaves_no_trace(payments: Payments, store: Store) -> None:
    def check() -> int:
        raise PaymentInvalid("insufficient_funds", "too poor")

    with pytest.raises(PaymentInvalid):
        settlements(payments, Slow(payments), store).settle(ORDER, check)
    with pytest.raises(NotFound):
        payments.get(ID)


def test_settle__sixteen_at_once__takes_one_step_and_all_are_told(payments: Payments, store: Store) -> None:
    steps = Slow(payments)
    made = settlements(payments, steps, store)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(made.settle, ORDER, lambda: 5) for _ in range(16)]
        steps.go.set()
        assert {one.result(20).stage for one in asked} == {Stage.DONE}
    assert steps.taken == 1


def test_settle__that_takes_too_long__is_told_as_open_and_goes_on(payments: Payments, store: Store) -> None:
    steps = Slow(payments)
    made = settlements(payments, steps, store, wait_s=0.05)
    assert made.settle(ORDER, lambda: 5).stage == Stage.TAKING
    assert made.settle(ORDER, lambda: 5).stage == Stage.TAKING
    steps.go.set()
    while payments.get(ID).stage != Stage.DONE:
        made.resume()
    assert steps.taken == 1


def test_settle__chain_away__is_taken_up_again(payments: Payments, store: Store) -> None:
    steps = Slow(payments, failures=1)
    steps.go.set()
    made = settlements(payments, steps, store)
    assert made.settle(ORDER, lambda: 5).stage == Stage.TAKING
    while payments.get(ID).stage != Stage.DONE:
        made.resume()
    assert steps.taken == 2
