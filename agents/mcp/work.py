"""Work for credits: quoted, checked without sending, or done and verified, once for each key."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Final

from agents.buyer import FOLLOW_SECONDS, Bought, Buyer
from agents.mcp.agent import Agent, CallPurse
from agents.mcp.answers import Chosen, Line, Output, Quote, Work
from agents.mcp.errands import Errand
from agents.mcp.needs import Asked, Resolved, again, resolve, within
from agents.mcp.orders import Kept, OrderState, new_key
from agents.policy import Choice, Preferences, expected_seconds
from scrip import jobs
from scrip.amounts import format_units
from scrip.errors import ScripError
from scrip.provider_client import ProviderClient

MOST_OUTPUT: Final = 20_000
"""Characters of an output that an answer holds: what reads it has a context to fill."""


def quote(agent: Agent, asked: Asked) -> Quote:
    """What the work would cost. Sends nothing. Raises as `needs.resolve`."""
    resolved, choice = resolve(agent, agent.purse(), asked)
    return Quote(
        chosen=_chosen(agent, resolved, choice), rejected=list(choice.rejected), limits=agent.limits()
    )


def check(agent: Agent, asked: Asked, key: str) -> Work:
    """Everything that can be checked without sending a transaction, the provider's own check included.

    Raises as `needs.resolve`, Refused with the provider's reason, ProviderUnreachable.
    """
    if key:
        known = agent.orders.same(key, "redeem", asked.content())
        if known is not None:
            return _known(agent, known)
    resolved, choice = resolve(agent, agent.purse(), asked)
    if choice.listing.offer is not None:
        with ProviderClient(choice.listing.offer.endpoint) as client:
            client.put_spec(asked.spec)
    return Work(
        **_blank(agent, key or new_key()),
        dry_run=True,
        state="checked",
        chosen=_chosen(agent, resolved, choice),
        reason=choice.reason,
        next_step="Nothing was sent. Call again with dry_run=false and this idempotency_key to have it done",
    )


def begin(agent: Agent, asked: Asked, key: str) -> Errand:
    """Have the work done, or go on with it, in a thread of its own. Raises BadInput, TooMuch."""
    content = asked.content()
    agent.orders.same(key, "redeem", content)
    return agent.errands.start("redeem", key, content, lambda errand: _do(agent, asked, key, errand))


def running(agent: Agent, key: str, errand: Errand) -> Work:
    """The answer while the work goes on."""
    opened = job_ids(agent, key)
    return Work(
        **(_blank(agent, key) | {"steps": list(errand.steps), "job_id": opened[-1] if opened else ""}),
        dry_run=False,
        state="running",
        chosen=None,
        reason="",
        next_step="It goes on by itself. Call redeem again with the same arguments and idempotency_key for "
        "the result, which is not paid again; or follow it with status",
    )


def done(agent: Agent, key: str, errand: Errand) -> Work:
    """The answer once the work is verified."""
    bought: Bought = errand.result
    redemption = bought.redemption
    return Work(
        **(
            _blank(agent, key)
            | {
                "job_id": "0x" + redemption.plan.job_id.hex(),
                "spent": agent.money(bought.spent),
                "output": output_of(redemption.output),
                "receipt": redemption.receipt.to_json(),
                "checks": [
                    Line(check=item.name, holds=True, detail=item.detail) for item in redemption.checks
                ],
                "simulated": redemption.simulated,
                "steps": list(errand.steps),
            }
        ),
        dry_run=False,
        state="done",
        chosen=None,
        reason=bought.choice.reason,
        next_step="",
    )


def job_ids(agent: Agent, key: str) -> list[str]:
    """Jobs that were planned for a key, oldest first."""
    return ["0x" + attempt.plan.job_id.hex() for attempt in agent.book.attempts(need_key(key))]


def standing(agent: Agent, key: str) -> str:
    """How the newest job of a key stands on chain, in words."""
    attempts = agent.book.attempts(need_key(key))
    if not attempts:
        return "choosing an offer"
    plan = attempts[-1].plan
    try:
        status = jobs.status(agent.chain.at(), plan.job_id, plan.since)
    except ScripError as unknown:
        return f"waiting for the chain: {unknown}"
    return f"job 0x{plan.job_id.hex()} is {status.name.lower()}"


def need_key(key: str) -> str:
    """How a key stands in the book, which the agent's other commands share."""
    return f"mcp:{key}"


