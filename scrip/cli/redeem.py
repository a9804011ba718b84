"""`scrip redeem`: credits for work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import Tokens, clean, hexed
from scrip.errors import KeyProblem, Refused, ScripError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from scrip.chain import Chain
    from scrip.cli.choosing import Candidate
    from scrip.redeem import Plan
    from scrip.spec import JobSpec
    from scrip.types import ClassInfo, Status

WAIT_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job as it was asked for. `payer` is the account's own address, or the owner of `budget`."""

    payer: str
    provider: str
    class_id: int
    spec: JobSpec
    units: int
    resources: int
    budget: int


class EvidenceMissing(ScripError):
    """A job has ended, and its provider doesn't give the evidence and the output."""


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    example = "scrip --keystore key.json redeem 1 hash.chain --param steps=20000 --param seed=$SEED --yes"
    command(app, "redeem", example=example, sends=True)(redeem_credits)


def redeem_credits(
    ctx: typer.Context,
    class_id: Annotated[int, typer.Argument(metavar="CLASS", min=1, help="Id of the class to pay with.")],
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="What to run; see: scrip provider show.")
    ],
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter; may be repeated.")
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A parameter whose value is a text file's content."),
    ] = None,
    params: Annotated[Path | None, typer.Option(help="JSON file with an object of parameters.")] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Who does it; by default the one with most stake.")
    ] = None,
    most: Annotated[
        str | None,
        typer.Option("--max", metavar="CREDITS", help="Most to lock; by default what the job can use."),
    ] = None,
    resources: Annotated[int, typer.Option(min=1, help="GPUs or cores the job may use at once.")] = 1,
    budget: Annotated[
        int, typer.Option(min=0, help="Spend the credits of this budget's owner, as its spender.")
    ] = 0,
    output: Annotated[Path | None, typer.Option(help="Save the output to this file.")] = None,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds to wait for the job.")] = WAIT_SECONDS,
    detach: Annotated[bool, typer.Option("--detach", help="Open the job, print its id, don't wait.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
) -> None:
    """Have work done for credits, wait for it, check its evidence, print output and receipt."""
    from scrip.cli import choosing
    from scrip.cli.waiting import follow
    from scrip.spec import JobSpec

    context = Context.of(ctx)
    yes = yes or context.dry_run
    if not yes and not context.interactive:
        raise typer.BadParameter("nobody can confirm here: add --yes", param_hint="--yes")
    chain = context.chain()
    view = chain.at()
    info = view.class_info(class_id)
    candidate = choosing.pick(view, info, template, provider)
    details = candidate.offer.details.get(template, {}) if candidate.offer else {}
    spec = JobSpec(template, choosing.parameters(details, param or [], file or [], params))
    payer = view.budget(budget).owner if budget else context.address()
    held = view.available(payer, class_id)
    units = _units(info, most, held, lambda: choosing.default_units(info, details, spec.params, resources))
    if not yes:
        _confirm(chain, info, candidate, spec, units)
    job = Wanted(payer, candidate.provider.address, class_id, spec, units, resources, budget)
    planned, opened, account = _open(context, chain, job)
    if detach:
        opened_id = hexed(planned.job_id)
        data = {"jobId": opened_id, "transaction": hexed(opened) if opened else None}
        context.emit(data, lambda out: out.print(opened_id))
        context.say(f"It goes on by itself. See: scrip job watch {opened_id}")
        return
    status = follow(context, chain, planned.job_id, timeout=timeout, since=planned.since)
    _finish(context, chain, info, planned, opened, status, account, output)


def _units(info: ClassInfo, most: str | None, held: int, needed: Callable[[], int]) -> int:
    """Base units to lock. Seconds are cut to what is free, because a provider then runs for less long."""
    from scrip.amounts import format_units, parse_units
    from scrip.types import Resource

    decimals = info.terms.decimals
    if most is not None:
        units = parse_units(most, decimals)
    else:
        units = needed()
        timed = info.terms.resource in (Resource.GPU_SECOND, Resource.CPU_SECOND)
        units = min(units, held) if timed and held else units
    if not 0 < units <= held:
        short = format_units(max(1, units - held), decimals)
        raise Refused(
            f"the job may use {format_units(units, decimals)} credits of class {info.class_id}, you have "
            f"{format_units(held, decimals)} free. Buy more: scrip buy {info.class_id} {short}"
        )
    return units


def _confirm(chain: Chain, info: ClassInfo, candidate: Candidate, spec: JobSpec, units: int) -> None:
    from scrip.amounts import cost, format_units
    from scrip.types import Resource

    terms = info.terms
    token = Tokens(chain.at()).at(terms.payment_token)
    worth = token.text(cost(units, terms.price_per_million, terms.decimals))
    name = clean(candidate.offer.name) if candidate.offer else ""
    replayed = candidate.offer and candidate.offer.simulated and terms.resource is Resource.GPU_SECOND
    warning = " Its telemetry is SIMULATED." if replayed else ""
    question = (
        f"Run {spec.template} at {name} {candidate.provider.address} for at most "
        f"{format_units(units, terms.decimals)} {terms.resource.label}s of class {info.class_id} "
        f"({worth} at the class's price)?{warning}"
    )
    if not typer.confirm(question, default=True, err=True):
        raise Refused("not confirmed, nothing was sent")


def _open(context: Context, chain: Chain, job: Wanted) -> tuple[Plan, bytes | None, LocalAccount]:
    from scrip import redeem
    from scrip.cli.sending import sending

    with sending(context, chain, "open") as (sender, account):
        if account.address != context.address():
            raise KeyProblem(f"{context.keystore} states another address than its key's, {account.address}")
        planned = redeem.plan(
            chain, job.payer, job.provider, job.class_id, job.spec, job.units, resources=job.resources,
            budget_id=job.budget,
        )  # fmt: skip
        context.say(f"opening job {hexed(planned.job_id)}")
        return planned, redeem.open_job(chain, sender, planned), account


def _finish(
    context: Context,
    chain: Chain,
    info: ClassInfo,
    planned: Plan,
    opened: bytes | None,
    status: Status,
    account: LocalAccount,
    output: Path | None,
) -> None:
    from scrip import redeem
    from scrip.cli import receipts
    from scrip.provider_client import ProviderUnreachable
    from scrip.types import Status

    job = hexed(planned.job_id)
    if status not in (Status.SETTLED, Status.REFUNDED):
        raise Refused(f"job {job} ended {status.name.lower()}, its credits are back")
    try:
        result = redeem.collect(chain, planned, account)
    except ProviderUnreachable as error:
        raise EvidenceMissing(
            f"job {job} is {status.name.lower()}, but {error}. Later: scrip job show {job}"
        ) from None
    finished = receipts.of_redemption(chain, info, result, opened)
    receipts.save_output(finished, output)
    context.emit(finished.to_json(), lambda out: receipts.print_all(out, finished, output))
    if not finished.completed:
        raise Refused(f"job {job} failed; its credits are back. See: scrip job show {job}")
