"""`scrip provider`: who does the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import Token, Tokens, clean, facts, table, utc
from scrip.cli.waiting import busy

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.cli.choosing import Candidate
    from scrip.types import ClassInfo
    from scrip.view import ChainView

app = sub_app("Providers: stake, classes served, what they run.", example="scrip provider list")


@command(app, "list", example="scrip provider list")
def list_providers(ctx: typer.Context) -> None:
    """List registered providers with stake, classes and what they run; each is asked over HTTP."""
    from scrip.cli import choosing

    context = Context.of(ctx)
    view = context.chain().at()
    stake = _stake_token(view)
    infos = [view.class_info(class_id) for class_id in view.class_ids()]
    with busy(context, "asking the providers"):
        found = [(one, _served(view, one, infos)) for one in choosing.ask(view.providers())]
    context.emit(
        {"block": view.block, "providers": [_json(one, served, stake) for one, served in found]},
        lambda console: _show_list(console, found, stake),
    )


@command(app, "show", example="scrip provider show $PROVIDER")
def show_provider(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The provider's address.")],
) -> None:
    """Show one provider: its record, what it earned, and the templates it runs with their parameters."""
    from scrip.cli import choosing

    context = Context.of(ctx)
    view = context.chain().at()
    provider = view.provider(address)
    stake, tokens = _stake_token(view), Tokens(view)
    infos = [view.class_info(class_id) for class_id in view.class_ids()]
    candidate = choosing.ask([provider])[0]
    served = _served(view, candidate, infos)
    payments = dict.fromkeys(info.terms.payment_token for info in infos if int(info.terms.payment_token, 16))
    earned = [(tokens.at(at), view.earnings(provider.address, at)) for at in payments]
    fee_bps = view.fee_bps()
    data = {
        **_json(candidate, served, stake),
        "unbondingAt": str(provider.unbonding_at),
        "earnings": [token.to_json(amount) for token, amount in earned],
        "withdrawalFeeBps": fee_bps,
        "templateDetails": dict(candidate.offer.details) if candidate.offer else {},
    }

    def show(console: Console) -> None:
        console.print(f"Provider {provider.address}", style="bold")
        facts(console, _rows(candidate, served, stake, earned, fee_bps))
        _show_templates(console, candidate)

    context.emit({"block": view.block, **data}, show)


def _stake_token(view: ChainView) -> Token:
    return Tokens(view).at(str(view.read("ProviderRegistry", "STAKE_TOKEN")))


def _served(view: ChainView, candidate: Candidate, infos: Sequence[ClassInfo]) -> list[ClassInfo]:
    return [info for info in infos if view.can_serve(candidate.provider.address, info.class_id)]


def _json(candidate: Candidate, served: Sequence[ClassInfo], stake: Token) -> dict[str, Any]:
    from scrip.types import region_text

    provider, offer = candidate.provider, candidate.offer
    return {
        "address": provider.address,
        "oracle": provider.oracle,
        "region": region_text(provider.region),
        "uri": provider.uri,
        "stake": stake.to_json(provider.stake),
        "unbonding": stake.to_json(provider.unbonding),
        "classes": [str(info.class_id) for info in served],
        "reachable": offer is not None,
        "problem": candidate.problem or None,
        "name": offer.name if offer else None,
        "endpoint": offer.endpoint if offer else None,
        "templates": list(offer.templates) if offer else None,
        "simulated": offer.simulated if offer else None,
    }


def _show_list(
    console: Console, found: Sequence[tuple[Candidate, Sequence[ClassInfo]]], stake: Token
) -> None:
    from scrip.types import region_text

    if not found:
        console.print("No providers yet.")
        return
    made = table("provider", "name", "region", "stake", "classes", "runs", right=("stake",))
    for candidate, served in found:
        offer = candidate.offer
        runs = clean(", ".join(offer.templates)) if offer else "can't be reached"
        if offer and offer.simulated:
            runs += " (SIMULATED GPU)"
        made.add_row(
            candidate.provider.address, clean(offer.name) if offer else "?",
            clean(region_text(candidate.provider.region)), stake.text(candidate.provider.stake),
            ", ".join(str(info.class_id) for info in served) or "none", runs,
        )  # fmt: skip
    console.print(made)


def _rows(
    candidate: Candidate,
    served: Sequence[ClassInfo],
    stake: Token,
    earned: Sequence[tuple[Token, int]],
    fee_bps: int,
) -> list[tuple[str, str]]:
    from scrip.amounts import format_units
    from scrip.types import region_text

    provider, offer = candidate.provider, candidate.offer
    rows = [
        ("name", clean(offer.name) if offer else clean(f"not known: {candidate.problem}")),
        ("endpoint", clean(offer.endpoint) if offer else "not known"),
        ("registration", clean(provider.uri)),
        ("oracle key", provider.oracle),
        ("region", clean(region_text(provider.region))),
        ("stake", stake.text(provider.stake)),
    ]
    if provider.unbonding:
        rows.append(("unbonding", f"{stake.text(provider.unbonding)}, free {utc(provider.unbonding_at)}"))
    less = f", less a fee of {format_units(fee_bps, 2)} %" if fee_bps else ""
    rows += [("may withdraw", token.text(amount) + less) for token, amount in earned]
    rows += [("serves", clean(f"class {info.label}")) for info in served] or [("serves", "no class")]
    if offer and offer.simulated:
        rows.append(("GPU telemetry", "SIMULATED"))
    return rows


def _show_templates(console: Console, candidate: Candidate) -> None:
    if candidate.offer is None:
        return
    for name in candidate.offer.templates:
        details = candidate.offer.details.get(name, {})
        console.print()
        console.print(clean(name), style="bold")
        console.print(clean(str(details.get("title", ""))))
        schema = details.get("params")
        properties = schema.get("properties") if isinstance(schema, dict) else None
        required = schema.get("required") if isinstance(schema, dict) else None
        rows = properties.items() if isinstance(properties, dict) else ()
        needed = required if isinstance(required, list) else ()
        facts(console, [(clean(str(key)), _describe(value, key in needed)) for key, value in rows])


def _describe(schema: object, required: bool) -> str:
    """One parameter in words, from its JSON schema."""
    if not isinstance(schema, dict):
        return "required" if required else ""
    limits = (("minimum", "at least"), ("maximum", "at most"), ("maxLength", "at most this long:"),
              ("multipleOf", "a multiple of"), ("pattern", "like"))  # fmt: skip
    parts = [str(schema.get("type", "any"))]
    parts += [f"{words} {schema[key]}" for key, words in limits if key in schema]
    parts.append("required" if required else f"by default {schema.get('default')!r}")
    return clean(", ".join(parts))
