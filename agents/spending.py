"""What agents did with their budgets, from the chain's events alone: every charge, what it was for, what came
back, and the receipt it ended with.

The contracts emit what belongs together side by side, so the order of a transaction's events says which job,
session or fill a charge belongs to. The sums are held against what the budgets say of themselves. Events are
streamed: memory grows with budgets and with what is under way, not with history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from scrip.amounts import cost
from scrip.chain import Chain
from scrip.errors import ScripError
from scrip.logs import LogEvent, merged
from scrip.types import ClassTerms

RECENT: Final = 20
"""How many of the newest receipts are kept, by default."""

_SOURCES: Final = {
    "SpendingBudgets": ("BudgetCreated", "BudgetSet", "BudgetCharged", "BudgetReleased"),
    "JobMarket": ("JobOpened", "JobSettled", "JobRefunded", "JobCancelled", "JobExpired"),
    "MeteredSessions": ("SessionOpened", "SessionToppedUp", "SessionClaimed", "SessionClosed"),
    "CreditExchange": ("OfferFilled",),
    "ComputeCredits": ("TransferSingle",),
}
_JOB_ENDS: Final = {
    "JobSettled": "settled",
    "JobRefunded": "refunded",
    "JobCancelled": "cancelled",
    "JobExpired": "expired",
}


class SpendMismatch(ScripError):
    """What the events add up to isn't what the chain says is spent: the node's logs aren't complete."""

    def __init__(self, budget_id: int, counted: int, spent: int) -> None:
        self.budget_id, self.counted, self.spent = budget_id, counted, spent
        super().__init__(
            f"budget {budget_id}: its events add up to {counted}, the chain says {spent} is spent. "
            "This node's logs aren't complete: use another"
        )


@dataclass(frozen=True, slots=True)
class Key:
    """What spend is told apart by. `budget_id` 0 is an agent's own account; `kind` is job, session or fill.

    `payee` is the provider or, of a fill, the maker.
    """

    agent: str
    budget_id: int
    class_id: int
    payee: str
    kind: str


@dataclass(slots=True)
class Row:
    """Sums under one key. Amounts are payment-token base units, `units` the class's.

    `charged` counts gross, `released` is what came back; the rest is spent, or still locked in the `live`
    ones. Of an own account they are at the class's price. `failed` are jobs that ended without being paid.
    """

    count: int = 0
    live: int = 0
    failed: int = 0
    units: int = 0
    charged: int = 0
    released: int = 0

    @property
    def spent(self) -> int:
        """What is charged and not given back."""
        return self.charged - self.released


@dataclass(frozen=True, slots=True)
class Receipt:
    """How one job, session or fill ended, with where to look it up.

    `ident` is the job's, session's or offer's id; `receipt_hash` is empty where there is none.
    """

    key: Key
    ident: bytes
    outcome: str
    units: int
    spent: int
    receipt_hash: bytes
    tx_hash: bytes
    block: int


@dataclass(slots=True)
class _Live:
    """Something under way."""

    key: Key
    max_units: int
    charged: int = 0
    released: int = 0
    units: int = 0


