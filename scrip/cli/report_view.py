"""What `scrip report` prints: JSON with exact amounts, or tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

from scrip.amounts import format_units
from scrip.chargeback.report import Classes, Scope
from scrip.chargeback.sums import PerMillion, Showback, Sum, per_million
from scrip.cli.output import Token, Tokens, clean, table, units_json
from scrip.rates import Rate

if TYPE_CHECKING:
    from rich.console import Console

_Key = TypeVar("_Key", bound=Hashable)
Costs = dict[Token, int]
"""Base units by payment token."""
EXTRA_DIGITS = 6
"""Digits after a token's own that a cost per million is shown with."""


@dataclass(frozen=True, slots=True)
class Found:
    """A report. `burned` is base units by class that ceased to exist in these blocks, of everybody."""

    block: int
    first: int
    scope: Scope
    classes: Classes
    tokens: Tokens
    showback: Showback
    burned: Mapping[int, int]
    rate: Rate | None

    def to_json(self) -> dict[str, Any]:
        """Everything. Units and base units are decimal text."""
        return {
            "fromBlock": self.first,
            "block": self.block,
            "burned": [self._units(class_id, units) for class_id, units in sorted(self.burned.items())],
            "rows": [self._row(*group) for group in sorted(self.showback.sums)],
            "accounts": [
                {"account": account, "costs": _costs_json(costs)}
                for account, costs in self.by_account().items()
            ],
            "budgets": [
                {"budget": str(budget), "parent": str(self._parent(budget)), "costs": _costs_json(costs)}
                for budget, costs in self.by_budget().items()
            ],
            "classes": [self._class(class_id, found) for class_id, found in self.by_class().items()],
            "totals": _costs_json(self.total()),
        }

    def show(self, console: Console) -> None:
        """Tables of accounts, budgets, classes and tokens."""
        if not self.showback.sums:
            console.print("Nothing was used.")
            return
        console.print(_costs_table("account", self.by_account()))
        if budgets := self.by_budget():
            console.print(_costs_table("budget, with those below", budgets))
        console.print(self._class_table())
        if any(found.tokens.total for found in self.by_class().values()):
            console.print(self._token_table())
        console.print(f"In all {_text(self.total())}.", soft_wrap=True)
        silent = sum(found.silent for found in self.showback.sums.values())
        if silent:
            console.print(
                f"Tokens of {silent} entries aren't known: see --calls.", style="dim", soft_wrap=True
            )

    # Sums

    def by_account(self) -> dict[str, Costs]:
        """What each account used, the dearest first."""
        found = self._grouped(lambda group: (group[0],))
        return dict(sorted(found.items(), key=lambda item: -max(item[1].values())))

    def by_budget(self) -> dict[int, Costs]:
        """What was used on each budget and those below it, by id."""
        return dict(sorted(self._grouped(lambda group: self.scope.path(group[1])).items()))

    def by_class(self) -> dict[int, Sum]:
        """All sums of each class, by id."""
        found: dict[int, Sum] = {}
        for (_, _, class_id), one in sorted(self.showback.sums.items()):
            found.setdefault(class_id, Sum()).merge(one)
        return dict(sorted(found.items()))

    def total(self) -> Costs:
        """What was used in all."""
        return self._grouped(lambda _: ("",)).get("", {})

    def _grouped(self, keys: Callable[[tuple[str, int, int]], Iterable[_Key]]) -> dict[_Key, Costs]:
        found: dict[_Key, Costs] = defaultdict(lambda: defaultdict(int))
        for group, one in sorted(self.showback.sums.items()):
            for key in keys(group):
                found[key][self._token(group[2])] += one.amount
        return {key: dict(costs) for key, costs in found.items()}

    def _token(self, class_id: int) -> Token:
        return self.tokens.at(self.classes[class_id].payment_token)

    def _parent(self, budget: int) -> int:
        return (*self.scope.path(budget)[1:], 0)[0]

    # JSON

    def _units(self, class_id: int, units: int) -> dict[str, Any]:
        return {"class": str(class_id), **units_json(units, self.classes[class_id].decimals)}

    def _row(self, account: str, budget: int, class_id: int) -> dict[str, Any]:
        names = {"account": account, "budget": str(budget) if budget else None, "class": str(class_id)}
        return names | self._sum(class_id, self.showback.sums[account, budget, class_id])

    def _sum(self, class_id: int, found: Sum) -> dict[str, Any]:
        terms, token = self.classes[class_id], self._token(class_id)
        reclaimed = self.tokens.at(self.classes.returned_in(class_id))
        return {
            "count": found.count,
            "used": units_json(found.units, terms.decimals),
            "cost": token.to_json(found.amount),
            "reclaimed": units_json(found.reclaimed_units, terms.decimals),
            "returned": reclaimed.to_json(found.reclaimed),
            "energyMillijoules": str(found.energy),
            "tokens": {
                "input": found.tokens.input,
                "cached": found.tokens.cached,
                "output": found.tokens.output,
                "unknown": found.silent,
            },
        }

    def _class(self, class_id: int, found: Sum) -> dict[str, Any]:
        terms = self.classes[class_id]
        costs = per_million(found, terms, self.rate)
        return {
            "class": str(class_id),
            "name": terms.name,
            "resource": terms.resource.label,
            **self._sum(class_id, found),
            "perMillionTokens": None if costs is None else _per_million_json(costs, self._token(class_id)),
        }

    # Tables

    def _class_table(self) -> Any:
        made = table("class", "used", "of", "jobs and claims", "cost", "kJ",
                     right=("used", "jobs and claims", "cost", "kJ"))  # fmt: skip
        for class_id, found in self.by_class().items():
            terms = self.classes[class_id]
            made.add_row(f"{class_id} {clean(terms.name)}", format_units(found.units, terms.decimals),
                         terms.resource.label, str(found.count), self._token(class_id).text(found.amount),
                         format_units(found.energy, 6) if found.energy else "")  # fmt: skip
        return made

    def _token_table(self) -> Any:
        names = ("input", "cached", "output", "blended", "GPU-s", "J")
        made = table("per 1M tokens of class", *names, right=names)
        for class_id, found in self.by_class().items():
            costs = per_million(found, self.classes[class_id], self.rate)
            if costs is not None:
                shown = _per_million_json(costs, self._token(class_id), digits=0)
                made.add_row(f"{class_id} in {self._token(class_id).symbol}",
                             *(shown[name] or "" for name in shown))  # fmt: skip
        return made


