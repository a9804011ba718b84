"""The story on a local chain, with real work, real metering and real signatures (`demo/cli.py` starts it).

Only what this machine lacks is stood in for, and labelled: without a GPU the GPU class is metered by a
replayed trace.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace

from eth_typing import Hash32
from rich.console import Console
from rich.table import Table

from agents.buyer import Buyer
from agents.ledger import Ledger
from agents.policy import Need
from demo import book, fraud, pipeline, stack
from demo.book import USD_DECIMALS, usd
from demo.files import document
from demo.stack import Stack
from demo.stack_config import Options
from scrip import redeem
from scrip.amounts import format_units, parse_units
from scrip.buying import buy
from scrip.errors import Refused, Reverted, ScripError
from scrip.redeem import Redemption
from scrip.sender import Call
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms, Resource, Status

TEXT = document("scrip.txt")
QUESTION = "Where is the money kept until the work is done?"
TOKENS = 48
SEED = "0x" + "5c" * 32
JOB_SECONDS = 180.0
AGENT_DOLLARS = "0.0006"
"""Enough for the tokens of one answer, or of a few short ones; not for many."""
AGENT_TRIES = 8
PIPELINE_DOLLARS = "0.01"


@dataclass
class Story:
    """What has been shown so far."""

    stack: Stack
    console: Console
    proofs: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[Redemption] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a title, show that something is going on, and how long it took."""
        started = time.monotonic()
        with self.console.status(title):
            yield
        self.console.print(f"[green]done[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")

    def proved(self, what: str, how: str) -> None:
        """Keep a line for the final table."""
        self.proofs.append((what, how))
        self.console.print(f"     {how}", markup=False, style="dim")


def main(*, short: bool = False, keep: bool = False) -> int:
    """Tell the story; returns the exit status. `short` leaves out what needs a model or a compiler."""
    console, started = Console(), time.monotonic()
    # Asked to end by a signal, clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = Options(simulated_gpu=False) if short else Options(more_providers=1)
    try:
        with ExitStack() as cleanup:
            with console.status("chain, contracts, keys, stake, classes"):
                up = cleanup.enter_context(stack.running(wanted))
            console.print(f"[green]done[/] chain, contracts, keys [dim]{time.monotonic() - started:.1f} s[/]")
            (tell_short if short else tell)(Story(up, console))
            console.print(f"all shown in {time.monotonic() - started:.0f} s")
            if keep:
                _keep(up, console)
    except ScripError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started has been ended")
        return 130
    return 0


def tell_short(story: Story) -> None:
    """One purchase, one job, its receipt and the books: what every machine can run."""
    up = story.stack
    with story.step("an oracle at the provider, two watchers: three processes, three keys"):
        up.start_nodes()
    _market(story)
    start = book.read(up)
    with story.step("the buyer buys credits: one transaction, allowance by permit"):
        buy(up.chain, up.sender("buyer"), up.accounts["buyer"], up.classes.cpu, parse_units("60", 3))
    bought = book.read(up)
    _hash_chain(story)
    story.console.print(book.table(up, start, bought, book.read(up)))
    _replay(story)
    story.console.print(_summary(story))


def tell(story: Story) -> None:
    """The parts in order: work first, then what goes wrong."""
    up = story.stack
    with story.step("an oracle at each of two providers, two watchers: four processes, four keys"):
        up.start_nodes()
    _market(story)
    start = book.read(up)
    with story.step("the buyer buys credits: one transaction each, allowance by permit"):
        for class_id, amount in _shopping(up).items():
            buy(up.chain, up.sender("buyer"), up.accounts["buyer"], class_id, amount)
    bought = book.read(up)
    _work(story)
    _agent(story)
    _pipeline(story)
    story.console.print(book.table(up, start, bought, book.read(up)))
    story.console.rule("what goes wrong")
    _failure(story)
    _replay(story)
    _fraud(story)
    _absence(story)
    if not book.read(up).balanced:
        raise ScripError("the reserve doesn't add up at the end")
    story.console.print(_summary(story))


# The parts


def _market(story: Story) -> None:
    up, view = story.stack, story.stack.chain.at()
    for provider in view.providers():
        story.console.print(
            f"     provider {provider.address}: stake {usd(provider.stake)}, oracle key {provider.oracle}",
            style="dim",
        )
    shown = Table(title="classes")
    for name in ("id", "class", "price per credit", "assurance", "watchers"):
        shown.add_column(name)
    for class_id in view.class_ids():
        terms = view.class_terms(class_id)
        price = format_units(terms.price_per_million, USD_DECIMALS + 6)
        watchers = f"{up.options.threshold} of {up.options.watchers}" if terms.watcher_set else "none"
        shown.add_row(str(class_id), terms.name, f"{price} dUSD", str(terms.min_assurance), watchers)
    story.console.print(shown)


