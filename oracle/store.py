"""The store: what the node intends, has done and knows, in SQLite or PostgreSQL (`oracle.database`).

Every change of a job is one short transaction that checks the state it starts from, and writers take turns,
so that a step is taken once even if two threads or two processes try. Rows are returned as detached
snapshots: change them only through this class.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, and_, delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from oracle import moves
from oracle.database import connect
from oracle.models import CursorRow, JobRow, RefusalRow, SettlementRow, SpecRow, StepRow
from oracle.moves import REASON_CHARS, LeadLost, Move, StateConflict, in_states
from oracle.prepared import LEAD, Driver
from oracle.states import ACTIVE, LIVE_STAGES, Stage, State
from scrip.errors import NotFound
from scrip.spec import JobSpec, spec_hash
from scrip.types import Attestation, JobTerms

PROBE: Final = "probe"
"""Name of the cursor that `check_writable` changes."""
__all__ = ["REASON_CHARS", "LeadLost", "Move", "StateConflict", "Store"]

NOBODY: Final = -1
"""An epoch in which no node leads: a store in it writes nothing."""
PAGE: Final = 200
"""Jobs that are loaded at a time where all of them are looked at."""


class Store:
    """Jobs, specs, settlements, refusals and cursors. Safe to share between threads.

    `epoch` is the one in which this node leads (`oracle.lead`); None writes without leading, for a node that
    has no others beside it.
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int]) -> None:
        self.engine, self.now_ms = engine, now_ms
        self.epoch: int | None = None
        self._writing, self.driver = engine.execution_options(scrip_write=True), Driver(engine)

    @classmethod
    def open(cls, url: str, now_ms: Callable[[], int] | None = None) -> Store:
        """Connect to the database at `url` and bring its tables up to date. `now_ms` is unix milliseconds, by
        default the machine's from now on: a clock that is set later changes no pause.

        Raises DatabaseProblem.
        """
        offset_ns = time.time_ns() - time.monotonic_ns()
        return cls(connect(url), now_ms or (lambda: (offset_ns + time.monotonic_ns()) // 1_000_000))

    def close(self) -> None:
        """Close all connections."""
        self.driver.close()
        self.engine.dispose()

    def check_writable(self) -> None:
        """Write something, however small. Raises the database's error."""
        with self.writing(led=False) as session:
            row = session.get(CursorRow, PROBE)
            if row is None:
                session.add(CursorRow(name=PROBE, block=0))
            else:
                row.block = 1 - row.block  # a statement that changes nothing writes nothing

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reads."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self, *, led: bool = True) -> Iterator[Session]:
        """A session in one transaction that holds the lock of all writers from its start.

        Raises LeadLost if `led` and this node doesn't lead.
        """
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            # In PostgreSQL this row is the lock; in SQLite the transaction has taken the file's already.
            lead = session.execute(LEAD).one()
            if led and self.epoch is not None and lead.epoch != self.epoch:
                raise LeadLost("", lead.node)
            yield session

    # Specs

    def put_spec(self, spec: JobSpec, most: int) -> bytes:
        """Keep a spec and return its hash. Beyond `most` specs the oldest that no job refers to are
        forgotten.
        """
        key = spec_hash(spec)
        with self.writing() as session:
            if session.get(SpecRow, key) is None:
                session.add(SpecRow(spec_hash=key, spec=spec, created_ms=self.now_ms()))
                session.flush()
                surplus = session.scalar(select(func.count()).select_from(SpecRow)) or 0
                if surplus > most:
                    self._forget_specs(session, surplus - most, key)
        return key

    def _forget_specs(self, session: Session, count: int, keep: bytes) -> None:
        used = {row.terms.spec_hash for row in session.scalars(select(JobRow).where(in_states(ACTIVE)))} | {
            keep
        }
        oldest = session.scalars(select(SpecRow.spec_hash).order_by(SpecRow.created_ms))
        doomed = [key for key in oldest if key not in used][:count]
        session.execute(delete(SpecRow).where(SpecRow.spec_hash.in_(doomed)))

    def spec(self, key: bytes) -> JobSpec | None:
        """The spec with this hash, if we were given it."""
        with self.reading() as session:
            row = session.get(SpecRow, key)
            return None if row is None else row.spec

    # Jobs

    def add_job(self, job_id: bytes, terms: JobTerms, state: State, reason: str = "", **values: Any) -> bool:
        """Insert a job. False if it is known already, in whatever state."""
        with self.writing() as session:
            if session.get(JobRow, job_id) is not None:
                return False
            now = self.now_ms()
            row = JobRow(job_id=job_id, terms=terms, state=state.value, created_ms=now, updated_ms=now)
            moves.assign(row, {"reason": reason[:REASON_CHARS], **values})
            session.add(row)
            session.flush()
            session.add(StepRow(job_id=job_id, at_ms=now, state=state.value, reason=row.reason))
        return True

    def add_jobs(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert jobs that nobody has added yet, together. Each names its `job_id`, `terms` and `state`."""
        with self.writing() as session:
            moves.add(session, rows, self.now_ms())

    def find(self, job_id: bytes) -> JobRow | None:
        """The job, None if it is unknown here."""
        with self.reading() as session:
            return session.get(JobRow, job_id)

    def job(self, job_id: bytes) -> JobRow:
        """The job. Raises NotFound."""
        row = self.find(job_id)
        if row is None:
            raise NotFound("job", job_id, "This node doesn't know it")
        return row

    def many(self, job_ids: Sequence[bytes]) -> list[JobRow]:
        """Those of the jobs that are known, in the order asked for."""
        with self.reading() as session:
            found = session.scalars(select(JobRow).where(JobRow.job_id.in_(job_ids)))
            rows = {row.job_id: row for row in found}
        return [rows[job_id] for job_id in job_ids if job_id in rows]

    def oldest(
        self,
        states: Iterable[State],
        limit: int | None = None,
        *,
        after: JobRow | None = None,
        waiting: bool | None = None,
        finalize_by: int | None = None,
    ) -> Sequence[JobRow]:
        """At most `limit` jobs in any of `states`, oldest first, from the one that follows `after` on.

        `waiting` takes only those that wait for a later time, or only those that don't; `finalize_by` only
        those that may be finalized by then, chain seconds.
        """
        query = moves.page_of(states, self.now_ms(), after, waiting, finalize_by)
        with self.reading() as session:
            return session.scalars(query.limit(limit)).all()

    def walk(self, states: Iterable[State], size: int = PAGE, **which: Any) -> Iterator[Sequence[JobRow]]:
        """All that `oldest` gives, `size` at a time. A job that gets among them meanwhile may be left out."""
        wanted, after = list(states), None
        while found := self.oldest(wanted, size, after=after, **which):
            yield found
            after = found[-1]

    def page(
        self, state: State | None, limit: int, after: tuple[int, bytes] | None = None
    ) -> Sequence[JobRow]:
        """Jobs, newest first, of one state or all; `after` is created_ms and id of the last one seen."""
        query = select(JobRow).order_by(JobRow.created_ms.desc(), JobRow.job_id.desc()).limit(limit)
        if state is not None:
            query = query.where(JobRow.state == state.value)
        if after is not None:
            query = query.where(tuple_(JobRow.created_ms, JobRow.job_id) < after)
        with self.reading() as session:
            return session.scalars(query).all()

    def unseen(self) -> frozenset[bytes]:
        """Jobs that haven't ended and whose opening on chain we haven't seen."""
        with self.reading() as session:
            return frozenset(session.scalars(select(JobRow.job_id).where(moves.UNSEEN)))

    def count(self, states: Iterable[State]) -> int:
        """How many jobs are in any of `states`."""
        with self.reading() as session:
            return session.scalar(select(func.count()).select_from(JobRow).where(in_states(states))) or 0

    def present(self, states: Iterable[State]) -> frozenset[State]:
        """Those of `states` that any job is in."""
        with self.reading() as session:
            return frozenset(map(State, session.scalars(moves.present(states))))

    def counts(self) -> Mapping[State, int]:
        """How many jobs are in each state."""
        with self.reading() as session:
            rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state)).all()
        found = {State(state): count for state, count in rows}
        return {state: found.get(state, 0) for state in State}

    def move(
        self,
        job_id: bytes,
        to: State,
        reason: str | None = "",
        *,
        since: Iterable[State] | None = None,
        **values: Any,
    ) -> JobRow:
        """Take the job to state `to` and set `values`, in one transaction.

        `reason` None keeps the present one. `since` are the states it may come from, by default any that
        `may_follow` allows. Raises StateConflict, NotFound.
        """
        allowed = None if since is None else tuple(since)
        with self.writing() as session:
            moves.move(session, [Move(job_id, to, reason, allowed, values)], self.now_ms())
            return session.get_one(JobRow, job_id)

    def move_all(self, wanted: Sequence[Move]) -> list[bytes]:
        """Make the moves that are allowed, in one transaction. Returns the jobs that moved."""
        with self.writing() as session:
            return moves.move(session, wanted, self.now_ms(), strict=False)

    def note(self, job_id: bytes, **values: Any) -> None:
        """Set values of a job without a change of state (process group, retry time, reason)."""
        with self.writing() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None:
                raise NotFound("job", job_id, "This node doesn't know it")
            moves.assign(row, {**values, "updated_ms": self.now_ms()})

    def steps(self, job_id: bytes) -> Sequence[StepRow]:
        """Every state the job has been in, in order."""
        with self.reading() as session:
            query = select(StepRow).where(StepRow.job_id == job_id).order_by(StepRow.id)
            return session.scalars(query).all()

    # Settlements

    def add_settlement(self, jobs: Sequence[bytes], *, batched: bool, watcher_set: int) -> SettlementRow:
        """Bind metered jobs into one settlement. Raises StateConflict if one of them isn't metered any
        more.
        """
        with self.writing() as session:
            row = SettlementRow(
                stage=Stage.COLLECTING.value,
                batched=batched,
                watcher_set=watcher_set,
                jobs_json=json.dumps(["0x" + job_id.hex() for job_id in jobs]),
                created_ms=self.now_ms(),
            )
            session.add(row)
            session.flush()
            bound, since = {"settlement_id": row.id}, (State.METERED,)
            wanted = [Move(job_id, State.SIGNING, None, since, bound) for job_id in jobs]
            moves.move(session, wanted, self.now_ms())
            return row

    def live_settlements(self) -> int:
        """How many settlements go on now; those that wait for a later time don't count."""
        wanted = [stage.value for stage in LIVE_STAGES]
        ready = and_(SettlementRow.stage.in_(wanted), SettlementRow.not_before_ms <= self.now_ms())
        with self.reading() as session:
            return session.scalar(select(func.count()).select_from(SettlementRow).where(ready)) or 0

    def settlements(self, stages: Iterable[Stage] = LIVE_STAGES) -> Sequence[SettlementRow]:
        """Settlements in any of `stages`, oldest first."""
        wanted = [stage.value for stage in stages]
        with self.reading() as session:
            query = select(SettlementRow).where(SettlementRow.stage.in_(wanted)).order_by(SettlementRow.id)
            return session.scalars(query).all()

    def settlement(self, settlement_id: int) -> SettlementRow:
        """One settlement. Raises NotFound."""
        with self.reading() as session:
            row = session.get(SettlementRow, settlement_id)
        if row is None:
            raise NotFound("settlement", settlement_id)
        return row

    def advance(
        self, settlement: SettlementRow, stage: Stage, state: State, *, attestation: Attestation | None = None
    ) -> SettlementRow:
        """Take a settlement and those of its jobs that haven't ended one step on, together. Raises
        StateConflict.
        """
        with self.writing() as session:
            row = self._same(session, settlement)
            row.stage = stage.value
            if attestation is not None:
                row.attestation = attestation
            wanted = [Move(job_id, state, None) for job_id in moves.bound(session, row)]
            moves.move(session, wanted, self.now_ms())
            return row

    def close_settlement(
        self,
        settlement: SettlementRow,
        stage: Stage,
        back: Mapping[bytes, Mapping[str, Any]],
        reason: str = "",
        tx_hash: bytes | None = None,
    ) -> None:
        """End a settlement (DONE or DROPPED). The jobs in `back` become metered again with the values
        given; the others were decided by the transaction `tx_hash`, if it was ours.
        """
        with self.writing() as session:
            row = self._same(session, settlement)
            row.stage, row.reason = stage.value, reason[:REASON_CHARS]
            wanted = []
            for job_id in moves.bound(session, row):
                if job_id in back:
                    changed = {"settlement_id": None, **back[job_id]}
                    why = str(changed.pop("reason", reason))
                    wanted.append(Move(job_id, State.METERED, why, None, changed))
            moves.move(session, wanted, self.now_ms())
            decided = [{"job_id": job_id, "tx_hash": tx_hash} for job_id in row.jobs if job_id not in back]
            if decided and tx_hash is not None:
                session.execute(update(JobRow), decided)

    def delay_settlement(self, settlement: SettlementRow, not_before_ms: int, reason: str) -> None:
        """Try a settlement again later."""
        with self.writing() as session:
            row = self._same(session, settlement)
            row.tries, row.not_before_ms, row.reason = row.tries + 1, not_before_ms, reason[:REASON_CHARS]

    def _same(self, session: Session, known: SettlementRow) -> SettlementRow:
        row = session.get(SettlementRow, known.id, with_for_update=True)
        if row is None or row.stage != known.stage:
            found = "gone" if row is None else row.stage
            raise StateConflict(
                known.jobs[0], f"in a settlement that is {found}", f"one step past {known.stage}"
            )
        return row

    # Refusals and cursors

    def add_refusal(self, job_id: bytes, watcher: str, check: str, reason: str, statement: str = "") -> None:
        """Keep a watcher's refusal; `statement` is what it signed, as JSON. The same one is kept once."""
        text_ = reason[:REASON_CHARS]
        row = {
            "job_id": job_id,
            "watcher": watcher,
            "check": check[:64],
            "reason": text_,
            "statement": statement,
        }
        with self.writing() as session:
            if session.scalar(select(RefusalRow.id).filter_by(**row).limit(1)) is None:
                session.add(RefusalRow(**row, at_ms=self.now_ms()))

    def refusals(self, job_id: bytes) -> Sequence[RefusalRow]:
        """What watchers refused about the job, in order."""
        with self.reading() as session:
            query = select(RefusalRow).where(RefusalRow.job_id == job_id).order_by(RefusalRow.id)
            return session.scalars(query).all()

    def refusal_counts(self) -> Mapping[str, int]:
        """How often watchers have refused, by check."""
        with self.reading() as session:
            rows = session.execute(select(RefusalRow.check, func.count()).group_by(RefusalRow.check)).all()
        return {check: count for check, count in rows}

    def cursor(self, name: str) -> int | None:
        """First block that the scan `name` hasn't seen, None if it never ran."""
        with self.reading() as session:
            row = session.get(CursorRow, name)
            return None if row is None else row.block

    def set_cursor(self, name: str, block: int) -> None:
        """Remember how far the scan `name` has come."""
        with self.writing() as session:
            row = session.get(CursorRow, name)
            if row is None:
                session.add(CursorRow(name=name, block=block))
            else:
                row.block = block
