"""Does the energy counter agree with power integrated over time? Pure: integers in, a verdict out.

Counter and power are two readings of one sensor chain that mostly agree within 1 % (zeus #12), but counters
have been seen to be off by 40 % (zeus #181, kokkos-tools #295), and a driver reload restarts them. Power is
no better: A100 and H100 sample it a quarter of the time (arXiv 2312.02741). So a small difference proves
nothing, a large one is noted, and beyond `REFUSE_PCT` the counter isn't believed: what energy the lease used
is then unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oracle.attribution import slices

NOTE_PCT: Final = 10
REFUSE_PCT: Final = 30
UPDATE_MS: Final = 100
"""How often the counter advances: it may be this stale at either edge."""
LEAST_MS: Final = 10_000
"""A shorter time says little: what happens at its edges is as large as what is compared."""
_PJ_PER_MJ: Final = 1_000_000_000  # 1 mW for 1 ns is 1 pJ


@dataclass(slots=True)
class CrossCheck:
    """Compares one board's counter with its power, reading by reading.

    Power between two readings is taken as their mean. What the counter can't tell, across a reset, is left
    out of both sums and kept in `uncounted_mj`, by power.
    """

    counted_mj: int = 0
    span_ns: int = 0
    resets: int = 0
    _power_pj: int = 0
    _uncounted_pj: int = 0
    _gap_ns: int = 0
    _most_mw: int = 0
    _at_ns: int = 0
    _highest_mj: int | None = None
    _power_mw: int | None = None

    def add(self, at_ns: int, energy_mj: int, power_mw: int | None) -> str:
        """Take in a reading. Returns what is odd about the counter, "" if nothing is."""
        before_mj, before_mw, length = self._highest_mj, self._power_mw, at_ns - self._at_ns
        self._at_ns, self._power_mw = at_ns, power_mw
        self._most_mw = max(self._most_mw, power_mw or 0)
        if before_mj is None:
            self._highest_mj = energy_mj
            return ""
        if before_mw is None or power_mw is None:
            picojoules = (before_mw or power_mw or 0) * length
        else:
            picojoules = (before_mw + power_mw) * length // 2
        went_back = energy_mj < before_mj
        if went_back and slices((before_mj, energy_mj))[0][1]:
            self._highest_mj = energy_mj
            self.resets += 1
            self._uncounted_pj += picojoules
            known = before_mw is not None or power_mw is not None
            used = f", {self.uncounted_mj} mJ by power aren't counted" if known else ""
            return f"counter fell from {before_mj} to {energy_mj}: the driver was reloaded{used}"
        self._power_pj += picojoules
        self.span_ns += length
        self._gap_ns = max(self._gap_ns, length)
        if went_back:  # as attribution: it stands still until it has caught up
            return f"counter went back from {before_mj} to {energy_mj}"
        self.counted_mj += energy_mj - before_mj
        self._highest_mj = energy_mj
        return ""

    @property
    def by_power_mj(self) -> int:
        """What power says was used while the counter counted."""
        return self._power_pj // _PJ_PER_MJ

    @property
    def uncounted_mj(self) -> int:
        """What power says was used across resets."""
        return self._uncounted_pj // _PJ_PER_MJ

    @property
    def slack_mj(self) -> int:
        """How far apart both may be without either being wrong: a stale counter at each edge, and power that
        changed between two readings.
        """
        return self._most_mw * (2 * UPDATE_MS * 1_000_000 + self._gap_ns) // _PJ_PER_MJ

    def verdict(self) -> tuple[bool, str]:
        """Whether the counter is to be believed, and a remark, "" if there is none to make."""
        if self.span_ns < LEAST_MS * 1_000_000:
            off = 2 * self._most_mw * UPDATE_MS // 1_000
            span = f"{self.span_ns // 1_000_000} ms are too short to check the counter against power"
            return True, f"{span}: it may be off by {off} mJ"
        if not self._most_mw:
            return True, "the counter isn't checked: no power reading"
        apart = abs(self.counted_mj - self.by_power_mj) - self.slack_mj
        pct = 100 * max(apart, 0) // max(self.counted_mj, self.by_power_mj, 1)
        sums = f"the counter gives {self.counted_mj} mJ, power {self.by_power_mj} mJ, {pct} % apart beyond"
        if pct >= REFUSE_PCT:
            return False, f"{sums} the {self.slack_mj} mJ allowed: not believed, the energy is unknown"
        return True, f"{sums} the {self.slack_mj} mJ allowed" if pct >= NOTE_PCT else ""