@dataclass(slots=True)
class Spending:
    """The tally. `wanted` says of an agent and a budget whether they count; `terms_of` reads a class."""

    wanted: Callable[[str, int], bool]
    terms_of: Callable[[int], ClassTerms]
    spender_of: Callable[[int], str]
    keep: int = RECENT
    rows: dict[Key, Row] = field(default_factory=dict)
    receipts: deque[Receipt] = field(default_factory=deque)
    net: dict[int, int] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)
    _spenders: dict[int, str] = field(default_factory=dict)
    _live: dict[bytes, _Live] = field(default_factory=dict)
    _tx: bytes = b""
    _subject: LogEvent | None = None
    _held: LogEvent | None = None
    _ended: Receipt | None = None
    _fill: tuple[LogEvent, LogEvent] | None = None

    def add(self, event: LogEvent) -> None:
        """Count the next event, in chain order."""
        if event.tx_hash != self._tx:
            self.close()
            self._tx = event.tx_hash
        if self._held is not None and event.name != "JobOpened":
            self._charge_subject()
        getattr(self, f"_on_{event.name}")(event)

    def close(self) -> None:
        """Count what waited for the rest of its transaction."""
        if self._held is not None:
            self._charge_subject()
        self._conclude()
        self._subject = self._fill = None

    # Budgets

    def _on_BudgetCreated(self, event: LogEvent) -> None:
        budget = int(event.args["budgetId"])
        self.parents[budget] = int(event.args["parent"])
        self._spenders[budget] = _spender(event)
        self.net.setdefault(budget, 0)

    def _on_BudgetSet(self, event: LogEvent) -> None:
        self._spenders[int(event.args["budgetId"])] = _spender(event)

    def _on_BudgetCharged(self, event: LogEvent) -> None:
        self._add_net(event, int(event.args["value"]))
        self._held = event

    def _on_BudgetReleased(self, event: LogEvent) -> None:
        value = int(event.args["value"])
        self._add_net(event, -value)
        if self._ended is not None and self._ended.key.budget_id == int(event.args["budgetId"]):
            self.rows[self._ended.key].released += value
            self._ended = replace(self._ended, spent=self._ended.spent - value)

    def _charge_subject(self) -> None:
        """A charge that no job's opening follows is of the session or the fill before it."""
        charge, subject = self._held, self._subject
        self._held = None
        if charge is None or subject is None:
            return
        if subject.name == "OfferFilled":
            self._fill = (subject, charge)
            return
        live = self._live.get(bytes(subject.args["sessionId"]))
        if live is not None:
            self._charge(live, int(charge.args["value"]))

    # Jobs

    def _on_JobOpened(self, event: LogEvent) -> None:
        charge, self._held = self._held, None
        args, budget = event.args, int(event.args["budgetId"])
        if charge is not None and int(charge.args["budgetId"]) != budget:
            self._held = charge
            self._charge_subject()
            charge = None
        class_id, units = int(args["classId"]), int(args["maxUnits"])
        live = self._begin(event, "jobId", str(args["payer"]), budget, class_id, "job", units)
        if live is not None:
            self._charge(live, int(charge.args["value"]) if charge else self._priced(class_id, units))

    def _on_JobSettled(self, event: LogEvent) -> None:
        self._end(event, "jobId", int(event.args.get("units", 0)))

    _on_JobRefunded = _on_JobCancelled = _on_JobExpired = _on_JobSettled

    # Sessions

    def _on_SessionOpened(self, event: LogEvent) -> None:
        args = event.args
        self._subject, budget, class_id = event, int(args["budgetId"]), int(args["classId"])
        units = int(args["units"])
        live = self._begin(event, "sessionId", str(args["payer"]), budget, class_id, "session", units)
        if live is not None and budget == 0:
            self._charge(live, self._priced(class_id, units))

    def _on_SessionToppedUp(self, event: LogEvent) -> None:
        self._subject = event
        live = self._live.get(bytes(event.args["sessionId"]))
        if live is not None:
            live.max_units = int(event.args["deposit"])
            if live.key.budget_id == 0:
                self._charge(live, self._priced(live.key.class_id, int(event.args["units"])))

    def _on_SessionClaimed(self, event: LogEvent) -> None:
        live = self._live.get(bytes(event.args["sessionId"]))
        if live is not None:
            live.units += int(event.args["units"])
            self.rows[live.key].units += int(event.args["units"])

    def _on_SessionClosed(self, event: LogEvent) -> None:
        self._end(event, "sessionId", int(event.args["claimed"]))

    # Fills

    def _on_OfferFilled(self, event: LogEvent) -> None:
        self._subject = event

    def _on_TransferSingle(self, event: LogEvent) -> None:
        """The credits of a fill, which say their class; they come last."""
        fill, self._fill = self._fill, None
        if fill is None or int(fill[0].args["units"]) != int(event.args["value"]):
            return
        filled, charge = fill
        budget, price = int(charge.args["budgetId"]), int(charge.args["value"])
        agent = self._agent(budget, str(filled.args["taker"]))
        if not self.wanted(agent, budget):
            return
        key = Key(agent, budget, int(event.args["id"]), str(filled.args["maker"]), "fill")
        row = self.rows.setdefault(key, Row())
        row.count, row.units = row.count + 1, row.units + int(event.args["value"])
        row.charged += price
        self._conclude()
        self._ended = Receipt(
            key, bytes(filled.args["offerHash"]), "filled", int(event.args["value"]), price, b"",
            event.tx_hash, event.block,
        )  # fmt: skip

    # What they share

    def _begin(
        self, event: LogEvent, ident: str, payer: str, budget: int, class_id: int, kind: str, units: int
    ) -> _Live | None:
        agent = self._agent(budget, payer)
        if not self.wanted(agent, budget):
            return None
        key = Key(agent, budget, class_id, str(event.args["provider"]), kind)
        row = self.rows.setdefault(key, Row())
        row.count, row.live = row.count + 1, row.live + 1
        live = self._live[bytes(event.args[ident])] = _Live(key, units)
        return live

    def _charge(self, live: _Live, value: int) -> None:
        live.charged += value
        self.rows[live.key].charged += value

    def _end(self, event: LogEvent, ident: str, units: int) -> None:
        self._conclude()
        live = self._live.pop(bytes(event.args[ident]), None)
        if live is None:
            return
        row = self.rows[live.key]
        row.live -= 1
        row.units += units - live.units
        row.failed += units == 0 and live.key.kind == "job"
        spent = live.charged
        if live.key.budget_id == 0:
            spent = self._priced(live.key.class_id, units)
            row.released += live.charged - spent
        self._ended = Receipt(
            live.key, bytes(event.args[ident]), _JOB_ENDS.get(event.name, "closed"), units, spent,
            bytes(event.args.get("receiptHash", b"")), event.tx_hash, event.block,
        )  # fmt: skip

    def _conclude(self) -> None:
        """A receipt is complete once something else follows: then nothing more comes back."""
        if self._ended is not None:
            self.receipts.append(self._ended)
            while len(self.receipts) > self.keep:
                self.receipts.popleft()
        self._ended = None

    def _agent(self, budget: int, payer: str) -> str:
        if budget == 0:
            return payer
        if budget not in self._spenders:
            self._spenders[budget] = self.spender_of(budget)
        return self._spenders[budget]

    def _add_net(self, event: LogEvent, value: int) -> None:
        budget = int(event.args["budgetId"])
        self.net[budget] = self.net.get(budget, 0) + value

    def _priced(self, class_id: int, units: int) -> int:
        terms = self.terms_of(class_id)
        return cost(units, terms.price_per_million, terms.decimals)


