"""`scrip eligibility`: who may hold a class, and letting accounts in and out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import clean, facts, table, utc, yes_no
from scrip.errors import ScripError

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.chain import Chain
    from scrip.identity.acceptance import Attester
    from scrip.identity.eligibility import Answer, Gate

DAY_S, PROOF_S = 86_400, 3_600

app = sub_app("Eligibility: who may hold a class.", example="scrip eligibility check $ACCOUNT 2")

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Address of the account.")]
ClassId = Annotated[int, typer.Argument(metavar="CLASS", min=1, help="Id of the class.")]
Token = Annotated[Path, typer.Argument(metavar="CREDENTIAL", help="File with the credential, a JWT.")]
Issuers = Annotated[
    list[str], typer.Option("--issuer", metavar="DID", help="An issuer that you trust; several if repeated.")
]
Type = Annotated[str | None, typer.Option("--type", help="Type that a credential must have.")]
Lists = Annotated[
    list[Path] | None,
    typer.Option("--status-list", metavar="FILE", help="A status list, instead of fetching it from its URL."),
]


class StatusUnknown(ScripError):
    """Some credentials' status lists couldn't be had."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"the status of {count} credentials isn't known; they were left as they are. Try again"
        )


class IdentityPartMissing(ScripError):
    """The libraries that check credentials aren't installed."""

    def __init__(self, module: str | None) -> None:
        super().__init__(f"credentials need {module}, which isn't installed: pip install 'scrip[identity]'")


@command(app, "check", example="scrip eligibility check $ACCOUNT 2")
def check(ctx: typer.Context, account: Account, class_id: ClassId) -> None:
    """Say whether an account may receive credits of a class, and why."""
    from scrip.identity import eligibility
    from scrip.structs import to_address

    context = Context.of(ctx)
    who = to_address("ACCOUNT", account)
    _emit(context, who, class_id, eligibility.check(context.chain().at(), who, class_id))


@command(app, "list", example="scrip eligibility list 2")
def list_accounts(ctx: typer.Context, class_id: ClassId) -> None:
    """List accounts that were ever let through, with what holds now."""
    from scrip.identity import eligibility

    context = Context.of(ctx)
    view = context.chain().at()
    found = list(eligibility.listed(view, eligibility.need_gate(view, class_id), class_id))
    data = [_json(account, class_id, answer) for account, answer in found]
    context.emit({"class": str(class_id), "accounts": data}, lambda console: _table(console, data))


@command(
    app, "issue", example="scrip --keystore key.json eligibility issue $ACCOUNT 2 --days 365", sends=True
)
def issue(
    ctx: typer.Context,
    account: Account,
    class_id: ClassId,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="End of the attestation; by default it has none.")
    ] = None,
) -> None:
    """Let an account hold a class: attest it on EAS and register that, or put it on the class's list.

    As the attester, or the list's owner. The schema is registered first if EAS doesn't know it.
    """
    from scrip.cli.sending import sending
    from scrip.errors import Refused
    from scrip.identity import eligibility
    from scrip.structs import to_address

    context = Context.of(ctx)
    chain, who = context.chain(), to_address("ACCOUNT", account)
    gate = eligibility.need_gate(chain.at(), class_id)
    if days is not None and gate.kind == "list":
        raise Refused(f"the class has a list, {gate.address}, which knows no end. Leave --days out")
    expires = 0 if days is None else chain.at().time() + days * DAY_S
    with sending(context, chain, "eligibility") as (sender, _):
        eligibility.issue(chain, sender, gate, who, expires=expires)
    _emit(context, who, class_id, eligibility.check(chain.at(), who, class_id))


@command(app, "revoke", example="scrip --keystore key.json eligibility revoke $ACCOUNT 2", sends=True)
def revoke(ctx: typer.Context, account: Account, class_id: ClassId) -> None:
    """End an account's eligibility. It keeps what it holds, and can use, sell and reclaim it."""
    from scrip.cli.sending import sending
    from scrip.identity import eligibility
    from scrip.structs import to_address

    context = Context.of(ctx)
    chain, who = context.chain(), to_address("ACCOUNT", account)
    with sending(context, chain, "eligibility") as (sender, _):
        eligibility.revoke(chain, sender, eligibility.need_gate(chain.at(), class_id), who)
    _emit(context, who, class_id, eligibility.check(chain.at(), who, class_id))


@command(
    app, "prove", example="scrip --keystore key.json eligibility prove credential.jwt 2 --out proof.json"
)
def prove(
    ctx: typer.Context,
    credential: Token,
    class_id: ClassId,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the proof goes.")],
) -> None:
    """Sign, as the account that a credential is about, that you present it for a class. Holds an hour."""
    _need_extra()
    from scrip.eip712 import sign
    from scrip.errors import BadInput
    from scrip.identity import credentials, eligibility
    from scrip.identity.acceptance import Proof

    context = Context.of(ctx)
    chain = context.chain()
    gate = eligibility.need_gate(chain.at(), class_id)
    found = credentials.read(_text(credential))
    account = context.account(chain.chain_id)
    # The deadline is judged by the chain's clock, which on a quiet chain lags behind this machine's.
    deadline = max(int(time.time()), chain.at().time()) + PROOF_S
    message = credentials.proof_digest(found.digest, account.address, deadline, chain.chain_id, gate.address)
    proof = Proof(account.address, deadline, sign(message, account)).to_json()
    try:
        out.write_text(_dumped(proof), "utf-8")
    except OSError as error:
        raise BadInput("--out", str(out), f"a file that can be written ({error.strerror})") from None
    context.emit(proof, lambda console: facts(console, list(proof.items())))


