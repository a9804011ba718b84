"""What the ledger asks of the chain beside events, each read once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from scrip.chargeback.call_tokens import CallTokens
from scrip.chargeback.entry import Kind, LedgerMismatch, Tokens
from scrip.chargeback.ledger import Opening
from scrip.logs import LogEvent
from scrip.submissions import receipts_by_hash
from scrip.types import Receipt
from scrip.view import ChainView

KEPT: Final = 256
"""Transactions and block times that are remembered: entries come in chain order, so few are asked for twice.
"""


class ChainFacts:
    """See `ledger.Facts`. `calls` are the token counts of call receipts that a session's party kept."""

    def __init__(self, view: ChainView, calls: CallTokens) -> None:
        self._view, self._calls = view, calls
        chain = view.chain
        self._receipts = lru_cache(maxsize=KEPT)(lambda tx_hash: receipts_by_hash(chain, tx_hash))
        self._times = lru_cache(maxsize=KEPT)(chain.block_time)

    def opening(self, kind: Kind, ident: bytes, before: LogEvent) -> Opening:
        """Who opened a job or session before the scan. Raises LedgerMismatch if nobody did."""
        contract, event, name = _OPENED[kind]
        wanted: dict[str, Any] = {name: ident}
        for found in self._view.events(contract, event, **wanted):
            claimed = self._claimed(ident, before) if kind == "session" else 0
            return Opening(str(found.args["payer"]), int(found.args["budgetId"]), claimed)
        raise LedgerMismatch(f"{kind} 0x{ident.hex()} was never opened")

    def receipt(self, job: bytes, tx_hash: bytes, receipt_hash: bytes) -> Receipt | None:
        """The receipt with this hash, from this transaction or the one that submitted it before the scan."""
        if (found := self._receipts(tx_hash).get(receipt_hash)) is not None:
            return found
        for event in self._view.events("JobMarket", "JobSubmitted", jobId=job):
            return self._receipts(event.tx_hash).get(receipt_hash)
        return None

    def tokens(self, session: bytes, after: int, upto: int) -> Tokens | None:
        """Tokens of calls that these claims cover."""
        return self._calls.between(session, after, upto)

    def time(self, block: int) -> int:
        """Unix seconds of a block."""
        return self._times(block)

    def _claimed(self, session: bytes, before: LogEvent) -> int:
        claims = self._view.events("MeteredSessions", "SessionClaimed", sessionId=session)
        here = before.block, before.log_index
        return sum(int(one.args["units"]) for one in claims if (one.block, one.log_index) < here)


_OPENED: Final = {
    "job": ("JobMarket", "JobOpened", "jobId"),
    "session": ("MeteredSessions", "SessionOpened", "sessionId"),
}
