"""What the sender remembers of its transactions, so that a crash at any point loses and doubles nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class TxOutcome(StrEnum):
    """What became of a nonce. All but PENDING are final."""

    PENDING = "pending"
    MINED = "mined"
    REVERTED = "reverted"
    LOST = "lost"
    """Another transaction of the account took the nonce: no version of ours can be mined any more."""
    REJECTED = "rejected"
    """The node refused the first version: nothing is in flight, and the nonce is free again."""


@dataclass(frozen=True, slots=True)
class TxRecord:
    """One signed version of a transaction. Versions of one intent share the nonce; the last pays most.

    `raw` is the signed bytes. `gas` is the limit, `max_fee` and `priority_fee` are wei per gas. `label` is
    the caller's name for the intent.
    """

    label: str
    chain_id: int
    sender: str
    nonce: int
    tx_hash: bytes
    raw: bytes
    to: str
    data: bytes
    value: int
    gas: int
    max_fee: int
    priority_fee: int


class Journal(Protocol):
    """Durable store of records. Calls may come from several threads."""

    def exclusive(self, chain_id: int, sender: str) -> AbstractContextManager[object]:
        """While it is held, nobody else who uses this journal chooses a nonce of this account's."""
        ...

    def record(self, tx: TxRecord) -> None:
        """Store a version as open. It must survive a crash once this returns; a known hash is reopened."""
        ...

    def open_records(self, chain_id: int, sender: str) -> Sequence[TxRecord]:
        """Every open version of this account's, in any order."""
        ...

    def versions(self, chain_id: int, sender: str, nonce: int) -> Sequence[TxRecord]:
        """Every version that was ever recorded with this nonce, open or not, in any order."""
        ...

    def resolve(
        self, chain_id: int, sender: str, nonce: int, outcome: TxOutcome, tx_hash: bytes | None = None
    ) -> None:
        """Close all open versions with this nonce. `tx_hash` is the one that was mined, if one was."""
        ...


class InMemoryJournal:
    """Journal for tools that live for one command. Forgets everything with the process."""

    def __init__(self) -> None:
        self._lock, self._sending = threading.Lock(), threading.RLock()
        self._records: dict[bytes, TxRecord] = {}
        self._outcomes: dict[bytes, TxOutcome] = {}

    def exclusive(self, chain_id: int, sender: str) -> AbstractContextManager[object]:
        """See Journal.exclusive."""
        return self._sending

    def record(self, tx: TxRecord) -> None:
        """See Journal.record."""
        with self._lock:
            self._records[tx.tx_hash] = tx
            self._outcomes[tx.tx_hash] = TxOutcome.PENDING

    def open_records(self, chain_id: int, sender: str) -> list[TxRecord]:
        """See Journal.open_records."""
        with self._lock:
            mine = [tx for tx in self._records.values() if (tx.chain_id, tx.sender) == (chain_id, sender)]
            return [tx for tx in mine if self._outcomes[tx.tx_hash] is TxOutcome.PENDING]

    def versions(self, chain_id: int, sender: str, nonce: int) -> list[TxRecord]:
        """See Journal.versions."""
        with self._lock:
            wanted = (chain_id, sender, nonce)
            return [tx for tx in self._records.values() if (tx.chain_id, tx.sender, tx.nonce) == wanted]

    def resolve(
        self, chain_id: int, sender: str, nonce: int, outcome: TxOutcome, tx_hash: bytes | None = None
    ) -> None:
        """See Journal.resolve."""
        with self._lock:
            for tx in self._records.values():
                same = (tx.chain_id, tx.sender, tx.nonce) == (chain_id, sender, nonce)
                if same and self._outcomes[tx.tx_hash] is TxOutcome.PENDING:
                    self._outcomes[tx.tx_hash] = outcome

    def outcome(self, tx_hash: bytes) -> TxOutcome | None:
        """What became of a version, None if it was never recorded."""
        with self._lock:
            return self._outcomes.get(tx_hash)
