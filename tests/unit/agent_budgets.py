"""Budgets and exchange of the market in memory: the rules of `BudgetTree` and `CreditExchange`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrip.eip712 import sign
from scrip.eip712_credits import offer_digest
from scrip.errors import NotFound, Reverted
from scrip.offers import SignedOffer
from scrip.structs import ZERO_ADDRESS
from scrip.types_spending import NO_CAP, Budget, Limits, Offer
from tests.unit.agent_parties import AGENT, MAKER, OWNER, TOKEN
from tests.unit.evidence_factory import CHAIN_ID, MARKET

if TYPE_CHECKING:
    from tests.unit.agent_world import World

Logs = list[tuple[str, dict[str, Any]]]


@dataclass
class Node:
    """One level. `limits` as on chain."""

    parent: int
    limits: Limits
    spent: int = 0
    period_spent: int = 0
    period_index: int = 0
    revoked: bool = False
    listed: set[str] = field(default_factory=set)


class Budgets:
    """Trees of one owner, and the exchange that charges them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes: dict[int, Node] = {}
        self.owner_tokens = 10**6
        self.filled: dict[bytes, int] = {}
        self.cancelled: set[bytes] = set()

    def create(self, parent: int, spender: str, **limits: Any) -> int:
        base = {"per_action": NO_CAP, "per_period": NO_CAP, "lifetime": NO_CAP, "period": 0, "expiry": 0,
                "listed": False}  # fmt: skip
        self.nodes[len(self.nodes) + 1] = Node(parent, Limits(spender=spender, **(base | limits)))
        return len(self.nodes)

    def view(self, budget_id: int) -> Budget:
        if budget_id not in self.nodes:
            raise NotFound("budget", budget_id)
        node = self.nodes[budget_id]
        return Budget(OWNER, TOKEN, node.parent, 1, node.revoked, node.limits, node.spent, node.period_spent,
                      node.period_index)  # fmt: skip

    def read(self, function: str, *args: Any) -> Any:
        if function == "isListed":
            return args[1] in self.nodes[args[0]].listed
        if function == "isApprovedForAll":
            return True
        if function == "epochOf":
            return 0
        if function == "isCancelled":
            return args[0] in self.cancelled
        if function == "filledOf":
            return self.filled.get(args[0], 0)
        raise AssertionError(function)

    def charge(self, budget_id: int, spender: str, payer: str, payee: str, value: int) -> int:
        """Every level, or none. Raises Reverted as the contract."""
        if spender != self.nodes[budget_id].limits.spender or payer != OWNER:
            raise _no("NotSpender", budget_id, 0, 0)
        levels, at = [], budget_id
        while at:
            self._check(at, payee, value)
            levels.append(at)
            at = self.nodes[at].parent
        for level in levels:
            node = self.nodes[level]
            index = self._index(node)
            node.period_spent = value + (node.period_spent if index == node.period_index else 0)
            node.period_index = index
            node.spent += value
        self.world.told.append(("charged", budget_id, value))
        return value

    def release(self, budget_id: int, value: int) -> None:
        at = budget_id
        while at:
            self.nodes[at].spent -= value
            at = self.nodes[at].parent
        self.world.told.append(("released", budget_id, value))

    def _check(self, level: int, payee: str, value: int) -> None:
        node, limits = self.nodes[level], self.nodes[level].limits
        if node.revoked:
            raise _no("Revoked", level, value, 0)
        if limits.expiry and self.world.time > limits.expiry:
            raise _no("Expired", level, self.world.time, limits.expiry)
        if limits.listed and payee not in node.listed:
            raise _no("ProviderNotListed", level, payee, ZERO_ADDRESS)
        if value > limits.per_action:
            raise _no("OverAction", level, value, limits.per_action)
        used = node.period_spent if self._index(node) == node.period_index else 0
        if limits.period and value > limits.per_period - used:
            raise _no("OverPeriod", level, value, limits.per_period - used)
        if value > limits.lifetime - node.spent:
            raise _no("OverLifetime", level, value, limits.lifetime - node.spent)

    def _index(self, node: Node) -> int:
        return self.world.time // node.limits.period if node.limits.period else 0

    # The exchange

    def offer(
        self, class_id: int, units: int, price: int, *, expiry: int = 2**39, forged: bool = False
    ) -> Any:
        made = Offer(MAKER.address, True, class_id, units, TOKEN, price, ZERO_ADDRESS, expiry, 0, class_id)
        self.world.credits[MAKER.address, class_id] = 10**6
        signer = AGENT if forged else MAKER
        return SignedOffer(made, sign(offer_digest(made, CHAIN_ID, MARKET), signer))

    def fill(self, budget_id: int, order: Any) -> Logs:
        offer, units, most = Offer.from_abi(order[0]), order[2], order[3]
        digest = offer_digest(offer, CHAIN_ID, MARKET)
        price = -(-units * offer.price // offer.units)
        if self.world.time > offer.expiry or digest in self.cancelled:
            raise Reverted("CreditExchange_Expired", {})
        if units > offer.units - self.filled.get(digest, 0):
            raise Reverted("CreditExchange_OverFill", {})
        if price > most or price > self.owner_tokens:
            raise Reverted("CreditExchange_OverLimit", {})
        self.charge(budget_id, AGENT.address, OWNER, offer.maker, price)
        self.filled[digest] = self.filled.get(digest, 0) + units
        self.owner_tokens -= price
        self.world.credits[OWNER, offer.class_id] += units
        self.world.credits[offer.maker, offer.class_id] -= units
        self.world.told.append(("bought", price))
        return [("OfferFilled", {"price": price})]


def _no(reason: str, level: int, given: Any, limit: Any) -> Reverted:
    return Reverted(f"SpendingBudgets_{reason}", {"budgetId": level, "given": given, "limit": limit})
