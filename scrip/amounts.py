"""Money and units, in integers only.

1 credit = `10**decimals` base units. Payment tokens are always in their own base units. Rounding always
favours the reserve: a sale rounds up, a pay-out rounds down (`CreditReserve`).
"""

from __future__ import annotations

import re

from scrip.errors import BadInput

PRICE_SCALE = 1_000_000
"""`ClassTerms.price_per_million` is the price of this many whole credits, in payment-token base units."""

GB = 10**9
"""Bytes of a gigabyte, in GB-hours and GB transferred: the decimal one (SI), not 2**30."""
HOUR_S = 3600

_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?\Z")
_MOST = 1 << 256


def parse_units(text: str, decimals: int) -> int:
    """Base units of a decimal text such as "12.5", exactly.

    Raises BadInput if the text isn't a plain non-negative decimal number, has more than `decimals` fractional
    digits (nothing is rounded away in silence) or doesn't fit 256 bits.
    """
    scale = _scale(decimals)
    found = _DECIMAL.match(text.strip()) if len(text) <= 128 else None
    if found is None:
        raise BadInput("amount", text, "a decimal number such as 12 or 12.5")
    whole, fraction = found.group(1), (found.group(2) or "").rstrip("0")
    if len(fraction) > decimals:
        raise BadInput("amount", text, f"a number with at most {decimals} digits after the point")
    value = int(whole) * scale + int(fraction.ljust(decimals, "0") or "0")
    if value >= _MOST:
        raise BadInput("amount", text, "less than 2**256 base units")
    return value


def format_units(units: int, decimals: int) -> str:
    """Shortest exact decimal text of `units` base units; `parse_units` reads it back."""
    scale = _scale(decimals)
    sign, size = ("-", -units) if units < 0 else ("", units)
    whole, fraction = divmod(size, scale)
    digits = f"{fraction:0{decimals}d}".rstrip("0") if fraction else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def cost(units: int, price_per_million: int, decimals: int) -> int:
    """Payment-token base units that `units` base units cost: ceil(units * price / (10**decimals * 1e6)).

    The formula of `CreditReserve.buy` for a fixed price.
    """
    scale = _scale(decimals)
    _check_amount("units", units)
    _check_amount("price_per_million", price_per_million)
    return -(-units * price_per_million // (scale * PRICE_SCALE))


def affordable(budget: int, price_per_million: int, decimals: int) -> int:
    """The most base units whose `cost` is within `budget` payment-token base units.

    Raises BadInput for a price of zero, for which there is no most.
    """
    scale = _scale(decimals)
    _check_amount("budget", budget)
    if price_per_million <= 0:
        raise BadInput("price_per_million", price_per_million, "greater than 0")
    return budget * scale * PRICE_SCALE // price_per_million


def pay_out(units: int, backing: int, supply: int) -> int:
    """Payment-token base units that `units` base units redeem for: floor(units * backing / supply).

    Both `backing` and `supply` are before the burn, as in `CreditReserve.creditEarningsOnBurn`.
    Raises BadInput if `units` exceeds `supply`.
    """
    _check_amount("units", units)
    _check_amount("backing", backing)
    if units > supply:
        raise BadInput("units", units, f"at most the supply, {supply}")
    return units * backing // supply if supply else 0


def _scale(decimals: int) -> int:
    if not 0 <= decimals <= 77:
        raise BadInput("decimals", decimals, "between 0 and 77")
    return int(10**decimals)


def _check_amount(field: str, value: int) -> None:
    if value < 0:
        raise BadInput(field, value, "at least 0")
