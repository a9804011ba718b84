"""`scrip budget`: what others may spend of your credits and tokens, as a tree of allowances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.acting import Act, payment_token, report, send
from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import Token, Tokens, table, utc

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.budgets import Level
    from scrip.types_spending import Limits
    from scrip.view import ChainView

app = sub_app("Budgets: let others spend your credits, within limits.", example="scrip budget list $ACCOUNT")

Id = Annotated[int, typer.Argument(metavar="BUDGET", min=1, help="Id of the budget.")]
Spender = Annotated[str, typer.Argument(metavar="SPENDER", help="Account that may spend it.")]
Lifetime = Annotated[str | None, typer.Option(help="Most tokens in all, e.g. 100.")]
PerAction = Annotated[str | None, typer.Option(help="Most tokens at once.")]
PerPeriod = Annotated[str | None, typer.Option(help="Most tokens in a period.")]
Period = Annotated[str | None, typer.Option(help="Length of a period, e.g. 1d; 0s for none.")]
Expiry = Annotated[str | None, typer.Option(help="Until a date, or so long (30d); 'never'.")]
Provider = Annotated[list[str] | None, typer.Option(help="Pay only these providers; repeat.")]


@command(
    app,
    "create",
    example="scrip --keystore key.json budget create $ACCOUNT --lifetime 100 --per-action 5",
    sends=True,
)
def create(
    ctx: typer.Context,
    spender: Spender,
    lifetime: Lifetime = None,
    per_action: PerAction = None,
    per_period: PerPeriod = None,
    period: Period = None,
    expiry: Expiry = None,
    provider: Provider = None,
    token: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Token that amounts are in.")] = None,
) -> None:
    """Let an account spend your credits and tokens, counted at their price in a payment token."""
    context = Context.of(ctx)
    counted = payment_token(context.chain(), token)
    given = _given(spender, lifetime, per_action, per_period, period, expiry, provider)
    _create(context, counted, given, provider or [], 0)


@command(app, "child", example="scrip --keystore key.json budget child 1 $ACCOUNT --lifetime 10", sends=True)
def child(
    ctx: typer.Context,
    parent: Annotated[int, typer.Argument(metavar="PARENT", min=1, help="Budget that it divides.")],
    spender: Spender,
    lifetime: Lifetime = None,
    per_action: PerAction = None,
    per_period: PerPeriod = None,
    period: Period = None,
    expiry: Expiry = None,
    provider: Provider = None,
) -> None:
    """Let an account spend a part of a budget that you own or spend."""
    context = Context.of(ctx)
    view = context.chain().at()
    counted = Tokens(view).at(view.budget(parent).token)
    given = _given(spender, lifetime, per_action, per_period, period, expiry, provider)
    _create(context, counted, given, provider or [], parent)


@command(app, "set", example="scrip --keystore key.json budget set 1 --lifetime 250", sends=True)
def set_limits(
    ctx: typer.Context,
    budget: Id,
    lifetime: Lifetime = None,
    per_action: PerAction = None,
    per_period: PerPeriod = None,
    period: Period = None,
    expiry: Expiry = None,
    spender: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Who spends it instead.")] = None,
    listed: Annotated[
        bool | None, typer.Option("--listed/--any-provider", help="Pay only listed providers, or any.")
    ] = None,
) -> None:
    """Change limits of a budget; what isn't given stays, and what is spent stays counted."""
    from dataclasses import replace

    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    known = view.budget(budget)
    given = _given(spender, lifetime, per_action, per_period, period, expiry, None)
    limits = _limits(view, Tokens(view).at(known.token), known.limits, given)
    limits = limits if listed is None else replace(limits, listed=listed)
    act = Act("SpendingBudgets", "setBudget", (budget, limits.to_abi()), f"set-budget {budget}")
    _changed(context, send(context, chain, act), budget)


