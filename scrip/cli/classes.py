"""`scrip class`: what can be bought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import Token, Tokens, clean, facts, hexed, table, units_json, utc, yes_no

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.types import ClassInfo, ClassTerms

app = sub_app("Classes of credits: their terms, price and backing.", example="scrip class list")

PRICED_CREDITS = 1_000_000
"""Prices and rates are shown for this many credits, as the contracts state them."""


@dataclass(frozen=True, slots=True)
class ClassView:
    """A class with its payment token, ready to be shown."""

    info: ClassInfo
    token: Token

    @property
    def price(self) -> str:
        """Price of `PRICED_CREDITS` credits as text."""
        terms = self.info.terms
        if not self.for_sale:
            return "not for sale"
        if int(terms.price_feed, 16):
            return f"from feed {terms.price_feed}"
        return self.token.text(terms.price_per_million)

    @property
    def for_sale(self) -> bool:
        """Whether credits can be bought from the reserve now."""
        from scrip.types import Funding

        return self.info.terms.funding is Funding.SALE and not self.info.wound_down

    @property
    def state(self) -> str:
        """open, closed or expired."""
        if self.info.closed:
            return "closed"
        return "expired" if self.info.wound_down else "open"

    @property
    def rate(self) -> int | None:
        """What `PRICED_CREDITS` credits pay a provider now, token base units; None with no supply."""
        info = self.info
        if info.supply == 0:
            return None
        return PRICED_CREDITS * int(10**info.terms.decimals) * info.backing // info.supply

    def credits(self, units: int) -> str:
        """Units as credits."""
        from scrip.amounts import format_units

        return format_units(units, self.info.terms.decimals)

    def to_json(self) -> dict[str, Any]:
        """Terms and money."""
        info, rate = self.info, self.rate
        return {
            "id": str(info.class_id),
            "name": info.terms.name,
            "resource": info.terms.resource.name,
            "state": self.state,
            "forSale": self.for_sale,
            "supply": units_json(info.supply, info.terms.decimals),
            "backing": self.token.to_json(info.backing),
            "pricePerMillion": self.token.to_json(info.terms.price_per_million),
            "payOutPerMillion": None if rate is None else self.token.to_json(rate),
            "terms": info.terms.to_json(),
        }


@command(app, "list", example="scrip class list")
def list_classes(ctx: typer.Context) -> None:
    """List all classes of credits with price and backing."""
    context = Context.of(ctx)
    view = context.chain().at()
    tokens = Tokens(view)
    infos = [view.class_info(class_id) for class_id in view.class_ids()]
    found = [ClassView(info, tokens.at(info.terms.payment_token)) for info in infos]
    context.emit(
        {"block": view.block, "classes": [item.to_json() for item in found]},
        lambda console: _show_list(console, found),
    )


@command(app, "show", example="scrip class show 1")
def show_class(
    ctx: typer.Context, class_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="Id of the class.")]
) -> None:
    """Show one class: its terms, supply, backing, pay-out rate and on-chain metadata."""
    from scrip.cli import metadata

    context = Context.of(ctx)
    view = context.chain().at()
    info = view.class_info(class_id)
    shown = ClassView(info, Tokens(view).at(info.terms.payment_token))
    described = metadata.decode(str(view.read("ComputeCredits", "uri", class_id)))
    context.emit(
        {"block": view.block, **shown.to_json(), "metadata": described},
        lambda console: _show_one(console, shown, described),
    )


def _show_list(console: Console, found: list[ClassView]) -> None:
    if not found:
        console.print("No classes yet.")
        return
    made = table("id", "name", "unit", "price of 1M", "supply", "backing", "assurance", "state",
                 right=("id", "price of 1M", "supply", "backing", "assurance"))  # fmt: skip
    for item in found:
        terms = item.info.terms
        made.add_row(
            str(item.info.class_id), clean(terms.name), terms.resource.label, item.price,
            item.credits(item.info.supply), item.token.text(item.info.backing), str(terms.min_assurance),
            item.state,
        )  # fmt: skip
    console.print(made)


def _show_one(console: Console, shown: ClassView, described: dict[str, Any]) -> None:
    info, terms = shown.info, shown.info.terms
    console.print(f"Class {info.class_id}: {clean(terms.name)}", style="bold")
    facts(console, [*_money(shown), *_work(shown), *_policy(shown)])
    console.print()
    console.print("On-chain metadata", style="bold")
    rows = {"name": described.get("name"), "description": described.get("description")}
    extra = described.get("properties")
    rows |= extra if isinstance(extra, dict) else {}
    facts(console, [(clean(str(key)), clean(str(value))) for key, value in rows.items()])


def _money(shown: ClassView) -> list[tuple[str, str]]:
    info, rate = shown.info, shown.rate
    paid = "nothing yet: no credits exist" if rate is None else f"{shown.token.text(rate)} per 1M credits"
    return [
        ("state", shown.state),
        ("price", f"{shown.price} per 1M credits" if shown.for_sale else shown.price),
        ("supply", f"{shown.credits(info.supply)} of at most {shown.credits(info.terms.max_supply)}"),
        ("backing", shown.token.text(info.backing)),
        ("pays out", paid),
        ("payment token", f"{shown.token.symbol} {shown.token.address}"),
        ("funded by", info.terms.funding.name.lower()),
    ]


def _work(shown: ClassView) -> list[tuple[str, str]]:
    terms = shown.info.terms
    watchers = f"watcher set {terms.watcher_set}" if terms.watcher_set else "no watcher set"
    return [
        ("unit", f"{terms.resource.label}, {terms.decimals} decimals"),
        ("SKU", hexed(terms.sku)),
        ("region", clean(terms.region_label)),
        ("assurance", f"at least {terms.min_assurance}, {watchers}"),
        ("challenge window", _window(terms)),
        ("stake behind it", _stake(shown)),
        ("rate limit", f"{shown.credits(terms.max_rate)} credits per second and resource"),
    ]


def _window(terms: ClassTerms) -> str:
    if not terms.challenge_window:
        return "none, receipts settle at once"
    return f"{terms.challenge_window} s, disputes go to watcher set {terms.arbiter_set}"


def _stake(shown: ClassView) -> str:
    stake = shown.info.terms.stake_per_million
    return f"{stake} base units of the stake token per 1M credits" if stake else "none"


def _policy(shown: ClassView) -> list[tuple[str, str]]:
    terms = shown.info.terms
    return [
        ("issuer", terms.issuer),
        ("transferable", yes_no(terms.transferable)),
        ("expires", utc(terms.expiry)),
        ("per holder", shown.credits(terms.max_per_holder) if terms.max_per_holder else "no limit"),
        ("eligibility", terms.eligibility if int(terms.eligibility, 16) else "anyone"),
    ]
