"""Credits for money: bought once for each key, and never past the limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.ledger import LimitReached
from agents.market import Listing
from agents.mcp.account import KeyedSender, mined, settle_pending
from agents.mcp.agent import Agent, OverCall
from agents.mcp.answers import Purchase
from agents.mcp.errands import Errand
from agents.mcp.orders import Kept, OrderState, content_of, new_key
from agents.policy import Choice, Means, Need
from agents.purse import NOTHING_SPENT
from scrip.amounts import format_units, parse_units
from scrip.errors import BadInput, NotFound, Refused
from scrip.spec import JobSpec
from scrip.types import Funding

_PURCHASES = ("buy ", "fill ")
"""How the labels of transactions that buy begin; an approval that came first doesn't."""


def check(agent: Agent, class_id: int, credits: str, key: str) -> Purchase:
    """What the purchase would cost, and whether the limits admit it. Sends nothing.

    Raises Refused, NotFound, BadInput, OverCall, LimitReached, BudgetRefused.
    """
    known = agent.orders.same(key, "buy", _content(class_id, credits)) if key else None
    if known is not None and known.state is OrderState.DONE:
        return _purchase(agent, known, dry_run=True)
    choice = _choose(agent, class_id, credits)
    return Purchase(
        dry_run=True,
        bought=False,
        idempotency_key=key or new_key(),
        class_id=str(class_id),
        credits=format_units(choice.to_buy, choice.listing.info.terms.decimals),
        cost=agent.money(choice.cost),
        transactions=[],
        limits=agent.limits(),
        next_step="Nothing was sent. Call again with dry_run=false and this idempotency_key to buy",
    )


def begin(agent: Agent, class_id: int, credits: str, key: str) -> Errand:
    """Buy in a thread of its own: a client that goes away loses nothing. Raises BadInput, TooMuch."""
    content = _content(class_id, credits)
    agent.orders.same(key, "buy", content)
    return agent.errands.start(
        f"buy {key}", content, lambda errand: _buy(agent, class_id, credits, key, errand)
    )


def done(agent: Agent, order: Kept) -> Purchase:
    """The answer to a purchase that was made."""
    return _purchase(agent, order, dry_run=False)


def _buy(agent: Agent, class_id: int, credits: str, key: str, errand: Errand) -> Kept:
    """The order of the key, done. What an earlier call may have bought is looked for first."""
    with agent.turn.taken(), agent.book.turn():
        settle_pending(agent.sender)
        known = agent.orders.same(key, "buy", _content(class_id, credits))
        if known is not None and known.state is OrderState.DONE:
            return known
        if known is not None and known.state is OrderState.SENDING:
            found = _found(agent, known)
            if found is not None:
                return found
        return _send(agent, class_id, credits, key, errand)


def _send(agent: Agent, class_id: int, credits: str, key: str, errand: Errand) -> Kept:
    choice = _choose(agent, class_id, credits)
    since = agent.chain.nonce(agent.sender.address, "latest")
    data: dict[str, Any] = {
        "classId": str(class_id),
        "credits": credits,
        "cost": str(choice.cost),
        "since": since,
        "transactions": [],
    }
    order = Kept(key, "buy", _content(class_id, credits), OrderState.SENDING, data)
    agent.orders.keep(order)
    errand.say(f"buying {credits} credits of class {class_id} for {agent.token.text(choice.cost)}")
    purse = agent.purse(KeyedSender(agent.sender, key))
    try:
        cost = purse.acquire(choice, _stub(choice.listing, choice.to_buy))
    except NOTHING_SPENT:
        # An offer or two of a budget may have been filled before the one that failed.
        if not _purchases(agent, order):
            agent.orders.keep(replace(order, state=OrderState.BEGUN))
        raise
    return _finish(agent, order, cost)


def _found(agent: Agent, order: Kept) -> Kept | None:
    """The order, done, if the chain has its purchase; None if it was never sent."""
    return _finish(agent, order, int(order.data["cost"])) if _purchases(agent, order) else None


def _finish(agent: Agent, order: Kept, cost: int) -> Kept:
    hashes = ["0x" + tx_hash.hex() for _, tx_hash in _purchases(agent, order)]
    data = {**order.data, "cost": str(cost), "transactions": hashes}
    return agent.orders.keep(replace(order, state=OrderState.DONE, data=data))


def _purchases(agent: Agent, order: Kept) -> list[tuple[str, bytes]]:
    found = mined(agent.sender, order.key, int(order.data["since"]))
    return [item for item in found if item[0].startswith(_PURCHASES)]


def _choose(agent: Agent, class_id: int, credits: str) -> Choice:
    listing = _listing(agent, class_id)
    units = parse_units(credits, listing.info.terms.decimals)
    if units < 1:
        raise BadInput("credits", credits, "more than 0")
    purse = agent.purse()
    need = _stub(listing, units)
    usable = purse.market([listing])
    if not usable:
        raise Refused(
            f"class {class_id} isn't paid in {agent.token.symbol}, which is what this server spends"
        )
    means = purse.means(usable, need)
    cost = _cost(agent, listing, units, means)
    agent.check_call(cost)
    if means.each is not None and cost > means.each:
        raise OverCall(agent.token.text(cost), agent.token.text(means.each))
    if cost > means.left:
        raise LimitReached(cost, means.left, agent.limit or means.left)
    return Choice(listing, units, cost, "asked for by class", ())


def _listing(agent: Agent, class_id: int) -> Listing:
    agent.chain.at().class_info(class_id)  # says that there is no such class
    for item in agent.read_market():
        if item.info.class_id == class_id:
            return item
    raise NotFound(
        "provider of class", class_id, "Nobody could redeem its credits for this server. See the tool: market"
    )


def _cost(agent: Agent, listing: Listing, units: int, means: Means) -> int:
    """Payment-token base units. Raises Refused if nobody sells, BadInput if the account can't pay."""
    info = listing.info
    if means.stock is not None:
        cost = means.stock(info.class_id, units)
        if cost is None:
            raise Refused(
                f"no offers sell {units} units of class {info.class_id} to this budget's owner. It can buy "
                f"some itself: scrip buy {info.class_id}",
                "exchange",
            )
        return cost
    if listing.price is None or info.terms.funding is not Funding.SALE or info.wound_down:
        raise Refused(f"class {info.label} is not for sale now. See the tool: market")
    if units + info.supply > info.terms.max_supply:
        raise Refused(f"class {info.label} has only {info.terms.max_supply - info.supply} units left to sell")
    cost = listing.cost(units)
    held = agent.chain.at().token_balance(agent.token.address, agent.sender.address)
    if held < cost:
        raise BadInput(
            "payment", agent.token.text(held), f"at least {agent.token.text(cost)}", "Send the account more"
        )
    return cost


def _stub(listing: Listing, units: int) -> Need:
    """Purses ask what for; credits alone are for nothing in particular."""
    return Need(JobSpec("credits", {}), listing.info.terms.resource, units)


def _content(class_id: int, credits: str) -> str:
    return content_of({"class": class_id, "credits": credits})


def _purchase(agent: Agent, order: Kept, *, dry_run: bool) -> Purchase:
    data = order.data
    return Purchase(
        dry_run=dry_run,
        bought=True,
        idempotency_key=order.key,
        class_id=str(data["classId"]),
        credits=str(data["credits"]),
        cost=agent.money(int(data["cost"])),
        transactions=list(data["transactions"]),
        limits=agent.limits(),
        next_step="Bought once under this idempotency_key. To buy more, choose a new one",
    )
