"""`scrip balance`: what an account holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import Token, Tokens, clean, table, units_json

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.types import ClassInfo

COIN_DECIMALS = 18


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "balance", example="scrip --keystore key.json balance")(balance)


def balance(
    ctx: typer.Context,
    address: Annotated[
        str | None,
        typer.Argument(metavar="[ADDRESS]", help="By default the keystore's account.", show_default=False),
    ] = None,
) -> None:
    """Show credits by class, payment tokens and the chain's coin of an account."""
    from scrip.amounts import format_units
    from scrip.structs import to_address

    context = Context.of(ctx)
    holder = to_address("address", address) if address else context.address()
    chain = context.chain()
    view = chain.at()
    infos = [view.class_info(class_id) for class_id in view.class_ids()]
    held = [(info, view.balance(holder, info.class_id)) for info in infos]
    tokens = Tokens(view)
    payments = {info.terms.payment_token: tokens.at(info.terms.payment_token) for info in infos}
    paid = [(token, view.token_balance(token.address, holder)) for token in payments.values()]
    wei = chain.balance(holder, view.block)
    context.emit(
        {
            "address": holder,
            "block": view.block,
            "credits": [
                {"class": str(info.class_id), "name": info.terms.name,
                 **units_json(units, info.terms.decimals)}
                for info, units in held
            ],
            "tokens": [token.to_json(amount) for token, amount in paid],
            "coin": {"amount": format_units(wei, COIN_DECIMALS), "wei": str(wei)},
        },
        lambda console: _show(console, holder, held, paid, wei),
    )  # fmt: skip


def _show(
    console: Console,
    holder: str,
    held: list[tuple[ClassInfo, int]],
    paid: list[tuple[Token, int]],
    wei: int,
) -> None:
    from scrip.amounts import format_units

    console.print(holder, style="bold")
    made = table("amount", "of", right=("amount",))
    for info, units in held:
        unit = f"{info.terms.resource.label}, class {info.class_id} {clean(info.terms.name)}"
        made.add_row(format_units(units, info.terms.decimals), unit)
    for token, amount in paid:
        made.add_row(format_units(amount, token.decimals), token.symbol)
    made.add_row(format_units(wei, COIN_DECIMALS), "coin for gas")
    console.print(made)
