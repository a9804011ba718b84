"""What the operator's page reads of the store, in a few short queries that don't grow with the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from oracle.models import JobRow, RefusalRow, SettlementRow, StepRow
from oracle.states import ACTIVE, FINAL, State
from oracle.store import Store

ACTIVE_SHOWN, ENDED_SHOWN, REFUSALS_SHOWN = 100, 25, 25
STEPS_READ: Final = 400
"""Newest changes of state that are looked through for jobs that ended, and for what went wrong."""


@dataclass(frozen=True, slots=True)
class Books:
    """The store as the page sees it. `active` are the oldest jobs that go on, `ended` the last that ended,
    `steps` the newest changes of state, newest first.
    """

    counts: Mapping[State, int]
    active: Sequence[JobRow]
    ended: Sequence[JobRow]
    steps: Sequence[StepRow]
    refusals: Sequence[RefusalRow]
    settlements: Mapping[int, SettlementRow]


class Reader:
    """Reads the store again and again; counts of states only once something has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: tuple[int, Mapping[State, int]] = (-1, {})

    def read(self) -> Books:
        """The books now. Raises the database's error."""
        with self._store.reading() as session:
            steps = session.scalars(select(StepRow).order_by(StepRow.id.desc()).limit(STEPS_READ)).all()
            refusals = session.scalars(
                select(RefusalRow).order_by(RefusalRow.id.desc()).limit(REFUSALS_SHOWN)
            ).all()
        newest = steps[0].id if steps else 0
        if newest != self._counts[0]:
            self._counts = newest, self._store.counts()
        over = dict.fromkeys(step.job_id for step in steps if State(step.state) in FINAL)
        return Books(
            counts=self._counts[1],
            active=self._store.oldest(ACTIVE, ACTIVE_SHOWN),
            ended=self._store.many(list(over)[:ENDED_SHOWN]),
            steps=steps,
            refusals=refusals,
            settlements={row.id: row for row in self._store.settlements()},
        )