@command(app, "providers", example="scrip --keystore key.json budget providers 1 --add $PROVIDER", sends=True)
def providers(
    ctx: typer.Context,
    budget: Id,
    add: Annotated[list[str] | None, typer.Option(help="Provider to list; repeat.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Provider to take off the list; repeat.")] = None,
) -> None:
    """List providers that a budget may pay, or take them off. It counts where the budget is --listed."""
    from scrip.errors import BadInput
    from scrip.structs import to_address

    if bool(add) == bool(remove):
        raise BadInput("budget providers", "both or neither", "--add, or --remove")
    context = Context.of(ctx)
    chain = context.chain()
    named = [to_address("provider", one) for one in (add or remove or [])]
    act = Act("SpendingBudgets", "setProviders", (budget, named, bool(add)), f"list-providers {budget}")
    _changed(context, send(context, chain, act), budget)


@command(app, "revoke", example="scrip --keystore key.json budget revoke 1", sends=True)
def revoke(ctx: typer.Context, budget: Id) -> None:
    """End a budget and all below it, at once and for good."""
    context = Context.of(ctx)
    chain = context.chain()
    _changed(
        context, send(context, chain, Act("SpendingBudgets", "revoke", (budget,), f"revoke {budget}")), budget
    )


@command(app, "show", example="scrip budget show 1")
def show(ctx: typer.Context, budget: Id) -> None:
    """Show a budget and every level above it: limits, what is spent, what is left."""
    from scrip import budgets

    context = Context.of(ctx)
    view = context.chain().at()
    levels = budgets.levels(view, budget)
    token = Tokens(view).at(levels[0].budget.token)
    left = budgets.left(levels)
    rows = [_json(one, token) for one in levels]
    data = {"block": view.block, "left": token.to_json(left), "levels": rows}

    def print_all(console: Console) -> None:
        console.print(f"Budget {budget}: {token.text(left)} can be spent now", style="bold")
        _table(console, rows)

    context.emit(data, print_all)


@command(app, "list", example="scrip budget list $ACCOUNT")
def list_budgets(
    ctx: typer.Context,
    account: Annotated[
        str | None, typer.Argument(metavar="[ACCOUNT]", help="By default the keystore's.", show_default=False)
    ] = None,
) -> None:
    """List the budgets that an account owns or may spend."""
    from scrip import budgets
    from scrip.structs import to_address

    context = Context.of(ctx)
    who = to_address("ACCOUNT", account) if account else context.address()
    view = context.chain().at()
    tokens = Tokens(view)
    count = int(view.read("SpendingBudgets", "budgetCount"))
    known = [(one, view.budget(one)) for one in range(1, count + 1)]
    mine = [one for one, found in known if who in (found.owner, found.limits.spender)]
    rows = []
    for one in mine:
        level = budgets.levels(view, one)[0]
        rows.append(_json(level, tokens.at(level.budget.token)))

    def print_all(console: Console) -> None:
        if rows:
            _table(console, rows)
        else:
            console.print("No budgets. Make one: scrip budget create SPENDER --lifetime 100")

    context.emit({"account": who, "block": view.block, "budgets": rows}, print_all)


def _given(
    spender: str | None,
    lifetime: str | None,
    per_action: str | None,
    per_period: str | None,
    period: str | None,
    expiry: str | None,
    provider: list[str] | None,
) -> dict[str, Any]:
    return {
        "spender": spender, "lifetime": lifetime, "per_action": per_action, "per_period": per_period,
        "period": period, "expiry": expiry, "listed": True if provider else None,
    }  # fmt: skip


