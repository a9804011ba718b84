"""A faulty world around a sender: a chain, a journal and a clock, with events to come."""

from __future__ import annotations

from typing import Any

from scrip.journal import InMemoryJournal, TxRecord
from scrip.sender import Call, Sender, SendPolicy
from tests.unit.fake_chain import TARGET, Crash, FakeChain, FakeSigner

POLICY = SendPolicy(poll=1, stuck_after=10, give_up_after=100)
CALL = Call(TARGET, b"\x01")


class World:
    """A chain, a journal and a clock. Each time the sender sleeps, the next of `events` happens."""

    def __init__(self, *events: str) -> None:
        self.chain, self.journal, self.now = FakeChain(), InMemoryJournal(), 0.0
        self.events = list(events)
        self.then = "wait"

    def sender(self, policy: SendPolicy = POLICY) -> Sender:
        chain: Any = self.chain
        return Sender(chain, FakeSigner(), self.journal, policy, clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.happen(self.events.pop(0) if self.events else self.then)

    def happen(self, event: str) -> None:
        name, _, value = event.partition(":")
        if name == "mine":
            self.chain.mine()
        elif name == "wait":
            self.now += float(value or 0)
        elif name == "forget":
            self.chain.pool.clear()
        elif name == "taken":
            self.chain.take_nonce()
        elif name == "base":
            self.chain.base *= int(value)
        elif name == "down":
            self.chain.down += int(value)
        elif name == "answer":
            self.chain.answers.append(value)
        elif name == "crash":
            raise Crash
        else:
            raise AssertionError(event)

    def open(self) -> list[TxRecord]:
        return self.journal.open_records(self.chain.chain_id, FakeSigner.address)
