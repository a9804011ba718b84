"""`scrip session`: credits deposited with a provider, spent by the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli import session_keys
from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import facts, hexed, table, units_json, utc

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.sessions import SessionInfo
    from scrip.view import ChainView


app = sub_app("Sessions: deposits with a provider, spent by the call.", example="scrip session list")
app.add_typer(session_keys.app, name="key")

Session = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.")]
Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help="Credits, e.g. 1000 or 2.5.")]


@command(app, "open", example="scrip --keystore key.json session open $PROVIDER 1 5 --days 7", sends=True)
def open_session(
    ctx: typer.Context,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="The provider's address.")],
    class_id: Annotated[int, typer.Argument(metavar="CLASS", min=1, help="Id of the class.")],
    amount: Amount,
    days: Annotated[int, typer.Option(min=1, max=365, help="After so many days anyone may close it.")] = 7,
    signer: Annotated[
        str | None,
        typer.Option(help="Account that signs vouchers; by default your own.", show_default=False),
    ] = None,
) -> None:
    """Deposit credits with a provider, to be spent by vouchers and API keys."""
    from scrip import sessions
    from scrip.amounts import parse_units
    from scrip.cli.sending import sending
    from scrip.structs import to_address

    context = Context.of(ctx)
    chain = context.chain()
    decimals = chain.at().class_terms(class_id).decimals
    units = parse_units(amount, decimals)
    with sending(context, chain, "open") as (sender, account):
        terms = sessions.terms_for(
            chain, account.address, to_address("provider", provider), class_id,
            to_address("signer", signer) if signer else account.address, lifetime_s=days * sessions.DAY_S,
        )  # fmt: skip
        _emit(context, chain.at(), sessions.open_session(chain, sender, terms, units))


@command(app, "list", example="scrip --keystore key.json session list")
def list_sessions(
    ctx: typer.Context,
    payer: Annotated[
        str | None,
        typer.Argument(metavar="[PAYER]", help="By default the keystore's account.", show_default=False),
    ] = None,
) -> None:
    """List the sessions of a payer, with what is deposited and claimed."""
    from scrip import sessions
    from scrip.structs import to_address

    context = Context.of(ctx)
    who = to_address("payer", payer) if payer else context.address()
    view = context.chain().at()
    found = list(sessions.listed(view, payer=who))
    decimals = {one: view.class_terms(one).decimals for one in {info.terms.class_id for info in found}}
    data = [_json(info, decimals[info.terms.class_id]) for info in found]
    context.emit({"payer": who, "block": view.block, "sessions": data}, lambda console: _table(console, data))


@command(app, "show", example="scrip session show $SESSION")
def show_session(ctx: typer.Context, session: Session) -> None:
    """Show a session as the chain has it: deposit, claims, expiry and close."""
    from scrip import sessions
    from scrip.structs import to_bytes

    context = Context.of(ctx)
    view = context.chain().at()
    _emit(context, view, sessions.find(view, to_bytes("session", session, 32)))


@command(app, "topup", example="scrip --keystore key.json session topup $SESSION 2.5", sends=True)
def top_up(ctx: typer.Context, session: Session, amount: Amount) -> None:
    """Deposit more credits in a session that is open."""
    from scrip import sessions
    from scrip.amounts import parse_units
    from scrip.cli.sending import sending
    from scrip.structs import to_bytes

    context = Context.of(ctx)
    chain = context.chain()
    found = sessions.find(chain.at(), to_bytes("session", session, 32))
    units = parse_units(amount, chain.at().class_terms(found.terms.class_id).decimals)
    with sending(context, chain, "top") as (sender, _):
        _emit(context, chain.at(), sessions.top_up(chain, sender, found.terms, units))


@command(app, "close", example="scrip --keystore key.json session close $SESSION", sends=True)
def close(ctx: typer.Context, session: Session) -> None:
    """Ask for a session to be closed; run it again after the delay to get the rest back."""
    from scrip import sessions
    from scrip.cli.sending import sending
    from scrip.structs import to_bytes

    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    found = sessions.find(view, to_bytes("session", session, 32))
    due = found.state.close_at and view.time() >= found.state.close_at
    with sending(context, chain, "close" if due else "request") as (sender, _):
        act = sessions.close if due else sessions.request_close
        _emit(context, chain.at(), act(chain, sender, found.terms))


def _emit(context: Context, view: ChainView, info: SessionInfo) -> None:
    data = _json(info, view.class_terms(info.terms.class_id).decimals)
    context.emit(data, lambda console: _show(console, data))


def _json(info: SessionInfo, decimals: int) -> dict[str, Any]:
    return {
        "session": hexed(info.session),
        "status": info.status,
        "provider": info.terms.provider,
        "class": str(info.terms.class_id),
        "deposit": units_json(info.state.deposit, decimals),
        "claimed": units_json(info.state.claimed, decimals),
        "left": units_json(info.left, decimals),
        "key": info.terms.key,
        "payer": info.terms.payer,
        "expiresAt": str(info.terms.expires_at),
        "closeAt": str(info.state.close_at),
        "terms": info.terms.to_json(),
    }


def _show(console: Console, data: dict[str, Any]) -> None:
    console.print(f"Session {data['session']}", style="bold")
    rows = [
        ("status", data["status"]),
        ("provider", data["provider"]),
        ("class", data["class"]),
        ("deposit", data["deposit"]["credits"]),
        ("claimed", data["claimed"]["credits"]),
        ("left", data["left"]["credits"]),
        ("vouchers by", data["key"]),
        ("expires", utc(int(data["expiresAt"]))),
    ]
    closes = int(data["closeAt"])
    facts(console, rows + ([("closes", utc(closes))] if closes else []))


def _table(console: Console, found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("No sessions yet. Open one: scrip session open")
        return
    made = table("session", "status", "class", "deposit", "claimed", "provider", right=("deposit", "claimed"))
    for one in found:
        made.add_row(
            one["session"], one["status"], one["class"], one["deposit"]["credits"],
            one["claimed"]["credits"], one["provider"],
        )  # fmt: skip
    console.print(made)
