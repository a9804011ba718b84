"""Who could sign when: oracle keys and watcher sets by their events, exact to the log.

From events rather than from state at a block, so that any node with logs can tell, and a key that changed
within the block of a settlement is told apart.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from scrip.structs import ZERO_ADDRESS
from scrip.types import WatcherSet
from scrip.view import ChainView

Place = tuple[int, int]
"""Block and log index."""
_Of = TypeVar("_Of")
_To = TypeVar("_To")


@dataclass(slots=True)
class _History(Generic[_Of, _To]):
    """Values by what they are of, each from a place on; added in order."""

    places: dict[_Of, list[Place]] = field(default_factory=lambda: defaultdict(list))
    values: dict[_Of, list[_To]] = field(default_factory=lambda: defaultdict(list))

    def add(self, of: _Of, place: Place, value: _To) -> None:
        self.places[of].append(place)
        self.values[of].append(value)

    def at(self, of: _Of, place: Place) -> _To | None:
        before = bisect.bisect_left(self.places[of], place)
        return self.values[of][before - 1] if before else None


@dataclass(slots=True)
class Authority:
    """The history of keys and sets up to the block of a view."""

    _oracles: _History[str, str] = field(default_factory=_History)
    _sets: _History[int, WatcherSet] = field(default_factory=_History)

    @classmethod
    def read(cls, view: ChainView) -> Self:
        """From the events of registry and verifier. Raises ChainError."""
        found = cls()
        for event in view.events("ProviderRegistry", ["ProviderRegistered", "ProviderUpdated"]):
            provider, oracle = str(event.args["provider"]), str(event.args["oracle"])
            found._oracles.add(provider, (event.block, event.log_index), oracle)
        for event in view.events("ReceiptVerifier", "SetActivated"):
            args = event.args
            activated = WatcherSet(int(args["setId"]), tuple(args["watchers"]), int(args["threshold"]))
            found._sets.add(activated.set_id, (event.block, event.log_index), activated)
        return found

    def oracle(self, provider: str, place: Place) -> str:
        """The key that signed for a provider just before a log; the zero address if it had none."""
        return self._oracles.at(provider, place) or ZERO_ADDRESS

    def watchers(self, set_id: int, place: Place) -> WatcherSet | None:
        """The set in force just before a log."""
        return self._sets.at(set_id, place)
