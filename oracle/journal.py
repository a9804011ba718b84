"""The transaction sender's journal in the store's database: `scrip.journal.Journal` that survives a crash."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import ColumnExpressionArgument, func, select

from oracle.models import TransactionRow
from oracle.store import Store
from scrip.journal import TxOutcome, TxRecord

_FIELDS = tuple(TxRecord.__dataclass_fields__)


class SqlJournal:
    """Every version of every transaction the node signed. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def exclusive(self, chain_id: int, sender: str) -> AbstractContextManager[object]:
        """Nothing to wait for: only the node that leads can record (`oracle.lead`), and what a node can't
        record it doesn't send.
        """
        return nullcontext()

    def record(self, tx: TxRecord) -> None:
        """Store a version as open; it survives a crash once this returns. A known hash is reopened."""
        with self._store.writing() as session:
            row = session.get(TransactionRow, tx.tx_hash)
            if row is None:
                serial = session.scalar(select(func.max(TransactionRow.serial))) or 0
                values = {name: getattr(tx, name) for name in _FIELDS}
                row = TransactionRow(**values, outcome=TxOutcome.PENDING.value, serial=serial + 1)
                session.add(row)
            row.outcome = TxOutcome.PENDING.value

    def open_records(self, chain_id: int, sender: str) -> Sequence[TxRecord]:
        """Every open version of this account's, by ascending nonce, then in the order recorded."""
        query = (
            select(TransactionRow)
            .where(TransactionRow.outcome == TxOutcome.PENDING.value)
            .where(TransactionRow.chain_id == chain_id, TransactionRow.sender == sender)
            .order_by(TransactionRow.nonce, TransactionRow.serial)
        )
        with self._store.reading() as session:
            return [_record(row) for row in session.scalars(query)]

    def versions(self, chain_id: int, sender: str, nonce: int) -> Sequence[TxRecord]:
        """Every version that was ever recorded with this nonce, open or not."""
        query = select(TransactionRow).where(
            TransactionRow.chain_id == chain_id,
            TransactionRow.sender == sender,
            TransactionRow.nonce == nonce,
        )
        with self._store.reading() as session:
            return [_record(row) for row in session.scalars(query)]

    def resolve(
        self, chain_id: int, sender: str, nonce: int, outcome: TxOutcome, tx_hash: bytes | None = None
    ) -> None:
        """Close all open versions with this nonce. `tx_hash` is the one that was mined, if one was."""
        with self._store.writing() as session:
            rows = session.scalars(
                select(TransactionRow)
                .where(TransactionRow.chain_id == chain_id, TransactionRow.sender == sender)
                .where(TransactionRow.nonce == nonce, TransactionRow.outcome == TxOutcome.PENDING.value)
            )
            for row in rows:
                row.outcome, row.mined = outcome.value, row.tx_hash == tx_hash

    def is_open(self, label: str) -> bool:
        """Whether a transaction with this label may still be mined."""
        query = (
            select(func.count())
            .select_from(TransactionRow)
            .where(TransactionRow.label == label, TransactionRow.outcome == TxOutcome.PENDING.value)
        )
        with self._store.reading() as session:
            return bool(session.scalar(query))

    def mined(self, label: str) -> bytes | None:
        """Hash of the newest mined transaction with this label."""
        return self._newest(TransactionRow.label == label, TransactionRow.mined)

    def newest(self, label: str) -> bytes | None:
        """Hash of the newest version of any transaction with this label."""
        return self._newest(TransactionRow.label == label)

    def _newest(self, *which: ColumnExpressionArgument[bool]) -> bytes | None:
        query = select(TransactionRow.tx_hash).where(*which).order_by(TransactionRow.serial.desc()).limit(1)
        with self._store.reading() as session:
            return session.scalar(query)


def _record(row: TransactionRow) -> TxRecord:
    return TxRecord(**{name: getattr(row, name) for name in _FIELDS})
