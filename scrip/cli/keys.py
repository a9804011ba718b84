"""`scrip key`: encrypted keystores. A key or a password is never an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scrip.cli.context import PASSWORD_VARIABLE, Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import facts
from scrip.errors import KeyProblem

app = sub_app("Your keys, in encrypted files.", example="scrip key create key.json")

Place = Annotated[
    Path | None,
    typer.Argument(metavar="PATH", help="The keystore; by default --keystore's.", show_default=False),
]


@command(app, "create", example="scrip key create ~/.scrip/key.json")
def create(ctx: typer.Context, path: Place = None) -> None:
    """Make a new key and store it encrypted. Never overwrites."""
    from scrip import keys

    context = Context.of(ctx)
    place = _new_place(context, path)
    _done(context, place, keys.create(place, _new_password(context)))


@command(app, "import", example="scrip key import key.json --key-file plain.txt")
def import_key(
    ctx: typer.Context,
    path: Place = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the private key in hex; asked for, hidden, where it isn't given."),
    ] = None,
) -> None:
    """Store an existing private key encrypted. Never overwrites."""
    from scrip import keys

    context = Context.of(ctx)
    place = _new_place(context, path)
    secret = _read_secret(key_file) if key_file else context.ask_secret("Private key")
    _done(context, place, keys.import_key(place, secret.strip(), _new_password(context)))


@command(app, "show", example="scrip key show key.json")
def show(ctx: typer.Context, path: Place = None) -> None:
    """Show the address of a keystore. Needs no password, and never shows the key."""
    context = Context.of(ctx)
    place = path or context.need_keystore()
    from scrip import keys
    from scrip.structs import to_address

    stated = keys.address_of(place)
    if not stated:
        raise KeyProblem(f"{place} doesn't say its address")
    _emit(context, place, to_address("address", stated))


def _new_place(context: Context, path: Path | None) -> Path:
    place = (path or context.need_keystore()).expanduser()
    if place.exists():
        # Asked before any secret is typed; `keys` makes sure of it once more.
        raise KeyProblem(f"{place} exists already; keys are never overwritten")
    return place


def _new_password(context: Context) -> str:
    from scrip import keys

    if context.password_file is not None:
        return keys.read_password(password_file=context.password_file)
    if context.password_set:
        return keys.read_password(password_env=PASSWORD_VARIABLE)
    return context.ask_secret("Password for the new keystore", twice=True)


def _read_secret(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyProblem(f"key file {path}: {type(error).__name__}") from None


def _done(context: Context, place: Path, address: str) -> None:
    _emit(context, place, address)
    context.say(f"Next: send it coin for gas and payment tokens, then: scrip --keystore {place} balance")


def _emit(context: Context, place: Path, address: str) -> None:
    context.emit(
        {"address": address, "keystore": str(place)},
        lambda console: facts(console, [("address", address), ("keystore", str(place))]),
    )