def output_of(raw: bytes) -> Output:
    """An output, labelled as what it is: data from outside."""
    try:
        text, encoding = raw.decode("utf-8"), "text"
    except UnicodeDecodeError:
        text, encoding = b64encode(raw).decode("ascii"), "base64"
    return Output(
        encoding="text" if encoding == "text" else "base64",
        content=text[:MOST_OUTPUT],
        bytes=len(raw),
        truncated=len(text) > MOST_OUTPUT,
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _do(agent: Agent, asked: Asked, key: str, errand: Errand) -> Bought:
    with agent.turn.taken():
        resolved = _resolved(agent, asked, key)
        bought = sum(item.bought for item in agent.book.attempts(need_key(key)))
        buyer = Buyer(
            agent.chain,
            agent.sender,
            agent.wallet,
            CallPurse(agent.purse(), agent.per_call, bought),
            book=agent.place.book,
            preferences=Preferences(max_price=agent.per_call),
            reputation=agent.reputation,
            read_market=lambda chain: within(asked, resolved.unit, agent.read_market(chain)),
            on_step=errand.say,
            money=agent.token.text,
            sleep=agent.errands.sleep,
        )
        met = buyer.meet(resolved.need, timeout=FOLLOW_SECONDS)
        agent.orders.keep(_order(agent, key, asked, resolved, OrderState.DONE))
        return met


def _resolved(agent: Agent, asked: Asked, key: str) -> Resolved:
    """The need of this key: the one it was begun with, whatever the market has become."""
    known = agent.orders.same(key, "redeem", asked.content())
    if known is not None:
        return again(asked, known.data, need_key(key))
    resolved, _ = resolve(agent, agent.purse(), asked, need_key(key))
    kept = agent.orders.claim(_order(agent, key, asked, resolved, OrderState.BEGUN))
    return again(asked, kept.data, need_key(key))


def _order(agent: Agent, key: str, asked: Asked, resolved: Resolved, state: OrderState) -> Kept:
    return Kept(key, "redeem", asked.content(), state, resolved.to_json())


def _known(agent: Agent, order: Kept) -> Work:
    """The answer to a dry run of what was begun already."""
    opened = job_ids(agent, order.key)
    if not opened:
        said = "It was begun, and no job was opened yet"
    else:
        said = f"It was begun already, {len(opened)} job(s) for it so far"
    return Work(
        **(_blank(agent, order.key) | {"job_id": opened[-1] if opened else ""}),
        dry_run=True,
        state="checked",
        chosen=None,
        reason=said,
        next_step="Call again with dry_run=false and the same arguments for its result; it is not paid twice",
    )


def _blank(agent: Agent, key: str) -> dict[str, object]:
    return {
        "idempotency_key": key,
        "job_id": "",
        "spent": None,
        "output": None,
        "receipt": None,
        "checks": [],
        "simulated": False,
        "steps": [],
        "limits": agent.limits(),
    }


def _chosen(agent: Agent, resolved: Resolved, choice: Choice) -> Chosen:
    listing, need = choice.listing, resolved.need
    terms = listing.info.terms
    return Chosen(
        class_id=str(listing.info.class_id),
        class_name=terms.name,
        resource=terms.resource.name,
        provider=listing.provider.address,
        max_credits=format_units(need.max_units, terms.decimals),
        price=agent.money(listing.cost(need.max_units)),
        to_buy=format_units(choice.to_buy, terms.decimals),
        to_buy_cost=agent.money(choice.cost),
        assurance=terms.min_assurance,
        expected_seconds=expected_seconds(listing, need),
        simulated=listing.offer is not None and listing.offer.simulated,
        reason=choice.reason,
    )
