"""`scrip report`: who used what, on whose budget, and what it cost."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.since import SINCE_HELP, first_block
from scrip.cli.waiting import busy

if TYPE_CHECKING:
    from scrip.cli.report_view import Found
    from scrip.rates import Rate
    from scrip.view import ChainView


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "report", example="scrip report --since 30d --focus bill.csv --chart costs.svg")(report)


def report(
    ctx: typer.Context,
    account: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only credits of this account.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="Only this budget and those below it.")
    ] = None,
    class_id: Annotated[
        int | None, typer.Option("--class", min=1, metavar="ID", help="Only this class.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help=SINCE_HELP)] = None,
    focus: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a FOCUS 1.2 bill too, as FILE.csv or FILE.parquet."),
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the costs too, as FILE.svg or FILE.png.")
    ] = None,
    calls: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Call receipts of sessions, one a line, for their tokens."),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="IN,CACHED,OUT",
            help="The provider's rate: how costs divide over input, cached and output tokens.",
        ),
    ] = None,
    currency: Annotated[
        str,
        typer.Option(metavar="CODE", help="ISO 4217 currency that the payment token stands for, in --focus."),
    ] = "USD",
) -> None:
    """Report usage and its cost by account, budget and class, and the cost of a million tokens.

    From the chain alone. Its sums are those of the credits burned, to the unit; without --since they are
    also held against the supply of every class.
    """
    from scrip.chargeback import chart as charts
    from scrip.cli.report_view import chart_data
    from scrip.structs import to_address

    context = Context.of(ctx)
    rate = parse_rates(rates)
    if chart is not None:
        charts.check(chart)
    view = context.chain().at()
    holder = to_address("--account", account) if account else None
    asked = (holder, budget, class_id)
    with busy(context, "reading the chain's events"):
        found = _collect(view, first_block(view, since), asked, calls, focus, currency, rate)
    if chart is not None:
        charts.draw(chart, *chart_data(found))
    context.emit(found.to_json(), found.show)


def _collect(
    view: ChainView,
    first: int,
    asked: tuple[str | None, int | None, int | None],
    calls: Path | None,
    focus: Path | None,
    currency: str,
    rate: Rate | None,
) -> Found:
    from scrip.chargeback import files
    from scrip.chargeback import report as reports
    from scrip.chargeback.call_tokens import CallTokens
    from scrip.chargeback.entry import BURNS, Entry
    from scrip.chargeback.focus import Biller, Money
    from scrip.chargeback.sums import Showback
    from scrip.cli.output import Tokens
    from scrip.cli.report_view import Found

    scope = reports.Scope(view, *asked)
    classes, tokens = reports.Classes(view), Tokens(view)
    showback = Showback()
    biller = Biller(view.chain.chain_id)
    told = CallTokens.load(calls, view) if calls is not None else CallTokens()
    with ExitStack() as stack:
        write = stack.enter_context(files.writer(focus)) if focus is not None else None

        def use(entry: Entry) -> None:
            if entry.kind in BURNS:
                showback.add(entry)
            if write is not None:
                terms = classes[entry.class_id]
                paid = classes.returned_in(entry.class_id) if entry.kind == "reclaim" else terms.payment_token
                token = tokens.at(paid)
                write(biller.row(entry, terms, Money(token.address, token.decimals, currency)))

        burned = reports.read(view, first, scope, told, use)
    return Found(view.block, first, scope, classes, tokens, showback, burned, rate)


def parse_rates(text: str | None) -> Rate | None:
    """Weights from "IN,CACHED,OUT". Raises BadInput."""
    from scrip.errors import BadInput
    from scrip.rates import Rate

    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) <= 24 for part in parts):
        raise BadInput("--rates", text, "three whole numbers, such as 100,10,400")
    if not any(int(part) for part in parts):
        raise BadInput("--rates", text, "at least one above 0")
    return Rate(*(int(part) for part in parts))
