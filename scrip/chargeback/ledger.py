"""Entries from the chain's events, in integers that add up: every burn of credits becomes entries of as many
units, every pay-out is divided among the entries it paid for without a rest.

The contracts emit what belongs together side by side. A job's `JobSettled` precedes the burn of its units, a
session's `SessionClaimed` that of its; one `PaidOut` follows the burns it pays for. So queues within a
transaction pair them, and anything left over when it ends means that a log is missing.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from scrip.chargeback.entry import Entry, Kind, LedgerMismatch, Tokens
from scrip.logs import LogEvent
from scrip.structs import ZERO_ADDRESS
from scrip.types import Receipt


@dataclass(frozen=True, slots=True)
class Opening:
    """Who opened a job or session, and on which budget (0: none). `claimed` is what was claimed of a session
    before the events that are looked at."""

    account: str
    budget_id: int
    claimed: int = 0


class Facts(Protocol):
    """What events don't say themselves."""

    def opening(self, kind: Kind, ident: bytes, before: LogEvent) -> Opening:
        """Of a job or session that was opened before the first event looked at."""

    def receipt(self, job: bytes, tx_hash: bytes, receipt_hash: bytes) -> Receipt | None:
        """The receipt of a job, probably brought by this transaction; None if it can't be seen."""

    def tokens(self, session: bytes, after: int, upto: int) -> Tokens | None:
        """Tokens of a session's calls that its claims from `after` to `upto` units cover; None if unknown."""

    def time(self, block: int) -> int:
        """Unix seconds of a block."""


@dataclass(slots=True)
class _Part:
    """Units of one job, claim or holder that were burned and wait for the money."""

    kind: Kind
    ident: bytes
    opening: Opening
    provider: str
    units: int
    receipt_hash: bytes = b""
    receipt: Receipt | None = None
    tokens: Tokens | None = None


