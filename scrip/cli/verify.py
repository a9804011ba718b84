"""`scrip verify`: does the evidence of a job hold? Asks nobody but a node of the chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import clean, hexed, table

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.bundle import Bundle
    from scrip.errors import EvidenceInvalid
    from scrip.evidence import Check


def add_to(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "verify", example="scrip verify bundle.json")(verify)


def verify(
    ctx: typer.Context,
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="File or URL of an evidence bundle.")],
    market: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The JobMarket you trust; by default the one the bundle names."),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the bundle in this file, as it was given.")] = None,
) -> None:
    """Check a bundle against the chain: job, receipt, signatures, samples, output. Exits 1 if one fails.

    A provider shows evidence to the parties of its job only: for a URL of one, give a party's key with
    --keystore.
    """
    from scrip.errors import EvidenceInvalid
    from scrip.structs import to_address
    from scrip.verify import checks

    context = Context.of(ctx)
    known = None if market is None else to_address("--market", market)
    given = _read(context, bundle, known)
    _save(given, save)
    passed: list[Check] = []
    problem: EvidenceInvalid | None = None
    try:
        for check in checks(given, context.node_url(), market=known):
            passed.append(check)
    except EvidenceInvalid as invalid:
        problem = invalid
    context.emit(_json(given, passed, problem), lambda console: _show(console, given, passed, problem))
    if problem is not None:
        raise problem


def _read(context: Context, source: str, market: str | None) -> Bundle:
    from scrip.bundle import MAX_BUNDLE_BYTES, Bundle
    from scrip.errors import BadInput

    if source.startswith(("http://", "https://")):
        return _fetch(context, source, market)
    try:
        with Path(source).open("rb") as file:
            return Bundle.decode(file.read(MAX_BUNDLE_BYTES + 1))
    except OSError as error:
        raise BadInput("BUNDLE", source, f"a file that can be read, or a URL ({error.strerror})") from None


def _fetch(context: Context, url: str, market: str | None) -> Bundle:
    """The market is needed to sign the request: the one that is trusted, or the deployment's."""
    from scrip.errors import Refused
    from scrip.provider_client import fetch_bundle
    from scrip.signed_requests import SignedBy

    if context.keystore is None:
        try:
            return fetch_bundle(url)
        except Refused as refused:
            hint = "If it is for the job's parties, give one's key with --keystore"
            raise Refused(f"{refused.reason}. {hint}", refused.check) from None
    if market is None:
        chain = context.chain()
        chain_id, market = chain.chain_id, chain.address("JobMarket")
    else:
        chain_id = context.chain_id()
    return fetch_bundle(url, auth=SignedBy(context.account(chain_id), chain_id, market))


def _save(bundle: Bundle, target: Path | None) -> None:
    from scrip.errors import BadInput

    if target is None:
        return
    try:
        target.write_bytes(bundle.encode())
    except OSError as error:
        raise BadInput("--save", str(target), f"a file that can be written ({error.strerror})") from None


def _json(bundle: Bundle, passed: list[Check], problem: EvidenceInvalid | None) -> dict[str, Any]:
    return {
        "ok": problem is None,
        "jobId": hexed(bundle.job_id),
        "chainId": str(bundle.chain_id),
        "market": bundle.market,
        "simulated": bundle.simulated,
        "assurance": bundle.receipt.assurance,
        "receipt": bundle.receipt.to_json(),
        "checks": [{"name": check.name, "detail": check.detail} for check in passed],
        "failed": None if problem is None else {"name": problem.check, "detail": problem.detail},
    }


def _show(console: Console, bundle: Bundle, passed: list[Check], problem: EvidenceInvalid | None) -> None:
    from scrip.cli.receipts import SIMULATED

    console.print(f"Job {hexed(bundle.job_id)}", style="bold")
    if bundle.simulated:
        console.print(SIMULATED, style="bold yellow")
    show_checks(console, passed, problem)


def show_checks(console: Console, passed: list[Check], problem: EvidenceInvalid | None) -> None:
    """Print the checks that passed, and the one that didn't."""
    rows = table("", "check", "found")
    for check in passed:
        rows.add_row("ok", check.name, clean(check.detail))
    if problem is not None:
        rows.add_row("FAILED", problem.check, clean(problem.detail))
    console.print(rows)
    if problem is None:
        console.print(f"{len(passed)} checks passed", style="green")
