"""Keeps session accounts in line with the chain: top-ups, closes and claims.

Events only say which session to look at; what it is now is read from its slot, so that a missed event, a
reorganisation or a restart can't leave an account behind. Blocks that aren't final are looked at again in
every pass: a close shows at the head, a deposit counts only once it is final.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from oracle.gateway.accounts import Accounts
from oracle.store import Store
from scrip.chain import Chain
from scrip.errors import BadInput, NodeUnavailable

CURSOR: Final = "MeteredSessions"
EVENTS: Final = ("CloseRequested", "SessionToppedUp", "SessionClosed", "SessionClaimed")
PAGE: Final = 500
"""Sessions that are compared with the chain at once."""


class Watch:
    """Chain to accounts. `clock` is monotonic seconds."""

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        chain: Chain,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """All sessions are compared every `every_s` seconds."""
        self._store, self._accounts, self._chain = store, accounts, chain
        self._every_s, self._clock = every_s, clock
        self._due, self._head = float("-inf"), -1

    def begin(self) -> None:
        """As this node begins to lead: take up the accounts, and compare all of them in the next pass."""
        self._accounts.begin()
        self._due, self._head = float("-inf"), -1

    def look(self) -> None:
        """Compare the sessions that something has happened to, or all of them if that is due."""
        now, head = self._accounts.chain.now(), self._chain.head()
        finalized = max(0, head - self._chain.finality_depth)
        touched = [] if head == self._head else self._touched(finalized, head)
        if self._clock() >= self._due:
            self._compare(list(self._accounts.roster.sessions()))
            self._due = self._clock() + self._every_s
        else:
            self._compare(touched)
        if head != self._head:
            self._store.set_cursor(CURSOR, finalized + 1)
            self._head = head
        self._accounts.looked(now)

    def _touched(self, finalized: int, head: int) -> list[bytes]:
        """Sessions of ours that events name, from the blocks on that weren't final when we last looked."""
        known = self._store.cursor(CURSOR)
        start = finalized + 1 if known is None else min(known, finalized + 1)
        found = dict.fromkeys(self._events(start, head) if start <= head else ())
        return [session for session in found if self._accounts.roster.find(session) is not None]

    def _events(self, start: int, head: int) -> list[bytes]:
        try:
            events = self._chain.at(head).events("MeteredSessions", EVENTS, since=start)
            return [bytes(event.args["sessionId"]) for event in events]
        except BadInput as error:
            if error.field != "to_block":
                raise
            # Behind one URL there may be several nodes; one that hasn't seen our block yet is asked again.
            raise NodeUnavailable("", f"it is behind: {error}") from error

    def _compare(self, sessions: list[bytes]) -> None:
        for at in range(0, len(sessions), PAGE):
            self._accounts.refresh(sessions[at : at + PAGE])
