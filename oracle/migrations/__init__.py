"""Versions of the store's tables. `upgrade` runs on every start and does nothing on an up-to-date
database.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine


def config(engine: Engine) -> Config:
    """Alembic's configuration for these migrations on `engine`."""
    options = Config()
    options.set_main_option("script_location", str(Path(__file__).resolve().parent).replace("%", "%%"))
    options.set_main_option("path_separator", "os")
    options.attributes["engine"] = engine
    return options


def upgrade(engine: Engine) -> None:
    """Bring the tables up to the newest version."""
    command.upgrade(config(engine), "head")
