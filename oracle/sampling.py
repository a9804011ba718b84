"""Which jobs a watcher runs again: a draw whose odds follow from what a provider has to lose.

A provider that cheats saves at most its cost, which is at most what it is paid. Undetected it keeps that;
caught it loses the payment, since a refusal of a wrong output is final, and the stake behind the job if it
lets a false receipt be disputed. With odds p cheating gains nothing if p * (payment + stake) >= payment, that
is stake >= payment * (1 - p) / p. Where that stake is unknown, out of reach, or in another token than the
payment, p is 1.

The draw is keyed by the watcher's secret and the job, not the receipt: a provider can't foresee it and can't
try again with another receipt of the same job, and the watcher comes to the same answer after a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scrip.errors import ScripError
from scrip.types import ClassTerms

PPM: Final = 1_000_000
"""Odds are in parts per million, rounded up."""
HOUR_S: Final = 3_600
_BPS: Final = 10_000
_PRICED: Final = 1_000_000
_DRAW_BITS: Final = 64


class BudgetSpent(ScripError):
    """No time is left for running jobs again. What was drawn isn't signed unchecked: ask again later."""


@dataclass(frozen=True, slots=True)
class Risk:
    """What is at stake in a job, in base units of one token. `payment` 0: unknown."""

    payment: int
    stake: int

    @property
    def least_ppm(self) -> int:
        """Lowest odds, in ppm, at which cheating doesn't pay."""
        return least_ppm(self.payment, self.stake)


def least_ppm(payment: int, stake: int) -> int:
    """ceil(payment / (payment + stake)) in ppm; certainty without a known payment or a stake."""
    if payment <= 0 or stake <= 0:
        return PPM
    return -(-payment * PPM // (payment + stake))


def payment_for(terms: ClassTerms, units: int, backing: int, supply: int) -> int:
    """The most that `units` of a class can bring, payment-token base units, rounded up; 0 if it has no price.

    The class's price, with a feed at the top of its band, or what backs a unit, whichever is more.
    """
    if terms.price_per_million == 0:
        return 0
    top = terms.price_per_million * (_BPS + terms.max_deviation_bps)
    by_price = -(-units * top // (_priced(terms) * _BPS))
    by_backing = -(-units * backing // supply) if supply else 0
    return max(by_price, by_backing)


def stake_for(terms: ClassTerms, units: int) -> int:
    """Stake that a verdict can take for a job, rounded up as in `JobRules.stakeFor`; 0 if none can."""
    if not terms.challenge_window or not terms.arbiter_set:
        return 0
    return -(-units * terms.stake_per_million // _priced(terms))


def _priced(terms: ClassTerms) -> int:
    """Base units that a price is for."""
    return int(_PRICED * 10**terms.decimals)


class Draw:
    """Draws jobs. `floor_ppm` are the least odds, whatever is at stake."""

    def __init__(self, secret: bytes, floor_ppm: int) -> None:
        self._secret, self._floor_ppm = secret, floor_ppm

    def odds_ppm(self, risk: Risk) -> int:
        """Odds that a job with this risk is drawn."""
        return max(self._floor_ppm, risk.least_ppm)

    def picks(self, job_id: bytes, odds_ppm: int) -> bool:
        """Whether the job is drawn at these odds: always the same answer for the same secret."""
        drawn = hmac.digest(self._secret, job_id, hashlib.sha256)[: _DRAW_BITS // 8]
        return int.from_bytes(drawn, "big") * PPM < odds_ppm << _DRAW_BITS


class Budget:
    """Seconds of running jobs again, `per_hour`, saved up for at most an hour. Safe to share between threads.

    A run is charged when it has ended, so one run per thread may overdraw.
    """

    def __init__(self, per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_hour, self._clock = per_hour, clock
        self._left, self._at = float(per_hour), clock()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise BudgetSpent if nothing is left."""
        with self._lock:
            self._refill()
            if self._left <= 0:
                wait_s = -self._left * HOUR_S / self._per_hour
                limit = f"the limit is {self._per_hour} s an hour"
                raise BudgetSpent(f"no time left to run jobs again, {limit}. Ask again in {wait_s:.0f} s")

    def charge(self, seconds: float) -> None:
        """Count a run that has ended."""
        with self._lock:
            self._refill()
            self._left -= seconds

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._per_hour, self._left + (now - self._at) * self._per_hour / HOUR_S)
        self._at = now
