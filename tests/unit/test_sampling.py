"""The odds of running a job again: cheating never pays at them, and jobs are drawn as often as they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from oracle.sampling import (
    PPM,
    Budget,
    BudgetSpent,
    Draw,
    Risk,
    least_ppm,
    payment_for,
    stake_for,
)
from tests.unit.evidence_factory import make_class

AMOUNT = st.integers(1, 10**30)
STAKED = make_class(challenge_window=60, arbiter_set=2, stake_per_million=3_000_000)


@given(payment=AMOUNT, stake=AMOUNT, part=st.integers(0, PPM))
def test_odds__whatever_a_dishonest_provider_saves__it_gains_nothing(
    payment: int, stake: int, part: int
) -> None:
    """Undetected it keeps what it saved; caught it has saved that too, and loses payment and stake."""
    saved = payment * part // PPM
    odds = least_ppm(payment, stake)
    gain = saved * (PPM - odds) + (saved - payment - stake) * odds
    assert gain <= 0
    assert stake * odds >= payment * (PPM - odds)


@given(payment=AMOUNT, stake=AMOUNT)
def test_odds__a_millionth_less__would_let_the_worst_cheat_gain(payment: int, stake: int) -> None:
    odds = least_ppm(payment, stake) - 1
    assert payment * PPM > odds * (payment + stake)


@given(units=st.integers(1, 10**15), charged=st.integers(0, 10**15))
def test_odds__of_the_whole_lock__suffice_for_any_charge_below(units: int, charged: int) -> None:
    charged = min(charged, units)
    payment, stake = payment_for(STAKED, units, 0, 0), stake_for(STAKED, units)
    odds, paid = least_ppm(payment, stake), payment_for(STAKED, charged, 0, 0)
    assert paid * (PPM - odds) <= stake * odds


@pytest.mark.parametrize(("payment", "stake"), [(0, 5), (5, 0), (0, 0), (-1, 5)])
def test_odds__nothing_known_at_stake__are_certainty(payment: int, stake: int) -> None:
    assert least_ppm(payment, stake) == PPM


@pytest.mark.parametrize(
    ("payment", "stake", "expected"), [(1, 3, 250_000), (1, 2, 333_334), (1, 10**9, 1), (10**9, 1, PPM)]
)
def test_odds__are_rounded_up(payment: int, stake: int, expected: int) -> None:
    assert least_ppm(payment, stake) == expected


def test_payment__no_price__is_unknown() -> None:
    assert payment_for(make_class(price_per_million=0), 10, 10**9, 10) == 0


def test_payment__price_backing_and_feed__the_highest_counts_rounded_up() -> None:
    plain = make_class(decimals=3, price_per_million=2_000_000)
    assert payment_for(plain, 1_001, 0, 0) == 3
    assert payment_for(plain, 1_000, 5_001, 1_000) == 5_001
    assert payment_for(replace(plain, max_deviation_bps=5_000), 1_000, 0, 0) == 3


@pytest.mark.parametrize("missing", ["challenge_window", "arbiter_set", "stake_per_million"])
def test_stake__none_that_a_verdict_can_take__is_0(missing: str) -> None:
    assert stake_for(replace(STAKED, **{missing: 0}), 1_000) == 0


def test_stake__is_rounded_up_like_the_contract() -> None:
    assert stake_for(STAKED, 1) == 3
    assert stake_for(replace(STAKED, decimals=3), 1) == 1


# The draw


def drawn(draw: Draw, odds_ppm: int, jobs: int) -> int:
    return sum(draw.picks(keccak(number.to_bytes(4, "big")), odds_ppm) for number in range(jobs))


@pytest.mark.parametrize("odds_ppm", [1_000, 50_000, 333_334, 900_000])
def test_draw__many_jobs__are_drawn_as_often_as_the_odds_say(odds_ppm: int) -> None:
    jobs = 20_000
    deviation = (jobs * odds_ppm / PPM * (1 - odds_ppm / PPM)) ** 0.5
    assert abs(drawn(Draw(b"\x01" * 32, 1), odds_ppm, jobs) - jobs * odds_ppm / PPM) < 5 * deviation


def test_draw__certainty__draws_all_and_no_odds_none() -> None:
    draw = Draw(b"\x01" * 32, 1)
    assert drawn(draw, PPM, 500) == 500
    assert drawn(draw, 0, 500) == 0


def test_draw__same_secret__same_jobs__another_secret_others() -> None:
    first, again, other = (Draw(bytes([number]) * 32, 1) for number in (1, 1, 2))
    jobs = [keccak(number.to_bytes(4, "big")) for number in range(200)]
    picks = [[draw.picks(job, PPM // 2) for job in jobs] for draw in (first, again, other)]
    assert picks[0] == picks[1]
    assert sum(one == two for one, two in zip(picks[0], picks[2], strict=True)) < 140


def test_draw__floor__is_the_least() -> None:
    assert Draw(bytes(32), 50_000).odds_ppm(Risk(1, 10**9)) == 50_000
    assert Draw(bytes(32), 50_000).odds_ppm(Risk(1, 1)) == 500_000


# The budget


def test_budget__spent__refuses_until_time_has_passed() -> None:
    now = [0.0]
    budget = Budget(360, clock=lambda: now[0])
    budget.charge(361.0)
    with pytest.raises(BudgetSpent, match="360 s an hour"):
        budget.check()
    now[0] = 11.0  # a tenth of a second of budget every second
    budget.check()


def test_budget__unused__is_saved_for_an_hour_only() -> None:
    now = [0.0]
    budget = Budget(10, clock=lambda: now[0])
    now[0] = 10**6
    budget.charge(10.5)
    with pytest.raises(BudgetSpent):
        budget.check()
