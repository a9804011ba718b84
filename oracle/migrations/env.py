"""Run by Alembic for every command on the migrations."""

from __future__ import annotations

from alembic import context

from oracle.models import TABLES

engine = context.config.attributes["engine"].execution_options(scrip_write=True)
with engine.connect() as connection:
    # SQLite can't alter most things in place; batches copy the table instead.
    context.configure(connection=connection, target_metadata=TABLES, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
