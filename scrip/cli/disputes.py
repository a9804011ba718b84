"""`scrip dispute`: a receipt is wrong: challenge it with a bond; arbiters decide by signed verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.acting import Act, Approval, report, send, stake_token
from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.jobs import JobArgument
from scrip.cli.output import facts, hexed, units_json, utc

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.jobs import Opening
    from scrip.types import ClassTerms, Verdict

app = sub_app("Disputes: challenge a receipt, and decide who was wrong.", example="scrip dispute show $JOB")
verdicts = sub_app(
    "Verdicts of arbiters.", example="scrip --keystore key.json dispute verdict submit verdict.json"
)
app.add_typer(verdicts, name="verdict")

VerdictFile = Annotated[Path, typer.Argument(metavar="FILE", help="File with the verdict.")]


@command(app, "open", example="scrip --keystore key.json dispute open $JOB", sends=True)
def open_dispute(ctx: typer.Context, job_id: JobArgument) -> None:
    """Challenge a receipt within its window. You pay a bond, and lose it if the arbiters find you wrong."""
    context = Context.of(ctx)
    chain = context.chain()
    opening = _job(chain, job_id)
    token = stake_token(chain)
    bond = int(chain.at().read("ProviderRegistry", "CHALLENGE_BOND"))
    act = Act(
        "JobMarket", "challenge", (opening.terms.to_abi(),), f"challenge {hexed(opening.job_id)}",
        Approval("ProviderRegistry", token.address, bond),
    )  # fmt: skip
    receipt = send(context, chain, act)
    dispute = chain.at().dispute(opening.job_id)
    data = {
        "jobId": hexed(opening.job_id), "bond": token.to_json(bond), "decideBy": str(dispute.decide_by),
    }  # fmt: skip
    rows = [
        ("job", hexed(opening.job_id)),
        ("bond", token.text(bond)),
        ("decided by", utc(dispute.decide_by)),
    ]
    report(context, receipt, data, rows)


@command(app, "show", example="scrip dispute show $JOB")
def show(ctx: typer.Context, job_id: JobArgument) -> None:
    """Show what is claimed about a job, who challenged it, who decides and until when."""
    from scrip import jobs

    context = Context.of(ctx)
    chain = context.chain()
    view, opening = chain.at(), _job(chain, job_id)
    job, token = opening.job_id, stake_token(chain)
    terms = view.class_terms(opening.terms.class_id)
    submission, dispute = view.submission(job), view.dispute(job)
    status = jobs.status(view, job, opening.block)
    bond = int(view.read("ProviderRegistry", "bondOf", job))
    disputed = int(dispute.challenger, 16) != 0
    claimed = units_json(submission.units, terms.decimals)
    data = {
        "jobId": hexed(job), "status": status.name, "submitted": claimed,
        "assurance": submission.assurance, "finalizeAt": str(submission.finalize_at),
        "receiptHash": hexed(submission.receipt_hash), "arbiterSet": terms.arbiter_set,
        "challenger": dispute.challenger if disputed else None, "decideBy": str(dispute.decide_by),
        "bond": token.to_json(bond),
    }  # fmt: skip
    rows = [("job", hexed(job)), ("state", status.name.lower())]
    if submission.finalize_at:
        rows += [
            ("claimed", f"{claimed['credits']} credits, assurance {submission.assurance}"),
            ("open to challenge", f"until {utc(submission.finalize_at)}"),
        ]
    if disputed:
        rows += [("challenged by", dispute.challenger), ("bond", token.text(bond))]
        rows += [("decided by", f"watcher set {terms.arbiter_set}, until {utc(dispute.decide_by)}")]
    else:
        rows += [("challenged by", "nobody")]
    context.emit(data, lambda console: facts(console, rows))


@command(
    verdicts,
    "sign",
    example=(
        "scrip --keystore key.json dispute verdict sign verdict.json --job $JOB --units 0 --fault provider"
    ),
)
def sign_verdict(
    ctx: typer.Context,
    file: VerdictFile,
    job: Annotated[str | None, typer.Option(metavar="JOBID", help="The disputed job.")] = None,
    units: Annotated[str | None, typer.Option(help="Credits that are due, at most those claimed.")] = None,
    fault: Annotated[str | None, typer.Option(help="Who was wrong: provider, challenger or none.")] = None,
) -> None:
    """Sign a verdict as an arbiter. With a FILE that exists, add your signature to it."""
    from scrip.cli import signed_files
    from scrip.eip712 import sign
    from scrip.errors import Refused

    context = Context.of(ctx)
    chain = context.chain()
    said, signed = _read(chain, file) if file.exists() else (_verdict(chain, job, units, fault), {})
    terms = _class(chain, said.job_id)
    account = context.account(chain.chain_id)
    if not chain.at().read("ReceiptVerifier", "isWatcher", terms.arbiter_set, account.address):
        raise Refused(f"{account.address} isn't in arbiter set {terms.arbiter_set}. See: scrip watcher show")
    signature = sign(_digest(chain, said), account)
    signers = signed_files.add(file, "verdict", said.to_json(), signed, account.address, signature)
    need = chain.at().watcher_set(terms.arbiter_set).threshold
    rows = [*_rows(said, terms.decimals), ("signatures", f"{len(signers)}, {need} needed")]
    data = {"verdict": said.to_json(), "signers": signers, "needed": need, "file": str(file)}
    context.emit(data, lambda console: facts(console, rows))


@command(
    verdicts, "submit", example="scrip --keystore key.json dispute verdict submit verdict.json", sends=True
)
def submit_verdict(ctx: typer.Context, file: VerdictFile) -> None:
    """End a dispute as enough arbiters signed. Anyone may send it."""
    from scrip import jobs

    context = Context.of(ctx)
    chain = context.chain()
    said, signed = _read(chain, file)
    opening = jobs.opening(chain.at(), said.job_id)
    arguments = (opening.terms.to_abi(), said.to_abi(), list(signed.values()))
    receipt = send(context, chain, Act("JobMarket", "resolve", arguments, f"resolve {hexed(said.job_id)}"))
    status = jobs.status(chain.at(), said.job_id, opening.block)
    rows = [*_rows(said, _class(chain, said.job_id).decimals), ("state", status.name.lower())]
    data = {"verdict": said.to_json(), "signers": list(signed), "status": status.name}
    report(context, receipt, data, [*rows, ("next", "what is owed: scrip provider withdraw-award")])


def _job(chain: Chain, job_id: str) -> Opening:
    from scrip import jobs
    from scrip.structs import to_bytes

    return jobs.opening(chain.at(), to_bytes("job id", job_id, 32))


def _class(chain: Chain, job: bytes) -> ClassTerms:
    view = chain.at()
    return view.class_terms(view.job_terms(job).class_id)


def _verdict(chain: Chain, job: str | None, units: str | None, fault: str | None) -> Verdict:
    from scrip.amounts import parse_units
    from scrip.errors import BadInput
    from scrip.structs import to_bytes
    from scrip.types import Fault, Verdict

    if job is None or units is None or fault is None:
        raise BadInput("verdict sign", "a new FILE", "given all of --job, --units, --fault")
    kinds = {one.name.lower(): one for one in Fault}
    if fault not in kinds:
        raise BadInput("--fault", fault, f"one of {', '.join(kinds)}")
    key = to_bytes("--job", job, 32)
    return Verdict(key, parse_units(units, _class(chain, key).decimals), kinds[fault])


def _read(chain: Chain, file: Path) -> tuple[Verdict, dict[str, bytes]]:
    from scrip.cli import signed_files
    from scrip.types import Verdict

    data = signed_files.read(file, "verdict")
    said = Verdict.from_json(data["verdict"])
    return said, signed_files.signatures(data, _digest(chain, said))


def _digest(chain: Chain, said: Verdict) -> bytes:
    from scrip.eip712_watchers import verdict_digest

    return verdict_digest(said, chain.chain_id, chain.address("JobMarket"))


def _rows(said: Verdict, decimals: int) -> list[tuple[str, Any]]:
    due = units_json(said.units, decimals)["credits"]
    return [("job", hexed(said.job_id)), ("due", f"{due} credits"), ("at fault", said.fault.name.lower())]
