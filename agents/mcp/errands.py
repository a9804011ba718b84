"""Work that goes on whether or not its client still waits: one thread for each key."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from agents.mcp.orders import KeyTaken
from scrip.errors import ScripError

MOST_RUNNING: Final = 8
_KEPT: Final = 64


class Stopped(ScripError):
    """The server is ending. What is on chain goes on; the same key takes it up again."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; ask again with the same idempotency_key once it is back")


class TooMuch(ScripError):
    """More is under way than this server does side by side. Nothing was sent."""

    def __init__(self) -> None:
        super().__init__(f"{MOST_RUNNING} requests are under way, the most at a time. Wait for one to end")


@dataclass
class Errand:
    """One piece of work. `result` or `error` is there once `done` is set; `steps` are told as they happen."""

    tool: str
    key: str
    content: str
    steps: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def say(self, step: str) -> None:
        """Note a step."""
        self.steps.append(step)


class Errands:
    """The errands of a server. Their threads don't keep the process alive: what they do survives a kill."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Errand] = OrderedDict()

    def start(self, tool: str, key: str, content: str, work: Callable[[Errand], Any]) -> Errand:
        """Begin the work, or join it where it is under way, or was done. What failed is begun anew.

        Raises KeyTaken, TooMuch.
        """
        with self._lock:
            known = self._known.get(key)
            if known is not None and not (known.done.is_set() and known.error is not None):
                if (known.tool, known.content) != (tool, content):
                    raise KeyTaken(key, known.tool)
                return known
            running = [item for item in self._known.values() if not item.done.is_set()]
            if len(running) >= MOST_RUNNING:
                raise TooMuch
            errand = self._known[key] = Errand(tool, key, content)
            self._known.move_to_end(key)
            self._forget()
        threading.Thread(target=_run, args=(errand, work), name=f"errand {key}", daemon=True).start()
        return errand

    def find(self, key: str) -> Errand | None:
        """The newest errand of a key in this process."""
        with self._lock:
            return self._known.get(key)

    def sleep(self, seconds: float) -> None:
        """Wait, unless the server stops. Raises Stopped."""
        if self.stopping.wait(seconds):
            raise Stopped

    def stop(self) -> None:
        """Let every errand end at its next pause."""
        self.stopping.set()

    def _forget(self) -> None:
        ended = [key for key, item in self._known.items() if item.done.is_set()]
        for key in ended[: max(0, len(self._known) - _KEPT)]:
            del self._known[key]


def _run(errand: Errand, work: Callable[[Errand], Any]) -> None:
    try:
        errand.result = work(errand)
    except BaseException as error:  # handed to whoever waits, in its own words
        errand.error = error
    finally:
        errand.done.set()
