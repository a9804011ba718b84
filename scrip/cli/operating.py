"""`scrip provider`: what a provider does with its own registration, stake and earnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.acting import (
    Act,
    Approval,
    ClassId,
    TokenAmount,
    event,
    payment_token,
    report,
    send,
    stake_token,
)
from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import Tokens, clean, facts, table, utc
from scrip.cli.providers import app

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.chain import Chain
    from scrip.cli.output import Token

__all__ = ["app"]

Oracle = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Key that signs quotes and receipts.")]
Region = Annotated[str | None, typer.Option(help="Where your machines are, e.g. eu.")]
Registration = Annotated[str | None, typer.Option(help="URL of your registration file.")]
Sku = Annotated[list[str] | None, typer.Option(help="Hardware or model you serve; repeat.")]
To = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Who receives it; by default you.")]
Token_ = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Token that was earned.")]

URI = "http://127.0.0.1:8090/.well-known/agent-registration.json"


@command(
    app,
    "register",
    example=f"scrip --keystore key.json provider register --oracle $ORACLE --uri {URI} --sku test-cpu",
    sends=True,
)
def register(
    ctx: typer.Context,
    oracle: Annotated[str, typer.Option(metavar="ADDRESS", help="Key that signs quotes and receipts.")],
    uri: Annotated[str, typer.Option(help="URL of your registration file.")],
    sku: Sku = None,
    region: Annotated[str, typer.Option(help="Where your machines are, e.g. eu.")] = "any",
) -> None:
    """Register your account as a provider. The oracle key is hot and moves no funds: don't use this one."""
    from scrip.errors import BadInput
    from scrip.structs import to_address
    from scrip.types import region_bytes, sku_id

    context = Context.of(ctx)
    chain, signer = context.chain(), to_address("--oracle", oracle)
    if signer == context.address():
        raise BadInput(
            "--oracle", signer, "another key than the provider's: it lies on the machine that works"
        )
    arguments = (signer, region_bytes(region), uri, [sku_id(one) for one in sku or []])
    receipt = send(context, chain, Act("ProviderRegistry", "register", arguments, "register provider"))
    _record(context, chain, receipt)


@command(app, "update", example="scrip --keystore key.json provider update --oracle $ORACLE", sends=True)
def update(
    ctx: typer.Context, oracle: Oracle = None, uri: Registration = None, region: Region = None
) -> None:
    """Change your oracle key, URL or region; what isn't given stays. Another region forgets your SKUs."""
    from scrip.errors import BadInput
    from scrip.structs import to_address
    from scrip.types import region_bytes

    if oracle is None and uri is None and region is None:
        raise BadInput("provider update", "nothing", "given at least one of --oracle, --uri, --region")
    context = Context.of(ctx)
    chain = context.chain()
    known = chain.at().provider(context.address())
    signer = to_address("--oracle", oracle) if oracle else known.oracle
    place = known.region if region is None else region_bytes(region)
    act = Act(
        "ProviderRegistry", "update", (signer, place, known.uri if uri is None else uri), "update provider"
    )
    _record(context, chain, send(context, chain, act))


@command(app, "serve", example="scrip --keystore key.json provider serve 1", sends=True)
def serve(
    ctx: typer.Context,
    class_id: ClassId,
    stop: Annotated[bool, typer.Option("--stop", help="Serve its SKU no longer.")] = False,
) -> None:
    """Accept a class: say that you serve its SKU, if its region and its list admit you.

    A class asks for a SKU in a region; no other acceptance is on chain.
    """
    from scrip.errors import Refused

    context = Context.of(ctx)
    chain, me = context.chain(), context.address()
    view = chain.at()
    info, known = view.class_info(class_id), view.provider(me)
    if not stop:
        if not view.serving_terms(class_id, me).listed:
            raise Refused(
                f"class {info.label} lists the providers that may serve it, and {me} isn't among them"
            )
        if info.terms.region.strip(b"\0") and info.terms.region != known.region:
            raise Refused(
                f"class {info.label} is for region {info.terms.region_label}. Yours is another: "
                "scrip provider update --region"
            )
    act = Act("ProviderRegistry", "setSkus", ([info.terms.sku], not stop), f"serve class {class_id}")
    receipt = send(context, chain, act)
    able = chain.at().can_serve(me, class_id)
    rows = [("class", clean(info.label)), ("you may serve it", "yes" if able else "no")]
    report(context, receipt, {"class": str(class_id), "serves": able}, rows)


@command(app, "stake", example="scrip --keystore key.json provider stake 50", sends=True)
def stake(ctx: typer.Context, amount: TokenAmount) -> None:
    """Add to your stake: what stands behind your work, and what a verdict can take."""
    from scrip.amounts import parse_units

    context = Context.of(ctx)
    chain = context.chain()
    token = stake_token(chain)
    units = parse_units(amount, token.decimals)
    approval = Approval("ProviderRegistry", token.address, units)
    act = Act("ProviderRegistry", "stake", (units,), f"stake {units}", approval)
    _stakes(context, chain, send(context, chain, act), token)


@command(app, "unstake", example="scrip --keystore key.json provider unstake 20", sends=True)
def unstake(ctx: typer.Context, amount: TokenAmount) -> None:
    """Ask for stake back. It is yours after the delay: scrip provider withdraw-stake."""
    from scrip.amounts import parse_units

    context = Context.of(ctx)
    chain = context.chain()
    token = stake_token(chain)
    units = parse_units(amount, token.decimals)
    act = Act("ProviderRegistry", "unstake", (units,), f"unstake {units}")
    _stakes(context, chain, send(context, chain, act), token)


