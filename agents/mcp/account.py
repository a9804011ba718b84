"""The account that a server spends from: its sender, and its turn among the processes of this machine."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from scrip.errors import NotFound, Reverted, ScripError, TxLost
from scrip.journal import TxOutcome, TxRecord
from scrip.sender import Sender

if TYPE_CHECKING:
    from web3.contract.contract import ContractFunction
    from web3.types import TxReceipt

    from scrip.calls import Call

WAIT_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.1
_AHEAD: Final = 16
"""More transactions than one call sends."""


class AccountBusy(ScripError):
    """Another process sends from this account. Nothing was sent."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"account {address}: another scrip process on this machine sends from it. "
            "Try again, or end that one"
        )


class KeyedSender(Sender):
    """A sender whose transactions carry an idempotency key in their labels, so that they are found again."""

    def __init__(self, sender: Sender, key: str) -> None:
        # The same journal, lock and flights: it is the same account's sender under another name.
        self.__dict__.update(sender.__dict__)
        self._mark = mark(key)

    def send(self, call: ContractFunction | Call, *, label: str, value: int = 0) -> TxReceipt:
        """See Sender.send."""
        return super().send(call, label=f"{label} {self._mark}", value=value)


class Turn:
    """The account's lock, held while anything of this server is under way: commands wait for it meanwhile."""

    def __init__(self, path: Path, address: str) -> None:
        self._path, self._address = path, address
        self._lock = threading.Lock()
        self._users = 0
        self._file: IO[str] | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold it; threads of this server hold it together. Raises AccountBusy."""
        with self._lock:
            if self._users == 0:
                self._file = self._acquire()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._file is not None:
                    self._file.close()
                    self._file = None

    def _acquire(self) -> IO[str]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + WAIT_SECONDS
        file = self._path.open("a")
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.close()
                    raise AccountBusy(self._address) from None
                time.sleep(_POLL_SECONDS)


def mark(key: str) -> str:
    """How a key stands in a label."""
    return f"[{key}]"


def settle_pending(sender: Sender) -> None:
    """Wait for what an earlier call left in flight. Raises TxUnknown."""
    for item in sender.reconcile():
        if item.outcome is TxOutcome.PENDING:
            try:
                sender.follow(item.nonce)
            except (Reverted, TxLost, NotFound):
                continue  # it came to nothing, or another thread has seen its end


def mined(sender: Sender, key: str, since: int) -> list[TxReceipt]:
    """The receipt of each transaction of a key that went through, from nonce `since` on."""
    receipts = (sender.chain.receipt(version.tx_hash) for version in _versions(sender, key, since))
    return [receipt for receipt in receipts if receipt is not None and receipt["status"] == 1]


def in_doubt(sender: Sender, key: str, since: int) -> bool:
    """Whether a transaction of a key was signed that this node doesn't show, and that may be mined still."""
    chain = sender.chain
    used = chain.nonce(sender.address, chain.finalized())
    versions = [version for version in _versions(sender, key, since) if version.nonce >= used]
    return any(chain.receipt(version.tx_hash) is None for version in versions)


def _versions(sender: Sender, key: str, since: int) -> Iterator[TxRecord]:
    """Everything that was signed for a key. The node may lag behind: a few nonces more are looked at."""
    chain = sender.chain
    for nonce in range(since, max(chain.nonce(sender.address, "latest"), since + _AHEAD)):
        for version in sender.journal.versions(chain.chain_id, sender.address, nonce):
            if version.label.endswith(mark(key)):
                yield version
