"""Events as the contracts emit them, from a list of what happened: an independent model of their order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scrip.chargeback.entry import Kind, Tokens
from scrip.chargeback.ledger import Opening
from scrip.logs import LogEvent
from scrip.structs import ZERO_ADDRESS
from scrip.types import Receipt

MARKET, SESSIONS, RESERVE, PROVIDER = ("0x" + digit * 40 for digit in "2345")
PAYERS = tuple("0x" + f"{number:x}" * 40 for number in (10, 11, 12))


class NoFacts:
    """Everything was opened within the stream; nobody knows receipts."""

    def opening(self, kind: Kind, ident: bytes, before: LogEvent) -> Opening:
        raise AssertionError((kind, ident, before))

    def receipt(self, job: bytes, tx_hash: bytes, receipt_hash: bytes) -> Receipt | None:
        return None

    def tokens(self, session: bytes, after: int, upto: int) -> Tokens | None:
        return None

    def time(self, block: int) -> int:
        return 1_700_000_000 + block


@dataclass(slots=True)
class Stream:
    """A chain of one transaction a block. `backing` and `supply` are by class."""

    events: list[LogEvent] = field(default_factory=list)
    backing: dict[int, int] = field(default_factory=dict)
    supply: dict[int, int] = field(default_factory=dict)
    paid: int = 0
    returned: int = 0
    number: int = 0
    idents: int = 0

    def emit(self, name: str, **args: Any) -> None:
        block = self.number
        self.events.append(
            LogEvent(name, args, RESERVE, block, bytes(32), block.to_bytes(32), len(self.events))
        )

    def tx(self) -> Stream:
        self.number += 1
        return self

    def ident(self) -> bytes:
        self.idents += 1
        return self.idents.to_bytes(32)

    def transfer(self, operator: str, source: str, to: str, class_id: int, units: int) -> None:
        self.emit(
            "TransferSingle",
            **{"operator": operator, "from": source, "to": to, "id": class_id, "value": units},
        )

    def buy(self, payer: str, class_id: int, units: int, cost: int) -> None:
        self.tx().emit("Bought", classId=class_id, buyer=payer, recipient=payer, units=units, cost=cost)
        self.transfer(RESERVE, ZERO_ADDRESS, payer, class_id, units)
        self.backing[class_id] = self.backing.get(class_id, 0) + cost
        self.supply[class_id] = self.supply.get(class_id, 0) + units

    def jobs(self, class_id: int, rows: list[tuple[str, int, int]]) -> None:
        """A batch of jobs of one class and provider: payer, units and budget of each."""
        ids = [self.ident() for _ in rows]
        for ident, (payer, units, budget) in zip(ids, rows, strict=True):
            self.tx().emit("JobOpened", jobId=ident, payer=payer, budgetId=budget, maxUnits=units)
        self.tx()
        for ident, (_, units, _) in zip(ids, rows, strict=True):
            self.emit("JobSettled", jobId=ident, provider=PROVIDER, units=units, receiptHash=ident)
        for payer, units, _ in rows:
            if units:
                self.transfer(MARKET, payer, ZERO_ADDRESS, class_id, units)
        self.pay(class_id, sum(units for _, units, _ in rows))

    def session(self, payer: str, budget: int) -> bytes:
        ident = self.ident()
        self.tx().emit("SessionOpened", sessionId=ident, payer=payer, budgetId=budget)
        return ident

    def claims(self, class_id: int, rows: list[tuple[bytes, int]]) -> None:
        self.tx()
        for ident, units in rows:
            self.emit("SessionClaimed", sessionId=ident, provider=PROVIDER, units=units)
        self.transfer(SESSIONS, SESSIONS, ZERO_ADDRESS, class_id, sum(units for _, units in rows))
        self.pay(class_id, sum(units for _, units in rows))

    def reclaim(self, payer: str, class_id: int, units: int) -> None:
        self.tx().transfer(RESERVE, payer, ZERO_ADDRESS, class_id, units)
        amount = self._out(class_id, units)
        self.returned += amount
        self.emit("Reclaimed", classId=class_id, holder=payer, units=units, amount=amount)

    def pay(self, class_id: int, units: int) -> None:
        if units:
            amount = self._out(class_id, units)
            self.paid += amount
            self.emit("PaidOut", classId=class_id, provider=PROVIDER, units=units, amount=amount)

    def _out(self, class_id: int, units: int) -> int:
        amount = units * self.backing[class_id] // self.supply[class_id]
        self.backing[class_id] -= amount
        self.supply[class_id] -= units
        return amount
