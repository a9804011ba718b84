"""Moves a node's state into another database, e.g. from SQLite into PostgreSQL, while no node runs on it.

The old database is marked before anything is copied, and every node refuses a marked one: at no moment could
two nodes act on two copies. A move that was killed is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, Table, delete, func, insert, select, text
from sqlalchemy.orm import Session

from oracle.database import shown
from oracle.identity import MOVED
from oracle.lead import Lead
from oracle.models import IdentityRow, LeadRow
from oracle.store import Store
from oracle.tables import TABLES
from scrip.errors import ScripError

ROWS_AT_ONCE: Final = 500
_KEPT: Final = (LeadRow.__tablename__,)
"""What each database has of its own."""


class CantMove(ScripError):
    """The state can't be moved as things are. Nothing was changed."""


def move(
    source: Store, target: Store, node: str, complete: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Copy everything from `source` to the empty `target`, and leave `source` marked as moved.

    `node` is the name of the node whose state folder we hold; `complete` brings into the database what is
    still beside it. Returns the number of rows by table. Raises CantMove.
    """
    if source.engine.url == target.engine.url:
        raise CantMove("both are the same database. Name another one")
    lead = Lead(source, node, lease_s=3600)
    if not lead.leads():
        raise CantMove("a node leads on this database. Stop it with SIGTERM, which hands the lead back")
    try:
        where = shown(target.engine.url)
        _mark(source, where)
        try:
            complete()
            with source.reading() as old, target.writing(led=False) as new:
                return _copy(old.connection(), new)
        except BaseException:
            _unmark(source)
            raise
    finally:
        lead.release()


def _mark(source: Store, where: str) -> None:
    with source.writing() as session:
        row = session.get(IdentityRow, MOVED)
        if row is not None and row.value != where:
            raise CantMove(f"it was moved to {row.value} before")
        if row is None:
            session.add(IdentityRow(name=MOVED, value=where))


def _unmark(source: Store) -> None:
    with source.writing() as session:
        session.execute(delete(IdentityRow).where(IdentityRow.name == MOVED))


def _copy(old: Connection, new: Session) -> dict[str, int]:
    tables = [table for table in TABLES.sorted_tables if table.name not in _KEPT]
    for table in tables:
        if new.scalar(select(func.count()).select_from(table)):
            raise CantMove(f"the new database isn't empty: {table.name} has rows. Name a new one")
    return {table.name: _copy_table(table, old, new) for table in tables}


def _copy_table(table: Table, old: Connection, new: Session) -> int:
    query = select(table)
    if table.name == IdentityRow.__tablename__:
        query = query.where(table.c.name != MOVED)
    copied = 0
    for part in old.execute(query).mappings().partitions(ROWS_AT_ONCE):
        new.execute(insert(table), [dict(row) for row in part])
        copied += len(part)
    if copied and table.autoincrement_column is not None and new.get_bind().dialect.name == "postgresql":
        # The rows brought their numbers along; the next one follows the highest.
        column = table.autoincrement_column
        last = new.scalar(select(func.max(column)))
        named = {"table": table.name, "column": column.name, "last": last}
        new.execute(text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)"), named)
    return copied
