"""Options that commands of `scrip agent` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PaymentToken = Annotated[
    str | None,
    typer.Option("--token", metavar="ADDRESS", help="Payment token, where classes differ in theirs."),
]


def check_purse(limit: str | None, budget: int | None, ledger: Path | None, offers: Path | None) -> None:
    """One purse, and only what belongs to it."""
    if (limit is None) == (budget is None):
        raise typer.BadParameter("give either --limit or --budget", param_hint="--limit")
    if budget is not None and ledger is not None:
        raise typer.BadParameter("a budget's ledger is the chain", param_hint="--ledger")
    if budget is None and offers is not None:
        raise typer.BadParameter(
            "is for --budget: an own account buys from the reserve", param_hint="--offers"
        )
