"""`scrip agent`: work bought by an agent that keeps to a spending limit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.cli_mcp import mcp
from agents.cli_options import PaymentToken, check_purse
from agents.cli_spend import spend
from scrip.cli.choosing import read_text
from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import Token, Tokens, clean, facts, table
from scrip.errors import BadInput, Refused

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from rich.console import Console

    from agents.buyer import Bought
    from agents.ledger import Ledger
    from agents.market import Listing
    from agents.policy import Means, Need, Preferences
    from agents.purse import Purse
    from scrip.chain import Chain
    from scrip.sender import Sender

app = sub_app(
    "Have work done by an agent with a spending limit.",
    example="scrip --keystore key.json agent ask 'What is a credit?' --limit 0.01",
)

command(app, "spend", example="scrip agent spend --budget 3 --since 7d")(spend)
command(
    app, "mcp", example="scrip --keystore key.json --password-file pw agent mcp --limit 1 --per-call 0.05"
)(mcp)

TEMPLATE = "llm.generate"
MAX_TOKENS = 64
_UNLIMITED = 1 << 255


MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer, and most to pay for.")]
MinAssurance = Annotated[int, typer.Option(min=0, max=3, help="Least assurance of the receipt.")]
MaxSeconds = Annotated[int | None, typer.Option(min=1, help="Only who is expected to take no longer.")]
MinReputation = Annotated[
    int, typer.Option(min=0, max=999, help="Least reputation in permille; 500 is a newcomer's.")
]


@command(
    app, "ask", example="scrip --keystore key.json agent ask 'What is it?' --context README.md --limit 0.01"
)
def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
    limit: Annotated[
        str | None,
        typer.Option(metavar="USD", help="Most to spend, in the payment token's unit, e.g. 0.01."),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(min=1, metavar="ID", help="Spend under this budget instead, whose spender you are."),
    ] = None,
    offers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Signed offers to buy a budget's missing credits from."),
    ] = None,
    context_file: Annotated[
        Path | None, typer.Option("--context", metavar="FILE", help="Text file to answer from.")
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Remember spending there; the limit then bounds all of it."),
    ] = None,
    min_assurance: MinAssurance = 0,
    max_tokens: MaxTokens = MAX_TOKENS,
    max_seconds: MaxSeconds = None,
    min_reputation: MinReputation = 0,
    token: PaymentToken = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop at the choice of an offer; nothing is spent.")
    ] = False,
) -> None:
    """Ask a language model; the agent buys what it needs within the limit and checks what comes back.

    Asked again after it was interrupted, it goes on where it was instead of paying once more.
    """
    if dry_run:
        market(ctx, limit, min_assurance, max_tokens, max_seconds, min_reputation, token)
        return
    from agents.buyer import Buyer
    from agents.market import listings
    from agents.policy import Preferences
    from agents.reputation import Reputation
    from scrip.cli.sending import sending

    context = Context.of(ctx)
    check_purse(limit, budget, ledger, offers)
    text = read_text("--context", context_file) if context_file else ""
    need = _need(question, text, max_tokens, min_assurance)
    chain = context.chain()
    found = listings(chain)
    paid = _token(chain, found, need, token) if budget is None else _token_of(chain, budget)
    usable = _paid_in(found, paid)
    with (
        sending(context, chain, "agent") as (sender, account),
        _purse(chain, sender, account, limit, paid, budget, ledger, offers) as purse,
    ):
        buyer = Buyer(
            chain,
            sender,
            account,
            purse,
            book=_place(context, chain, account.address, "needs"),
            preferences=Preferences(max_seconds=max_seconds, min_reputation=min_reputation),
            reputation=Reputation(chain, _place(context, chain, "providers", "json")),
            read_market=lambda _: usable,
            on_step=context.say,
            money=paid.text,
        )
        try:
            bought = buyer.meet(need)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; a job that was opened goes on. Ask again to go on") from None
        _show_answer(context, chain, bought, paid, purse.left())


@command(app, "market", example="scrip agent market --max-tokens 64 --min-assurance 2")
def market(
    ctx: typer.Context,
    limit: Annotated[
        str | None, typer.Option(metavar="USD", help="Judge by this limit; by default by none.")
    ] = None,
    min_assurance: MinAssurance = 0,
    max_tokens: MaxTokens = MAX_TOKENS,
    max_seconds: MaxSeconds = None,
    min_reputation: MinReputation = 0,
    token: PaymentToken = None,
) -> None:
    """Show what is on offer for a question, and which offer the agent would take and why."""
    from agents.market import known, listings
    from agents.policy import Means, Preferences
    from agents.reputation import Reputation
    from scrip.amounts import parse_units

    context = Context.of(ctx)
    need = _need("?", "", max_tokens, min_assurance)
    chain = context.chain()
    found = listings(chain)
    paid = _token(chain, found, need, token)
    records = Reputation(chain, _place(context, chain, "providers", "json")).update()
    usable = _paid_in(known(found, records, {}), paid)
    left = _UNLIMITED if limit is None else parse_units(limit, paid.decimals)
    likes = Preferences(max_seconds=max_seconds, min_reputation=min_reputation)
    verdict = _judge(usable, need, Means(left, _held(context, chain, usable)), paid, likes)
    context.emit(
        {"listings": verdict.rows, "reason": verdict.reason or None},
        lambda console: _show_market(console, verdict),
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Every listing as a JSON row, its `problem` empty if it fits, and why one of them would be taken."""

    rows: list[dict[str, Any]]
    reason: str


