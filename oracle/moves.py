"""Statements on the table of jobs that concern many of them: pages, and changes of state together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    CompoundSelect,
    Select,
    and_,
    exists,
    insert,
    literal,
    not_,
    or_,
    select,
    union_all,
    update,
)  # fmt: skip
from sqlalchemy.orm import Session

from oracle.models import JobRow, SettlementRow, StepRow
from oracle.states import ACTIVE, BOUND, State, may_follow
from scrip.errors import NotFound, ScripError

REASON_CHARS: Final = 500


class StateConflict(ScripError):
    """A job isn't in the state a step starts from: somebody else took the step, or the chain moved it."""

    def __init__(self, job_id: bytes, found: str, wanted: str) -> None:
        self.job_id, self.found, self.wanted = job_id, found, wanted
        super().__init__(f"job 0x{job_id.hex()} is {found}, which can't become {wanted}")


class LeadLost(ScripError):
    """This node doesn't act on the database, or not any more: another one does."""

    def __init__(self, node: str, leader: str) -> None:
        self.node, self.leader = node, leader
        who = f"{leader} leads" if leader not in ("", node) else "nobody leads yet"
        super().__init__(f"{node or 'this node'} doesn't lead: {who}. Ask that one, or wait until it is gone")


@dataclass(frozen=True, slots=True)
class Move:
    """One job's change of state among several; the fields are those of `Store.move`."""

    job_id: bytes
    to: State
    reason: str | None = ""
    since: tuple[State, ...] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def in_states(states: Iterable[State]) -> Any:
    """The condition that a job is in one of these states."""
    return JobRow.state.in_([state.value for state in states])


UNSEEN: Final = and_(in_states(ACTIVE), JobRow.opened_block == 0)
"""The condition that a job hasn't ended and its opening wasn't seen."""


def present(states: Iterable[State]) -> CompoundSelect[str]:
    """The names of those of `states` that any job is in. Takes the same time however many there are."""
    names = [state.value for state in states]
    return union_all(*(select(literal(name)).where(exists().where(JobRow.state == name)) for name in names))


def oldest(*where: Any) -> Select[JobRow]:
    """Jobs that meet all conditions, oldest first."""
    return select(JobRow).where(*where).order_by(JobRow.created_ms, JobRow.job_id)


def page_of(
    states: Iterable[State],
    now_ms: int,
    after: JobRow | None,
    waiting: bool | None,
    finalize_by: int | None,
) -> Select[JobRow]:
    """The query of `Store.oldest`."""
    where = [in_states(states)]
    if after is not None:
        same = and_(JobRow.created_ms == after.created_ms, JobRow.job_id > after.job_id)
        where.append(or_(JobRow.created_ms > after.created_ms, same))
    if waiting is not None:
        later = JobRow.not_before_ms > now_ms
        where.append(later if waiting else not_(later))
    if finalize_by is not None:
        where.append(JobRow.finalize_at <= finalize_by)
    return oldest(*where)


def add(session: Session, rows: Sequence[Mapping[str, Any]], now_ms: int) -> None:
    """Insert jobs and the step each begins with."""
    whole = [{"created_ms": now_ms, "updated_ms": now_ms, **row, "state": row["state"].value} for row in rows]
    session.execute(insert(JobRow), whole)
    session.execute(
        insert(StepRow),
        [{"job_id": row["job_id"], "at_ms": now_ms, "state": row["state"]} for row in whole],
    )


def move(session: Session, moves: Sequence[Move], now_ms: int, *, strict: bool = True) -> list[bytes]:
    """Make those of the moves that are allowed, with three statements. Returns the jobs that moved.

    Raises StateConflict or NotFound for the first that isn't allowed, if `strict`.
    """
    query = select(JobRow.job_id, JobRow.state, JobRow.reason)
    query = query.where(JobRow.job_id.in_([one.job_id for one in moves])).with_for_update()
    known = {row.job_id: row for row in session.execute(query)}
    changes, steps = [], []
    for one in moves:
        row = known.get(one.job_id)
        if row is None or not _allowed(one, State(row.state)):
            if not strict:
                continue
            if row is None:
                raise NotFound("job", one.job_id, "This node doesn't know it")
            raise StateConflict(one.job_id, row.state, one.to.value)
        check_columns(one.values)
        reason = row.reason if one.reason is None else one.reason[:REASON_CHARS]
        same = {"job_id": one.job_id, "state": one.to.value}
        changes.append({**same, "reason": reason, "updated_ms": now_ms, **one.values})
        steps.append({**same, "at_ms": now_ms, "reason": "" if one.reason is None else reason})
    if changes:
        session.execute(update(JobRow), changes)
        session.execute(insert(StepRow), steps)
    return [change["job_id"] for change in changes]


def bound(session: Session, settlement: SettlementRow) -> list[bytes]:
    """Rows of a settlement that are still its own: the chain may have ended some meanwhile."""
    query = select(JobRow.job_id).where(JobRow.settlement_id == settlement.id, in_states(BOUND))
    own = set(session.scalars(query))
    return [job_id for job_id in settlement.jobs if job_id in own]


def check_columns(values: Mapping[str, Any]) -> None:
    """Raise AttributeError for a value that is no column of a job."""
    for name in values:
        if not hasattr(JobRow, name):
            raise AttributeError(f"JobRow has no column {name}")


def _allowed(one: Move, found: State) -> bool:
    return (one.since is None or found in one.since) and may_follow(one.to, found)


def assign(row: Any, values: Mapping[str, Any]) -> None:
    """Set columns of a row by name. Raises AttributeError for one that it hasn't got."""
    for name, value in values.items():
        if not hasattr(type(row), name):
            raise AttributeError(f"{type(row).__name__} has no column {name}")
        setattr(row, name, value)
