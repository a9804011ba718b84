"""What the operator's page asks of the chain, in the background and never more often than every few seconds:
earnings, classes, tokens and watcher sets. Finalized state only.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from oracle.facts import Facts
from scrip.cli.output import Token, Tokens
from scrip.errors import NotFound
from scrip.logs import pages
from scrip.structs import to_address
from scrip.types import ClassTerms
from scrip.view import ChainView

RESERVE: Final = "CreditReserve"
BPS: Final = 10_000
WATCHERS_S: Final = 300.0
"""How long the members of a watcher set are remembered."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What a class has paid: base units of it, and of its payment token."""

    units: int
    amount: int


@dataclass(frozen=True, slots=True)
class Purse:
    """Earnings in one payment token, its base units: `settled` in all, `withdrawn` so far, `waiting` what can
    be withdrawn now, of which the reserve keeps `fee`.
    """

    token: Token
    settled: int
    withdrawn: int
    waiting: int
    fee: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The chain as last asked, at `block`; None before the first answer. `watchers` are members by set."""

    block: int | None = None
    paid: Mapping[int, Paid] = field(default_factory=dict)
    purses: tuple[Purse, ...] = ()
    classes: Mapping[int, ClassTerms] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)
    watchers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


class ChainFigures:
    """Keeps `Figures` up to date. `refresh` is called by one thread, the rest by any."""

    def __init__(self, facts: Facts, provider: str) -> None:
        self._facts, self._provider = facts, provider
        self._next = dict.fromkeys(("PaidOut", "Withdrawn"), facts.chain.deployment.block)
        self._paid: dict[int, Paid] = defaultdict(lambda: Paid(0, 0))
        self._withdrawn: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._wanted: set[int] = set()
        self._wanted_sets: set[int] = set()
        self._watchers_due = 0.0
        self.now = Figures()

    def want(self, classes: set[int], watcher_sets: set[int]) -> bool:
        """Ask for these next time too. Whether any of them isn't known yet."""
        with self._lock:
            self._wanted |= classes
            self._wanted_sets |= watcher_sets
        return not (classes <= self.now.classes.keys() and watcher_sets <= self.now.watchers.keys())

    def refresh(self) -> None:
        """Ask the chain. Raises ChainError."""
        view = self._facts.finalized()
        for event in self._next:
            self._read(event, view.block)
        with self._lock:
            wanted, sets = self._wanted | self._paid.keys(), set(self._wanted_sets)
        classes = {class_id: self._facts.class_terms(class_id) for class_id in sorted(wanted)}
        known = Tokens(view)
        addresses = {terms.payment_token for terms in classes.values()} | self._withdrawn.keys()
        tokens = {address: self.now.tokens.get(address) or known.at(address) for address in sorted(addresses)}
        self.now = Figures(
            block=view.block,
            paid=dict(self._paid),
            purses=self._purses(view, classes, tokens),
            classes=classes,
            tokens=tokens,
            watchers=self._members(view, sets),
        )

    def _read(self, event: str, last: int) -> None:
        """Count the events that are new: each block once."""
        name = "provider" if event == "PaidOut" else "account"
        first, filters = self._next[event], {name: self._provider}
        for page in pages(self._facts.chain, RESERVE, event, first, last, filters=filters):
            for found in page.events:
                args = found.args
                if event == "PaidOut":
                    class_id, before = int(args["classId"]), self._paid[int(args["classId"])]
                    units, amount = int(args["units"]), int(args["amount"])
                    self._paid[class_id] = Paid(before.units + units, before.amount + amount)
                else:
                    self._withdrawn[to_address("token", args["token"])] += int(args["amount"])
            self._next[event] = page.last + 1

    def _purses(
        self, view: ChainView, classes: Mapping[int, ClassTerms], tokens: Mapping[str, Token]
    ) -> tuple[Purse, ...]:
        settled: dict[str, int] = defaultdict(int)
        for class_id, paid in self._paid.items():
            settled[classes[class_id].payment_token] += paid.amount
        fee_bps, found = view.fee_bps(), []
        for address, token in tokens.items():
            waiting = view.earnings(self._provider, address)
            fee = waiting * fee_bps // BPS
            found.append(Purse(token, settled[address], self._withdrawn.get(address, 0), waiting, fee))
        return tuple(found)

    def _members(self, view: ChainView, sets: set[int]) -> dict[int, tuple[str, ...]]:
        """Members of each set, asked anew at times: admins may rotate them."""
        fresh = time.monotonic() < self._watchers_due
        if not fresh:
            self._watchers_due = time.monotonic() + WATCHERS_S
        found = dict(self.now.watchers) if fresh else {}
        for set_id in sorted(sets - found.keys()):
            try:
                members = view.watcher_set(set_id).watchers
                found[set_id] = tuple(to_address("watcher", member) for member in members)
            except NotFound:
                found[set_id] = ()
        return found
