"""Statements that are compiled once and run by the database's driver itself, for what every call does.

SQLAlchemy's session and connection look up a statement's text and its types each time. They are still written
in SQLAlchemy, for every database alike.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

from oracle.database import BUSY_TIMEOUT_S
from oracle.models import LeadRow
from oracle.moves import LeadLost
from oracle.synced import SyncSoon, boot
from scrip.errors import ScripError

Row = Mapping[str, Any]
LEAD: Final = select(LeadRow.epoch, LeadRow.node).with_for_update()
"""Who leads. In PostgreSQL this row is the lock of all writers."""


class WouldWait(ScripError):
    """A transaction can't be had at once: it must wait for the disk, or for another. Nothing was begun."""


class Prepared:
    """A statement as a driver takes it. Its parameters are named after the columns."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        names = compiled.positiontup if compiled.positional else list(compiled.binds)
        self.sql, self._by_place = str(compiled), bool(compiled.positional)
        self._given = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in names
        ]

    def values(self, row: Row) -> Sequence[Any] | Row:
        """The parameters for a row."""
        if self._by_place:
            return [row[name] if convert is None else convert(row[name]) for name, convert in self._given]
        return {name: row[name] if convert is None else convert(row[name]) for name, convert in self._given}


class Writing:
    """One transaction, by a driver's cursor."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def run(self, statement: Prepared, rows: Sequence[Row]) -> None:
        """Run a statement for each row."""
        if len(rows) == 1:
            self._cursor.execute(statement.sql, statement.values(rows[0]))
        elif rows:
            self._cursor.executemany(statement.sql, [statement.values(row) for row in rows])


class Driver:
    """The connections of an engine, without what SQLAlchemy does around each statement."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lead = self.prepare(LEAD).sql
        lite = engine.dialect.name == "sqlite"
        # psycopg begins by itself. SQLite takes the lock of all writers with this.
        self._begin = "BEGIN IMMEDIATE" if lite else ""
        self.boot = boot() if lite else None
        """Of the machine, if transactions needn't wait for the disk; None if all of them do."""
        self._later = SyncSoon(Path(f"{engine.url.database}-wal"))
        self._late: PoolProxiedConnection | None = None
        self._late_turn, self._late_waits = threading.Lock(), True

    def close(self) -> None:
        """Sync what was committed."""
        self._later.close()
        with self._late_turn:
            self._drop_late()

    def prepare(self, statement: Any) -> Prepared:
        """Compile a statement for this database."""
        return Prepared(statement, self._engine.dialect)

    @property
    def at_once(self) -> bool:
        """Whether a transaction that needn't be synced waits for no disk."""
        return self.boot is not None and not self._later.failed

    def sync_soon(self) -> None:
        """Have synced what was committed. Doesn't wait."""
        self._later.ask()

    @contextmanager
    def writing(self, epoch: int | None, *, synced: bool = True, waits: bool = True) -> Iterator[Writing]:
        """One transaction that holds the lock of all writers from its start. Unless it has to be `synced`, it
        may return before it is on the disk, and a power cut may then take it back with all that came after.
        Raises LeadLost unless `epoch` is the one that leads (None: whoever does), and SQLAlchemy's errors.
        Unless it `waits`, WouldWait where it would; and the caller calls `sync_soon`.
        """
        if synced or not self.at_once:
            if not waits:
                raise WouldWait("the transaction must wait for the disk")
            connection = self._engine.raw_connection()
            try:
                with self._transaction(connection, epoch) as writing:
                    yield writing
            finally:
                connection.close()  # back to the pool, which rolls back what wasn't committed
            return
        with self._late_one(waits) as connection, self._transaction(connection, epoch, waits) as writing:
            yield writing
        if waits:
            self.sync_soon()

    @contextmanager
    def _late_one(self, waits: bool) -> Iterator[PoolProxiedConnection]:
        """The connection whose commits don't wait for the disk, in its turn. It is kept, never others'."""
        if not self._late_turn.acquire(blocking=waits):
            raise WouldWait("another transaction is under way")
        try:
            connection = self._late or self._open_late()
            if waits is not self._late_waits:
                patience_ms = BUSY_TIMEOUT_S * 1000 if waits else 0
                connection.cursor().execute(f"PRAGMA busy_timeout={patience_ms}")
                self._late_waits = waits
            yield connection
        except WouldWait:
            raise
        except BaseException:
            self._drop_late()
            raise
        finally:
            self._late_turn.release()

    def _open_late(self) -> PoolProxiedConnection:
        connection = self._engine.raw_connection()
        connection.detach()
        self._late, self._late_waits = connection, True
        # Checkpoints, which take long, are left to the transactions that wait for the disk anyhow: there are
        # some with every block of the chain.
        for pragma in ("synchronous=NORMAL", "wal_autocheckpoint=0"):
            connection.cursor().execute(f"PRAGMA {pragma}")
        return connection

    def _drop_late(self) -> None:
        if self._late is not None:
            self._late.close()
            self._late = None

    @contextmanager
    def _transaction(
        self, connection: PoolProxiedConnection, epoch: int | None, waits: bool = True
    ) -> Iterator[Writing]:
        dialect = self._engine.dialect
        error_type = dialect.loaded_dbapi.Error
        try:
            cursor: Any = connection.cursor()
            if self._begin:
                _begin(cursor, self._begin, waits)
            cursor.execute(self._lead)
            leading, node = cursor.fetchone()
            if epoch is not None and leading != epoch:
                raise LeadLost("", node)
            yield Writing(cursor)
            connection.commit()
        except error_type as error:
            lost = dialect.is_disconnect(error, connection.dbapi_connection, None)
            if lost:
                connection.invalidate(error)
            raise DBAPIError.instance(
                None, None, error, error_type, hide_parameters=True, connection_invalidated=lost,
                dialect=dialect,
            ) from error  # fmt: skip


def _begin(cursor: Any, begin: str, waits: bool) -> None:
    try:
        cursor.execute(begin)
    except sqlite3.OperationalError as error:
        if waits or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise WouldWait("another transaction is under way") from None
