"""`scrip send`: credits to somebody else."""

from __future__ import annotations

from typing import Annotated

import typer

from scrip.cli.acting import Act, ClassId, CreditAmount, report, send
from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import units_json


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "send", example="scrip --keystore key.json send 1 5 $ACCOUNT", sends=True)(transfer)


def transfer(
    ctx: typer.Context,
    class_id: ClassId,
    amount: CreditAmount,
    to: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Who receives them.")],
) -> None:
    """Send credits of a class to another account, where the class lets them change hands."""
    from scrip.amounts import format_units, parse_units
    from scrip.errors import BadInput, Refused
    from scrip.structs import ZERO_ADDRESS, to_address

    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    terms, me = view.class_terms(class_id), context.address()
    units, receiver = parse_units(amount, terms.decimals), to_address("ACCOUNT", to)
    if units == 0 or receiver in (ZERO_ADDRESS, me):
        raise BadInput("send", f"{amount} to {to}", "more than 0, to somebody else")
    free = view.available(me, class_id)
    if free < units:
        shown = format_units(free, terms.decimals)
        raise Refused(f"{me} has {shown} free credits of class {class_id}, not {amount}. See: scrip balance")
    act = Act(
        "ComputeCredits", "safeTransferFrom", (me, receiver, class_id, units, b""),
        f"send {units} of class {class_id} to {receiver}",
    )  # fmt: skip
    receipt = send(context, chain, act)
    left = chain.at().available(me, class_id)
    data = {
        "class": str(class_id), "sent": units_json(units, terms.decimals), "to": receiver,
        "left": units_json(left, terms.decimals),
    }  # fmt: skip
    rows = [
        ("sent", f"{format_units(units, terms.decimals)} credits of class {class_id}"),
        ("to", receiver),
        ("you have left", f"{format_units(left, terms.decimals)} free credits"),
    ]
    report(context, receipt, data, rows)
