"""From the command line to a running server."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio

from agents.mcp.agent import Agent, Place
from agents.mcp.server import ScripServer
from scrip import budgets
from scrip.amounts import parse_units
from scrip.chain import Chain
from scrip.cli.context import Context
from scrip.cli.output import Token, Tokens
from scrip.cli.sending import lock_of, sender_of
from scrip.errors import BadInput
from scrip.offers import load
from scrip.structs import to_address


@dataclass(frozen=True, slots=True)
class Options:
    """What the server was started with. Amounts are texts in the payment token's unit."""

    transport: str
    limit: str | None
    per_call: str | None
    budget: int | None
    offers: Path | None
    ledger: Path | None
    token: str | None
    host: str
    port: int
    allow_hosts: tuple[str, ...]
    token_file: Path | None


def run(context: Context, options: Options) -> None:
    """Serve until the client leaves (stdio) or the process is interrupted. Raises ScripError."""
    _log_to_stderr()
    agent = make_agent(context, options)
    try:
        if options.transport == "stdio":
            anyio.run(ScripServer(agent).run_stdio_async)
        else:
            _serve_http(context, agent, options)
    finally:
        agent.errands.stop()


def make_agent(context: Context, options: Options) -> Agent:
    """The account, its purse and its caps. Raises KeyProblem, BadInput, BudgetRefused, ChainError."""
    chain = context.chain()
    account = context.account(chain.chain_id)
    token = _token(chain, options)
    limit = None if options.limit is None else parse_units(options.limit, token.decimals)
    agent = Agent(
        rpc=context.node_url(),
        chain=chain,
        sender=sender_of(context, chain, account),
        wallet=account,
        token=token,
        per_call=_per_call(chain, options, token, limit),
        place=_place(context, chain, str(account.address), options),
        limit=limit,
        budget_id=options.budget or 0,
        offers=load(options.offers) if options.offers else (),
    )
    agent.purse()  # whose budget it is, and whether it is ours to spend
    return agent


def _token(chain: Chain, options: Options) -> Token:
    """The payment token that amounts are in. Raises BadInput where there is a choice."""
    view = chain.at()
    tokens = Tokens(view)
    if options.budget is not None:
        return tokens.at(view.budget(options.budget).token)
    if options.token is not None:
        return tokens.at(to_address("--token", options.token))
    found = {view.class_terms(class_id).payment_token for class_id in view.class_ids()}
    known = sorted(address for address in found if int(address, 16))
    if len(known) != 1:
        shown = ", ".join(f"{tokens.at(at).symbol} {at}" for at in known) or "a payment token's address"
        raise BadInput("--token", None, f"one of {shown}", "Classes are paid in different tokens")
    return tokens.at(known[0])


def _per_call(chain: Chain, options: Options, token: Token, limit: int | None) -> int:
    if options.per_call is not None:
        return parse_units(options.per_call, token.decimals)
    if limit is not None:
        return limit
    tree = budgets.levels(chain.at(), options.budget or 0)
    return min(level.budget.limits.per_action for level in tree)


def _place(context: Context, chain: Chain, address: str, options: Options) -> Place:
    """Files beside the account's lock, whose name tells a local chain from the one before its restart."""
    lock = lock_of(context, chain, address)
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    stem = f"mcp-{lock.stem}-{chain.address('JobMarket').lower()[2:10]}"
    return Place(
        book=lock.with_name(f"{stem}.needs"),
        orders=lock.with_name(f"{stem}.orders"),
        ledger=options.ledger or lock.with_name(f"{stem}.json"),
        lock=lock,
        reputation=lock.with_name(f"{stem}-providers.json"),
    )


def _serve_http(context: Context, agent: Agent, options: Options) -> None:
    from agents.mcp.http import read_token, serve

    token = read_token(options.token_file or context.state / "mcp.token", _say)
    serve(agent, options.host, options.port, options.allow_hosts, token, _say)


def _say(text: str) -> None:
    """A line for people. Never on stdout, which is the protocol's under stdio."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _log_to_stderr() -> None:
    """Before the SDK chooses a handler of its own, which would print colours."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("httpx", "httpx2", "mcp.server.lowlevel.server"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