@command(app, "withdraw-stake", example="scrip --keystore key.json provider withdraw-stake", sends=True)
def withdraw_stake(ctx: typer.Context, to: To = None) -> None:
    """Pay out the stake whose delay is over."""
    context = Context.of(ctx)
    chain = context.chain()
    act = Act("ProviderRegistry", "withdrawStake", (_receiver(context, to),), "withdraw-stake")
    _stakes(context, chain, send(context, chain, act), stake_token(chain))


@command(app, "withdraw-award", example="scrip --keystore key.json provider withdraw-award", sends=True)
def withdraw_award(ctx: typer.Context, to: To = None) -> None:
    """Pay out bonds, rewards of disputes and compensations that are owed to you."""
    context = Context.of(ctx)
    chain = context.chain()
    receiver, token = _receiver(context, to), stake_token(chain)
    receipt = send(context, chain, Act("ProviderRegistry", "withdrawAward", (receiver,), "withdraw-award"))
    paid = int(event(chain, receipt, "ProviderRegistry", "AwardWithdrawn")["amount"])
    rows = [("paid out", token.text(paid)), ("to", receiver)]
    report(context, receipt, {"paid": token.to_json(paid), "to": receiver}, rows)


@command(app, "earnings", example="scrip --keystore key.json provider earnings")
def earnings(
    ctx: typer.Context,
    address: Annotated[
        str | None, typer.Argument(metavar="[ADDRESS]", help="By default the keystore's.", show_default=False)
    ] = None,
) -> None:
    """Show what an account has earned and not withdrawn, by token, and what it is owed of the stake token."""
    from scrip.amounts import format_units
    from scrip.structs import to_address

    context = Context.of(ctx)
    chain = context.chain()
    who = to_address("address", address) if address else context.address()
    view = chain.at()
    tokens, bps = Tokens(view), view.fee_bps()
    places = {view.class_terms(class_id).payment_token for class_id in view.class_ids()}
    found = [(tokens.at(at), view.earnings(who, at)) for at in sorted(places) if int(at, 16)]
    staked, award = stake_token(chain), int(view.read("ProviderRegistry", "awardOf", who))
    data = {
        "address": who, "block": view.block, "earnings": [token.to_json(amount) for token, amount in found],
        "award": staked.to_json(award), "withdrawalFeeBps": bps,
    }  # fmt: skip

    def show(console: Console) -> None:
        made = table("earned", "fee", "you would get", right=("earned", "fee", "you would get"))
        for token, amount in found:
            fee = amount * bps // 10_000
            made.add_row(token.text(amount), token.text(fee), token.text(amount - fee))
        console.print(made)
        rows = [("fee", f"{format_units(bps, 2)} %"), ("awards", staked.text(award))]
        facts(console, [*rows, ("next", "scrip provider withdraw, scrip provider withdraw-award")])

    context.emit(data, show)


@command(app, "withdraw", example="scrip --keystore key.json provider withdraw", sends=True)
def withdraw(
    ctx: typer.Context,
    amount: Annotated[str | None, typer.Argument(help="Tokens; by default all that is earned.")] = None,
    to: To = None,
    token: Token_ = None,
) -> None:
    """Pay out what you earned, less the reserve's fee."""
    from scrip.amounts import parse_units
    from scrip.errors import Refused

    context = Context.of(ctx)
    chain = context.chain()
    paid, receiver = payment_token(chain, token), _receiver(context, to)
    earned = chain.at().earnings(context.address(), paid.address)
    units = earned if amount is None else parse_units(amount, paid.decimals)
    if not 0 < units <= earned:
        raise Refused(
            f"{paid.text(units)} of {paid.text(earned)} earned can't be withdrawn. More than 0, at most that"
        )
    act = Act("CreditReserve", "withdraw", (paid.address, units, receiver), f"withdraw {units}")
    receipt = send(context, chain, act)
    found = event(chain, receipt, "CreditReserve", "Withdrawn")
    fee = int(found["fee"])
    data = {"withdrawn": paid.to_json(units), "fee": paid.to_json(fee), "to": receiver}
    rows = [("withdrawn", paid.text(units)), ("less the fee", paid.text(fee)), ("to", receiver)]
    report(context, receipt, data, rows)


def _receiver(context: Context, to: str | None) -> str:
    from scrip.structs import to_address

    return to_address("--to", to) if to else context.address()


def _record(context: Context, chain: Chain, receipt: Any) -> None:
    from scrip.types import region_text

    known = chain.at().provider(context.address())
    data = {
        "provider": known.address, "oracle": known.oracle, "region": region_text(known.region),
        "uri": known.uri,
    }  # fmt: skip
    rows = [(name, clean(value)) for name, value in data.items()]
    report(
        context, receipt, data, [*rows, ("next", "scrip provider serve CLASS, scrip provider stake AMOUNT")]
    )


def _stakes(context: Context, chain: Chain, receipt: Any, token: Token) -> None:
    known = chain.at().provider(context.address())
    data = {
        "stake": token.to_json(known.stake), "unbonding": token.to_json(known.unbonding),
        "unbondingAt": str(known.unbonding_at),
    }  # fmt: skip
    rows = [("staked", token.text(known.stake))]
    if known.unbonding:
        rows.append(("unbonding", f"{token.text(known.unbonding)}, free {utc(known.unbonding_at)}"))
    report(context, receipt, data, rows)
