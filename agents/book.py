"""What an agent is in the middle of, kept in a file so that a kill at any point loses and doubles nothing.

A need is written down before anything is done for it, a job before it is sent. So after a kill the next run
finds every job that may be on chain, and asks the chain about it instead of opening another.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from agents.market import Experience
from agents.policy import Need
from scrip.errors import BadInput, ScripError
from scrip.redeem import Plan
from scrip.spec import JobSpec
from scrip.types import JobTerms, Resource

RECENT: Final = 1_000
"""How many of the newest attempts count as the agent's experience."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS needs (
    key TEXT PRIMARY KEY, content TEXT NOT NULL, need TEXT NOT NULL, state TEXT NOT NULL,
    after INTEGER NOT NULL, bought TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job BLOB NOT NULL UNIQUE, key TEXT NOT NULL,
    provider TEXT NOT NULL, class_id TEXT NOT NULL, plan TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, bought TEXT NOT NULL, charge TEXT NOT NULL, detail TEXT NOT NULL,
    started_ms INTEGER NOT NULL, ended_ms INTEGER
);
CREATE INDEX IF NOT EXISTS needs_by_state ON needs (state, content);
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key);
"""
_COLUMNS = "job, key, plan, state, reason, bought, charge, detail, started_ms, ended_ms"
_WAIT_SECONDS = 30.0


class NeedState(StrEnum):
    """Where a need stands."""

    ACTIVE = "active"
    MET = "met"
    UNVERIFIED = "unverified"
    """Paid, and what came back didn't hold. It is never paid again."""
    GIVEN_UP = "given up"
    """Nothing was paid; asking again tries anew."""


class AttemptState(StrEnum):
    """Where one job of a need stands. Only the first three can still cost something."""

    PLANNED = "planned"
    """Written, perhaps sent: the chain knows."""
    OPEN = "open"
    """On chain."""
    SETTLED = "settled"
    """Paid on chain; what came back isn't fetched and checked yet."""
    DONE = "done"
    UNVERIFIED = "unverified"
    FAILED = "failed"
    """Ended, and all credits came back."""
    DEAD = "dead"
    """Never opened, and can't be any more."""


LIVE: Final = (AttemptState.PLANNED, AttemptState.OPEN, AttemptState.SETTLED)


class Busy(ScripError):
    """Another thread or process works on this need."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"need {key} is being met by another thread or process. Wait for it")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One job for a need. `reason` is why it was chosen, `detail` how it ended.

    `bought` is what the credits bought for it cost, `charge` what its budget was charged, both in
    payment-token base units. Times are unix milliseconds.
    """

    key: str
    plan: Plan
    state: AttemptState
    reason: str
    bought: int
    started_ms: int
    charge: int = 0
    detail: str = ""
    ended_ms: int | None = None

    @property
    def provider(self) -> str:
        """Whose job it is."""
        return self.plan.terms.provider


