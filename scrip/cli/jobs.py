"""`scrip job`: redemptions that were opened, by anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import clean, facts, hexed, table, units_json, utc

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.chain import Chain
    from scrip.cli.receipts import Finished
    from scrip.jobs import Opening
    from scrip.types import ClassInfo, JobState, JobTerms

PARTIES_ONLY = "Its evidence and output are for the job's parties: give one's key with --keystore"

app = sub_app("Jobs: redemptions and their receipts.", example="scrip job list")

JobArgument = Annotated[str, typer.Argument(metavar="JOBID", help="Id of the job, 0x and 64 hex digits.")]
LISTED = 20
WAIT_SECONDS = 900


@command(app, "list", example="scrip --keystore key.json job list")
def list_jobs(
    ctx: typer.Context,
    payer: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Whose jobs; by default the keystore's account's, or all."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only jobs of this provider.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest.")] = LISTED,
) -> None:
    """List jobs with their state, the newest last."""
    from scrip import jobs
    from scrip.structs import to_address

    context = Context.of(ctx)
    filters: dict[str, object] = {}
    if payer or context.keystore:
        filters["payer"] = to_address("payer", payer) if payer else context.address()
    if provider:
        filters["provider"] = to_address("provider", provider)
    view = context.chain().at()
    opened = jobs.openings(view, **filters)
    newest = opened[-limit:]
    infos = {class_id: view.class_info(class_id) for class_id in {job.terms.class_id for job in newest}}
    states = jobs.states(view, newest)
    found = [(job.job_id, job.terms, states[job.job_id], infos[job.terms.class_id]) for job in newest]
    context.emit(
        {"block": view.block, "total": len(opened), "jobs": [_row_json(*item) for item in found]},
        lambda console: _show_list(console, found, len(opened)),
    )


@command(app, "show", example="scrip --keystore key.json job show $JOB --output answer.txt")
def show_job(
    ctx: typer.Context,
    job_id: JobArgument,
    output: Annotated[Path | None, typer.Option(help="Save the output to this file.")] = None,
) -> None:
    """Show a job: its state and terms, and once it has ended the receipt, checked against the chain."""
    from scrip import jobs
    from scrip.cli import receipts
    from scrip.structs import to_bytes

    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    opening = jobs.opening(view, to_bytes("job id", job_id, 32))
    job, terms, opened = opening.job_id, opening.terms, opening.tx_hash
    state = jobs.states(view, [opening])[job]
    info = view.class_info(terms.class_id)
    finished, problem, said = _ask(context, chain, opening, state, info)
    data = {**_row_json(job, terms, state, info), "openedIn": hexed(opened), "terms": terms.to_json()}
    if finished is not None:
        receipts.save_output(finished, output)
        data |= finished.to_json()
    data |= {"provider": terms.provider, "providerSays": said, "problem": problem or None}
    next_step = _next_step(state, terms, view.time(), job)

    def show(console: Console) -> None:
        console.print(f"Job {hexed(job)}", style="bold")
        facts(console, _terms_rows(terms, state, info, opened))
        if finished is not None:
            console.print()
            receipts.print_all(console, finished, output)
        for text in filter(None, (said and f"The provider says: {said}", problem, next_step)):
            console.print(clean(text), style="yellow", soft_wrap=True)

    context.emit(data, show)


@command(app, "expire", example="scrip --keystore key.json job expire $JOB", sends=True)
def expire(ctx: typer.Context, job_id: JobArgument) -> None:
    """End a job whose deadline has passed; its credits go back to the payer. Anyone may."""
    _end(Context.of(ctx), job_id, "expire")


@command(app, "cancel", example="scrip --keystore key.json job cancel $JOB", sends=True)
def cancel(ctx: typer.Context, job_id: JobArgument) -> None:
    """End your own job that no provider has taken yet; its credits come back."""
    _end(Context.of(ctx), job_id, "cancel")


@command(app, "finalize", example="scrip --keystore key.json job finalize $JOB", sends=True)
def finalize(ctx: typer.Context, job_id: JobArgument) -> None:
    """Settle a job whose challenge window has passed, or whose dispute nobody decided in time. Anyone may."""
    _end(Context.of(ctx), job_id, "finalize")


@command(app, "watch", example="scrip job watch $JOB --timeout 60")
def watch(
    ctx: typer.Context,
    job_id: JobArgument,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds to wait at most.")] = WAIT_SECONDS,
) -> None:
    """Follow a job until it has ended, and say how. Interrupting it leaves the job as it is."""
    from scrip import jobs
    from scrip.amounts import format_units
    from scrip.cli.waiting import follow
    from scrip.structs import to_bytes

    context = Context.of(ctx)
    chain = context.chain()
    opening = jobs.opening(chain.at(), to_bytes("job id", job_id, 32))
    status = follow(context, chain, opening.job_id, timeout=timeout, since=opening.block)
    info = chain.at().class_info(opening.terms.class_id)
    ending = jobs.ending(chain.at(), opening.job_id, opening.block)
    used = ending.units if ending else 0
    decimals = info.terms.decimals
    data = {
        "jobId": hexed(opening.job_id),
        "status": status.name,
        "used": units_json(used, decimals),
        "returned": units_json(opening.terms.max_units - used, decimals),
        "endedIn": hexed(ending.tx_hash) if ending else None,
    }
    locked = format_units(opening.terms.max_units, decimals)
    rows = [
        ("job", hexed(opening.job_id)),
        ("state", status.name.lower()),
        ("used", f"{format_units(used, decimals)} of {locked} credits"),
        ("receipt", f"scrip job show {hexed(opening.job_id)}"),
    ]
    context.emit(data, lambda console: facts(console, rows))


def _ask(
    context: Context, chain: Chain, opening: Opening, state: JobState, info: ClassInfo
) -> tuple[Finished | None, str, str]:
    """The checked receipt of an ended job, what kept us from it, and what the provider says of it.

    Evidence that doesn't hold is no mishap: EvidenceInvalid is raised.
    """
    from scrip import provider_client, redeem
    from scrip.cli import receipts
    from scrip.errors import EvidenceInvalid, ScripError
    from scrip.types import Status

    if state.status in (Status.CANCELLED, Status.EXPIRED):
        return None, "", ""
    job, terms = opening.job_id, opening.terms
    try:
        endpoint = provider_client.discover(chain.at().provider(terms.provider)).endpoint
        if not state.status.final:
            return None, "", _said(endpoint, job)
        if context.keystore is None:
            return None, PARTIES_ONLY, _said(endpoint, job)
        account = context.account(chain.chain_id)
        found = redeem.evidence(chain, job, terms, endpoint, account, opening.block)
    except EvidenceInvalid:
        raise
    except ScripError as error:
        return None, f"No receipt shown: {error}", ""
    bundle = found.bundle
    signatures = receipts.signed(chain, job, found.ending, info)
    return (
        receipts.Finished(
            job, terms, info, found.ending, bundle.receipt, bundle.simulated, found.checks, bundle.output,
            signatures, opening.tx_hash,
        ),
        "",
        "",
    )  # fmt: skip


def _said(endpoint: str, job: bytes) -> str:
    from scrip.provider_client import ProviderClient

    with ProviderClient(endpoint) as client:
        answer = client.job(job)
    return " ".join(str(answer[key]) for key in ("state", "reason") if answer.get(key))


def _next_step(state: JobState, terms: JobTerms, now: int, job: bytes) -> str:
    from scrip.types import Status

    deadline = {Status.OPEN: terms.accept_by, Status.RUNNING: terms.submit_by}.get(state.status)
    if deadline is None:
        return ""
    if now > deadline:
        return f"Its deadline has passed. Get the credits back: scrip job expire {hexed(job)}"
    if state.status is Status.OPEN:
        return f"No provider has taken it yet. Take it back: scrip job cancel {hexed(job)}"
    return f"It must end by {utc(deadline)}; after that anyone can expire it."


def _end(context: Context, job_id: str, how: str) -> None:
    from scrip import jobs
    from scrip.amounts import format_units
    from scrip.cli.sending import sending
    from scrip.structs import to_bytes

    chain = context.chain()
    view = chain.at()
    opening = jobs.opening(view, to_bytes("job id", job_id, 32))
    job, terms = opening.job_id, opening.terms
    decimals = view.class_info(terms.class_id).terms.decimals
    with sending(context, chain, how) as (sender, _account):
        call = chain.contract("JobMarket").functions[how](terms.to_abi())
        tx_hash = bytes(sender.send(call, label=f"{how} {hexed(job)}")["transactionHash"])
    status = jobs.status(chain.at(), job, opening.block)
    ending = jobs.ending(chain.at(), job, opening.block)
    returned = terms.max_units - (ending.units if ending else 0)
    rows = [
        ("job", hexed(job)),
        ("state", status.name.lower()),
        ("returned", f"{format_units(returned, decimals)} credits to {terms.payer}"),
        ("transaction", hexed(tx_hash)),
    ]
    context.emit(
        {
            "jobId": hexed(job),
            "status": status.name,
            "returned": units_json(returned, decimals),
            "payer": terms.payer,
            "transaction": hexed(tx_hash),
        },
        lambda console: facts(console, rows),
    )


def _row_json(job: bytes, terms: JobTerms, state: JobState, info: ClassInfo) -> dict[str, Any]:
    return {
        "jobId": hexed(job),
        "status": state.status.name,
        "openedAt": str(state.opened_at),
        "class": str(terms.class_id),
        "payer": terms.payer,
        "provider": terms.provider,
        "locked": units_json(terms.max_units, info.terms.decimals),
    }


def _show_list(
    console: Console, found: list[tuple[bytes, JobTerms, JobState, ClassInfo]], total: int
) -> None:
    from scrip.amounts import format_units

    if not found:
        console.print("No jobs.")
        return
    made = table("job", "state", "opened", "class", "locked", "provider", right=("class", "locked"))
    for job, terms, state, info in found:
        locked = format_units(terms.max_units, info.terms.decimals)
        made.add_row(hexed(job), state.status.name.lower(), utc(state.opened_at), str(terms.class_id), locked,
                     terms.provider)  # fmt: skip
    console.print(made)
    if total > len(found):
        console.print(f"{total - len(found)} older ones: --limit {total}", style="dim")


def _terms_rows(terms: JobTerms, state: JobState, info: ClassInfo, opened: bytes) -> list[tuple[str, str]]:
    from scrip.amounts import format_units

    locked = format_units(terms.max_units, info.terms.decimals)
    return [
        ("state", state.status.name.lower()),
        ("class", f"{info.class_id} {clean(info.terms.name)}"),
        ("payer", terms.payer),
        ("provider", terms.provider),
        ("locked", f"{locked} credits ({info.terms.resource.label}s), {terms.resources} resources at most"),
        ("opened", f"{utc(state.opened_at)} in {hexed(opened)}"),
        ("accept by", utc(terms.accept_by)),
        ("submit by", utc(terms.submit_by)),
        ("spec hash", hexed(terms.spec_hash)),
    ]
