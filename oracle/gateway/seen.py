"""Which vouchers of a session were shown already, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

KEPT: Final = 4_096
"""Numbers that are told apart. Below the oldest of them every number counts as shown."""


class Seen:
    """Numbers of vouchers that were shown. Of the many that a long session shows, the highest are kept:
    vouchers may arrive out of order, but not by thousands.
    """

    __slots__ = ("_heap", "_most", "_numbers", "floor")

    def __init__(self, numbers: Iterable[int] = (), most: int = KEPT) -> None:
        self._numbers: set[int] = set()
        self._heap: list[int] = []
        self._most = most
        self.floor = -1
        """The highest number that was forgotten."""
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> bool:
        """Note a number. False if it was shown before, or is too low to tell."""
        if number <= self.floor or number in self._numbers:
            return False
        self._numbers.add(number)
        heapq.heappush(self._heap, number)
        if len(self._heap) > self._most:
            self.floor = heapq.heappop(self._heap)
            self._numbers.discard(self.floor)
        return True

    def unused(self, least: int) -> int:
        """The lowest number from `least` on that wasn't shown."""
        number = max(least, self.floor + 1)
        while number in self._numbers:
            number += 1
        return number