def _judge(usable: Sequence[Listing], need: Need, means: Means, paid: Token, likes: Preferences) -> _Verdict:
    from agents.policy import choose, expected_seconds, problem

    try:
        choice = choose(usable, need, means, paid.text, likes)
    except Refused:
        chosen, reason = None, ""
    else:
        chosen, reason = choice.listing, choice.reason
    rows = []
    for item in usable:
        terms = item.info.terms
        priced = terms.resource is need.resource and item.price is not None
        rows.append(
            {
                "class": str(item.info.class_id),
                "name": terms.name,
                "provider": item.provider.address,
                "price": paid.to_json(item.cost(need.max_units)) if priced else None,
                "assurance": terms.min_assurance,
                "reputation": item.reputation,
                "seconds": expected_seconds(item, need),
                "problem": problem(item, need, means, paid.text, likes) or None,
                "chosen": item is chosen,
            }
        )
    return _Verdict(rows, reason)


def _show_market(console: Console, verdict: _Verdict) -> None:
    made = table("class", "name", "provider", "price", "assurance", "reputation", "verdict",
                 right=("class", "price", "reputation"))  # fmt: skip
    for row in verdict.rows:
        outcome = "chosen" if row["chosen"] else row["problem"] or "fits"
        price = f"{row['price']['amount']} {row['price']['symbol']}" if row["price"] else ""
        made.add_row(row["class"], clean(row["name"]), row["provider"], price, str(row["assurance"]),
                     f"{row['reputation']}‰", outcome)  # fmt: skip
    console.print(made)
    console.print(verdict.reason or "Nothing fits.", soft_wrap=True)


def _show_answer(context: Context, chain: Chain, bought: Bought, paid: Token, left: int) -> None:
    from scrip.cli import receipts

    finished = receipts.of_redemption(chain, bought.choice.listing.info, bought.redemption, None)

    def show(console: Console) -> None:
        receipts.print_all(console, finished)
        facts(console, [("spent now", paid.text(bought.spent)), ("limit left", paid.text(left))])

    money = {"reason": bought.choice.reason, "spent": paid.to_json(bought.spent), "left": paid.to_json(left)}
    context.emit({**finished.to_json(), **money}, show)


def _need(question: str, text: str, max_tokens: int, min_assurance: int) -> Need:
    from agents.policy import Need
    from scrip.spec import JobSpec
    from scrip.types import Resource

    params = {"question": question, "max_tokens": max_tokens, **({"context": text} if text else {})}
    # Token classes count whole tokens, so that a base unit is a token.
    return Need(JobSpec(TEMPLATE, params), Resource.OUTPUT_TOKEN, max_tokens, min_assurance)


def _token(chain: Chain, found: Sequence[Listing], need: Need, wanted: str | None) -> Token:
    """The payment token that the limit is in. Raises NotFound, or BadInput where there is a choice."""
    from scrip.errors import NotFound
    from scrip.structs import to_address

    tokens = Tokens(chain.at())
    if wanted is not None:
        return tokens.at(to_address("--token", wanted))
    addresses = sorted({x.info.terms.payment_token for x in found if x.info.terms.resource is need.resource})
    if not addresses:
        raise NotFound("offer of", f"{need.resource.label}s", "See: scrip provider list")
    if len(addresses) > 1:
        choices = ", ".join(f"{tokens.at(at).symbol} {at}" for at in addresses)
        raise BadInput("--token", None, f"one of {choices}", "Classes are paid in different tokens")
    return tokens.at(addresses[0])


def _paid_in(found: Sequence[Listing], token: Token) -> list[Listing]:
    return [item for item in found if item.info.terms.payment_token == token.address]


def _held(context: Context, chain: Chain, usable: Sequence[Listing]) -> dict[int, int]:
    """Free credits of the keystore's account, none without a keystore."""
    if context.keystore is None:
        return {}
    view, holder = chain.at(), context.address()
    ids = {item.info.class_id for item in usable}
    return {class_id: view.available(holder, class_id) for class_id in sorted(ids)}


def _token_of(chain: Chain, budget: int) -> Token:
    view = chain.at()
    return Tokens(view).at(view.budget(budget).token)


def _place(context: Context, chain: Chain, name: str, kind: str) -> Path:
    """A file of this deployment in the state folder."""
    market = chain.address("JobMarket").lower()[2:10]
    return context.state / f"agent-{chain.chain_id}-{market}-{name}.{kind}"


@contextmanager
def _purse(
    chain: Chain,
    sender: Sender,
    account: LocalAccount,
    limit: str | None,
    paid: Token,
    budget: int | None,
    ledger: Path | None,
    offers: Path | None,
) -> Iterator[Purse]:
    from agents.purse import BudgetPurse, OwnPurse
    from scrip.amounts import parse_units
    from scrip.offers import load

    if budget is not None:
        known = load(offers) if offers else ()
        yield BudgetPurse(chain, sender, account, budget, lambda: known)
        return
    with _ledger(ledger, parse_units(limit or "0", paid.decimals)) as book:
        yield OwnPurse(chain, sender, account, book)


@contextmanager
def _ledger(path: Path | None, limit: int) -> Iterator[Ledger]:
    """The ledger at `path`; without one, a new ledger that is forgotten afterwards."""
    from agents.ledger import Ledger

    if path is not None:
        yield Ledger(path, limit)
        return
    with tempfile.TemporaryDirectory(prefix="scrip-agent-") as folder:
        yield Ledger(Path(folder) / "ledger.json", limit)
