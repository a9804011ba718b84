"""`scrip buy`: credits for payment tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scrip.cli.classes import ClassView
from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import Tokens, clean, facts, hexed, units_json

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.buying import Purchase
    from scrip.view import ChainView


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "buy", example="scrip --keystore key.json buy 1 10 --max-cost 10", sends=True)(buy)


def buy(
    ctx: typer.Context,
    class_id: Annotated[int, typer.Argument(metavar="CLASS", min=1, help="Id of the class.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Credits, e.g. 1000 or 2.5.")],
    max_cost: Annotated[
        str | None,
        typer.Option(help="Most to pay, in the class's payment token; by default today's price."),
    ] = None,
) -> None:
    """Buy credits of a class, paid from your account's payment tokens."""
    from scrip import buying
    from scrip.amounts import parse_units
    from scrip.cli.sending import sending

    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    info = view.class_info(class_id)
    shown = ClassView(info, Tokens(view).at(info.terms.payment_token))
    units = parse_units(amount, info.terms.decimals)
    ceiling = None if max_cost is None else parse_units(max_cost, shown.token.decimals)
    _check(view, shown, units, ceiling, context.address())
    with sending(context, chain, "buy") as (sender, account):
        bought = buying.buy(chain, sender, account, class_id, units, max_cost=ceiling)
    held = chain.at().balance(sender.address, class_id)
    context.emit(
        {
            "class": str(class_id),
            "bought": units_json(units, info.terms.decimals),
            "cost": shown.token.to_json(bought.cost),
            "balance": units_json(held, info.terms.decimals),
            "transaction": hexed(bought.tx_hash),
        },
        lambda console: _show(console, shown, bought, held),
    )


def _check(view: ChainView, shown: ClassView, units: int, ceiling: int | None, buyer: str) -> None:
    """Say in the payment token's own terms what the purchase would fail at."""
    from scrip.errors import BadInput, Refused

    if units == 0:
        raise BadInput("amount", "0", "more than 0")
    if not shown.for_sale:
        raise Refused(f"class {shown.info.label} is not for sale: it is {_why(shown)}. See: scrip class list")
    cost = view.cost(shown.info.class_id, units)
    if ceiling is not None and cost > ceiling:
        asked, most = shown.token.text(cost), shown.token.text(ceiling)
        raise Refused(f"{shown.credits(units)} credits cost {asked}, --max-cost allows {most}")
    held = view.token_balance(shown.token.address, buyer)
    if held < cost:
        raise Refused(
            f"{shown.credits(units)} credits cost {shown.token.text(cost)}, {buyer} holds "
            f"{shown.token.text(held)}. Send it some, or buy fewer"
        )


def _why(shown: ClassView) -> str:
    if shown.state != "open":
        return shown.state
    return f"funded by {shown.info.terms.funding.name.lower()}"


def _show(console: Console, shown: ClassView, bought: Purchase, held: int) -> None:
    name = f"class {bought.class_id} ({clean(shown.info.terms.name)})"
    rows = [
        ("bought", f"{shown.credits(bought.units)} credits of {name}"),
        ("for", shown.token.text(bought.cost)),
        ("you hold", f"{shown.credits(held)} credits"),
        ("transaction", hexed(bought.tx_hash)),
    ]
    facts(console, rows)