def _shopping(up: Stack) -> dict[int, int]:
    """Base units to buy of each class."""
    return {up.classes.llm: 500, up.classes.cpu: parse_units("60", 3), up.classes.gpu: parse_units("60", 3)}


def _work(story: Story) -> None:
    up = story.stack
    with story.step(f"llm.generate: a question about {TEXT.name}"):
        answer = _redeem(story, up.classes.llm, _question(QUESTION), TOKENS)
    story.console.print(
        f"     Q: {QUESTION}\n     A: {answer.output.decode().strip()}", markup=False, style="bold"
    )
    _receipt(story, answer)
    _hash_chain(story)
    product = JobSpec("matmul.int8", {"seed": SEED, "size": 512, "rounds": 4})
    with story.step("matmul.int8: GPU-seconds"):
        multiplied = _redeem(story, up.classes.gpu, product, parse_units("30", 3))
    _receipt(story, multiplied)


def _hash_chain(story: Story) -> None:
    hashing = JobSpec("hash.chain", {"seed": SEED, "steps": 3_000_000})
    with story.step("hash.chain: CPU-seconds"):
        hashed = _redeem(story, story.stack.classes.cpu, hashing, parse_units("30", 3))
    _receipt(story, hashed)


def _redeem(story: Story, class_id: int, spec: JobSpec, most: int) -> Redemption:
    up = story.stack
    planned = redeem.plan(
        up.chain, up.accounts["buyer"].address, up.provider, class_id, spec, most, finish_seconds=600
    )
    redeem.open_job(up.chain, up.sender("buyer"), planned)
    redeem.follow(up.chain, planned.job_id, timeout=JOB_SECONDS, since=planned.since)
    done = redeem.collect(up.chain, planned, up.accounts["buyer"])
    story.jobs.append(done)
    return done


def _receipt(story: Story, done: Redemption) -> None:
    """Print what a receipt says. Energy only where something measured it."""
    terms = story.stack.chain.at().class_terms(done.plan.terms.class_id)
    receipt = done.receipt
    most = format_units(done.plan.terms.max_units, terms.decimals)
    used = f"{format_units(receipt.units, terms.decimals)} of {most}"
    millijoules = receipt.gpu_millijoules
    energy = f"{format_units(millijoules, 3)} J" if millijoules else "not measured"
    signers = "oracle" + (f" + {story.stack.options.threshold} watchers" if receipt.assurance >= 2 else "")
    label = "  SIMULATED GPU: a replayed trace, worth nothing off this chain" if done.simulated else ""
    story.console.print(
        f"     {used} {terms.resource.label}s used, GPU energy {energy}, assurance {receipt.assurance}, "
        f"signed by {signers}, {len(done.checks)} checks passed{label}",
        markup=False,
        style="dim",
    )


def _agent(story: Story) -> None:
    """An agent with a limit asks until the limit stops it."""
    up, limit = story.stack, parse_units(AGENT_DOLLARS, USD_DECIMALS)
    ledger = Ledger(up.layout.root / "state" / "agent" / "spent.json", limit)
    agent = Buyer(up.chain, up.sender("stranger"), up.accounts["stranger"], ledger)
    stack.mint(up.chain, up.sender("stranger"), parse_units("1", USD_DECIMALS))
    need = Need(_question(QUESTION), Resource.OUTPUT_TOKEN, TOKENS, min_assurance=2)
    asked, stop = 0, ""
    with story.step(f"an agent with a limit of {AGENT_DOLLARS} dUSD asks until it is stopped"):
        while asked < AGENT_TRIES and not stop:
            try:
                agent.meet(need)
                asked += 1
            except Refused as refused:
                stop = str(refused)
    if not asked or not stop or ledger.spent() > limit:
        raise ScripError(f"the limit should have stopped the agent: {asked} jobs, spent {ledger.spent()}")
    story.proved(
        "an agent stops at its limit", f"{asked} verified answers for {usd(ledger.spent())}, then {stop}"
    )


def _pipeline(story: Story) -> None:
    """A plan of three stages by two providers: quoted, set aside, run, and proven by one receipt."""
    up = story.stack
    with story.step("a pipeline: retrieve, summarise, check; each stage by the provider that is cheapest"):
        shown = pipeline.run(
            up, QUESTION, TEXT.read_text("utf-8"), parse_units(PIPELINE_DOLLARS, USD_DECIMALS)
        )
    story.console.print(pipeline.table(up, shown))
    summary = shown.outputs["summarise"].decode().strip()
    story.console.print(f"     summary: {summary}", markup=False, style="bold")
    if shown.providers != 2:
        raise ScripError(f"the pipeline should have used both providers: {shown.result.to_json()}")
    story.proved(
        "a pipeline has one receipt",
        f"root 0x{shown.result.tree.root.hex()}: {shown.checks} checks passed, {shown.providers} providers, "
        f"{shown.score // 100} % of the summary is in its passages",
    )


# What goes wrong