def _limits(view: ChainView, token: Token, before: Limits | None, given: dict[str, Any]) -> Limits:
    """Limits as the contract has them: `before` with what is given in its place. Raises BadInput."""
    from dataclasses import replace

    from scrip.amounts import parse_units
    from scrip.cli import moments
    from scrip.errors import BadInput
    from scrip.structs import to_address
    from scrip.types_spending import NO_CAP, Limits

    wanted = {key: value for key, value in given.items() if value is not None}
    if before is None and "lifetime" not in wanted:
        raise BadInput("--lifetime", None, "given: the most that may be spent in all")
    for key in ("lifetime", "per_action", "per_period"):
        if key in wanted:
            wanted[key] = parse_units(wanted[key], token.decimals)
    if "period" in wanted:
        wanted["period"] = moments.seconds("--period", wanted["period"])
    if "expiry" in wanted:
        text = wanted["expiry"]
        wanted["expiry"] = 0 if text == "never" else moments.until("--expiry", text, view.time())
    if "spender" in wanted:
        wanted["spender"] = to_address("SPENDER", wanted["spender"])
    nothing = {"per_action": NO_CAP, "per_period": NO_CAP, "period": 0, "expiry": 0, "listed": False}
    made = Limits(**{**nothing, **wanted}) if before is None else replace(before, **wanted)
    if made.per_period != NO_CAP and made.period == 0:
        raise BadInput("--period", None, "given with --per-period, e.g. 1d")
    return made


def _create(context: Context, token: Token, given: dict[str, Any], listed: list[str], parent: int) -> None:
    from scrip.cli.acting import event
    from scrip.structs import to_address

    chain = context.chain()
    limits = _limits(chain.at(), token, None, given)
    named = [to_address("--provider", one) for one in listed]
    function = "createChild" if parent else "createBudget"
    first = parent or token.address
    act = Act(
        "SpendingBudgets", function, (first, limits.to_abi(), named), f"create-budget for {limits.spender}"
    )
    receipt = send(context, chain, act)
    _changed(context, receipt, int(event(chain, receipt, "SpendingBudgets", "BudgetCreated")["budgetId"]))


def _changed(context: Context, receipt: Any, budget: int) -> None:
    from scrip import budgets

    view = context.chain().at()
    level = budgets.levels(view, budget)[0]
    data = _json(level, Tokens(view).at(level.budget.token))
    rows = [("budget", data["budget"]), ("spender", data["spender"]), ("state", data["state"])]
    rows += [(name, _cap(data[key])) for name, key in _CAPS]
    report(context, receipt, data, rows)


_CAPS = (("in all", "lifetime"), ("at once", "perAction"), ("per period", "perPeriod"), ("left", "left"))


def _json(level: Level, token: Token) -> dict[str, Any]:
    from scrip.types_spending import NO_CAP

    budget, limits = level.budget, level.budget.limits

    def cap(amount: int) -> dict[str, str] | None:
        return None if amount == NO_CAP else token.to_json(amount)

    state = "revoked" if budget.revoked else "expired" if level.expired else "open"
    return {
        "budget": str(level.budget_id), "parent": str(budget.parent) if budget.parent else None,
        "owner": budget.owner, "spender": limits.spender, "state": state, "lifetime": cap(limits.lifetime),
        "perAction": cap(limits.per_action), "perPeriod": cap(limits.per_period) if limits.period else None,
        "period": str(limits.period), "expiry": str(limits.expiry), "listed": limits.listed,
        "spent": token.to_json(budget.spent), "left": cap(level.left),
    }  # fmt: skip


def _cap(amount: dict[str, str] | None) -> str:
    return "no cap" if amount is None else f"{amount['amount']} {amount['symbol']}"


def _table(console: Console, rows: list[dict[str, Any]]) -> None:
    made = table("budget", "below", "spender", "spent", "in all", "at once", "per period", "expires", "state",
                 right=("budget", "below", "spent", "in all", "at once", "per period"))  # fmt: skip
    for one in rows:
        made.add_row(
            one["budget"], one["parent"] or "", one["spender"], _cap(one["spent"]), _cap(one["lifetime"]),
            _cap(one["perAction"]), _cap(one["perPeriod"]), utc(int(one["expiry"])), one["state"],
        )  # fmt: skip
    console.print(made)
