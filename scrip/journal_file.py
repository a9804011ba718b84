"""The transaction sender's journal in a SQLite file: for command lines, which may be killed."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from scrip.errors import ScripError
from scrip.journal import TxOutcome, TxRecord
from scrip.sqlite_file import transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS versions (
    tx_hash BLOB PRIMARY KEY,
    chain_id INTEGER NOT NULL,
    sender TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    record TEXT NOT NULL
)
"""
_TURN_SECONDS = 120.0
"""How long to wait for another command of the same account: it asks its node a few questions meanwhile."""


class JournalProblem(ScripError):
    """The journal can't be read or written, so nothing may be sent: it couldn't be found again."""


class FileJournal:
    """Journal in one file, made where it is missing. Safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open or make the file at `path`, readable by its owner only. Raises JournalProblem."""
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise JournalProblem(f"journal {path}: {error.strerror}. Name another folder for it") from None
        with self._transaction() as database:
            database.execute(_SCHEMA)

    @contextmanager
    def exclusive(self, chain_id: int, sender: str) -> Iterator[None]:
        """See Journal.exclusive. A file of its own is locked: the journal stays readable meanwhile. Raises
        JournalProblem if another command holds it for minutes.
        """
        path = self.path.with_name(f"{self.path.name}.{chain_id}.{sender.lower()}.lock")
        try:
            lock = sqlite3.connect(path, timeout=_TURN_SECONDS, isolation_level=None)
            with closing(lock):
                lock.execute("BEGIN EXCLUSIVE")  # ends with the process, however that ends
                path.chmod(0o600)
                yield
        except sqlite3.Error as error:
            raise JournalProblem(
                f"journal {self.path}: another command sends from {sender} ({error}). Wait for it, or end it"
            ) from None

    def record(self, tx: TxRecord) -> None:
        """See Journal.record."""
        row = (tx.tx_hash, tx.chain_id, tx.sender, tx.nonce, TxOutcome.PENDING.value, _to_text(tx))
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?)", row)

    def open_records(self, chain_id: int, sender: str) -> list[TxRecord]:
        """See Journal.open_records."""
        wanted = (chain_id, sender, TxOutcome.PENDING.value)
        with self._transaction() as database:
            rows = database.execute(
                "SELECT record FROM versions WHERE chain_id = ? AND sender = ? AND outcome = ?", wanted
            ).fetchall()
        return [self._from_text(row[0]) for row in rows]

    def versions(self, chain_id: int, sender: str, nonce: int) -> list[TxRecord]:
        """See Journal.versions."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT record FROM versions WHERE chain_id = ? AND sender = ? AND nonce = ?",
                (chain_id, sender, nonce),
            ).fetchall()
        return [self._from_text(row[0]) for row in rows]

    def resolve(
        self, chain_id: int, sender: str, nonce: int, outcome: TxOutcome, tx_hash: bytes | None = None
    ) -> None:
        """See Journal.resolve. The chain knows which version was mined; it isn't kept."""
        values = (outcome.value, chain_id, sender, nonce, TxOutcome.PENDING.value)
        with self._transaction() as database:
            database.execute(
                "UPDATE versions SET outcome = ? "
                "WHERE chain_id = ? AND sender = ? AND nonce = ? AND outcome = ?",
                values,
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with transaction(self.path, self._lock) as database:
                yield database
        except sqlite3.Error as error:
            raise JournalProblem(
                f"journal {self.path}: {error}. It holds transactions that may be in flight: mend it, "
                "don't delete it"
            ) from None

    def _from_text(self, text: str) -> TxRecord:
        try:
            fields: dict[str, Any] = json.loads(text)
            fields |= {name: bytes.fromhex(fields[name]) for name in _BYTES}
            return TxRecord(**fields)
        except (ValueError, KeyError, TypeError):
            raise JournalProblem(f"journal {self.path}: a record can't be read; don't delete it") from None


_FIELDS = tuple(TxRecord.__dataclass_fields__)
_BYTES = ("tx_hash", "raw", "data")


def _to_text(tx: TxRecord) -> str:
    fields = {name: getattr(tx, name) for name in _FIELDS}
    return json.dumps(fields | {name: fields[name].hex() for name in _BYTES})
