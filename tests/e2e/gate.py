"""A proxy in front of a node that holds back, delays, refuses and falsifies calls as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.integration.proxy import Proxy


class Gate(Proxy):
    """Held calls wait, unanswered and not forwarded, until `release` or the end, and are dropped then.

    `down` drops every call, `delay_s` answers late, `per_second` refuses with 429 beyond so many calls, and
    `head_shift` moves the head that the node reports by so many blocks.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.waiting = threading.Event()
        self.refused = 0
        self.heal()

    def heal(self) -> None:
        """From now on, an honest and quick node."""
        self.down, self.delay_s, self.per_second, self.head_shift = False, 0.0, 0, 0
        self._opened = threading.Event()
        self._holds: Callable[[str], bool] = lambda method: False
        self._window, self._calls = 0, 0

    def hold(self, method: str) -> None:
        """From now on, `method` waits. `waiting` is set as soon as one call does."""
        self.hold_if(lambda asked: asked == method)

    def hold_if(self, holds: Callable[[str], bool]) -> None:
        """From now on, a call of a method of which `holds` is true waits."""
        self.waiting.clear()
        self._holds = holds

    def release(self) -> None:
        """Let everything pass. What waited is dropped: its caller is dead by now, or asks again."""
        opened = self._opened
        self.heal()
        opened.set()

    def pass_or_wait(self, method: str) -> bool:
        """Whether to forward the call."""
        opened = self._opened
        if self._holds(method):
            self.waiting.set()
            opened.wait()
            return False
        time.sleep(self.delay_s)
        return not self.down

    def refusal(self, method: str) -> int:
        """429 for what is too much in this second."""
        if not self.per_second:
            return 0
        window = int(time.monotonic())
        self._calls = self._calls + 1 if window == self._window else 1
        self._window = window
        if self._calls <= self.per_second:
            return 0
        self.refused += 1
        return 429

    def change(self, call: Any, answer: bytes) -> bytes:
        """The head moved, if that is wanted; what is past the real one holds no logs, as many nodes say."""
        if not self.head_shift or call["method"] not in ("eth_blockNumber", "eth_getLogs"):
            return answer
        said = json.loads(answer)
        if call["method"] == "eth_blockNumber":
            said["result"] = hex(max(0, int(said["result"], 16) + self.head_shift))
        elif said.pop("error", None):
            said["result"] = []
        return json.dumps(said).encode()


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
