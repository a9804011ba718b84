"""The GPUs of this machine, shared out among the jobs that it runs itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from oracle.outbox import Stopped

LOOK_S: Final = 0.25


class GpuPool:
    """Free places on GPUs. Up to `tenants` jobs hold a GPU at once, a job never holds one twice."""

    def __init__(self, uuids: Sequence[str], tenants: int = 1) -> None:
        self._free = dict.fromkeys(uuids, tenants)
        self._changed = threading.Condition()

    @contextmanager
    def lease(self, count: int, given_up: Callable[[], bool]) -> Iterator[tuple[str, ...]]:
        """Hold a place on each of `count` GPUs, the emptiest first, waiting until there are as many.

        Raises Stopped once `given_up` says so before they are.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: len(self._open()) >= count, LOOK_S):
                if given_up():
                    raise Stopped
            held = tuple(self._open()[:count])
            for gpu in held:
                self._free[gpu] -= 1
        try:
            yield held
        finally:
            with self._changed:
                for gpu in held:
                    self._free[gpu] += 1
                self._changed.notify_all()

    def _open(self) -> list[str]:
        return sorted((gpu for gpu, free in self._free.items() if free), key=lambda gpu: -self._free[gpu])
