"""Credits for money: bought once for each key, and never past the limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from web3.logs import DISCARD

from agents.ledger import LimitReached
from agents.market import Listing
from agents.mcp.account import KeyedSender, in_doubt, mined, settle_pending
from agents.mcp.agent import Agent, OverCall
from agents.mcp.answers import Purchase
from agents.mcp.errands import Errand
from agents.mcp.orders import Kept, OrderState, content_of, new_key
from agents.policy import Choice, Means, Need
from agents.purse import NOTHING_SPENT
from scrip.amounts import format_units, parse_units
from scrip.chain import Chain
from scrip.errors import BadInput, ChainError, NotFound, Refused
from scrip.spec import JobSpec
from scrip.types import Funding

if TYPE_CHECKING:
    from web3.types import TxReceipt

_EVENTS = (("CreditReserve", "Bought", "cost"), ("CreditExchange", "OfferFilled", "price"))
"""Contract, event and the name it gives to what was paid."""

_CHECKED = "Nothing was sent. Call again with dry_run=false and this idempotency_key to buy"
_UNSURE = (
    "An earlier call may have bought already. Call again with dry_run=false: it is looked up first, and "
    "never bought twice"
)


def check(agent: Agent, class_id: int, credits: str, key: str) -> Purchase:
    """What the purchase would cost, and whether the limits admit it. Sends nothing.

    Raises Refused, NotFound, BadInput, OverCall, LimitReached, BudgetRefused.
    """
    known = agent.orders.same(key, "buy", _content(class_id, credits)) if key else None
    if known is not None and known.state is OrderState.DONE:
        return _purchase(agent, known, dry_run=True)
    choice = _choose(agent, class_id, credits)
    unsure = known is not None and known.state is OrderState.SENDING
    return Purchase(
        dry_run=True,
        bought=False,
        idempotency_key=key or new_key(),
        class_id=str(class_id),
        credits=format_units(choice.to_buy, choice.listing.info.terms.decimals),
        cost=agent.money(choice.cost),
        transactions=[],
        limits=agent.limits(),
        next_step=_UNSURE if unsure else _CHECKED,
    )


def begin(agent: Agent, class_id: int, credits: str, key: str) -> Errand:
    """Buy in a thread of its own: a client that goes away loses nothing. Raises BadInput, TooMuch."""
    content = _content(class_id, credits)
    agent.orders.same(key, "buy", content)
    return agent.errands.start(
        "buy", key, content, lambda errand: _buy(agent, class_id, credits, key, errand)
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
            if in_doubt(agent.sender, key, int(known.data["since"])):
                raise _not_shown(key)
        return _send(agent, class_id, credits, key, errand)


def _send(agent: Agent, class_id: int, credits: str, key: str, errand: Errand) -> Kept:
    choice = _choose(agent, class_id, credits)
    data: dict[str, Any] = {
        "classId": str(class_id),
        "asked": str(choice.to_buy),
        "decimals": choice.listing.info.terms.decimals,
        "since": agent.chain.nonce(agent.sender.address, "latest"),
    }
    order = Kept(key, "buy", _content(class_id, credits), OrderState.SENDING, data)
    agent.orders.keep(order)
    errand.say(f"buying {credits} credits of class {class_id} for {agent.token.text(choice.cost)}")
    purse = agent.purse(KeyedSender(agent.sender, key))
    try:
        purse.acquire(choice, _stub(choice.listing, choice.to_buy))
    except NOTHING_SPENT:
        # Of several offers to a budget some may have been filled before one failed.
        if _found(agent, order) is None:
            agent.orders.keep(replace(order, state=OrderState.BEGUN))
        raise
    found = _found(agent, order)
    if found is None:
        raise _not_shown(key)
    return found


def _not_shown(key: str) -> ChainError:
    return ChainError(
        f"the purchase of {key} was sent, and this node doesn't show it yet. Call again with the same "
        "idempotency_key: it is looked for, and not bought twice"
    )


def _found(agent: Agent, order: Kept) -> Kept | None:
    """The order, done, as the chain has its purchases; None if it has none."""
    fills = [
        fill
        for receipt in mined(agent.sender, order.key, int(order.data["since"]))
        for fill in _fills(agent.chain, receipt)
    ]
    if not fills:
        return None
    data = {
        **order.data,
        "units": str(sum(fill.units for fill in fills)),
        "cost": str(sum(fill.cost for fill in fills)),
        "transactions": list(dict.fromkeys("0x" + fill.tx_hash.hex() for fill in fills)),
    }
    return agent.orders.keep(replace(order, state=OrderState.DONE, data=data))


class _Fill(NamedTuple):
    """What one event says was bought: base units, and payment-token base units."""

    units: int
    cost: int
    tx_hash: bytes


def _fills(chain: Chain, receipt: TxReceipt) -> Iterator[_Fill]:
    """Purchases from the reserve, and fills of offers, by their contracts' own events."""
    for name, kind, price in (
        ("CreditReserve", "Bought", "cost"),
        ("CreditExchange", "OfferFilled", "price"),
    ):
        for found in chain.contract(name).events[kind]().process_receipt(receipt, errors=DISCARD):
            if found["address"] == chain.address(name):
                args = found["args"]
                yield _Fill(int(args["units"]), int(args[price]), bytes(receipt["transactionHash"]))


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
    data, decimals = order.data, int(order.data["decimals"])
    short = int(data["asked"]) - int(data["units"])
    missing = (
        f"{format_units(short, decimals)} credits are missing: an offer was taken by others. "
        if short
        else ""
    )
    return Purchase(
        dry_run=dry_run,
        bought=True,
        idempotency_key=order.key,
        class_id=str(data["classId"]),
        credits=format_units(int(data["units"]), decimals),
        cost=agent.money(int(data["cost"])),
        transactions=list(data["transactions"]),
        limits=agent.limits(),
        next_step=f"{missing}Bought once under this idempotency_key. To buy more, choose a new one",
    )