@dataclass(slots=True)
class Ledger:
    """Turns events, in chain order, into entries. `market`, `sessions` and `reserve` are the contracts'
    addresses.

    `minted` and `burned` are base units by class, of all accounts.
    """

    market: str
    sessions: str
    reserve: str
    facts: Facts
    minted: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    burned: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    _opened: dict[bytes, Opening] = field(default_factory=dict)
    _submitted: dict[bytes, bytes] = field(default_factory=dict)
    _settled: deque[LogEvent] = field(default_factory=deque)
    _claimed: deque[LogEvent] = field(default_factory=deque)
    _unpaid: list[_Part] = field(default_factory=list)
    _bought: LogEvent | None = None
    _reclaimed: LogEvent | None = None
    _tx: bytes = b""

    def add(self, event: LogEvent) -> list[Entry]:
        """The entries that the next event completes. Raises LedgerMismatch."""
        if event.tx_hash != self._tx:
            self.close()
            self._tx = event.tx_hash
        found: list[Entry] = getattr(self, f"_on_{event.name}")(event)
        return found

    def close(self) -> None:
        """Check that nothing waits for the rest of its transaction. Raises LedgerMismatch."""
        if self._settled or self._claimed or self._unpaid or self._bought or self._reclaimed:
            raise LedgerMismatch(f"transaction 0x{self._tx.hex()}: what was used and burned doesn't match")

    # Jobs

    def _on_JobOpened(self, event: LogEvent) -> list[Entry]:
        args = event.args
        self._opened[bytes(args["jobId"])] = Opening(str(args["payer"]), int(args["budgetId"]))
        return []

    def _on_JobSubmitted(self, event: LogEvent) -> list[Entry]:
        self._submitted[bytes(event.args["jobId"])] = event.tx_hash
        return []

    def _on_JobSettled(self, event: LogEvent) -> list[Entry]:
        if int(event.args["units"]):
            self._settled.append(event)
            return []
        return self._on_JobRefunded(event)

    def _on_JobRefunded(self, event: LogEvent) -> list[Entry]:
        """Nothing was used."""
        self._opened.pop(bytes(event.args["jobId"]), None)
        self._submitted.pop(bytes(event.args["jobId"]), None)
        return []

    _on_JobCancelled = _on_JobExpired = _on_JobRefunded

    def _burned_job(self, burn: LogEvent) -> None:
        settled = self._settled.popleft() if self._settled else None
        if settled is None or int(settled.args["units"]) != int(burn.args["value"]):
            raise LedgerMismatch(
                f"block {burn.block}: a burn of {burn.args['value']} units is of no settled job"
            )
        job, receipt_hash = bytes(settled.args["jobId"]), bytes(settled.args["receiptHash"])
        opening = self._opened.pop(job, None) or self.facts.opening("job", job, burn)
        receipt = self.facts.receipt(job, self._submitted.pop(job, settled.tx_hash), receipt_hash)
        tokens = None if receipt is None else Tokens(receipt.input_tokens, 0, receipt.output_tokens)
        self._unpaid.append(
            _Part("job", job, opening, str(settled.args["provider"]), int(burn.args["value"]),
                  receipt_hash, receipt, tokens)
        )  # fmt: skip

    # Sessions

    def _on_SessionOpened(self, event: LogEvent) -> list[Entry]:
        args = event.args
        self._opened[bytes(args["sessionId"])] = Opening(str(args["payer"]), int(args["budgetId"]))
        return []

    def _on_SessionClaimed(self, event: LogEvent) -> list[Entry]:
        self._claimed.append(event)
        return []

    def _on_SessionClosed(self, event: LogEvent) -> list[Entry]:
        self._opened.pop(bytes(event.args["sessionId"]), None)
        return []

    def _burned_claims(self, burn: LogEvent) -> None:
        """Claims of one class that follow each other are burned in one go."""
        left = int(burn.args["value"])
        while left > 0 and self._claimed:
            claim = self._claimed.popleft()
            left -= int(claim.args["units"])
            self._unpaid.append(self._claim_part(claim))
        if left != 0:
            raise LedgerMismatch(
                f"block {burn.block}: a burn of {burn.args['value']} units fits no session claims"
            )

    def _claim_part(self, claim: LogEvent) -> _Part:
        session, units = bytes(claim.args["sessionId"]), int(claim.args["units"])
        opening = self._opened.get(session) or self.facts.opening("session", session, claim)
        upto = opening.claimed + units
        self._opened[session] = Opening(opening.account, opening.budget_id, upto)
        tokens = self.facts.tokens(session, opening.claimed, upto)
        return _Part("session", session, opening, str(claim.args["provider"]), units, tokens=tokens)

    # Credits and money

    def _on_TransferSingle(self, event: LogEvent) -> list[Entry]:
        units, class_id = int(event.args["value"]), int(event.args["id"])
        if event.args["from"] == ZERO_ADDRESS:
            self.minted[class_id] += units
            return [self._minted_entry(event)]
        self.burned[class_id] += units
        if event.args["operator"] == self.market:
            self._burned_job(event)
        elif event.args["operator"] == self.sessions:
            self._burned_claims(event)
        else:
            self._reclaimed = event
        return []

    def _on_PaidOut(self, event: LogEvent) -> list[Entry]:
        parts, units = self._unpaid, int(event.args["units"])
        self._unpaid = []
        if not parts or sum(part.units for part in parts) != units:
            raise LedgerMismatch(f"block {event.block}: a pay-out for {units} units follows no such burns")
        amounts = divide(int(event.args["amount"]), [part.units for part in parts])
        return [self._burn_entry(part, amount, event) for part, amount in zip(parts, amounts, strict=True)]

    def _on_Reclaimed(self, event: LogEvent) -> list[Entry]:
        burn, self._reclaimed = self._reclaimed, None
        args = event.args
        if burn is None or int(burn.args["value"]) != int(args["units"]):
            raise LedgerMismatch(f"block {event.block}: {args['units']} units were reclaimed without a burn")
        part = _Part("reclaim", b"", Opening(str(args["holder"]), 0), event.address, int(args["units"]))
        return [self._burn_entry(part, int(args["amount"]), event)]

    def _on_Bought(self, event: LogEvent) -> list[Entry]:
        """The credits come next."""
        self._bought = event
        return []

    def _minted_entry(self, mint: LogEvent) -> Entry:
        bought, self._bought = self._bought, None
        units, to = int(mint.args["value"]), str(mint.args["to"])
        if (bought is not None) != (mint.args["operator"] == self.reserve):
            raise LedgerMismatch(f"block {mint.block}: {units} units are neither bought nor granted")
        kind: Kind = "grant" if bought is None else "purchase"
        payer, cost = (to, 0) if bought is None else (str(bought.args["buyer"]), int(bought.args["cost"]))
        return Entry(
            kind, b"", to, 0, int(mint.args["id"]), payer, units, cost, b"", None, None,
            mint.tx_hash, mint.block, mint.log_index, self.facts.time(mint.block),
        )  # fmt: skip

    def _burn_entry(self, part: _Part, amount: int, event: LogEvent) -> Entry:
        return Entry(
            part.kind, part.ident, part.opening.account, part.opening.budget_id, int(event.args["classId"]),
            part.provider, part.units, amount, part.receipt_hash, part.receipt, part.tokens,
            event.tx_hash, event.block, event.log_index, self.facts.time(event.block),
        )  # fmt: skip


def divide(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` by weight, in integers that add up to it: what rounding leaves goes to the largest remainders,
    the first of equals first. All weights zero: to the first.
    """
    whole = sum(weights)
    if whole == 0:
        return [amount if not place else 0 for place in range(len(weights))]
    shares = [amount * weight // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda place: (-(amount * weights[place] % whole), place))
    for place in order[: amount - sum(shares)]:
        shares[place] += 1
    return shares


SOURCES: Final[tuple[tuple[str, tuple[str, ...], dict[str, str]], ...]] = (
    ("ComputeCredits", ("TransferSingle",), {"to": ZERO_ADDRESS}),
    ("ComputeCredits", ("TransferSingle",), {"from": ZERO_ADDRESS}),
    (
        "JobMarket",
        ("JobOpened", "JobSubmitted", "JobSettled", "JobRefunded", "JobCancelled", "JobExpired"),
        {},
    ),
    ("MeteredSessions", ("SessionOpened", "SessionClaimed", "SessionClosed"), {}),
    ("CreditReserve", ("Bought", "PaidOut", "Reclaimed"), {}),
)
"""Contracts, their events and filters."""


def entries(ledger: Ledger, events: Iterator[LogEvent]) -> Iterator[Entry]:
    """All entries of the events, as they come. Raises LedgerMismatch."""
    for event in events:
        yield from ledger.add(event)
    ledger.close()
