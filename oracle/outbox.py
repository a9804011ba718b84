"""Everything the node sends goes out here, by label, so that each intent is sent at most once at a time.

A label names one intent ("accept 0x.."). Before sending, `outstanding` says whether an earlier transaction
for it may still take effect; then the caller waits for the chain instead of sending again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from web3.contract.contract import ContractFunction
from web3.types import TxReceipt

from oracle.journal import SqlJournal
from scrip.calls import Call, signature
from scrip.chain import Chain
from scrip.errors import NotFound, Reverted, ScripError, TxLost
from scrip.journal import TxOutcome
from scrip.sender import Reconciled


class DryRun(ScripError):
    """The node has no key: it would sign or send now, and doesn't."""

    def __init__(self, what: str) -> None:
        super().__init__(f"dry run: would {what}. Configure a keystore to do it")


class Stopped(ScripError):
    """The node is stopping: a wait was cut short. What was waited for is in the store and goes on by
    itself.
    """

    def __init__(self) -> None:
        super().__init__("the node is stopping")


class Sends(Protocol):
    """What the outbox needs of `scrip.sender.Sender`."""

    def send(self, call: ContractFunction | Call, *, label: str) -> TxReceipt:
        """See Sender.send."""
        ...

    def reconcile(self) -> list[Reconciled]:
        """See Sender.reconcile."""
        ...

    def follow(self, nonce: int) -> TxReceipt:
        """See Sender.follow."""
        ...


class Outbox:
    """Sends by label. Without a sender every send raises DryRun."""

    def __init__(self, chain: Chain, journal: SqlJournal, sender: Sends | None) -> None:
        self._chain, self._journal, self._sender = chain, journal, sender
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def send(self, label: str, contract: str, function: str, *args: object) -> TxReceipt:
        """Send a call of one of our contracts and wait for it. Raises as `Sender.send`, and DryRun."""
        return self.send_call(
            label, Call(self._chain.address(contract), signature(contract, function).encode(args))
        )

    def send_call(self, label: str, call: Call) -> TxReceipt:
        """Send any call and wait for it. Raises as `Sender.send`, and DryRun."""
        if self._sender is None:
            raise DryRun(f"send {label}")
        with self._marked(label):
            return self._sender.send(call, label=label)

    def outstanding(self, label: str) -> bool:
        """Whether a transaction for this intent may still take effect: in flight, or mined but not
        finalized.
        """
        with self._lock:
            if label in self._busy:
                return True
        if self._journal.is_open(label):
            return True
        mined = self._journal.mined(label)
        if mined is None:
            return False
        block = self._chain.mined_in(mined)
        return block is not None and block > self._chain.finalized()

    def newest(self, label: str) -> bytes | None:
        """Hash of the newest transaction that was signed for this intent, whatever became of it."""
        return self._journal.newest(label)

    def recorded(self, label: str) -> bytes | None:
        """Hash of the transaction for this intent that was once seen in a block, whether or not the chain
        shows it now. While there is one, what can't be done twice isn't sent again.
        """
        return self._journal.mined(label)

    def mined(self, label: str) -> bytes | None:
        """Hash of the mined transaction for this intent, None if there is none or a reorganisation took
        it.
        """
        found = self._journal.mined(label)
        return None if found is None or self._chain.mined_in(found) is None else found

    def receipt(self, label: str) -> TxReceipt | None:
        """Receipt of the mined transaction for this intent, None if there is none or a reorganisation
        took it.
        """
        mined = self._journal.mined(label)
        return None if mined is None else self._chain.receipt(mined)

    def reconcile(self) -> Sequence[Reconciled]:
        """Find out about every open transaction; returns those still pending that nobody here waits for."""
        if self._sender is None:
            return ()
        found = self._sender.reconcile()
        with self._lock:
            return [
                item for item in found if item.outcome is TxOutcome.PENDING and item.label not in self._busy
            ]

    def follow(self, item: Reconciled) -> None:
        """Wait for a pending transaction, raising its fee if it is stuck.

        Returns once it is decided, however: who sent it asks the chain. Raises TxUnknown, NodeUnavailable,
        DryRun.
        """
        if self._sender is None:
            raise DryRun(f"follow {item.label}")
        with self._marked(item.label), suppress(NotFound, Reverted, TxLost):
            self._sender.follow(item.nonce)

    @contextmanager
    def _marked(self, label: str) -> Iterator[None]:
        with self._lock:
            self._busy.add(label)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(label)
