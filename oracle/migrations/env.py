"""Run by Alembic for every command on the migrations."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from oracle.tables import TABLES

LOCK = 0x5C819
"""Number of the advisory lock under which PostgreSQL's tables change."""

engine = context.config.attributes["engine"].execution_options(scrip_write=True)
with engine.connect() as connection:
    if connection.dialect.name == "postgresql":
        # Two nodes may start at once on one database; SQLite's write lock does the same.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    # SQLite can't alter most things in place; batches copy the table instead.
    context.configure(connection=connection, target_metadata=TABLES, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
