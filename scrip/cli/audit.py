"""`scrip audit`: a file that links every settled unit to what was signed for it, and its check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import clean, facts
from scrip.cli.since import SINCE_HELP
from scrip.errors import ScripError

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.audit.verify import Audit

MOST_SHOWN = 100
"""Failures after which a check stops: a file that bad isn't worth more."""

app = sub_app(
    "Audit: every settled unit with its receipt and signatures.", example="scrip audit export audit.jsonl"
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The audit file.")]


class AuditFailed(ScripError):
    """A file fails checks, which were shown."""

    def __init__(self, path: Path, count: int) -> None:
        super().__init__(f"{path} fails {count} check{'s' if count != 1 else ''}. Don't rely on it")


@command(app, "export", example="scrip audit export audit.jsonl --since 30d")
def export(
    ctx: typer.Context,
    file: File,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help=f"{SINCE_HELP} For a new file.")] = None,
    from_block: Annotated[
        int | None, typer.Option(min=0, metavar="BLOCK", help="Where a new file begins.", show_default=False)
    ] = None,
    to_block: Annotated[
        int | None,
        typer.Option(min=0, metavar="BLOCK", help="Last block; by default the newest final one."),
    ] = None,
    sign: Annotated[bool, typer.Option("--sign", help="Sign the seal with the keystore's key.")] = False,
) -> None:
    """Write every settlement to a file or, if it exists, append those that came since. It rewrites nothing.

    What the file holds is checked first. Keep the head that is shown elsewhere: with it a file that was cut
    short or replaced is found out (scrip audit verify --head).
    """
    from scrip.audit.export import export as write
    from scrip.cli.since import first_block
    from scrip.errors import BadInput

    context = Context.of(ctx)
    chain = context.chain()
    if since is not None:
        if from_block is not None:
            raise BadInput("--since", since, "given without --from-block")
        from_block = first_block(chain.at(), since)
    signer = context.account(chain.chain_id) if sign else None
    done = write(chain, file, first=from_block, last=to_block, signer=signer)
    book = done.book
    data = {
        "file": str(file), "added": done.added, "settlements": book.settlements, "head": done.head,
        "fromBlock": book.header["fromBlock"], "toBlock": book.seal["toBlock"],
        "burned": book.seal["burned"], "unlinked": book.unlinked,
    }  # fmt: skip
    said = f"{done.added} settlements added" if done.added else "no new settlements"
    context.emit(data, lambda console: _show(console, said, data))


@command(app, "verify", example="scrip audit verify audit.jsonl")
def verify(
    ctx: typer.Context,
    file: File,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no node: check the file by itself.")
    ] = False,
    bundles: Annotated[
        str | None,
        typer.Option(metavar="DIR|URL", help="Check evidence too: a folder with JOB.json, or a provider."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="A head that an export showed: the file must go on from it."),
    ] = None,
    signer: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Who must have signed the last seal.")
    ] = None,
) -> None:
    """Check a file: its chain of hashes, receipts and signatures, then every burn on chain.

    Exits 1 if one fails. Each failure is a line: where it is, which check fails, and how.
    """
    from scrip.audit.verify import Audit
    from scrip.structs import to_address, to_bytes

    context = Context.of(ctx)
    audit = Audit(
        file,
        None if offline else context.chain(),
        _source(context, bundles),
        None if head is None else "0x" + to_bytes("--head", head, 32).hex(),
        None if signer is None else to_address("--signer", signer),
    )
    found = []
    for problem in audit.problems():
        found.append(problem)
        if not context.as_json:
            typer.echo(clean(str(problem)))
        if len(found) == MOST_SHOWN:
            break
    data = _data(audit, offline=offline) | {
        "ok": not found,
        "failures": [{"line": one.line, "check": one.check, "detail": one.detail} for one in found],
    }
    if context.as_json or not found:
        context.emit(data, lambda console: _show(console, "every check holds", data))
    if found:
        raise AuditFailed(file, len(found))


def _source(context: Context, where: str | None) -> Any:
    """Evidence at a provider is for a job's parties: with a keystore, the requests are signed."""
    from scrip.audit.evidence import source
    from scrip.signed_requests import SignedBy

    if where is None or not where.startswith(("http://", "https://")) or context.keystore is None:
        return None if where is None else source(where)
    chain = context.chain()
    account = context.account(chain.chain_id)
    return source(where, SignedBy(account, chain.chain_id, chain.address("JobMarket")))


def _data(audit: Audit, *, offline: bool) -> dict[str, Any]:
    from scrip.audit.book import signed_by

    book = audit.book
    return {
        "file": str(audit.path), "offline": offline, "settlements": book.settlements, "head": book.head,
        "fromBlock": book.header.get("fromBlock"), "toBlock": book.seal.get("toBlock"),
        "burned": book.seal.get("burned", {}), "unlinked": book.unlinked, "bundles": audit.bundles_held,
        "signedBy": signed_by(book) if book.seal and book.header else None,
    }  # fmt: skip


def _show(console: Console, said: str, data: dict[str, Any]) -> None:
    console.print(f"{data['file']}: {said}", style="bold")
    rows = [
        ("settlements", str(data["settlements"])),
        ("blocks", f"{data['fromBlock']} to {data['toBlock']}"),
        *((f"burned of class {key}", f"{units} units") for key, units in data["burned"].items()),
        ("head", data["head"]),
    ]
    if data["unlinked"]:
        rows.append(
            ("unlinked", f"{data['unlinked']}: the node shows no receipt or voucher in their calldata")
        )
    if data.get("bundles"):
        rows.append(("bundles", f"{data['bundles']} match their evidence roots"))
    if data.get("signedBy"):
        rows.append(("signed by", data["signedBy"]))
    facts(console, rows)