def chart_data(found: Found) -> tuple[Sequence[tuple[str, Mapping[str, float]]], str]:
    """Panels of a chart, and their unit: those of the payment token that most was spent in."""
    totals = found.total()
    if not totals:
        return [], "nothing was used"
    token = max(totals, key=lambda one: (totals[one], one.address))

    def scaled(costs: Mapping[Any, Costs], name: Callable[[Any], str]) -> dict[str, float]:
        return {name(key): each[token] / 10**token.decimals for key, each in costs.items() if token in each}

    classes = {
        key: {found.tokens.at(found.classes[key].payment_token): one.amount}
        for key, one in found.by_class().items()
    }
    return [
        ("By account", scaled(found.by_account(), lambda account: f"{account[:8]}…{account[-4:]}")),
        ("By budget, with those below", scaled(found.by_budget(), lambda budget: f"budget {budget}")),
        ("By class", scaled(classes, lambda key: f"{key} {clean(found.classes[key].name)[:24]}")),
    ], token.symbol


def _per_million_json(costs: PerMillion, token: Token, digits: int = EXTRA_DIGITS) -> dict[str, str | None]:
    """Decimal text, payment tokens as people count them, with `digits` after a token's own."""

    def money(value: Fraction | None) -> str | None:
        return None if value is None else _rounded(value / 10**token.decimals, token.decimals + digits)

    return {
        "input": money(costs.input),
        "cached": money(costs.cached),
        "output": money(costs.output),
        "blended": money(costs.blended),
        "gpuSeconds": None if costs.gpu_seconds is None else _rounded(costs.gpu_seconds, 6),
        "joules": None if costs.joules is None else _rounded(costs.joules, 3),
    }


def _rounded(value: Fraction, digits: int) -> str:
    return format_units(round(value * 10**digits), digits)


def _costs_json(costs: Costs) -> list[dict[str, str]]:
    return [token.to_json(amount) for token, amount in costs.items()]


def _costs_table(name: str, rows: Mapping[Any, Costs]) -> Any:
    made = table(name, "cost", right=("cost",))
    for key, costs in rows.items():
        made.add_row(str(key), _text(costs))
    return made


def _text(costs: Costs) -> str:
    return ", ".join(token.text(amount) for token, amount in costs.items()) or "0"
