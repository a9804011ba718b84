"""`scrip profile`: a name for each chain you use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import clean, facts, table
from scrip.cli.profiles import KEYS, Profiles, place
from scrip.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

app = sub_app("Profiles: node, deployment, key and state of a chain, by name.", example="scrip profile list")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and dashes.")]


@command(app, "list", example="scrip profile list")
def list_profiles(ctx: typer.Context) -> None:
    """List the profiles; the one in use is marked."""
    context, known = Context.of(ctx), Profiles.load()
    data = {"file": str(place()), "current": known.current or None, "profiles": known.profiles}

    def show(console: Console) -> None:
        if not known.profiles:
            console.print("No profiles yet. Make one: scrip profile add NAME --node URL")
            return
        made = table("", "name", *KEYS)
        for name, values in sorted(known.profiles.items()):
            shown = (clean(values.get(key, "")) for key in KEYS)
            made.add_row("*" if name == known.current else "", name, *shown)
        console.print(made)

    context.emit(data, show)


@command(app, "add", example="scrip profile add local --node http://127.0.0.1:8545 --key key.json")
def add(
    ctx: typer.Context,
    name: Name,
    node: Annotated[str | None, typer.Option(help="URL of a node; ${NAME} stands for a variable.")] = None,
    addresses: Annotated[Path | None, typer.Option(help="Deployment file, or folder with them.")] = None,
    key: Annotated[Path | None, typer.Option(help="Keystore: the encrypted file, never the key.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder for unfinished transactions.")] = None,
) -> None:
    """Add a profile, or replace one. It holds places only, no key and no password."""
    values = {"rpc": node, "deployment": addresses, "keystore": key, "state": folder}
    given = {key: _text(value) for key, value in values.items() if value is not None}
    if not given:
        raise BadInput("profile", name, "given at least one of --node, --addresses, --key, --folder")
    known = Profiles.load().with_profile(name, given)
    _saved(ctx, known, name)


@command(app, "use", example="scrip profile use local")
def use(ctx: typer.Context, name: Name) -> None:
    """Use a profile from now on; --profile or SCRIP_PROFILE chooses another for one command."""
    _saved(ctx, Profiles.load().using(name), name)


@command(app, "remove", example="scrip profile remove local")
def remove(ctx: typer.Context, name: Name) -> None:
    """Forget a profile. Its keystore and its state stay where they are."""
    _saved(ctx, Profiles.load().without(name), name)


def _text(value: str | Path) -> str:
    """Places are kept whole, so that a profile means the same in every folder."""
    return value if isinstance(value, str) else str(value.expanduser().absolute())


def _saved(ctx: typer.Context, known: Profiles, name: str) -> None:
    path = known.save()
    values = known.profiles.get(name)
    data: dict[str, Any] = {"profile": name, "current": known.current or None, "values": values}
    rows = [("file", str(path)), ("in use", known.current or "none")]
    rows += [(f"{name} {key}", clean(value)) for key, value in (values or {}).items()]
    Context.of(ctx).emit({**data, "file": str(path)}, lambda console: facts(console, rows))
