"""The chain's clock as the oracle reads it: not older than it says, and not asked more often than needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from oracle.facts import NOW_S, Facts


class FakeClock:
    """A chain with a latest and a pending block, and our own clock."""

    def __init__(self) -> None:
        self.seconds, self.latest, self.asked = 0.0, 100, 0
        self.pending: int | None = 105

    def time_of(self, tag: str) -> int | None:
        self.asked += 1
        return self.latest if tag == "latest" else self.pending

    def facts(self) -> Facts:
        chain: Any = SimpleNamespace(address=lambda name: name, time_of=self.time_of)
        return Facts(chain, local=True, clock=lambda: self.seconds)


def test_now__pending_block__is_its_time() -> None:
    assert FakeClock().facts().now() == 105


def test_now__node_without_a_pending_block__is_the_latest_ones() -> None:
    clock = FakeClock()
    clock.pending = None
    assert clock.facts().now() == 100


def test_now__pending_block_that_lags__is_never_before_the_latest() -> None:
    clock = FakeClock()
    clock.pending = 90
    assert clock.facts().now() == 100


def test_now__asked_often__looks_again_only_once_it_is_old() -> None:
    clock = FakeClock()
    facts = clock.facts()
    facts.now()
    clock.pending = 200
    clock.seconds += NOW_S / 2
    assert (facts.now(), clock.asked) == (105, 2)
    clock.seconds += NOW_S
    assert (facts.now(), clock.asked) == (200, 4)
