"""A proxy in front of a node that holds back chosen calls until it is told to let them pass."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from tests.integration.proxy import Proxy


class Gate(Proxy):
    """Calls of a held method wait, unanswered and not forwarded, until `release` or the end."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._held: dict[str, threading.Event] = {}
        self.waiting = threading.Event()

    def hold(self, method: str) -> None:
        """From now on, `method` waits. `waiting` is set as soon as one does."""
        self.waiting.clear()
        self._held[method] = threading.Event()

    def release(self) -> None:
        """Let everything pass. What waited is dropped: its caller has been killed meanwhile."""
        held, self._held = self._held, {}
        for event in held.values():
            event.set()

    def pass_or_wait(self, method: str) -> bool:
        """Whether to forward the call."""
        event = self._held.get(method)
        if event is None:
            return True
        self.waiting.set()
        event.wait()
        return False


@contextlib.contextmanager
def running(target: str) -> Iterator[Gate]:
    """A gate to `target` that lives as long as the block."""
    with Gate(target) as gate:
        thread = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield gate
        finally:
            gate.release()
            gate.shutdown()
            thread.join()
