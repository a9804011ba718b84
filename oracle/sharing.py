"""How the energy of a GPU board that several jobs hold is divided among them. Pure, integers only.

NVML counts a board's energy as a whole. Between two readings of the counter, with the same jobs there (a
slice), idle power is borne by share and the rest by what the driver's per-process samples say of SM use, the
way Kepler divides it. Processes of no job bear their part as well: it stays unattributed.

Every job must be able to show its own part without anybody else's evidence. So the jobs of a board stand in
the order in which they came, and each job's evidence holds three numbers of a split: its own weight, the sum
of those before it, and the sum of all (`Part`). The parts are differences of one rounded running sum, so they
add up exactly, whoever computes which.

An `Account` is the running total of one job, or of nobody.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One holder's place in a split: its own weight, the sum of the weights before it, and of all."""

    own: int
    before: int
    total: int

    @property
    def sound(self) -> bool:
        """Whether it is a part of anything: nothing negative, nothing beyond the total, a total above 0."""
        return min(self.own, self.before) >= 0 and self.total > 0 and self.own + self.before <= self.total

    @property
    def whole(self) -> bool:
        """Whether it is all there is."""
        return self.own == self.total

    def of(self, amount: int) -> int:
        """Its part of `amount`. Over a complete split these sum to `amount` exactly, and each is within 1 of
        its proportion.
        """
        return amount * (self.before + self.own) // self.total - amount * self.before // self.total


ALL = Part(1, 0, 1)
"""The part of whoever is alone."""


def split(weights: list[int]) -> list[Part]:
    """Parts of holders with these weights, in order. They must not all be 0."""
    parts, before, total = [], 0, sum(weights)
    for weight in weights:
        parts.append(Part(weight, before, total))
        before += weight
    return parts


class Account:
    """What one holder of a board used, in mJ: `used_mj` once it is settled.

    The driver samples SM use at its own pace. Energy that no sample speaks of yet waits for the next one, as
    long as the same jobs are there; when they change it is divided like what came last, or by share if no
    sample came at all. `shared` says whether anybody else had a part: then the figure is an estimate.
    """

    def __init__(self, shares: Part, idle_mw: int) -> None:
        self.used_mj, self.resets, self.shared = 0, 0, not shares.whole
        self._shares, self._idle_mw = shares, idle_mw
        self._weights: Part | None = None
        self._waiting_mj = 0

    def place(self, shares: Part) -> None:
        """The jobs on the board have changed: `shares` is the place from here on."""
        self.settle()
        self._shares, self._weights = shares, None
        self.shared = self.shared or not shares.whole

    def slice(self, before_mj: int, after_mj: int, length_us: int, weights: Part | None) -> None:
        """Two successive readings of the counter. `weights`: SM use sampled in between, None if none was.

        A lower reading is a driver reload, which starts the counter afresh: what was used across it is
        unknown and counts as 0.
        """
        if after_mj < before_mj:
            self.resets += 1
        counted_mj = max(0, after_mj - before_mj)
        idle_mj = min(counted_mj, self._idle_mw * length_us // 1_000_000)  # mW times µs is nJ
        self.used_mj += self._shares.of(idle_mj)
        self._waiting_mj += counted_mj - idle_mj
        if weights is not None:
            self._weights = weights
            self.shared = self.shared or not weights.whole
            self.settle()

    def settle(self) -> None:
        """Divide what still waits."""
        self.used_mj += (self._weights or self._shares).of(self._waiting_mj)
        self._waiting_mj = 0
