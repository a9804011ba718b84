"""How many calls have to be run again so that adding tokens doesn't pay.

A provider that adds units to its calls gains their price for each of them, and keeps it. Of calls that are
run again at the rate r only what was found in just these counts, and a verdict takes `PENALTY` times the
stake behind each unit found (`contracts/SessionAudits.sol`). With `price` and `stake` of equally many units,

    expected loss of a unit added = r * PENALTY * stake,   its gain = price,

so adding any share to all deterministic calls loses on average if and only if r * PENALTY * stake > price,
whatever the share. With as much stake as price that is one call in ten, and more than one.

It speaks of calls that a watcher can run again, and of stake that stands behind nothing else: a provider
whose free stake is less than what a verdict takes has lost all of it.
"""

from __future__ import annotations

from typing import Final

from oracle.facts import Facts
from oracle.sampling import PPM, payment_for
from scrip.errors import ScripError
from scrip.types import ClassTerms

PENALTY: Final = 10
"""`SessionAudits.PENALTY`; a test compares the two."""
CREDITS: Final = 1_000_000
"""Credits that prices and stakes of classes are for."""


class AuditProblem(ScripError):
    """A class can't be audited as the settings say. Says which, why, and what would do."""


def least_ppm(price: int, stake: int) -> int:
    """Lowest rate, in ppm, at which a unit added loses on average; above `PPM` if none does.

    `price` and `stake` are base units of one token for the same number of units.
    """
    if price <= 0 or stake <= 0:
        return PPM + 1
    return price * PPM // (PENALTY * stake) + 1


def expected_loss(units: int, price: int, stake: int, rate_ppm: int) -> int:
    """What adding `units` loses on average beyond what it gains, times `PPM`: negative where it pays."""
    return units * (rate_ppm * PENALTY * stake - PPM * price)


def check_rate(facts: Facts, class_id: int, rate_ppm: int) -> None:
    """Raise AuditProblem where adding tokens would pay at this rate, or no verdict can be given."""
    terms, where = facts.class_terms(class_id), f"audits.classes: class {class_id}"
    if not terms.arbiter_set or not terms.stake_per_million:
        raise AuditProblem(f"{where} has no arbiters or no stake, so no verdict can take any")
    stake_token = facts.chain.at().read("ProviderRegistry", "STAKE_TOKEN")
    if stake_token != terms.payment_token:
        raise AuditProblem(
            f"{where} is paid in {terms.payment_token}, its stake is {stake_token}: they can't be compared"
        )
    price, stake = _price(facts, class_id, terms), terms.stake_per_million
    least = least_ppm(price, stake)
    if least > PPM:
        raise AuditProblem(
            f"{where} costs {price} for a million credits with {stake} of stake behind them: {PENALTY} "
            "times that must be above the price, or adding tokens pays at any rate"
        )
    if rate_ppm < least:
        raise AuditProblem(
            f"audits.rate_ppm: given {rate_ppm}, must be at least {least}: class {class_id} costs {price} "
            f"for a million credits, verdicts take {PENALTY} times {stake} of stake. Below, adding pays"
        )


def _price(facts: Facts, class_id: int, terms: ClassTerms) -> int:
    view = facts.chain.at()
    backing, supply = view.backing(class_id), view.supply(class_id)
    return payment_for(terms, CREDITS * int(10**terms.decimals), backing, supply)
