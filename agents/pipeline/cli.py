"""`scrip pipeline`: plans of several stages, quoted, bought and proven together."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agents.pipeline.cli_view import checks_json, emit_quote, emit_result, emit_standing
from scrip.cli.choosing import read_text
from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import Token, Tokens
from scrip.cli.verify import show_checks
from scrip.errors import BadInput, KeyProblem, NotFound

if TYPE_CHECKING:
    from agents.pipeline.driver import Driver, Source
    from agents.pipeline.funds import Actor
    from agents.pipeline.plan import Plan
    from scrip.chain import Chain
    from scrip.errors import EvidenceInvalid
    from scrip.evidence import Check

app = sub_app(
    "Buy the stages of a plan, each from whoever serves it best, with one receipt for all.",
    example="scrip pipeline quote docs/grounded-summary.toml --text question=Why? --file document=a.txt",
)

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="Plan file, TOML or JSON.")]
Texts = Annotated[list[str], typer.Option("--text", metavar="NAME=TEXT", help="A text the plan asks for.")]
Files = Annotated[list[str], typer.Option("--file", metavar="NAME=PATH", help="The same, from a file.")]
Limit = Annotated[
    str | None, typer.Option(metavar="USD", help="Most to spend of the account's own, e.g. 0.01.")
]
Budget = Annotated[
    int | None, typer.Option(min=1, metavar="ID", help="Spend from this budget on chain instead.")
]
LedgerFile = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help="Remember spending there; the limit bounds all of it."),
]
PaymentToken = Annotated[
    str | None,
    typer.Option("--token", metavar="ADDRESS", help="Payment token, where classes differ in theirs."),
]
_UNLIMITED = 1 << 255


@command(
    app,
    "quote",
    example="scrip pipeline quote plan.toml --text question='What is a credit?' --file document=README.md",
)
def quote(
    ctx: typer.Context,
    plan: PlanFile,
    text: Texts = [],  # noqa: B006 (Typer's way)
    file: Files = [],  # noqa: B006
    limit: Limit = None,
    budget: Budget = None,
    ledger: LedgerFile = None,
    token: PaymentToken = None,
) -> None:
    """Show what a plan would cost at most, stage by stage, and from whom. Needs no password."""
    context = Context.of(ctx)
    order = _order(context, plan, text, file)
    actor = _onlooker(context, order.chain)
    paid = _token(order, actor, budget, token)
    with tempfile.TemporaryDirectory(prefix="scrip-pipeline-") as scratch:
        source = _source(paid, limit, budget, ledger or Path(scratch) / "ledger.json")
        quoted = _driver(context, actor, paid).quote(order.plan, order.inputs, source)
    emit_quote(context, quoted, paid)


@command(
    app,
    "run",
    example=(
        "scrip --keystore key.json pipeline run plan.toml --text question='What is a credit?' "
        "--file document=README.md --limit 0.01"
    ),
)
def run(
    ctx: typer.Context,
    plan: PlanFile,
    text: Texts = [],  # noqa: B006
    file: Files = [],  # noqa: B006
    limit: Limit = None,
    budget: Budget = None,
    ledger: LedgerFile = None,
    token: PaymentToken = None,
    folder: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="Keep state, outputs and receipt there.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop at the quote; nothing is spent.")] = False,
) -> None:
    """Run a plan: set its total aside, buy the stages, check what comes back, write one receipt.

    Exits 1 if a stage failed. A run that was interrupted goes on with: scrip pipeline resume DIR
    """
    if dry_run:
        quote(ctx, plan, text, file, limit, budget, ledger, token)
        return
    from agents.pipeline.funds import Actor
    from scrip.cli.sending import sending

    context = Context.of(ctx)
    if (limit is None) == (budget is None):
        raise BadInput("--limit, --budget", "none or both", "one of them: whose money, and how much")
    order = _order(context, plan, text, file)
    paid = _token(order, _onlooker(context, order.chain), budget, token)
    place = folder or _default_folder(context, order)
    source = _source(paid, limit, budget, ledger or place / "ledger.json")
    with sending(context, order.chain, "pipeline") as (sender, account):
        driver = _driver(context, Actor(order.chain, sender, account), paid)
        quoted = driver.quote(order.plan, order.inputs, source)
        context.say(f"set aside {paid.text(quoted.total)} at most; the run is kept in {place}")
        try:
            result = driver.start(place, order.plan, order.inputs, source, quoted)
        except KeyboardInterrupt:
            raise _interrupted(place) from None
    emit_result(context, place, result, paid)


@command(app, "resume", example="scrip --keystore key.json pipeline resume runs/summary")
def resume(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the run.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show where it stands and what is set aside; nothing is sent.")
    ] = False,
) -> None:
    """Go on with a run that was interrupted. No stage that settled is paid again."""
    from agents.pipeline.funds import Actor
    from agents.pipeline.state import State
    from scrip.cli.sending import sending

    context = Context.of(ctx)
    chain = context.chain()
    with State.open(folder) as state:
        now = state.now
    paid = Tokens(chain.at()).at(now.token)
    if dry_run:
        emit_standing(context, now, paid)
        return
    with sending(context, chain, "pipeline") as (sender, account):
        try:
            result = _driver(context, Actor(chain, sender, account), paid).resume(folder)
        except KeyboardInterrupt:
            raise _interrupted(folder) from None
    emit_result(context, folder, result, paid)


@command(app, "verify", example="scrip pipeline verify runs/summary/receipt.json")
def verify(
    ctx: typer.Context,
    receipt: Annotated[Path, typer.Argument(metavar="FILE", help="Receipt of a pipeline.")],
    market: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The JobMarket you trust; by default the one the file names."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="Folder of the run, with its outputs.")
    ] = None,
) -> None:
    """Check a pipeline's receipt against the chain: tree, links, jobs, costs. Exits 1 if a check fails.

    With --run-dir every job's spec is made again from plan and outputs, too.
    """
    from agents.pipeline.tree import MAX_BYTES
    from agents.pipeline.verify import checks, links
    from scrip.errors import EvidenceInvalid

    context = Context.of(ctx)
    try:
        with receipt.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput("FILE", str(receipt), f"a file that can be read ({error.strerror})") from None
    passed: list[Check] = []
    problem: EvidenceInvalid | None = None
    try:
        for check in checks(raw, context.node_url(), market=market):
            passed.append(check)
        if folder is not None:
            from agents.pipeline.state import State

            with State.open(folder) as state:
                passed += links(raw, state)
    except EvidenceInvalid as invalid:
        problem = invalid
    context.emit(checks_json(passed, problem), lambda console: show_checks(console, passed, problem))
    if problem is not None:
        raise problem


# What a command works on


@dataclass(frozen=True, slots=True)
class _Order:
    """A plan, the texts given for it, and the chain it is for."""

    plan: Plan
    inputs: Mapping[str, str]
    chain: Chain


def _order(context: Context, plan: Path, texts: list[str], files: list[str]) -> _Order:
    from agents.pipeline.plan import Plan, check_inputs

    loaded, inputs = Plan.load(plan), _inputs(texts, files)
    check_inputs(loaded, inputs)
    return _Order(loaded, inputs, context.chain())


def _inputs(texts: list[str], files: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for option, given in (("--text", texts), ("--file", files)):
        for item in given:
            name, equals, value = item.partition("=")
            if not equals or not name or name in found:
                raise BadInput(option, item, "NAME=VALUE, each name once")
            found[name] = value if option == "--text" else read_text(option, Path(value))
    return found


def _onlooker(context: Context, chain: Chain) -> Actor:
    """The keystore's account, to look at: it can't sign. Without a keystore one that holds nothing."""
    from agents.pipeline.funds import Actor
    from scrip.journal import InMemoryJournal
    from scrip.sender import Sender
    from scrip.structs import ZERO_ADDRESS

    wallet = _Onlooker(ZERO_ADDRESS if context.keystore is None else context.address())
    return Actor(chain, Sender(chain, wallet, InMemoryJournal()), wallet)


@dataclass(frozen=True, slots=True)
class _Onlooker:
    """An account's address, without its key."""

    address: Any

    def sign_transaction(self, transaction_dict: Any) -> Any:
        """Raises KeyProblem."""
        raise KeyProblem("a quote signs nothing")

    def unsafe_sign_hash(self, message_hash: Any) -> Any:
        """Raises KeyProblem."""
        raise KeyProblem("a quote signs nothing")


