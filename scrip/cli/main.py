"""Entry point of the `scrip` command: the global options and the commands' files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from scrip.cli import (
    audit,
    balance,
    budgets,
    buy,
    disputes,
    eligibility,
    issuing,
    jobs,
    keys,
    offers,
    operating,
    prices,
    profile,
    redeem,
    report,
    sessions,
    transfer,
    verify,
)
from scrip.cli.context import DEFAULT_DEPLOYMENT, DEFAULT_RPC, PASSWORD_VARIABLE, Context, default_state
from scrip.cli.group import NAME, Root
from scrip.cli.profiles import chosen

app = typer.Typer(
    name=NAME,
    cls=Root,
    help="Compute credits: buy them, redeem them for metered work, check the receipts.",
    epilog="Example: scrip class list",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(issuing.app, name="class")
buy.add_to(app)
transfer.add_to(app)
app.add_typer(offers.app, name="offer")
balance.add_to(app)
redeem.add_to(app)
app.add_typer(budgets.app, name="budget")
app.add_typer(jobs.app, name="job")
verify.add_to(app)
app.add_typer(sessions.app, name="session")
app.add_typer(disputes.app, name="dispute")
app.add_typer(operating.app, name="provider")
app.add_typer(prices.app, name="watcher")
report.add_to(app)
app.add_typer(audit.app, name="audit")
app.add_typer(eligibility.app, name="eligibility")
app.add_typer(keys.app, name="key")
app.add_typer(profile.app, name="profile")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {version()}")
        raise typer.Exit


def version() -> str:
    """Version of the installed package; "unknown" in a checkout that was never installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(NAME)
    except PackageNotFoundError:
        return "unknown"


@app.callback()
def main_options(
    ctx: typer.Context,
    profile_name: Annotated[
        str | None,
        typer.Option(
            "--profile", envvar="SCRIP_PROFILE", help="Where the rest of this comes from; see: scrip profile."
        ),
    ] = None,
    rpc: Annotated[
        str | None,
        typer.Option(envvar="SCRIP_RPC", help="URL of a node.", show_default=DEFAULT_RPC),
    ] = None,
    deployment: Annotated[
        Path | None,
        typer.Option(
            envvar="SCRIP_DEPLOYMENT",
            help="Addresses: a file, or a folder with one per chain.",
            show_default=str(DEFAULT_DEPLOYMENT),
        ),
    ] = None,
    keystore: Annotated[
        Path | None, typer.Option(envvar="SCRIP_KEYSTORE", help="Your encrypted key.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            envvar="SCRIP_PASSWORD_FILE",
            help=f"File with its password; or put it in {PASSWORD_VARIABLE}, or type it when asked.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(envvar="SCRIP_STATE", help="Folder that remembers unfinished transactions."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs; errors too, on stderr.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Build the context once, from options and variables."""
    # Errors carry what a person needs; without this Python prints our warnings to stderr as well.
    logging.getLogger("scrip").addHandler(logging.NullHandler())
    # `scrip profile` mends a profile that is broken, so it must not need one.
    known = (
        {} if ctx.invoked_subcommand in ("profile", "key") and profile_name is None else chosen(profile_name)
    )
    keystore = keystore or _path(known, "keystore")
    ctx.obj = Context(
        rpc=rpc or known.get("rpc", DEFAULT_RPC),
        deployment=deployment or _path(known, "deployment") or DEFAULT_DEPLOYMENT,
        keystore=keystore,
        password_file=password_file,
        password_set=bool(os.environ.get(PASSWORD_VARIABLE)),
        state=state or _path(known, "state") or default_state(),
        as_json=as_json,
    )


def _path(profile: Mapping[str, str], key: str) -> Path | None:
    return Path(profile[key]) if profile.get(key) else None


def main() -> None:
    """Run the command line and exit with its status."""
    app()


if __name__ == "__main__":
    main()