class Book:
    """Needs and attempts of one agent. Safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at `path`, readable by its owner only: it holds what was asked."""
        self.path = path
        self._lock = threading.Lock()
        self._locks = path.with_name(path.name + ".locks")
        self._locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._transaction() as database:
            database.executescript(_SCHEMA)

    # Needs

    @contextmanager
    def holding(self, need: Need) -> Iterator[Need]:
        """Write the need down and hold it alone; the need with the key it has from now on.

        One without a key takes up where an equal one was left, if nobody works on that. Raises Busy, and
        BadInput if the key stands for another need.
        """
        with self._lock_of("book"):
            held = self._hold(need)
        key, lock = held
        try:
            yield replace(need, key=key)
        finally:
            if self.state(key) is not NeedState.ACTIVE:
                with suppress(FileNotFoundError):
                    self._lock_path(key).unlink()
            os.close(lock)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Alone with the account's credits: between a look at them and locking them."""
        with self._lock_of("turn"):
            yield

    def state(self, key: str) -> NeedState:
        """Where the need stands. Raises BadInput for an unknown key."""
        row = self._one("SELECT state FROM needs WHERE key = ?", key)
        if row is None:
            raise BadInput("need", key, "a need of this book")
        return NeedState(row[0])

    def finish(self, key: str, state: NeedState) -> None:
        """The need stands there now."""
        self._write("UPDATE needs SET state = ? WHERE key = ?", state.value, key)

    def add_bought(self, key: str, cost: int) -> None:
        """So much more was paid for credits for this need."""
        self._write("UPDATE needs SET bought = ? WHERE key = ?", str(self.bought(key) + cost), key)

    def bought(self, key: str) -> int:
        """What credits bought for this need cost, in payment-token base units."""
        return int(self._one("SELECT bought FROM needs WHERE key = ?", key)[0])

    def unfinished(self) -> list[Need]:
        """Needs that were begun and aren't at an end, oldest first."""
        rows = self._all("SELECT key, need FROM needs WHERE state = ? ORDER BY rowid", NeedState.ACTIVE.value)
        return [replace(_need_from(json.loads(text)), key=key) for key, text in rows]

    # Attempts

    def write(self, attempt: Attempt) -> None:
        """Store a new attempt. It must survive a crash once this returns."""
        self._write(
            "INSERT INTO attempts (job, key, provider, class_id, plan, state, reason, bought, charge, "
            "detail, started_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            attempt.plan.job_id, attempt.key, attempt.provider, str(attempt.plan.terms.class_id),
            json.dumps(_plan_json(attempt.plan)), attempt.state.value, attempt.reason, str(attempt.bought),
            str(attempt.charge), attempt.detail, attempt.started_ms, attempt.ended_ms,
        )  # fmt: skip

    def update(self, attempt: Attempt) -> Attempt:
        """Store where an attempt stands now; the same attempt."""
        self._write(
            "UPDATE attempts SET state = ?, charge = ?, detail = ?, ended_ms = ? WHERE job = ?",
            attempt.state.value, str(attempt.charge), attempt.detail, attempt.ended_ms, attempt.plan.job_id,
        )  # fmt: skip
        return attempt

    def attempts(self, key: str) -> list[Attempt]:
        """Every job that was planned for a need since it was begun, or begun anew, oldest first."""
        rows = self._all(
            f"SELECT {_COLUMNS} FROM attempts WHERE key = ? "  # noqa: S608
            "AND number > (SELECT after FROM needs WHERE key = attempts.key) ORDER BY number",
            key,
        )
        return [_attempt_from(row) for row in rows]

    def experience(self) -> dict[str, Experience]:
        """What the newest attempts tell of each provider."""
        rows = self._all(
            "SELECT provider, SUM(state = 'done'), "
            "SUM(CASE WHEN state = 'done' THEN ended_ms - started_ms ELSE 0 END), SUM(state = 'unverified') "
            "FROM (SELECT * FROM attempts ORDER BY number DESC LIMIT ?) GROUP BY provider",
            RECENT,
        )
        return {
            who: Experience(done, -(-max(0, taken) // (1000 * done)) if done else 0, bad)
            for who, done, taken, bad in rows
        }

    # Inside

    def _hold(self, need: Need) -> tuple[str, int]:
        content = _content(need)
        if need.key:
            row = self._one("SELECT content FROM needs WHERE key = ?", need.key)
            if row is not None and row[0] != content:
                raise BadInput("need.key", need.key, "a key of this very need", "It stands for another one")
            return need.key, self._begun(need.key, content, need)
        left = self._all(
            "SELECT key FROM needs WHERE state = ? AND content = ? ORDER BY rowid",
            NeedState.ACTIVE.value, content,
        )  # fmt: skip
        for (key,) in left:
            lock = self._try(key)
            if lock is not None:
                return key, lock
        key = f"need-{secrets.token_hex(8)}"
        return key, self._begun(key, content, need)

    def _begun(self, key: str, content: str, need: Need) -> int:
        """The lock of a need that is written down and active. Raises Busy."""
        lock = self._try(key)
        if lock is None:
            raise Busy(key)
        try:
            self._begin(key, content, need)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _begin(self, key: str, content: str, need: Need) -> None:
        self._write(
            "INSERT INTO needs VALUES (?, ?, ?, ?, (SELECT COALESCE(MAX(number), 0) FROM attempts), '0') "
            "ON CONFLICT (key) DO UPDATE SET state = excluded.state, after = excluded.after WHERE state = ?",
            key, content, json.dumps(_need_json(need)), NeedState.ACTIVE.value, NeedState.GIVEN_UP.value,
        )  # fmt: skip

    def _lock_path(self, name: str) -> Path:
        return self._locks / hashlib.sha256(name.encode()).hexdigest()

    def _try(self, name: str) -> int | None:
        """The lock of a need, held until it is closed or the process ends; None if somebody has it."""
        lock = os.open(self._lock_path(name), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    @contextmanager
    def _lock_of(self, name: str) -> Iterator[None]:
        lock = os.open(self._locks / name, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _one(self, statement: str, *values: object) -> Any:
        with self._transaction() as database:
            return database.execute(statement, values).fetchone()

    def _all(self, statement: str, *values: object) -> list[Any]:
        with self._transaction() as database:
            return database.execute(statement, values).fetchall()

    def _write(self, statement: str, *values: object) -> None:
        with self._transaction() as database:
            database.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are on the disk when the block ends, or not made at all."""
        try:
            with self._lock, closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS)) as database:
                database.execute("PRAGMA synchronous = FULL")
                with database:
                    yield database
        except sqlite3.Error as error:
            raise BadInput(
                f"book {self.path}", str(error), "a readable database",
                "It may name jobs that are open: mend it, don't delete it",
            ) from None  # fmt: skip


def _need_json(need: Need) -> dict[str, Any]:
    return {
        "spec": need.spec.to_json(),
        "resource": int(need.resource),
        "maxUnits": str(need.max_units),
        "minAssurance": need.min_assurance,
        "sku": need.sku.hex() if need.sku is not None else None,
        "region": need.region,
        "avoid": sorted(need.avoid),
        "seconds": need.seconds,
    }


def _need_from(data: dict[str, Any]) -> Need:
    return Need(
        spec=JobSpec.from_json(data["spec"]),
        resource=Resource(data["resource"]),
        max_units=int(data["maxUnits"]),
        min_assurance=data["minAssurance"],
        sku=None if data["sku"] is None else bytes.fromhex(data["sku"]),
        region=data["region"],
        avoid=frozenset(data["avoid"]),
        seconds=data["seconds"],
    )


def _content(need: Need) -> str:
    return hashlib.sha256(json.dumps(_need_json(need), sort_keys=True).encode()).hexdigest()


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "terms": plan.terms.to_json(),
        "spec": plan.spec.to_json(),
        "quote": plan.quote.hex(),
        "endpoint": plan.endpoint,
        "since": plan.since,
    }


def _attempt_from(row: Any) -> Attempt:
    job, key, plan, state, reason, bought, charge, detail, started, ended = row
    data = json.loads(plan)
    made = Plan(
        job_id=job,
        terms=JobTerms.from_json(data["terms"]),
        spec=JobSpec.from_json(data["spec"]),
        quote=bytes.fromhex(data["quote"]),
        endpoint=data["endpoint"],
        since=data["since"],
    )
    return Attempt(key, made, AttemptState(state), reason, int(bought), started, int(charge), detail, ended)
