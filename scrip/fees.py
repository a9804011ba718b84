"""EIP-1559 fees of a transaction and of its replacements. All in wei per gas."""

from __future__ import annotations

from dataclasses import dataclass

from scrip.chain import Chain

BUMP_PERMILLE = 125
"""A replacement pays at least this much more, in both fees. Geth asks for 10 %, other nodes up to 12.5 %."""


@dataclass(frozen=True, slots=True)
class Fees:
    """`max_fee` bounds what a unit of gas costs in all, `priority_fee` is the proposer's part."""

    max_fee: int
    priority_fee: int


def current(chain: Chain) -> Fees:
    """Fees to get in soon: the suggested tip, and room for the base fee to double (six full blocks)."""
    tip = chain.suggested_tip()
    return Fees(max_fee=2 * chain.base_fee() + tip, priority_fee=tip)


def replacement(old: Fees, now: Fees) -> Fees:
    """Fees that nodes take in place of `old`, and that suit the present market `now`."""
    tip = max(bumped(old.priority_fee), now.priority_fee)
    return Fees(max_fee=max(bumped(old.max_fee), now.max_fee, tip), priority_fee=tip)


def bumped(fee: int) -> int:
    """`fee` plus 12.5 %, rounded up, and at least 1 wei more."""
    return max(fee + 1, -(-fee * (1000 + BUMP_PERMILLE) // 1000))


def capped(fees: Fees, ceiling: int | None) -> Fees:
    """`fees` with neither part above `ceiling`."""
    if ceiling is None:
        return fees
    return Fees(max_fee=min(fees.max_fee, ceiling), priority_fee=min(fees.priority_fee, ceiling))
