"""What the node's tokens cost: the receipts of its settled jobs and charged calls, summed up by class as they
come. The account itself, from the chain alone, is `scrip report`'s.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import select

from oracle.gateway.tables import CallRow, SessionRow
from oracle.models import JobRow, StepRow
from oracle.states import State
from oracle.store import Store
from scrip.call_receipts import CallReceipt, SignedCallReceipt
from scrip.chargeback.entry import Tokens
from scrip.chargeback.sums import Sum
from scrip.types import Receipt

PAGE: Final = 1_000
OVERLAP_MS: Final = 60_000
"""Calls are looked for from a little before the last one seen: their times needn't be in order."""


class TokenBook:
    """Sums of tokens by class. `refresh` reads what is new, one thread at a time; `sums` are as of then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._step = self._call_ms = 0
        self._counted: dict[bytes, int] = {}  # the last call of each session that was counted
        self._sums: dict[int, Sum] = defaultdict(Sum)
        self.sums: Mapping[int, Sum] = {}

    def refresh(self) -> None:
        """Count what has settled and what was charged since. Raises the database's error."""
        for jobs in self._settled():
            for job in jobs:
                if job.receipt is not None:
                    count_job(self._sums[job.terms.class_id], job.receipt)
        for class_id, receipt in self._calls():
            count_call(self._sums[class_id], receipt)
        self.sums = {class_id: one for class_id, one in self._sums.items() if one.tokens.total}

    def _settled(self) -> Iterator[Sequence[JobRow]]:
        while True:
            wanted = (
                select(StepRow.id, StepRow.job_id)
                .where(StepRow.id > self._step, StepRow.state == State.SETTLED.value)
                .order_by(StepRow.id)
                .limit(PAGE)
            )
            with self._store.reading() as session:
                found = session.execute(wanted).all()
            if not found:
                return
            self._step = found[-1].id
            yield self._store.many([row.job_id for row in found])

    def _calls(self) -> Iterator[tuple[int, CallReceipt]]:
        """Charged calls that weren't counted yet, with their class."""
        after: tuple[int, bytes, int] = (self._call_ms - OVERLAP_MS, b"", 0)
        while found := self._page(after):
            for row, class_id in found:
                if row.number > self._counted.get(row.session_id, 0):
                    self._counted[row.session_id] = row.number
                    yield class_id, SignedCallReceipt.from_json(json.loads(row.receipt)).receipt
            last = found[-1][0]
            after = last.at_ms, last.session_id, last.number
            self._call_ms = last.at_ms

    def _page(self, after: tuple[int, bytes, int]) -> list[tuple[CallRow, int]]:
        at_ms, session_id, number = after
        later = (CallRow.at_ms > at_ms) | (
            (CallRow.at_ms == at_ms)
            & (
                (CallRow.session_id > session_id)
                | ((CallRow.session_id == session_id) & (CallRow.number > number))
            )
        )
        query = (
            select(CallRow, SessionRow.class_id)
            .join(SessionRow, SessionRow.session_id == CallRow.session_id)
            .where(later)
            .order_by(CallRow.at_ms, CallRow.session_id, CallRow.number)
            .limit(PAGE)
        )
        with self._store.reading() as session:
            return [(row[0], row[1]) for row in session.execute(query)]


def count_job(found: Sum, receipt: Receipt) -> None:
    """Add a settled job that used tokens."""
    tokens = Tokens(receipt.input_tokens, 0, receipt.output_tokens)
    if tokens.total:
        _count(found, tokens, receipt.units)
        if receipt.gpu_millijoules:
            found.powered_energy += receipt.gpu_millijoules
            found.powered_tokens += tokens.total


def count_call(found: Sum, receipt: CallReceipt) -> None:
    """Add a charged call."""
    _count(found, Tokens(receipt.input_tokens, receipt.cached_tokens, receipt.output_tokens), receipt.units)


def _count(found: Sum, tokens: Tokens, units: int) -> None:
    found.count += 1
    found.tokens += tokens
    found.told_units += units
