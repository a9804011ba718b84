"""`scrip agent spend`: what agents spent, on what, and the receipts of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.output import Token, Tokens, hexed, table, units_json
from scrip.cli.since import first_block

if TYPE_CHECKING:
    from rich.console import Console

    from agents.spending import Key, Receipt, Row, Spending
    from scrip.chain import Chain
    from scrip.types import ClassTerms
    from scrip.view import ChainView


def spend(
    ctx: typer.Context,
    budget: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="Only this budget and those below it.")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Only what this account spent, its own credits included."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="From a block, a date (2026-01-31) or so long ago (36h, 7d)."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many receipts, the newest.")] = 20,
) -> None:
    """Show what agents spent, by agent, budget, class and provider, with the receipts.

    From the chain's events alone; without --since the sums are held against what each budget says is spent.
    """
    context = Context.of(ctx)
    report = report_of(context.chain(), budget=budget, agent=agent, since=since, limit=limit)
    context.emit(report.to_json(), report.show)


def report_of(
    chain: Chain, *, budget: int | None, agent: str | None, since: str | None, limit: int
) -> _Report:
    """What was spent, as the options of `spend` ask for it. Raises NotFound, BadInput, SpendMismatch."""
    from agents import spending
    from scrip.structs import to_address

    view = chain.at()
    first = first_block(view, since)
    wanted = _Scope(view, budget, to_address("--agent", agent) if agent else None)
    known = _Known(view)
    tally = spending.Spending(wanted.admits, known.terms, known.spender, limit)
    spending.read(chain, tally, first, view.block)
    checked = spending.check(chain, tally, view.block) if first <= chain.deployment.block else None
    return _Report(known, tally, chain.deployment.explorer, first, view.block, checked)


@dataclass(slots=True)
class _Scope:
    """Which spend is asked for."""

    view: ChainView
    budget: int | None
    agent: str | None
    parents: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.budget is not None:
            self.view.budget(self.budget)  # NotFound, before a long scan finds nothing

    def admits(self, agent: str, budget: int) -> bool:
        """Whether spend of this agent under this budget (0: its own account) counts."""
        if self.agent is not None and agent != self.agent:
            return False
        if self.budget is not None:
            return self._below(budget)
        # Every account's own jobs would be the whole market's history.
        return budget != 0 or self.agent is not None

    def _below(self, budget: int) -> bool:
        while budget and budget != self.budget:
            if budget not in self.parents:
                self.parents[budget] = self.view.budget(budget).parent
            budget = self.parents[budget]
        return budget == self.budget


class _Known:
    """Classes, budgets and tokens, each read once."""

    def __init__(self, view: ChainView) -> None:
        self.view, self.tokens = view, Tokens(view)
        self._terms: dict[int, ClassTerms] = {}
        self._paid: dict[int, str] = {}

    def terms(self, class_id: int) -> ClassTerms:
        """Terms of a class."""
        if class_id not in self._terms:
            self._terms[class_id] = self.view.class_terms(class_id)
        return self._terms[class_id]

    def spender(self, budget: int) -> str:
        """Who may spend a budget now."""
        return self.view.budget(budget).limits.spender

    def token(self, key: Key) -> Token:
        """What the amounts under a key are counted in."""
        if not key.budget_id:
            return self.tokens.at(self.terms(key.class_id).payment_token)
        if key.budget_id not in self._paid:
            self._paid[key.budget_id] = self.view.budget(key.budget_id).token
        return self.tokens.at(self._paid[key.budget_id])


@dataclass(frozen=True, slots=True)
class _Report:
    """What the command prints. `checked` is what the chain says of each budget, None for part of history."""

    known: _Known
    tally: Spending
    explorer: str
    first: int
    last: int
    checked: dict[int, int] | None

    def to_json(self) -> dict[str, Any]:
        """Everything, amounts exact."""
        return {
            "fromBlock": self.first,
            "block": self.last,
            "spend": [self._row(key, row) for key, row in self._rows()],
            "totals": [self._total(token, rows) for token, rows in self._by_token().items()],
            "budgets": None
            if self.checked is None
            else [{"budget": str(budget), "spent": str(spent)} for budget, spent in self.checked.items()],
            "receipts": [self._receipt(one) for one in reversed(self.tally.receipts)],
        }

    def show(self, console: Console) -> None:
        """A table of sums, and one of the newest receipts."""
        if not self.tally.rows:
            console.print("Nothing was spent.")
            return
        console.print(self._sums())
        for token, rows in self._by_token().items():
            spent, live = sum(row.spent for row in rows), sum(row.live for row in rows)
            under_way = f", {live} under way" if live else ""
            console.print(f"In all {token.text(spent)}{under_way}.", soft_wrap=True)
        if self.checked is not None:
            console.print("Every budget's sum is what the chain says is spent.", style="dim")
        if self.tally.receipts:
            console.print(self._receipts())

    def _sums(self) -> Any:
        made = table("agent", "budget", "class", "provider", "for", "count", "failed", "spent",
                     right=("budget", "class", "count", "failed", "spent"))  # fmt: skip
        for key, row in self._rows():
            budget = str(key.budget_id) if key.budget_id else "own"
            spent = self.known.token(key).text(row.spent)
            made.add_row(key.agent, budget, str(key.class_id), key.payee, key.kind, str(row.count),
                         str(row.failed), spent)  # fmt: skip
        return made

    def _receipts(self) -> Any:
        made = table(
            "block", "what", "outcome", "spent", "receipt hash", "transaction", right=("block", "spent")
        )
        for one in reversed(self.tally.receipts):
            shown = self.known.token(one.key).text(one.spent)
            made.add_row(str(one.block), f"{one.key.kind} {hexed(one.ident)}", one.outcome, shown,
                         hexed(one.receipt_hash) if one.receipt_hash else "", self._url(one))  # fmt: skip
        return made

    def _rows(self) -> list[tuple[Key, Row]]:
        def order(item: tuple[Key, Row]) -> tuple[Any, ...]:
            key = item[0]
            return key.agent, key.budget_id, key.class_id, key.payee, key.kind

        return sorted(self.tally.rows.items(), key=order)

    def _by_token(self) -> dict[Token, list[Row]]:
        found: dict[Token, list[Row]] = {}
        for key, row in self._rows():
            found.setdefault(self.known.token(key), []).append(row)
        return found

    def _row(self, key: Key, row: Row) -> dict[str, Any]:
        token = self.known.token(key)
        return {
            "agent": key.agent,
            "budget": str(key.budget_id) if key.budget_id else None,
            "class": str(key.class_id),
            "provider": key.payee,
            "for": key.kind,
            "count": row.count,
            "live": row.live,
            "failed": row.failed,
            "used": units_json(row.units, self.known.terms(key.class_id).decimals),
            "charged": token.to_json(row.charged),
            "released": token.to_json(row.released),
            "spent": token.to_json(row.spent),
        }

    def _total(self, token: Token, rows: list[Row]) -> dict[str, Any]:
        return token.to_json(sum(row.spent for row in rows))

    def _receipt(self, one: Receipt) -> dict[str, Any]:
        return {
            "for": one.key.kind,
            "id": hexed(one.ident),
            "agent": one.key.agent,
            "budget": str(one.key.budget_id) if one.key.budget_id else None,
            "class": str(one.key.class_id),
            "provider": one.key.payee,
            "outcome": one.outcome,
            "spent": self.known.token(one.key).to_json(one.spent),
            "receiptHash": hexed(one.receipt_hash) if one.receipt_hash else None,
            "transaction": hexed(one.tx_hash),
            "url": self._url(one) if self.explorer else None,
            "block": one.block,
        }

    def _url(self, one: Receipt) -> str:
        tx = hexed(one.tx_hash)
        return f"{self.explorer.rstrip('/')}/tx/{tx}" if self.explorer else tx
