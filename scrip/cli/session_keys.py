"""`scrip session key`: API keys that spend a session's deposit within limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import clean, facts, table, units_json, utc

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from rich.console import Console

    from scrip.chain import Chain
    from scrip.session_api import SessionApi
    from scrip.sessions import SessionInfo

DAY_S = 86_400

app = sub_app("API keys of a session.", example="scrip --keystore key.json session key list $SESSION")

Session = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.")]


@command(app, "create", example="scrip --keystore key.json session key create $SESSION 1 --per-minute 60")
def create(
    ctx: typer.Context,
    session: Session,
    cap: Annotated[str, typer.Argument(metavar="CAP", help="Credits it may spend in all, e.g. 100.")],
    model: Annotated[
        list[str] | None, typer.Option(help="A model it may use; repeat for more. By default any.")
    ] = None,
    days: Annotated[int, typer.Option(min=0, help="It expires after so many days; 0 never.")] = 0,
    per_minute: Annotated[int, typer.Option(min=0, help="Calls a minute; 0 without limit.")] = 0,
    name: Annotated[str, typer.Option(help="For your own memory.")] = "",
) -> None:
    """Make an API key and show its secret, this once; authorises its cap if you sign the vouchers."""
    from scrip.amounts import parse_units

    context = Context.of(ctx)
    with _account(context, session) as (api, found, chain, account):
        decimals = chain.at().class_terms(found.terms.class_id).decimals
        units = parse_units(cap, decimals)
        api.open_session(found.terms)
        limits = {
            "capUnits": str(units), "models": model or [], "callsPerMinute": per_minute, "name": name,
            "expiresAt": int(time.time()) + days * DAY_S if days else 0,
        }  # fmt: skip
        made = api.make_key(found.session, limits)
        authorised = _authorise(api, found, chain, account, units)
    if not authorised:
        context.say(f"the key can spend only what {found.terms.key} has authorised by vouchers")
    context.emit({**_json(made, decimals), "secret": made["secret"]}, lambda console: _made(console, made))


@command(app, "list", example="scrip --keystore key.json session key list $SESSION")
def list_keys(ctx: typer.Context, session: Session) -> None:
    """List the session's API keys, without their secrets."""
    context = Context.of(ctx)
    with _account(context, session) as (api, found, chain, _):
        decimals = chain.at().class_terms(found.terms.class_id).decimals
        keys = [_json(one, decimals) for one in api.keys(found.session)]
    context.emit({"keys": keys}, lambda console: _table(console, keys))


@command(app, "revoke", example="scrip --keystore key.json session key revoke $SESSION $KEY")
def revoke(
    ctx: typer.Context,
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of the API key, not its secret.")],
) -> None:
    """End an API key at once."""
    context = Context.of(ctx)
    with _account(context, session) as (api, found, _, _who):
        api.revoke(found.session, key)
    context.emit({"revoked": key}, lambda console: console.print(f"{clean(key)} is revoked."))


@contextmanager
def _account(context: Context, session: str) -> Iterator[tuple[SessionApi, SessionInfo, Chain, LocalAccount]]:
    """The provider's API of session accounts, with requests signed by the keystore's account."""
    from scrip import sessions
    from scrip.provider_client import discover
    from scrip.session_api import SessionApi
    from scrip.signed_requests import SignedBy
    from scrip.structs import to_bytes

    chain = context.chain()
    view = chain.at()
    found = sessions.find(view, to_bytes("session", session, 32))
    endpoint = discover(view.provider(found.terms.provider)).endpoint
    account = context.account(chain.chain_id)
    auth = SignedBy(account, chain.chain_id, chain.address("JobMarket"))
    with SessionApi(endpoint, auth=auth) as api:
        yield api, found, chain, account


def _authorise(api: SessionApi, found: SessionInfo, chain: Chain, account: LocalAccount, units: int) -> bool:
    """Sign a voucher under which a new key can spend `units`, if `account` is who signs them."""
    from scrip.sessions import CONTRACT
    from scrip.vouchers import sign_voucher

    if account.address != found.terms.key:
        return False
    seen = api.session(found.session)
    wanted = min(int(seen["deposit"]), int(seen["charged"]) + units)
    if wanted > int(seen["authorised"]):
        api.authorise(sign_voucher(found.session, wanted, account, chain.chain_id, chain.address(CONTRACT)))
    return True


def _json(key: dict[str, Any], decimals: int) -> dict[str, Any]:
    return {
        "keyId": key["keyId"],
        "name": key["name"],
        "cap": units_json(int(key["capUnits"]), decimals),
        "spent": units_json(int(key["spentUnits"]), decimals),
        "models": key["models"],
        "expiresAt": key["expiresAt"],
        "callsPerMinute": key["callsPerMinute"],
        "revoked": bool(key["revokedMs"]),
    }


def _made(console: Console, key: dict[str, Any]) -> None:
    rows = [("key", clean(key["keyId"])), ("secret", clean(key["secret"]))]
    facts(console, [*rows, ("note", "the secret isn't shown again")])


def _table(console: Console, keys: list[dict[str, Any]]) -> None:
    made = table("key", "name", "spent", "cap", "models", "expires", "revoked", right=("spent", "cap"))
    for one in keys:
        made.add_row(
            clean(one["keyId"]), clean(one["name"]), one["spent"]["credits"], one["cap"]["credits"],
            clean(", ".join(one["models"]) or "any"), utc(int(one["expiresAt"])),
            "yes" if one["revoked"] else "no",
        )  # fmt: skip
    console.print(made)
