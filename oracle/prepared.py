"""Statements that are compiled once and run by the database's driver itself, for what every call does.

SQLAlchemy's session and connection look up a statement's text and its types each time. They are still written
in SQLAlchemy, for every database alike.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Engine, select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

from oracle.models import LeadRow
from oracle.moves import LeadLost
from oracle.synced import SyncSoon, boot

Row = Mapping[str, Any]
LEAD: Final = select(LeadRow.epoch, LeadRow.node).with_for_update()
"""Who leads. In PostgreSQL this row is the lock of all writers."""


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


class Transaction:
    """One transaction by a driver's own cursor: begun as it is entered, and committed as it is left, or taken
    back if something was raised.
    """

    def __init__(self, driver: Driver, epoch: int | None, late: bool) -> None:
        self._driver, self._epoch, self._late = driver, epoch, late
        self._pooled: PoolProxiedConnection
        self._connection: Any
        self._cursor: Any

    def run(self, statement: Prepared, rows: Sequence[Row]) -> None:
        """Run a statement for each row."""
        if len(rows) == 1:
            self._cursor.execute(statement.sql, statement.values(rows[0]))
        elif rows:
            self._cursor.executemany(statement.sql, [statement.values(row) for row in rows])

    def __enter__(self) -> Self:
        self._pooled = self._driver.take(self._late)
        self._connection = self._pooled.dbapi_connection
        try:
            self._cursor = self._connection.cursor()
            self._driver.begin(self._cursor, self._epoch)
        except BaseException as error:
            self._fail(error)
            raise
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            self._fail(error)
            return
        try:
            self._connection.commit()
        except BaseException as failed:
            self._fail(failed)
            raise
        self._driver.give_back(self._pooled, self._late)
        if self._late:
            self._driver.sync_soon()

    def _fail(self, error: BaseException) -> None:
        """Take it back. Raises SQLAlchemy's error instead of the driver's."""
        typed = self._driver.typed(error, self._pooled)
        self._driver.give_back(self._pooled, self._late, failed=True)
        if typed is not None:
            raise typed from error


class Driver:
    """The connections of an engine, without what SQLAlchemy does around each statement."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lead = self.prepare(LEAD).sql
        lite = engine.dialect.name == "sqlite"
        self._begin = "BEGIN IMMEDIATE" if lite else ""
        self.boot = boot() if lite else None
        """Of the machine, if transactions needn't wait for the disk; None if all of them do."""
        self._later = SyncSoon(Path(f"{engine.url.database}-wal"))
        self._late: PoolProxiedConnection | None = None
        self._late_turn = threading.Lock()

    def close(self) -> None:
        """Sync what was committed."""
        self._later.close()
        with self._late_turn:
            self._drop_late()

    def prepare(self, statement: Any) -> Prepared:
        """Compile a statement for this database."""
        return Prepared(statement, self._engine.dialect)

    @property
    def syncs_later(self) -> bool:
        """Whether a transaction that needn't be synced waits for no disk."""
        return self.boot is not None and not self._later.failed

    def sync_soon(self) -> None:
        """Have synced what was committed. Doesn't wait."""
        self._later.ask()

    def writing(self, epoch: int | None, *, synced: bool = True) -> Transaction:
        """One transaction that holds the lock of all writers from its start. Unless it has to be `synced`, it
        may return before it is on the disk, and a power cut may then take it back with all that came after.
        Raises LeadLost unless `epoch` is the one that leads (None: whoever does), and SQLAlchemy's errors.
        """
        return Transaction(self, epoch, late=not synced and self.syncs_later)

    # What a transaction needs

    def take(self, late: bool) -> PoolProxiedConnection:
        """A connection: any, or the one whose commits don't wait for the disk, in its turn. That one is kept,
        never others'.
        """
        if not late:
            return self._engine.raw_connection()
        self._late_turn.acquire()
        try:
            return self._late or self._open_late()
        except BaseException:
            self.give_back(None, late, failed=True)
            raise

    def give_back(
        self, connection: PoolProxiedConnection | None, late: bool, *, failed: bool = False
    ) -> None:
        """The transaction has ended, or `failed`."""
        if late:
            if failed:
                self._drop_late()
            self._late_turn.release()
        elif connection is not None:
            connection.close()  # back to the pool, which rolls back what wasn't committed

    def begin(self, cursor: Any, epoch: int | None) -> None:
        """Take the lock of all writers. Raises LeadLost, and the driver's errors."""
        if self._begin:  # psycopg begins by itself
            cursor.execute(self._begin)
        cursor.execute(self._lead)
        leading, node = cursor.fetchone()
        if epoch is not None and leading != epoch:
            raise LeadLost("", node)

    def typed(self, error: BaseException, connection: PoolProxiedConnection) -> DBAPIError | None:
        """SQLAlchemy's error for one of the driver's, whose connection may be lost; None for any other."""
        dialect = self._engine.dialect
        error_type = dialect.loaded_dbapi.Error
        if not isinstance(error, error_type):
            return None
        lost = dialect.is_disconnect(error, connection.dbapi_connection, None)
        if lost:
            connection.invalidate(error)
        found = DBAPIError.instance(
            None, None, error, error_type, hide_parameters=True, connection_invalidated=lost, dialect=dialect
        )
        assert isinstance(found, DBAPIError)  # noqa: S101 (of a driver's error it makes no other)
        return found

    def _open_late(self) -> PoolProxiedConnection:
        connection = self._engine.raw_connection()
        connection.detach()
        self._late = connection
        # Checkpoints, which take long, are left to the transactions that wait for the disk anyhow: there are
        # some with every block of the chain.
        for pragma in ("synchronous=NORMAL", "wal_autocheckpoint=0"):
            connection.cursor().execute(f"PRAGMA {pragma}")
        return connection

    def _drop_late(self) -> None:
        if self._late is not None:
            self._late.close()
            self._late = None