def _token(order: _Order, actor: Actor, budget: int | None, wanted: str | None) -> Token:
    """The payment token that everything is counted in. Raises NotFound, BadInput where there is a choice."""
    from scrip.structs import to_address
    from scrip.types import Resource

    view = order.chain.at()
    tokens = Tokens(view)
    if budget is not None:
        return tokens.at(view.budget(budget).token)
    if wanted is not None:
        return tokens.at(to_address("--token", wanted))
    needed = {Resource[stage.resource] for stage in order.plan.stages}
    terms = [view.class_terms(class_id) for class_id in view.class_ids()]
    addresses = sorted({each.payment_token for each in terms if each.resource in needed})
    if not addresses:
        raise NotFound("class of", ", ".join(sorted(each.label for each in needed)), "See: scrip class list")
    if len(addresses) > 1:
        raise BadInput(
            "--token", None, f"one of {', '.join(addresses)}", "Classes are paid in different tokens"
        )
    return tokens.at(addresses[0])


def _source(paid: Token, limit: str | None, budget: int | None, ledger: Path) -> Source:
    from agents.ledger import Ledger
    from agents.pipeline.driver import Source
    from scrip.amounts import parse_units

    if budget is not None:
        return Source(paid.address, budget_id=budget)
    most = _UNLIMITED if limit is None else parse_units(limit, paid.decimals)
    return Source(paid.address, Ledger(ledger, most))


def _default_folder(context: Context, order: _Order) -> Path:
    """The same for the same plan, texts, chain and account: an interrupted run is found again."""
    account = context.address() if context.keystore is not None else ""
    genesis = bytes(order.chain.w3.eth.get_block(0)["hash"])
    parts = (order.plan.digest(order.inputs), genesis, account.encode())
    name = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
    return context.state / "pipelines" / f"{order.plan.name}-{name}"


def _driver(context: Context, actor: Actor, paid: Token) -> Driver:
    from agents.market import listings
    from agents.pipeline.driver import Driver

    return Driver(
        actor, listings, on_step=lambda stage, text: context.say(f"{stage}: {text}"), money=paid.text
    )


def _interrupted(folder: Path) -> KeyboardInterrupt:
    return KeyboardInterrupt(f"stopped; jobs that were opened go on. See: scrip pipeline resume {folder}")