def _failure(story: Story) -> None:
    """A job whose work fails: the provider says so, and every credit comes back."""
    up = story.stack
    # Digits make a token each: within the schema's characters, beyond the model's context.
    spec = JobSpec("llm.generate", {"question": "?", "context": "7 " * 6_000, "max_tokens": TOKENS})
    before = book.read(up)
    with story.step("a job that fails"):
        done = _redeem(story, up.classes.llm, spec, TOKENS)
    after = book.read(up)
    if done.ending.status is not Status.REFUNDED or not after.same_credits(before):
        raise ScripError(
            f"the failed job ended {done.ending.status.name}, credits {before.held} to {after.held}, "
            f"locked {before.locked} to {after.locked}"
        )
    story.proved(
        "a failed job is refunded", f"status REFUNDED in 0x{done.ending.tx_hash.hex()}, all credits back"
    )


def _replay(story: Story) -> None:
    """A receipt that settled once is sent again."""
    up, done = story.stack, story.jobs[0]
    settled = up.chain.w3.eth.get_transaction(Hash32(done.ending.tx_hash))
    again = Call(up.chain.address("JobMarket"), bytes(settled["input"]))
    try:
        up.sender("stranger").simulate(again)
    except Reverted as error:
        _expect(error, "JobMarket_WrongStatus")
        story.proved("a replayed receipt reverts", str(error))
        return
    raise ScripError("the market would settle the same receipt twice")


def _fraud(story: Story) -> None:
    """The provider's node goes down, and the provider lies."""
    up = story.stack
    with story.step("the provider turns dishonest: it works, then forges"):
        up.nodes["provider"].stop()
        honest, forged = fraud.lies(up, _question(QUESTION), TOKENS)
        for lie in forged:
            reasons = fraud.ask_watchers(up, lie)
            story.proved(f"watchers refuse: {lie.name}", "; ".join(sorted(reasons)))
        inflated = forged[0].receipt
        unwatched = fraud.send_unwatched(up, honest, inflated)
        _expect(unwatched, "ReceiptVerifier_TooFewWatchers")
        story.proved("the market refuses it without watchers", str(unwatched))
        too_much = fraud.send_unwatched(up, honest, replace(inflated, units=TOKENS + 1))
        _expect(too_much, "JobMarket_TooManyUnits")
        story.proved("the market refuses more than was locked", str(too_much))


def _absence(story: Story) -> None:
    """Two jobs are left hanging: one the provider never took, one it lied about. A stranger ends both."""
    up = story.stack
    before = book.read(up)
    never = _unanswered(story)
    with story.step("a provider that never answers: the deadline passes, a stranger ends the job"):
        up.anvil.advance(fraud.LIVES_SECONDS + 1)
        market = up.chain.contract("JobMarket").functions
        up.sender("stranger").send(market.expire(never.to_abi()), label="expire")
    if not book.read(up).same_credits(before):
        raise ScripError("the expired job did not give everything back")
    story.proved("a job nobody accepts is expired by a stranger", "status EXPIRED, all credits back")


def _unanswered(story: Story) -> JobTerms:
    up, now = story.stack, story.stack.chain.at().time()
    terms = JobTerms(
        payer=up.accounts["buyer"].address, provider=up.provider, class_id=up.classes.llm, max_units=TOKENS,
        resources=1, accept_by=now + 60, submit_by=now + 120, spec_hash=spec_hash(_question("?")),
        budget_id=0, salt=time.time_ns(),
    )  # fmt: skip
    up.sender("buyer").send(up.chain.contract("JobMarket").functions.open(terms.to_abi(), b""), label="open")
    return terms


def _expect(error: Reverted, name: str) -> None:
    if error.name != name:
        raise ScripError(f"expected {name}, but it reverts with {error}")


def _question(question: str) -> JobSpec:
    params = {"question": question, "context": TEXT.read_text("utf-8"), "max_tokens": TOKENS}
    return JobSpec("llm.generate", params)


def _summary(story: Story) -> Table:
    shown = Table(title="shown, each on chain or by a watcher's signature")
    shown.add_column("what")
    shown.add_column("how")
    settled = [done for done in story.jobs if done.ending.status is Status.SETTLED]
    shown.add_row(
        f"{len(settled)} jobs settled by receipt",
        ", ".join(f"0x{done.plan.job_id.hex()[:8]}.." for done in settled),
    )
    for what, how in story.proofs:
        shown.add_row(what, how[:120])
    shown.add_row("the reserve adds up", "tokens = backing + earnings + fees, to the last unit")
    return shown


def _keep(up: Stack, console: Console) -> None:
    """Bring the provider back and wait for Ctrl-C."""
    up.start_oracle()
    console.print(stack.summary(up), markup=False)
    console.print("\nto use it from another terminal:", markup=False)
    console.print(f"source {up.layout.environment('buyer')}", markup=False, soft_wrap=True)
    console.print("scrip balance\n\nCtrl-C ends everything", markup=False)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
