"""Steps of a sale where the chain's answers lag or change: nothing is sent twice, nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from oracle.models_x402 import PaymentRow
from oracle.outbox import Outbox
from oracle.settings_x402 import X402Settings
from oracle.store import Store
from oracle.x402 import tokens
from oracle.x402.payments import Kind, Order, Payments, Stage
from oracle.x402.sale import Sales, label_of
from oracle.x402.settlements import Fate, fate
from scrip.calls import Call
from scrip.errors import Reverted, TxUnknown

TOKEN, PAYER, SELLER, RESERVE = ("0x" + digit * 40 for digit in "1234")
TX = b"\x77" * 32
AUTHORISATION = {
    "from": PAYER, "to": SELLER, "value": "100", "validAfter": "0", "validBefore": "99",
    "nonce": "0x" + "05" * 32,
}  # fmt: skip
REQUEST = {
    "requirements": {"asset": TOKEN, "extra": {"tokenId": "1", "units": "50"}},
    "payload": {"authorization": AUTHORISATION, "signature": "0x" + "01" * 65},
}
ORDER = Order(b"\x01" * 32, Kind.SALE, PAYER, REQUEST)


@dataclass
class FakeOutbox:
    """What was sent, and what the journal and the chain say of it."""

    journal: dict[str, bytes] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    fails: dict[str, Exception] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def send_call(self, label: str, call: Call) -> Any:
        self.sent.append(label.split()[1])
        if label in self.fails:
            raise self.fails[label]
        self.journal[label], self.shown[label] = TX, 1
        return self.receipt(label)

    def recorded(self, label: str) -> bytes | None:
        return self.journal.get(label)

    def outstanding(self, label: str) -> bool:
        return label in self.open

    def receipt(self, label: str) -> Any:
        status = self.shown.get(label)
        return None if status is None else {"transactionHash": TX, "status": status}


@dataclass
class FakeChain:
    """A reserve that may take everything, and a token that says what became of authorisations."""

    used: bool = False
    used_finally: bool = False
    moved: bytes | None = None

    def address(self, name: str) -> str:
        return RESERVE

    def finalized(self) -> int:
        return 5

    def at(self) -> Any:
        return type("View", (), {"token_allowance": lambda *_: 1_000})()


@pytest.fixture
def payments(tmp_path: Path) -> Iterator[Payments]:
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    yield Payments(store)
    store.close()


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> FakeChain:
    made = FakeChain()
    monkeypatch.setattr(tokens, "moved", lambda *_: made.moved)
    monkeypatch.setattr(
        tokens,
        "is_used",
        lambda _, asked, block="latest": made.used if block == "latest" else made.used_finally,
    )
    return made


@pytest.fixture
def outbox() -> FakeOutbox:
    return FakeOutbox()


@pytest.fixture
def sales(payments: Payments, chain: FakeChain, outbox: FakeOutbox) -> Sales:
    return Sales(cast(Any, chain), cast(Outbox, outbox), payments, SELLER, X402Settings())


def at(payments: Payments, stage: Stage) -> PaymentRow:
    row = payments.begin(ORDER, 5)
    return row if stage is Stage.TAKING else payments.advance(row, stage, paid_tx=TX)


def stage(row: PaymentRow | None) -> str:
    return "waits" if row is None else row.stage


def test_fate__mined_once_and_not_shown_now__is_open(outbox: FakeOutbox) -> None:
    assert fate(cast(Outbox, outbox), "x", final=False) == (Fate.NONE, None)
    outbox.journal["x"] = TX
    assert fate(cast(Outbox, outbox), "x", final=False) == (Fate.OPEN, None)
    outbox.shown["x"] = 1
    outbox.open.add("x")
    assert fate(cast(Outbox, outbox), "x", final=False) == (Fate.SUCCEEDED, TX)
    assert fate(cast(Outbox, outbox), "x", final=True) == (Fate.OPEN, None)


def test_take__reverts_and_the_nonce_is_unused__takes_nothing(
    sales: Sales, payments: Payments, outbox: FakeOutbox
) -> None:
    row = at(payments, Stage.TAKING)
    outbox.fails[label_of("take", row)] = Reverted("DemoUSD_Expired", {})
    assert stage(sales.step(row)) == Stage.FAILED


def test_take__reverts_as_used_before_the_log_is_there__waits_and_then_delivers(
    sales: Sales, payments: Payments, outbox: FakeOutbox, chain: FakeChain
) -> None:
    row, chain.used = at(payments, Stage.TAKING), True
    outbox.fails[label_of("take", row)] = Reverted("DemoUSD_AuthorizationUsed", {})
    assert stage(sales.step(row)) == "waits"
    chain.moved = TX
    assert stage(sales.step(row)) == Stage.TAKEN
    assert outbox.sent == ["take"]


def test_take__used_otherwise_for_good__takes_nothing(
    sales: Sales, payments: Payments, outbox: FakeOutbox, chain: FakeChain
) -> None:
    row = at(payments, Stage.TAKING)
    chain.used = chain.used_finally = True
    outbox.fails[label_of("take", row)] = Reverted("DemoUSD_AuthorizationUsed", {})
    assert stage(sales.step(row)) == Stage.FAILED


def test_take__succeeds_and_the_log_lags__is_taken(sales: Sales, payments: Payments) -> None:
    assert stage(sales.step(at(payments, Stage.TAKING))) == Stage.TAKEN


def test_take__outcome_unknown__is_not_a_failure(
    sales: Sales, payments: Payments, outbox: FakeOutbox
) -> None:
    row = at(payments, Stage.TAKING)
    outbox.fails[label_of("take", row)] = TxUnknown("take", 1, [TX])
    with pytest.raises(TxUnknown):
        sales.step(row)
    outbox.open.add(label_of("take", row))
    assert stage(sales.step(row)) == "waits"
    assert outbox.sent == ["take"]
    assert payments.get(row.payment_id).stage == Stage.TAKING


def test_deliver__mined_and_not_shown_now__is_never_sent_again(
    sales: Sales, payments: Payments, outbox: FakeOutbox
) -> None:
    row = at(payments, Stage.TAKEN)
    outbox.journal[label_of("deliver", row)] = TX
    assert stage(sales.step(row)) == "waits"
    outbox.shown[label_of("deliver", row)] = 1
    assert stage(sales.step(row)) == Stage.DELIVERED
    assert outbox.sent == []


def test_deliver__reverted_and_reorganised_into_a_success__is_not_refunded(
    sales: Sales, payments: Payments, outbox: FakeOutbox
) -> None:
    row = at(payments, Stage.TAKEN)
    label = label_of("deliver", row)
    outbox.journal[label], outbox.shown[label] = TX, 0
    outbox.open.add(label)
    row = cast(PaymentRow, sales.step(row))
    assert stage(row) == Stage.REFUNDING
    assert stage(sales.step(row)) == "waits"
    outbox.shown[label] = 1
    outbox.open.clear()
    assert stage(sales.step(row)) == Stage.DELIVERED
    assert outbox.sent == []


def test_refund__that_reverts__stays_owed(sales: Sales, payments: Payments, outbox: FakeOutbox) -> None:
    row = at(payments, Stage.REFUNDING)
    outbox.fails[label_of("refund", row)] = Reverted("ERC20InsufficientBalance", {})
    assert stage(sales.step(row)) == "waits"
    outbox.fails.clear()
    assert stage(sales.step(row)) == Stage.REFUNDING
    assert stage(sales.step(row)) == Stage.REFUNDED
    assert outbox.sent == ["refund", "refund"]


def test_refund__mined_and_not_shown_now__is_never_sent_again(
    sales: Sales, payments: Payments, outbox: FakeOutbox
) -> None:
    row = at(payments, Stage.REFUNDING)
    outbox.journal[label_of("refund", row)] = TX
    assert stage(sales.step(row)) == "waits"
    assert outbox.sent == []