@command(
    app,
    "accept-credential",
    example="scrip --keystore key.json eligibility accept-credential credential.jwt 2"
    " --proof proof.json --issuer $ISSUER",
    sends=True,
)
def accept_credential(
    ctx: typer.Context,
    credential: Token,
    class_id: ClassId,
    proof: Annotated[
        Path, typer.Option(metavar="FILE", help="The holder's proof (scrip eligibility prove).")
    ],
    issuer: Issuers,
    kind: Type = None,
    status_list: Lists = None,
) -> None:
    """Check a verifiable credential and let its holder hold the class, as long as the credential holds.

    Checked: signature, issuer, type, times, subject, the holder's proof, status. As the attester or owner.
    """
    _need_extra()
    from scrip.cli.sending import sending
    from scrip.identity import eligibility
    from scrip.identity.acceptance import Proof

    context = Context.of(ctx)
    chain = context.chain()
    gate = eligibility.need_gate(chain.at(), class_id)
    attester = _attester(context, chain, gate, issuer, kind, status_list)
    token, given = _text(credential), Proof.load(proof)
    with sending(context, chain, "eligibility") as (sender, _):
        account, _until = attester.accept(sender, token, given)
    _emit(context, account, class_id, eligibility.check(chain.at(), account, class_id))


@command(
    app, "recheck", example="scrip --keystore key.json eligibility recheck 2 --issuer $ISSUER", sends=True
)
def recheck(
    ctx: typer.Context, class_id: ClassId, issuer: Issuers, kind: Type = None, status_list: Lists = None
) -> None:
    """Look at every accepted credential again, and revoke on chain those that no longer hold."""
    _need_extra()
    from scrip.cli.sending import sending
    from scrip.identity import eligibility

    context = Context.of(ctx)
    chain = context.chain()
    gate = eligibility.need_gate(chain.at(), class_id)
    attester = _attester(context, chain, gate, issuer, kind, status_list)
    with sending(context, chain, "eligibility") as (sender, _):
        found = [{"account": who, "outcome": what, "why": why} for who, what, why in attester.recheck(sender)]
    context.emit({"class": str(class_id), "credentials": found}, lambda console: _rechecked(console, found))
    if unknown := sum(one["outcome"] == "unknown" for one in found):
        raise StatusUnknown(unknown)


def _need_extra() -> None:
    """Raise IdentityPartMissing without the extra `identity`."""
    from importlib.util import find_spec

    for module in ("cryptography", "jwt"):
        if find_spec(module) is None:
            raise IdentityPartMissing(module)


def _attester(
    context: Context, chain: Chain, gate: Gate, issuers: list[str], kind: str | None, lists: list[Path] | None
) -> Attester:
    from scrip.identity.acceptance import Attester, list_from
    from scrip.identity.credentials import TYPE
    from scrip.identity.status_lists import StatusLists

    folder = context.state / f"credentials-{chain.chain_id}-{gate.address}"
    known = dict(list_from(path) for path in lists or [])
    return Attester(chain, gate, folder, issuers, kind or TYPE, StatusLists(known))


def _text(path: Path) -> str:
    from scrip.errors import BadInput

    try:
        return path.read_text("ascii")
    except OSError as error:
        raise BadInput("CREDENTIAL", str(path), f"a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput("CREDENTIAL", str(path), "a file with a JWT") from None


def _dumped(data: dict[str, str]) -> str:
    import json

    return json.dumps(data, indent=1) + "\n"


def _json(account: str, class_id: int, answer: Answer) -> dict[str, Any]:
    return {
        "account": account, "class": str(class_id), "eligible": answer.eligible, "why": answer.why,
        "until": str(answer.until) if answer.until else None,
    }  # fmt: skip


def _emit(context: Context, account: str, class_id: int, answer: Answer) -> None:
    data = _json(account, class_id, answer)

    def show(console: Console) -> None:
        may = "may" if answer.eligible else "may not"
        console.print(f"{account} {may} receive credits of class {class_id}", style="bold")
        rows = [("why", clean(answer.why)), *([("until", utc(answer.until))] if answer.until else [])]
        facts(console, rows)

    context.emit(data, show)


def _table(console: Console, found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("No account was let through yet. Let one: scrip eligibility issue")
        return
    made = table("account", "eligible", "until", "why")
    for one in found:
        until = utc(int(one["until"])) if one["until"] else ""
        made.add_row(one["account"], yes_no(one["eligible"]), until, clean(one["why"]))
    console.print(made)


def _rechecked(console: Console, found: list[dict[str, str]]) -> None:
    if not found:
        console.print("No credential was accepted here yet.")
        return
    made = table("account", "credential", "why")
    for one in found:
        made.add_row(one["account"], one["outcome"], clean(one["why"]))
    console.print(made)
