"""Sums of entries, and what a million tokens cost. Integers; a quotient is a fraction until it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Final

from scrip.chargeback.entry import USAGE, Entry, Tokens
from scrip.rates import Rate
from scrip.types import ClassTerms, Resource

MILLION: Final = 1_000_000


@dataclass(slots=True)
class Sum:
    """Of some entries of usage and reclaims.

    `units` are of one class (0 in a sum over several), `amount` base units of one payment token, `energy` in
    mJ of the receipts that state any. `told` is the part of units and amount with known tokens, which a cost
    per token divides; `silent` counts entries
    without. `powered` is the part of the tokens whose energy is known too.
    """

    count: int = 0
    units: int = 0
    amount: int = 0
    reclaimed_units: int = 0
    reclaimed: int = 0
    energy: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    told_units: int = 0
    told_amount: int = 0
    powered_energy: int = 0
    powered_tokens: int = 0
    silent: int = 0

    def add(self, entry: Entry) -> None:
        """Count one more."""
        if entry.kind not in USAGE:
            self.reclaimed_units += entry.units
            self.reclaimed += entry.amount
            return
        self.count += 1
        self.units += entry.units
        self.amount += entry.amount
        energy = entry.receipt.gpu_millijoules if entry.receipt is not None else 0
        self.energy += energy
        if entry.tokens is None:
            self.silent += 1
        elif entry.tokens.total:
            self.tokens += entry.tokens
            self.told_units += entry.units
            self.told_amount += entry.amount
            if energy:
                self.powered_energy += energy
                self.powered_tokens += entry.tokens.total

    def merge(self, other: Sum) -> None:
        """Add another sum."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


Group = tuple[str, int, int]
"""Account, budget (0: its own credits) and class."""


@dataclass(slots=True)
class Showback:
    """Sums by account, budget and class."""

    sums: dict[Group, Sum] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Count an entry that ends credits."""
        group = entry.account, entry.budget_id, entry.class_id
        self.sums.setdefault(group, Sum()).add(entry)


@dataclass(frozen=True, slots=True)
class PerMillion:
    """Per million tokens: payment-token base units of input, cached input, output and blended, GPU-seconds,
    joules.

    None where nothing says so.
    """

    input: Fraction | None
    cached: Fraction | None
    output: Fraction | None
    blended: Fraction
    gpu_seconds: Fraction | None
    joules: Fraction | None


def per_million(found: Sum, terms: ClassTerms, rate: Rate | None = None) -> PerMillion | None:
    """What a million tokens of a class cost, None without tokens.

    Blended is the amount over input and output. What of it input, cached input and output cost goes by the
    weights of `rate`, the provider's prices; without it a class of output tokens charges only output, one of
    input tokens only input, and any other class doesn't say.
    """
    total = found.tokens.total
    if not total:
        return None
    weights = _weights(terms, rate)
    fresh = found.tokens.input - found.tokens.cached
    weighed = (
        fresh * weights.input + found.tokens.cached * weights.cached + found.tokens.output * weights.output
        if weights else 0
    )  # fmt: skip

    def part(weight: int) -> Fraction | None:
        return Fraction(found.told_amount * MILLION * weight, weighed) if weighed else None

    seconds = Fraction(found.told_units * MILLION, 10**terms.decimals * total)
    powered = 1_000 * found.powered_tokens
    joules = Fraction(found.powered_energy * MILLION, powered) if powered else None
    return PerMillion(
        input=part(weights.input) if weights else None,
        cached=part(weights.cached) if weights else None,
        output=part(weights.output) if weights else None,
        blended=Fraction(found.told_amount * MILLION, total),
        gpu_seconds=seconds if terms.resource is Resource.GPU_SECOND else None,
        joules=joules,
    )


def _weights(terms: ClassTerms, rate: Rate | None) -> Rate | None:
    if rate is not None:
        return rate
    by_class = {Resource.OUTPUT_TOKEN: Rate(0, 0, 1), Resource.INPUT_TOKEN: Rate(1, 1, 0)}
    return by_class.get(terms.resource)
