"""`scrip offer`: signed offers to sell or buy credits, passed around as files and filled on the exchange."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.acting import Act, ClassId, CreditAmount, payment_token, report, send
from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import Token, Tokens, facts, hexed, table, units_json, utc

if TYPE_CHECKING:
    from rich.console import Console

    from scrip.chain import Chain
    from scrip.offers import SignedOffer
    from scrip.sender import Sender
    from scrip.view import ChainView

SALT_BITS = 64

app = sub_app("Offers: credits from one account to another.", example="scrip offer show offers.json")

OfferFile = Annotated[Path, typer.Argument(metavar="FILE", help="File with signed offers.")]
Number = Annotated[int, typer.Option(min=1, help="Which offer of the file, from 1.")]


@command(
    app,
    "create",
    example="scrip --keystore key.json offer create 1 5 6.5 --expiry 7d --out mine.json",
    sends=True,
)
def create(
    ctx: typer.Context,
    class_id: ClassId,
    amount: CreditAmount,
    price: Annotated[str, typer.Argument(metavar="PRICE", help="Tokens for all of it.")],
    buying: Annotated[bool, typer.Option("--buy", help="Offer to buy, not to sell.")] = False,
    expiry: Annotated[str, typer.Option(help="Until a date, or so long (36h, 7d).")] = "7d",
    taker: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Who alone may fill it.")] = None,
    token: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Token of the price.")] = None,
    out: Annotated[Path, typer.Option(help="New file to write the signed offer to.")] = Path("offer.json"),
) -> None:
    """Sign an offer into a file. Sends only what the exchange lacks of your approval, if anything."""
    import secrets

    from scrip import allowances, offers
    from scrip.amounts import parse_units
    from scrip.cli import moments
    from scrip.cli.sending import sending
    from scrip.eip712 import sign
    from scrip.eip712_credits import offer_digest
    from scrip.errors import BadInput
    from scrip.structs import ZERO_ADDRESS, to_address
    from scrip.types_spending import Offer

    context = Context.of(ctx)
    if out.exists():
        raise BadInput("--out", str(out), "a file that isn't there yet")
    chain = context.chain()
    view, paid = chain.at(), payment_token(chain, token)
    units = parse_units(amount, view.class_terms(class_id).decimals)
    total = parse_units(price, paid.decimals)
    if units == 0:
        raise BadInput("AMOUNT", amount, "more than 0")
    me = context.address()
    offer = Offer(
        maker=me, selling=not buying, class_id=class_id, units=units, token=paid.address, price=total,
        taker=to_address("--taker", taker) if taker else ZERO_ADDRESS,
        expiry=moments.until("--expiry", expiry, view.time()),
        epoch=int(view.read("CreditExchange", "epochOf", me)), salt=secrets.randbits(SALT_BITS),
    )  # fmt: skip
    digest = offer_digest(offer, chain.chain_id, chain.address("CreditExchange"))
    with sending(context, chain, "approve-offer") as (sender, account):
        if buying:
            allowances.ensure(chain, sender, paid.address, "CreditExchange", total)
        else:
            allowances.ensure_operator(chain, sender, "CreditExchange")
        signed = offers.SignedOffer(offer, sign(digest, account))
    offers.save(out, [signed])
    data = _json(chain.at(), signed, paid)
    context.emit(
        {**data, "file": str(out)}, lambda console: facts(console, [*_rows(data), ("file", str(out))])
    )


@command(app, "show", example="scrip offer show offers.json")
def show(ctx: typer.Context, file: OfferFile) -> None:
    """Show the offers of a file: what is left of each, and whether it can be filled now."""
    from scrip import offers

    context = Context.of(ctx)
    view = context.chain().at()
    tokens = Tokens(view)
    found = [_json(view, one, tokens.at(one.offer.token)) for one in offers.load(file)]
    context.emit({"block": view.block, "offers": found}, lambda console: _table(console, found))


@command(app, "fill", example="scrip --keystore key.json offer fill offers.json 2.5", sends=True)
def fill(
    ctx: typer.Context,
    file: OfferFile,
    amount: Annotated[str | None, typer.Argument(help="Credits; by default all that is left.")] = None,
    number: Number = 1,
    limit: Annotated[
        str | None, typer.Option(help="Most to pay, or least to get; by default the offer's own price.")
    ] = None,
    budget: Annotated[int, typer.Option(min=0, help="Buy for this budget's owner, as its spender.")] = 0,
) -> None:
    """Take an offer, or a part of it: pay its price, or deliver the credits it asks for."""
    from scrip import allowances, offers
    from scrip.amounts import format_units, parse_units
    from scrip.cli.rehearsal import rehearse
    from scrip.cli.sending import sending
    from scrip.errors import BadInput, Refused

    context = Context.of(ctx)
    chain = context.chain()
    view, signed = chain.at(), _pick(file, number)
    offer, token = signed.offer, Tokens(view).at(signed.offer.token)
    decimals = view.class_terms(offer.class_id).decimals
    why, left = offers.standing(view, signed)
    if why:
        raise Refused(f"offer {number} of {file} can't be filled: {why}. See: scrip offer show {file}")
    units = left if amount is None else parse_units(amount, decimals)
    if not 0 < units <= left:
        raise BadInput("AMOUNT", amount, "more than 0, at most what is left. See: scrip offer show")
    if budget and not offer.selling:
        raise BadInput("--budget", budget, "left out: budgets buy, this offer is for sellers")
    price = signed.cost(units) if offer.selling else units * offer.price // offer.units
    bound = price if limit is None else parse_units(limit, token.decimals)
    label = f"fill {units} of class {offer.class_id}"

    def take(sender: Sender) -> tuple[int, bytes | None]:
        if budget:
            return offers.fill_for(chain, sender, budget, signed, units, bound, label), None
        if offer.selling:
            allowances.ensure(chain, sender, token.address, "CreditExchange", bound)
        else:
            allowances.ensure_operator(chain, sender, "CreditExchange")
        return offers.fill(chain, sender, signed, units, bound, label)

    with sending(context, chain, "fill") as (sender, account):
        if not context.dry_run:
            rehearse(chain, account, take)
        paid, sent = take(sender)
    data = {
        "class": str(offer.class_id), "bought" if offer.selling else "sold": units_json(units, decimals),
        "price": token.to_json(paid), "transaction": hexed(sent) if sent else None,
    }  # fmt: skip
    verb = "bought" if offer.selling else "sold"
    rows = [
        (verb, f"{format_units(units, decimals)} credits of class {offer.class_id}"),
        ("for", token.text(paid)),
    ]
    rows += [("transaction", hexed(sent))] if sent else []
    context.emit(data, lambda console: facts(console, rows))


@command(app, "cancel", example="scrip --keystore key.json offer cancel offers.json", sends=True)
def cancel(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="File with your offers.")] = None,
    number: Number = 1,
    everything: Annotated[bool, typer.Option("--all", help="Every offer you ever signed.")] = False,
) -> None:
    """Take back one of your offers, or all at once; what is filled stays filled."""
    from scrip.errors import BadInput

    context = Context.of(ctx)
    if everything == (file is not None):
        raise BadInput("offer cancel", "both or neither", "a FILE, or --all")
    chain = context.chain()
    if file is None:
        epoch = int(chain.at().read("CreditExchange", "epochOf", context.address())) + 1
        receipt = send(
            context, chain, Act("CreditExchange", "raiseEpoch", (epoch,), f"cancel-offers {epoch}")
        )
        report(context, receipt, {"epoch": str(epoch)}, [("cancelled", f"all offers before epoch {epoch}")])
        return
    signed = _pick(file, number)
    digest = _digest(chain, signed)
    act = Act("CreditExchange", "cancel", (signed.offer.to_abi(),), f"cancel-offer {hexed(digest)}")
    receipt = send(context, chain, act)
    report(context, receipt, {"offer": hexed(digest)}, [("cancelled", hexed(digest))])


def _pick(file: Path, number: int) -> SignedOffer:
    from scrip import offers
    from scrip.errors import BadInput

    known = offers.load(file)
    if number > len(known):
        raise BadInput("--number", number, f"at most {len(known)}, the offers of {file}")
    return known[number - 1]


def _digest(chain: Chain, signed: SignedOffer) -> bytes:
    from scrip.eip712_credits import offer_digest

    return offer_digest(signed.offer, chain.chain_id, chain.address("CreditExchange"))


def _json(view: ChainView, signed: SignedOffer, token: Token) -> dict[str, Any]:
    from scrip import offers
    from scrip.structs import ZERO_ADDRESS

    offer = signed.offer
    decimals = view.class_terms(offer.class_id).decimals
    why, left = offers.standing(view, signed)
    return {
        "offer": hexed(_digest(view.chain, signed)), "maker": offer.maker,
        "side": "sell" if offer.selling else "buy", "class": str(offer.class_id),
        "amount": units_json(offer.units, decimals), "left": units_json(left, decimals),
        "price": token.to_json(offer.price), "taker": None if offer.taker == ZERO_ADDRESS else offer.taker,
        "expiry": str(offer.expiry), "open": not why, "problem": why or None,
    }  # fmt: skip


def _rows(one: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("offer", one["offer"]),
        ("to", f"{one['side']} {one['amount']['credits']} credits of class {one['class']}"),
        ("for", f"{one['price']['amount']} {one['price']['symbol']}"),
        ("until", utc(int(one["expiry"]))),
        ("taker", one["taker"] or "anyone"),
        ("state", one["problem"] or "open"),
    ]


def _table(console: Console, found: list[dict[str, Any]]) -> None:
    made = table("no", "side", "class", "left", "of", "price of all", "maker", "until", "state",
                 right=("no", "class", "left", "of", "price of all"))  # fmt: skip
    for number, one in enumerate(found, 1):
        price = f"{one['price']['amount']} {one['price']['symbol']}"
        made.add_row(
            str(number), one["side"], one["class"], one["left"]["credits"], one["amount"]["credits"], price,
            one["maker"], utc(int(one["expiry"])), one["problem"] or "open",
        )  # fmt: skip
    console.print(made)
