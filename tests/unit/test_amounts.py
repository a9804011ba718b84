"""Exact amounts: parsing, formatting, prices and pay-outs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrip.amounts import affordable, cost, format_units, parse_units, pay_out
from scrip.errors import BadInput

DECIMALS = st.integers(0, 18)
UNITS = st.integers(0, 2**128 - 1)


@pytest.mark.parametrize(
    "text", ["", ".5", "5.", "-1", "+1", "1e3", "1,5", "1 000", "0x10", "nan", "٣", "9" * 200]
)
def test_parse_units__not_a_plain_decimal__raises(text: str) -> None:
    with pytest.raises(BadInput, match="amount"):
        parse_units(text, 3)


def test_parse_units__finer_than_the_base_unit__raises_instead_of_rounding() -> None:
    with pytest.raises(BadInput, match="at most 3 digits"):
        parse_units("0.0001", 3)


def test_parse_units__over_256_bits__raises() -> None:
    with pytest.raises(BadInput, match=r"2\*\*256"):
        parse_units(str(2**256), 0)


@pytest.mark.parametrize("decimals", [-1, 78])
def test_parse_units__decimals_out_of_range__raises(decimals: int) -> None:
    with pytest.raises(BadInput, match="decimals"):
        parse_units("1", decimals)


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [
        ("12.5", 3, 12_500),
        ("12", 3, 12_000),
        (" 0.001 ", 3, 1),
        ("1.500000", 3, 1_500),
        ("7", 0, 7),
        ("0", 18, 0),
    ],
)
def test_parse_units__decimal_text__is_exact(text: str, decimals: int, units: int) -> None:
    assert parse_units(text, decimals) == units


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [(12_500, 3, "12.5"), (1, 3, "0.001"), (1_000, 3, "1"), (0, 3, "0"), (7, 0, "7"), (-1_500, 3, "-1.5")],
)
def test_format_units__base_units__is_shortest_text(units: int, decimals: int, text: str) -> None:
    assert format_units(units, decimals) == text


@given(UNITS, DECIMALS)
def test_format_units__any_amount__parses_back(units: int, decimals: int) -> None:
    assert parse_units(format_units(units, decimals), decimals) == units


def test_cost__fraction_of_a_base_unit__rounds_up() -> None:
    # 1 ms of a CPU-second class at 2.00 dollars (6 decimals) per million seconds: 0.002 base units.
    assert cost(1, 2_000_000, 3) == 1
    assert cost(0, 2_000_000, 3) == 0


def test_cost__whole_credits__is_price_over_a_million() -> None:
    assert cost(1_000_000 * 10**3, 2_500_000, 3) == 2_500_000


@pytest.mark.parametrize(("units", "price"), [(-1, 1), (1, -1)])
def test_cost__negative__raises(units: int, price: int) -> None:
    with pytest.raises(BadInput, match="at least 0"):
        cost(units, price, 0)


@given(UNITS, st.integers(1, 2**128 - 1), DECIMALS)
def test_cost__any_amount__is_the_least_integer_not_below_the_price(
    units: int, price: int, decimals: int
) -> None:
    scale = 10**decimals * 1_000_000
    found = cost(units, price, decimals)
    assert (found - 1) * scale < units * price <= found * scale


def test_affordable__free_class__raises() -> None:
    with pytest.raises(BadInput, match="greater than 0"):
        affordable(10, 0, 3)


@given(st.integers(0, 2**96), st.integers(1, 2**64), DECIMALS)
def test_affordable__any_budget__is_the_most_that_fits(budget: int, price: int, decimals: int) -> None:
    units = affordable(budget, price, decimals)
    assert cost(units, price, decimals) <= budget < cost(units + 1, price, decimals)


def test_pay_out__more_than_the_supply__raises() -> None:
    with pytest.raises(BadInput, match="at most the supply"):
        pay_out(11, 100, 10)


def test_pay_out__empty_class__is_zero() -> None:
    assert pay_out(0, 0, 0) == 0


@given(st.integers(0, 2**64), st.integers(0, 2**96), st.integers(1, 2**64))
def test_pay_out__in_two_parts__never_exceeds_the_whole(first: int, backing: int, supply: int) -> None:
    first = min(first, supply)
    paid = pay_out(first, backing, supply)
    rest = pay_out(supply - first, backing - paid, supply - first)
    assert paid + rest == (backing if supply - first else paid)
    assert paid * supply <= first * backing