def read(chain: Chain, tally: Spending, first: int, last: int) -> Spending:
    """Count every event from block `first` to `last` into `tally`. Raises ChainError."""
    for event in stream(chain, first, last):
        tally.add(event)
    tally.close()
    return tally


def stream(chain: Chain, first: int, last: int) -> Iterator[LogEvent]:
    """Events of all contracts that spend, in chain order, a page of each at a time."""
    fills = {"operator": chain.address("CreditExchange")}
    sources = [
        (contract, names, fills if contract == "ComputeCredits" else {})
        for contract, names in _SOURCES.items()
    ]
    return merged(chain, sources, first, last)


def check(chain: Chain, tally: Spending, block: int) -> dict[int, int]:
    """What the chain says is spent of each budget, by id, held against the events of all its tree.

    For a tally from the deployment's first block on. Raises SpendMismatch.
    """
    counted = dict(tally.net)
    for budget in sorted(counted, reverse=True):  # children are made after their parents
        parent = tally.parents.get(budget, 0)
        if parent:
            counted[parent] = counted.get(parent, 0) + counted[budget]
    view, found = chain.at(block), {}
    for budget in sorted({key.budget_id for key in tally.rows} - {0}):
        found[budget] = view.budget(budget).spent
        if found[budget] != counted[budget]:
            raise SpendMismatch(budget, counted[budget], found[budget])
    return found


def _spender(event: LogEvent) -> str:
    limits = event.args["limits"]
    return str(limits["spender"] if hasattr(limits, "keys") else limits[0])
