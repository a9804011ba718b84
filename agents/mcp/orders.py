"""What each idempotency key stands for, kept in a file: a client's retry finds what its first call began.

A purchase is written down with the account's nonce before it is sent, and its transactions' labels carry the
key. So after a kill the sender's journal and the chain tell whether it happened, and it isn't made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from scrip.errors import BadInput

_KEY = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    key TEXT PRIMARY KEY, tool TEXT NOT NULL, content TEXT NOT NULL, state TEXT NOT NULL, data TEXT NOT NULL
)
"""
_WAIT_SECONDS: Final = 30.0


class OrderState(StrEnum):
    """Where the order of a key stands."""

    BEGUN = "begun"
    """Nothing was sent for it yet, or nothing that had an effect."""
    SENDING = "sending"
    """A purchase that may be on chain."""
    DONE = "done"


class KeyTaken(BadInput):
    """An idempotency key stands for another request. Nothing was sent."""

    def __init__(self, key: str, tool: str) -> None:
        hint = f"It stands for another {tool}. Choose a new key for a new request"
        super().__init__("idempotency_key", key, "a key of this very request", hint)


@dataclass(frozen=True, slots=True)
class Kept:
    """An order as it is stored. `content` tells equal requests from others; `data` is the tool's own JSON."""

    key: str
    tool: str
    content: str
    state: OrderState
    data: dict[str, Any]


class Orders:
    """Orders of one account. Safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at `path`, readable by its owner only."""
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._transaction() as database:
            database.execute(_SCHEMA)

    def find(self, key: str) -> Kept | None:
        """The order of a key, None if there is none. Raises BadInput for a malformed key."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT key, tool, content, state, data FROM orders WHERE key = ?", (check_key(key),)
            ).fetchone()
        return None if row is None else _kept(row)

    def same(self, key: str, tool: str, content: str) -> Kept | None:
        """The order of a key, None if there is none. Raises BadInput if it stands for another request."""
        known = self.find(key)
        if known is not None and (known.tool, known.content) != (tool, content):
            raise KeyTaken(key, known.tool)
        return known

    def claim(self, order: Kept) -> Kept:
        """Store a new order, unless the key has one: that one then. Raises as `same`."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING", _row(order)
            )
        return self.same(order.key, order.tool, order.content) or order

    def keep(self, order: Kept) -> Kept:
        """Store an order, new or changed. It survives a crash once this returns."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?)", _row(order))
        return order

    def recent(self, most: int) -> list[Kept]:
        """The newest orders, newest first."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT key, tool, content, state, data FROM orders ORDER BY rowid DESC LIMIT ?", (most,)
            ).fetchall()
        return [_kept(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS)) as database:
                database.execute("PRAGMA synchronous = FULL")
                with database:
                    yield database
        except sqlite3.Error as error:
            raise BadInput(
                f"orders {self.path}", str(error), "a readable database",
                "It tells what was bought: mend it, don't delete it",
            ) from None  # fmt: skip


def check_key(key: str) -> str:
    """The key, if it is one. Raises BadInput."""
    if not _KEY.fullmatch(key):
        raise BadInput("idempotency_key", key, "1 to 64 letters, digits, '.', '_', ':' or '-'")
    return key


def new_key() -> str:
    """A key that nobody used."""
    return f"k-{secrets.token_hex(8)}"


def content_of(request: dict[str, Any]) -> str:
    """What makes two requests the same one."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _row(order: Kept) -> tuple[str, ...]:
    return order.key, order.tool, order.content, order.state.value, json.dumps(order.data)


def _kept(row: Any) -> Kept:
    key, tool, content, state, data = row
    return Kept(key, tool, content, OrderState(state), json.loads(data))
