"""`scrip class`: what its issuer does, and what holders do when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.acting import Act, ClassId, CreditAmount, event, report, send
from scrip.cli.classes import PRICED_CREDITS, ClassView, app
from scrip.cli.context import Context
from scrip.cli.group import command
from scrip.cli.output import Tokens, clean, facts, units_json, utc

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.types import ClassTerms

__all__ = ["app"]

IMMUTABLE = (
    "The terms of a class never change, its price included: whoever buys knows what the credits stay worth. "
    "To sell at another price, create a class and close this one; or create one whose price follows a feed"
)


@command(
    app, "create", example="scrip --keystore key.json class create --terms class.toml --price 3", sends=True
)
def create(
    ctx: typer.Context,
    terms: Annotated[Path | None, typer.Option(help="TOML file; options replace its values.")] = None,
    name: Annotated[str | None, typer.Option(help="Name shown to people.")] = None,
    resource: Annotated[
        str | None,
        typer.Option(
            help="gpu-second, cpu-second, output-token, input-token, gb-hour or gb-transfer.",
        ),
    ] = None,
    decimals: Annotated[int | None, typer.Option(help="Digits a credit is divisible to [0].")] = None,
    sku: Annotated[str | None, typer.Option(help="Hardware or model a provider must serve.")] = None,
    region: Annotated[str | None, typer.Option(help="Region a provider must be in [any].")] = None,
    funding: Annotated[str | None, typer.Option(help="sale, stake or grant [sale].")] = None,
    token: Annotated[str | None, typer.Option(help="ERC-20 that buys and backs it.")] = None,
    price: Annotated[str | None, typer.Option(help="Tokens for a million credits.")] = None,
    price_feed: Annotated[str | None, typer.Option(help="Feed that the price follows.")] = None,
    max_price_age: Annotated[str | None, typer.Option(help="Oldest answer of the feed, e.g. 1h.")] = None,
    max_deviation: Annotated[str | None, typer.Option(help="Percent it may be off --price.")] = None,
    max_supply: Annotated[str | None, typer.Option(help="Most credits at once.")] = None,
    max_per_holder: Annotated[str | None, typer.Option(help="Most per account [no limit].")] = None,
    max_rate: Annotated[str | None, typer.Option(help="Most credits a resource uses in a second.")] = None,
    expiry: Annotated[str | None, typer.Option(help="Date, or so far ahead (90d) [never].")] = None,
    transferable: Annotated[
        bool | None, typer.Option("--transferable/--bound", help="May credits be passed on?")
    ] = None,
    capacity_bound: Annotated[
        bool | None, typer.Option("--capacity-bound", help="Limit it to your attested capacity.")
    ] = None,
    min_assurance: Annotated[
        int | None, typer.Option(help="Least assurance of a receipt, 0 to 3 [1].")
    ] = None,
    watcher_set: Annotated[int | None, typer.Option(help="Watchers who co-sign receipts [none].")] = None,
    challenge_window: Annotated[str | None, typer.Option(help="Time for disputes, e.g. 24h [0s].")] = None,
    arbiter_set: Annotated[int | None, typer.Option(help="Watchers who decide disputes [none].")] = None,
    stake: Annotated[str | None, typer.Option(help="Stake tokens behind a million credits.")] = None,
    eligibility: Annotated[str | None, typer.Option(help="Contract that says who may hold it.")] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Only they may serve it; repeat.")] = None,
) -> None:
    """Create a class of credits. Its terms are fixed for good; you need the issuer's role.

    Terms are in credits and tokens: --max-supply 1000000, --price 2.5 for a million credits.
    """
    from scrip.cli import class_terms

    given = {key: ctx.params.get(key) for key in class_terms.KEYS}
    given["providers"] = provider or None
    wished = class_terms.merged(class_terms.read(terms) if terms else {}, given)
    context = Context.of(ctx)
    chain = context.chain()
    wanted = class_terms.build(chain.at(), context.address(), wished)
    arguments = (wanted.terms.to_abi(), list(wanted.providers))
    receipt = send(
        context, chain, Act("ComputeCredits", "createClass", arguments, f"create {wished['name']}")
    )
    class_id = int(event(chain, receipt, "ComputeCredits", "ClassCreated")["classId"])
    made = wanted.terms
    rows = [
        ("class", f"{class_id} {clean(made.name)}"),
        ("unit", made.resource.label),
        *_price_rows(chain, made),
    ]
    report(
        context,
        receipt,
        {"class": str(class_id), "terms": made.to_json(), "providers": list(wanted.providers)},
        [*rows, ("next", f"scrip class show {class_id}")],
    )


@command(app, "price", example="scrip class price 1 2500")
def price(
    ctx: typer.Context,
    class_id: ClassId,
    amount: Annotated[str, typer.Argument(help="Credits, e.g. 1000 or 2.5.")] = str(PRICED_CREDITS),
) -> None:
    """Show what credits of a class cost now, what bounds a feed's price, and why you can't change it."""
    from scrip.amounts import parse_units
    from scrip.errors import Refused

    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    info = view.class_info(class_id)
    shown = ClassView(info, Tokens(view).at(info.terms.payment_token))
    units = parse_units(amount, info.terms.decimals)
    if not shown.for_sale:
        raise Refused(
            f"class {info.label} is not for sale: it is {shown.state}. See: scrip class show {class_id}"
        )
    cost = view.cost(class_id, units)
    feed = info.terms.price_feed if int(info.terms.price_feed, 16) else None
    data = {
        "class": str(class_id), **units_json(units, info.terms.decimals), "cost": shown.token.to_json(cost),
        "feed": feed, "maxPriceAge": str(info.terms.max_price_age),
        "maxDeviationBps": info.terms.max_deviation_bps, "fixed": feed is None,
    }  # fmt: skip
    rows = [("class", clean(info.label)), (f"{shown.credits(units)} credits", shown.token.text(cost))]
    rows += _price_rows(chain, info.terms)
    context.emit(data, lambda console: facts(console, rows))
    context.say(f"{IMMUTABLE}.")


@command(app, "close", example="scrip --keystore key.json class close 1", sends=True)
def close(ctx: typer.Context, class_id: ClassId) -> None:
    """End the sales of your class for good; holders can still redeem, or reclaim the backing."""
    context = Context.of(ctx)
    chain = context.chain()
    receipt = send(
        context, chain, Act("ComputeCredits", "closeClass", (class_id,), f"close-class {class_id}")
    )
    info = chain.at().class_info(class_id)
    shown = ClassView(info, Tokens(chain.at()).at(info.terms.payment_token))
    rows = [
        ("class", clean(info.label)),
        ("state", shown.state),
        ("left to reclaim", shown.token.text(info.backing)),
    ]
    data = {"class": str(class_id), "state": shown.state, "backing": shown.token.to_json(info.backing)}
    report(context, receipt, data, rows)


@command(app, "grant", example="scrip --keystore key.json class grant 2 1000 $ACCOUNT", sends=True)
def grant(
    ctx: typer.Context,
    class_id: ClassId,
    amount: CreditAmount,
    to: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Who receives them.")],
) -> None:
    """Mint credits of your granted class, or of your stake-funded one within your stake."""
    from scrip.amounts import parse_units
    from scrip.structs import to_address

    context = Context.of(ctx)
    chain = context.chain()
    decimals = chain.at().class_terms(class_id).decimals
    units, receiver = parse_units(amount, decimals), to_address("ACCOUNT", to)
    act = Act("ComputeCredits", "grant", (receiver, class_id, units), f"grant {units} of class {class_id}")
    receipt = send(context, chain, act)
    held = chain.at().balance(receiver, class_id)
    _moved(context, receipt, class_id, decimals, units, receiver, held, "granted")


@command(app, "pause", example="scrip --keystore key.json class pause 1 12h", sends=True)
def pause(
    ctx: typer.Context,
    class_id: ClassId,
    until: Annotated[str, typer.Argument(help="So long (12h), a date, or 'now' to end a pause.")],
) -> None:
    """Stop sales, grants, new jobs and new sessions of a class for a while. Only the pauser may."""
    from scrip.cli import moments

    context = Context.of(ctx)
    chain = context.chain()
    now = chain.at().time()
    moment = 0 if until == "now" else moments.until("UNTIL", until, now)
    receipt = send(
        context, chain, Act("ComputeCredits", "pauseClass", (class_id, moment), f"pause {class_id}")
    )
    ends = int(chain.at().read("ComputeCredits", "pausedUntil", class_id))
    rows = [("class", str(class_id)), ("paused until", utc(ends) if ends > now else "it isn't paused")]
    report(context, receipt, {"class": str(class_id), "pausedUntil": str(ends)}, rows)


@command(app, "reclaim", example="scrip --keystore key.json class reclaim 1 2.5", sends=True)
def reclaim(ctx: typer.Context, class_id: ClassId, amount: CreditAmount) -> None:
    """Burn credits of a closed or expired class for your share of what backs them."""
    from scrip.amounts import parse_units
    from scrip.types import Funding

    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    terms = view.class_terms(class_id)
    units = parse_units(amount, terms.decimals)
    act = Act("CreditReserve", "reclaim", (class_id, units), f"reclaim {units} of class {class_id}")
    receipt = send(context, chain, act)
    staked = terms.funding is Funding.STAKE
    at = str(view.read("ProviderRegistry", "STAKE_TOKEN")) if staked else terms.payment_token
    token = Tokens(view).at(at)
    paid = int(event(chain, receipt, "CreditReserve", "Reclaimed")["amount"])
    where = "owed to you: scrip provider withdraw-award" if staked else "paid"
    data = {
        "class": str(class_id),
        "reclaimed": units_json(units, terms.decimals),
        "amount": token.to_json(paid),
    }
    report(
        context,
        receipt,
        data,
        [("reclaimed", f"{amount} credits of class {class_id}"), (where, token.text(paid))],
    )


@command(app, "sweep", example="scrip --keystore key.json class sweep 2", sends=True)
def sweep(ctx: typer.Context, class_id: ClassId) -> None:
    """Turn what nobody reclaimed into the issuer's earnings, 180 days after the class expired. Anyone may."""
    context = Context.of(ctx)
    chain = context.chain()
    view = chain.at()
    token = Tokens(view).at(view.class_terms(class_id).payment_token)
    receipt = send(context, chain, Act("CreditReserve", "sweepExpired", (class_id,), f"sweep {class_id}"))
    swept = int(event(chain, receipt, "CreditReserve", "Swept")["amount"])
    data = {"class": str(class_id), "swept": token.to_json(swept)}
    report(context, receipt, data, [("class", str(class_id)), ("swept", token.text(swept))])


def _moved(
    context: Context, receipt: Any, class_id: int, decimals: int, units: int, to: str, held: int, verb: str
) -> None:
    from scrip.amounts import format_units

    data = {
        "class": str(class_id),
        verb: units_json(units, decimals),
        "to": to,
        "balance": units_json(held, decimals),
    }
    rows = [
        (verb, f"{format_units(units, decimals)} credits of class {class_id}"),
        ("to", to),
        ("who now holds", f"{format_units(held, decimals)} credits"),
    ]
    report(context, receipt, data, rows)


def _price_rows(chain: Chain, terms: ClassTerms) -> list[tuple[str, str]]:
    from scrip.amounts import format_units

    if not terms.price_per_million:
        return [("price", "none: it isn't sold")]
    token = Tokens(chain.at()).at(terms.payment_token)
    fixed = token.text(terms.price_per_million)
    if not int(terms.price_feed, 16):
        return [("price of 1M", f"{fixed}, fixed")]
    off = format_units(terms.max_deviation_bps, 2)
    return [
        ("price of 1M", f"follows feed {terms.price_feed}"),
        ("bounds", f"within {off} % of {fixed}, answers at most {terms.max_price_age} s old"),
    ]
