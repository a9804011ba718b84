"""Group commit: changes of accounts are stored together, one transaction for all that wait.

A transaction has its price, whatever is in it, most of all where it waits for the disk. So while one is
being stored, the changes of other calls gather, and the next one takes them all, in the order they were put.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from oracle.gateway.account import Account
from oracle.gateway.refusals import NotAtHand

MOST: Final = 256
"""Changes in one transaction."""


@dataclass(slots=True)
class Change:
    """What is to be stored of one account: its values as they were when it was put, and new rows. Unless it
    is to be `synced`, it may be stored before it is on the disk; unless it is `whole`, only columns of
    `oracle.gateway.book.CHARGED` have changed.
    """

    account: Account
    session: dict[str, Any]
    call: dict[str, Any] | None = None
    body: dict[str, Any] | None = None
    key: dict[str, Any] | None = None
    synced: bool = True
    whole: bool = True
    done: bool = False
    error: BaseException | None = None


class Commit(Protocol):
    """Stores all of some changes, or none. Unless it `waits`, NotAtHand where it would; none are then."""

    def __call__(self, changes: Sequence[Change], *, waits: bool) -> None: ...


class GroupCommit:
    """Stores changes by `commit`. Thread-safe.

    A change builds on those of its account before it. If one fails, its account is marked stale, and those
    already put on top of it fail with it.
    """

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: list[Change] = []
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def put(self, change: Change) -> Change:
        """Queue a change; the caller holds its account's lock, so that they stay in order. Then `wait`."""
        with self._lock:
            self._waiting.append(change)
        return change

    def wait(self, change: Change) -> None:
        """Return once the change is stored. Raises what kept it from being stored."""
        while not change.done:
            with self._turn:
                if not change.done:
                    self._next(waits=True)
        if change.error is not None:
            raise change.error

    def at_once(self, change: Change) -> None:
        """As `wait`, but NotAtHand where that would wait for anything; the change stays put."""
        if not self._turn.acquire(blocking=False):
            raise NotAtHand("other changes are being stored")
        try:
            if not change.done:
                self._next(waits=False)
        finally:
            self._turn.release()
        if not change.done:
            raise NotAtHand("many changes wait")
        if change.error is not None:
            raise change.error

    def _next(self, *, waits: bool) -> None:
        """Store those that wait longest. Only who has its turn takes any from the queue."""
        with self._lock:
            batch = self._waiting[:MOST]
        try:
            self._commit(batch, waits=waits)
            failed = None
        except NotAtHand:
            raise
        except BaseException as error:  # each waiter raises it
            failed = error
        with self._lock:
            del self._waiting[: len(batch)]
        if failed is not None:
            self._fail(batch, failed)
        for change in batch:
            change.done = True

    def _fail(self, batch: list[Change], error: BaseException) -> None:
        failed = {id(change.account): change.account for change in batch}
        for account in failed.values():
            with account.lock:
                account.stale = True
        # Nobody puts changes of a stale account, so these are all.
        with self._lock:
            later = [change for change in self._waiting if id(change.account) in failed]
            self._waiting = [change for change in self._waiting if id(change.account) not in failed]
        for change in (*batch, *later):
            change.error = error
        for change in later:
            change.done = True
