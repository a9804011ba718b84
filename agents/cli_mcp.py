"""`scrip agent mcp`: the agent's tools for MCP clients. Its packages are loaded when it is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agents.cli_options import PaymentToken, check_purse
from scrip.cli.context import Context
from scrip.errors import ScripError

PACKAGES = ("anyio", "mcp", "uvicorn")
"""What the extra `mcp` brings."""


class Transport(StrEnum):
    """How an MCP client reaches its server."""

    stdio = "stdio"
    http = "http"


class McpMissing(ScripError):
    """The server's packages aren't installed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"package {name} isn't installed. The MCP server needs: pip install 'scrip[mcp]'")


def mcp(
    ctx: typer.Context,
    transport: Annotated[
        Transport, typer.Option(help="stdio for a client that starts it.")
    ] = Transport.stdio,
    limit: Annotated[
        str | None,
        typer.Option(metavar="USD", help="Most that all calls together may ever spend, restarts included."),
    ] = None,
    per_call: Annotated[
        str | None, typer.Option(metavar="USD", help="Most that one call may cost; by default the limit.")
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(min=1, metavar="ID", help="Spend under this budget instead, whose spender you are."),
    ] = None,
    offers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Signed offers to buy a budget's missing credits from."),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Remember spending there; by default in the state folder."),
    ] = None,
    token: PaymentToken = None,
    host: Annotated[str, typer.Option(help="Where to listen (http).")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free (http).")] = 8790,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name clients call it by (http).")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Bearer token of clients (http); made if it is missing."),
    ] = None,
) -> None:
    """Serve the agent's tools to MCP clients, within limits that no tool can change.

    The tools: market, quote, buy, redeem, status, spend, receipt_verify, budget. Those that spend send
    nothing unless a call says so.
    """
    check_purse(limit, budget, ledger, offers)
    try:
        from agents.mcp.command import Options, run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise McpMissing(missing.name or "mcp") from None
    context = Context.of(ctx)
    run(
        context,
        Options(
            transport, limit, per_call, budget, offers, ledger, token, host, port,
            tuple(allow_host or ()), token_file,
        ),
    )  # fmt: skip
