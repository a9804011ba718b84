"""Tells viewers what has changed: one producer for all of them, at work only while somebody looks.

A viewer never has a queue. It remembers what it was told and is told what differs from the newest state when
it is ready again, so a slow one misses states in between and costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final, Protocol

from oracle.logging import get
from oracle.operator.page import Sections
from scrip.errors import ScripError

PERIOD_S: Final = 1.0
"""Least time from one state to the next."""
CHAIN_S: Final = 10.0
"""How often the chain is asked, unless something happens."""
HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 2_000
"""When a browser that lost the stream comes back."""

_log = get(__name__)


class TooManyViewers(ScripError):
    """As many look already as may."""

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"{most} viewers look already, the most there may be. Raise operator.viewers")


class Builds(Protocol):
    """What makes the sections; `oracle.operator.page.Page` does."""

    chain_is_due: bool

    def local(self) -> Sections:
        """See Page.local."""

    def chain(self) -> None:
        """See Page.chain."""


class Feed:
    """The newest sections, and who looks at them. Lives in one event loop; building is done in threads.

    `stopping` ends every stream, so that the server can end too.
    """

    def __init__(
        self, page: Builds, stopping: Callable[[], bool], most: int, *, period_s: float = PERIOD_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:  # fmt: skip
        self._page, self._stopping, self._most = page, stopping, most
        self._period_s, self._heartbeat_s = period_s, heartbeat_s
        self._viewers = 0
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._now: Sections = {}
        self._changed = asyncio.Event()

    @property
    def viewers(self) -> int:
        """How many look now."""
        return self._viewers

    def enter(self) -> Seat:
        """A viewer's place. Raises TooManyViewers."""
        if self._viewers >= self._most:
            raise TooManyViewers(self._most)
        self._viewers += 1
        if not self._tasks:
            self._now, self._changed = {}, asyncio.Event()
            self._tasks = asyncio.create_task(self._follow_node()), asyncio.create_task(self._follow_chain())
        return Seat(self)

    def leave(self) -> None:
        """A viewer is gone; nothing is read any more after the last one."""
        self._viewers -= 1
        if not self._viewers:
            for task in self._tasks:
                task.cancel()
            self._tasks = ()

    async def events(self) -> AsyncIterator[bytes]:
        """A viewer's stream: all sections, then those that change, and a comment where nothing does."""
        yield f"retry: {RETRY_MS}\n\n".encode()
        told: Sections = {}
        while not self._stopping():
            changed = self._changed
            news = {name: text for name, text in self._now.items() if told.get(name) != text}
            if news:
                yield event("update" if told else "snapshot", news)
                told |= news
            elif not await self._comes(changed):
                yield b": still here\n\n"

    async def _comes(self, changed: asyncio.Event) -> bool:
        """Whether something changes before the next heartbeat."""
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), self._heartbeat_s)
            return True
        return False

    def _publish(self, sections: Sections) -> None:
        if sections != self._now or self._stopping():
            self._now = sections
            told, self._changed = self._changed, asyncio.Event()
            told.set()

    async def _follow_node(self) -> None:
        said = ""
        while True:
            begun = time.monotonic()
            try:
                self._publish(await asyncio.to_thread(self._page.local))
                said = ""
            except Exception as error:
                # The page is the least of the node's tasks: it waits for what it can't read.
                if said != (said := f"{type(error).__name__}: {error}"):
                    _log.error("operator page can't be built", exc_info=error)
                self._publish(self._now)
            await asyncio.sleep(max(self._period_s / 4, self._period_s - (time.monotonic() - begun)))

    async def _follow_chain(self) -> None:
        due, said = 0.0, ""
        while True:
            if self._page.chain_is_due or time.monotonic() >= due:
                due = time.monotonic() + CHAIN_S
                try:
                    await asyncio.to_thread(self._page.chain)
                    said = ""
                except Exception as error:
                    if said != (said := f"{type(error).__name__}: {error}"):
                        _log.error("operator page can't ask the chain", exc_info=error)
            await asyncio.sleep(self._period_s)


class Seat:
    """One viewer's place, to be left once."""

    def __init__(self, feed: Feed) -> None:
        self._feed: Feed | None = feed
        self.events = feed.events

    def leave(self) -> None:
        """Give it back; again does nothing."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.leave()


def event(name: str, sections: Sections) -> bytes:
    """A server-sent event. The sections are JSON on one line already."""
    data = ",".join(f'"{section}":{text}' for section, text in sections.items())
    return f"event: {name}\ndata: {{{data}}}\n\n".encode()
