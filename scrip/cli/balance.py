"""`scrip balance`: what an account holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import Token, Tokens, clean, table, units_json

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.types import ClassInfo
    from scrip.view import ChainView

COIN_DECIMALS = 18


@dataclass(frozen=True, slots=True)
class Held:
    """Base units of a class that an account holds; `locked` ones among them are in its jobs."""

    info: ClassInfo
    units: int
    locked: int

    @classmethod
    def of(cls, view: ChainView, holder: str, info: ClassInfo) -> Held:
        """What `holder` has of the class."""
        return cls(info, view.balance(holder, info.class_id), view.locked(holder, info.class_id))

    def to_json(self) -> dict[str, Any]:
        """Class, units held and units locked."""
        decimals = self.info.terms.decimals
        return {
            "class": str(self.info.class_id),
            "name": self.info.terms.name,
            **units_json(self.units, decimals),
            "locked": units_json(self.locked, decimals),
        }


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
    """Show credits by class (held, and locked in jobs), payment tokens and the chain's coin of an account."""
    from scrip.amounts import format_units
    from scrip.structs import to_address

    context = Context.of(ctx)
    holder = to_address("address", address) if address else context.address()
    chain = context.chain()
    view = chain.at()
    infos = [view.class_info(class_id) for class_id in view.class_ids()]
    held = [Held.of(view, holder, info) for info in infos]
    tokens = Tokens(view)
    # A class that isn't sold may have no payment token.
    payments = dict.fromkeys(info.terms.payment_token for info in infos if int(info.terms.payment_token, 16))
    paid = [(tokens.at(at), view.token_balance(at, holder)) for at in payments]
    wei = chain.balance(holder, view.block)
    context.emit(
        {
            "address": holder,
            "block": view.block,
            "credits": [item.to_json() for item in held],
            "tokens": [token.to_json(amount) for token, amount in paid],
            "coin": {"amount": format_units(wei, COIN_DECIMALS), "wei": str(wei)},
        },
        lambda console: _show(console, holder, held, paid, wei),
    )  # fmt: skip


def _show(console: Console, holder: str, held: list[Held], paid: list[tuple[Token, int]], wei: int) -> None:
    from scrip.amounts import format_units

    console.print(holder, style="bold")
    made = table("amount", "locked", "of", right=("amount", "locked"))
    for item in held:
        terms = item.info.terms
        unit = f"{terms.resource.label}, class {item.info.class_id} {clean(terms.name)}"
        locked = format_units(item.locked, terms.decimals) if item.locked else ""
        made.add_row(format_units(item.units, terms.decimals), locked, unit)
    for token, amount in paid:
        made.add_row(format_units(amount, token.decimals), "", token.symbol)
    made.add_row(format_units(wei, COIN_DECIMALS), "", "coin for gas")
    console.print(made)
