"""Where the state is kept: SQLite in a file, or PostgreSQL by URL. Makes connections that are as durable and
as strict on one as on the other.

A commit that returned must survive a power cut: the sender broadcasts what it has recorded, and a forgotten
record would let a nonce be used twice. So SQLite syncs on every commit (`synchronous=FULL`; NORMAL under WAL
may lose the last ones), and PostgreSQL is asked for `synchronous_commit=on` whatever its own setting is.
Only charges of calls may be later on SQLite's disk (`oracle.prepared`, docs/gateway.md).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final

from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from oracle.migrations import upgrade
from scrip.errors import ScripError

BUSY_TIMEOUT_S: Final = 15
"""How long a writer waits for another."""
ABANDONED_S: Final = 5
"""PostgreSQL ends a transaction whose process has said nothing for so long: it may be stopped, or its host
gone, and it holds the lock of all writers."""
CONNECT_S: Final = 10
SQLITE_POOL: Final = 32
"""Connections kept: every thread of the API and of the workers may need one at once."""
POSTGRES_POOL: Final = 8
"""The server's connections are few (100 by default) and shared with the nodes that stand by."""

_SESSION: Final = {
    "synchronous_commit": "on",
    "lock_timeout": f"{BUSY_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{ABANDONED_S}s",
}


class DatabaseProblem(ScripError):
    """The database can't be used. The message never holds its password."""


def parse(url: str) -> URL:
    """The URL, with its driver named. Raises DatabaseProblem for what we don't run on."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseProblem(
            "must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, and isn't a URL"
        ) from None
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        if not parsed.database:
            raise DatabaseProblem("must name a database: postgresql://USER:PASSWORD@HOST/NAME")
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise DatabaseProblem(
        f"must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, given {parsed.drivername}:"
    )


def file_of(url: str) -> Path | None:
    """The file of a SQLite database; None of any other. Raises DatabaseProblem."""
    parsed = parse(url)
    return Path(str(parsed.database)) if parsed.drivername == "sqlite" else None


def engine_of(url: str) -> Engine:
    """Connections to the database as it is. Raises DatabaseProblem."""
    parsed = parse(url)
    return _sqlite(parsed) if parsed.drivername == "sqlite" else _postgres(parsed)


def connect(url: str) -> Engine:
    """Connections to the database, whose tables are brought up to date. Raises DatabaseProblem."""
    engine = engine_of(url)
    parsed = engine.url
    try:
        upgrade(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise DatabaseProblem(f"database {shown(parsed)}: {_reason(error)}") from None
    except CommandError as error:
        engine.dispose()
        raise DatabaseProblem(
            f"database {shown(parsed)}: {error}. A newer version has used it: run that, or restore a backup"
        ) from None
    return engine


def probe(url: str) -> str:
    """Reach the database without changing it; returns what it is. Raises DatabaseProblem."""
    parsed = parse(url)
    if parsed.drivername == "sqlite" and not Path(str(parsed.database)).exists():
        return f"{parsed.database} will be made"
    engine = engine_of(url)
    try:
        with engine.connect() as connection:
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
    except SQLAlchemyError as error:
        raise DatabaseProblem(f"database {shown(parsed)}: {_reason(error)}") from None
    finally:
        engine.dispose()
    return f"{parsed.get_backend_name()} {version}, {shown(parsed)}"


def shown(url: URL) -> str:
    """The URL for messages: no password, and none in its options."""
    return url.set(query={}).render_as_string(hide_password=True)


def _sqlite(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        pool_size=SQLITE_POOL,
        max_overflow=SQLITE_POOL,
        pool_use_lifo=True,  # the one used last has its statements and pages at hand
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        # A transaction that writes takes the lock at once: upgrading later can fail with "database is
        # locked".
        writes = connection.get_execution_options().get("scrip_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres(url: URL) -> Engine:
    if importlib.util.find_spec("psycopg") is None:
        raise DatabaseProblem(
            "PostgreSQL needs psycopg, which isn't installed. Install scrip[oracle,postgres]"
        )
    engine = create_engine(
        url,
        connect_args={"connect_timeout": CONNECT_S, "client_encoding": "utf8"},
        pool_size=POSTGRES_POOL,
        max_overflow=POSTGRES_POOL,
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        encoding = connection.execute("SHOW server_encoding").fetchone()[0]
        if encoding != "UTF8":
            raise DatabaseProblem(
                f"database {shown(url)}: encoding is {encoding}, must be UTF8. "
                "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
            )
        for name, value in _SESSION.items():
            connection.execute(f"SET {name} = '{value}'")
        connection.commit()

    return engine


def _reason(error: SQLAlchemyError) -> str:
    """The database's own words, without the statement and its values."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(said).__name__}: {' '.join(str(said).split())[:300]}"
