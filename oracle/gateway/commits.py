"""Group commit: changes of accounts are stored together, one transaction for all that wait.

A transaction has its price, whatever is in it, most of all where it waits for the disk. So while one is
being stored, the changes of other calls gather, and the next one takes them all, in the order they were put.

A change may be *kept* in the charge log instead of waiting for its transaction. It can't fail then: where the
store does, it stays queued, and nothing else of its account is kept behind one that may fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from oracle.gateway.account import Account

MOST: Final = 256
"""Changes in one transaction."""
MOST_KEPT: Final = 128
"""Changes that the store may lack. Fewer than `MOST`, so that whoever waits gets a turn beside them."""


@dataclass(slots=True)
class Change:
    """What is to be stored of one account: its values as they were when it was put, and new rows. Unless it
    is to be `synced`, it may be stored before it is on the disk; unless it is `whole`, only columns of
    `oracle.gateway.book.CHARGED` have changed. One that is stored `again` may be there: its store failed.
    """

    account: Account
    session: dict[str, Any]
    call: dict[str, Any] | None = None
    body: dict[str, Any] | None = None
    key: dict[str, Any] | None = None
    synced: bool = True
    whole: bool = True
    kept: bool = False
    again: bool = False
    done: bool = False
    error: BaseException | None = None


class Commit(Protocol):
    """Stores all of some changes, or none."""

    def __call__(self, changes: Sequence[Change]) -> None: ...


class GroupCommit:
    """Stores changes by `commit`, or first by `keep`, which says whether it did. Thread-safe.

    A change builds on those of its account before it. If one fails, its account is marked stale, and those
    already put on top of it fail with it.
    """

    def __init__(
        self, commit: Commit, keep: Callable[[Change], bool], all_stored: Callable[[], None]
    ) -> None:
        """`all_stored` is called while no change waits and none can be kept. It raises nothing."""
        self._commit, self._keep, self._all_stored = commit, keep, all_stored
        self._waiting: list[Change] = []
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def put(self, change: Change) -> Change:
        """Queue a change; the caller holds its account's lock, so that they stay in order. Then `wait`."""
        with self._lock:
            self._waiting.append(change)
        return change

    def keep(self, change: Change) -> bool:
        """Queue a change as `put` does, but kept already: then nobody needs to wait, and somebody has to
        `catch_up`. False if it can't be kept; it isn't queued then.
        """
        if change.synced:
            return False
        with self._lock:
            may_fail = any(one.account is change.account and not one.kept for one in self._waiting)
            if may_fail or len(self._waiting) >= MOST_KEPT or not self._keep(change):
                return False
            change.kept = True
            self._waiting.append(change)
        return True

    def lacks(self, account: Account) -> bool:
        """Whether the store lacks changes of this account."""
        with self._lock:
            return any(change.account is account for change in self._waiting)

    def kept(self) -> int:
        """How many kept changes the store lacks."""
        with self._lock:
            return sum(1 for change in self._waiting if change.kept)

    def keep_no_more(self, end: Callable[[bool], None]) -> None:
        """Do `end`, after which `keep` says no, while nothing is kept. It is told whether all is stored."""
        with self._lock:
            end(not self._waiting)

    def catch_up(self) -> None:
        """Store all that is kept now. Raises what keeps it from being stored; it stays queued then."""
        with self._lock:
            last = next((change for change in reversed(self._waiting) if change.kept), None)
        while last is not None and not last.done:
            with self._turn:
                failed = None if last.done else self._next()
            if failed is not None:
                raise failed

    def wait(self, change: Change) -> None:
        """Return once the change is stored. Raises what kept it from being stored."""
        while not change.done:
            with self._turn:
                if not change.done:
                    self._next()
        if change.error is not None:
            raise change.error

    def _next(self) -> BaseException | None:
        """Store those that wait longest. Returns what kept them from being stored. Only who has its turn
        takes any from the queue.
        """
        with self._lock:
            batch = self._waiting[:MOST]
        try:
            self._commit(batch)
        except BaseException as error:  # each waiter raises it
            self._fail(batch, error)
            return error
        with self._lock:
            del self._waiting[: len(batch)]
        for change in batch:
            change.done = True
        with self._lock:
            if not self._waiting:
                self._all_stored()
        return None

    def _fail(self, batch: list[Change], error: BaseException) -> None:
        for change in batch:
            change.again = True
        accounts = {id(change.account): change.account for change in batch if not change.kept}
        for account in accounts.values():
            # In one hold of its lock: nobody may put another one in between.
            with account.lock, self._lock:
                account.stale = True
                lost = [one for one in self._waiting if one.account is account and not one.kept]
                self._waiting = [one for one in self._waiting if one.account is not account or one.kept]
            for change in lost:
                change.error = error
                change.done = True
