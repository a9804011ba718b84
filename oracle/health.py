"""What `/healthz` and `/readyz` answer: asked of the parts themselves each time, never remembered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from scrip.errors import ScripError

LATE_FACTOR: Final = 20
LATE_S: Final = 300.0
"""A main loop that hasn't ended a pass for so many intervals and seconds hangs: longer than it ever waits for
a node of the chain that doesn't answer.
"""


class NotWell(ScripError):
    """The main loop goes round, and gets nothing done."""


@dataclass(slots=True)
class Pulse:
    """When the main loop last ended a pass, well or not, and what keeps it from working. Monotonic seconds.

    A node that waits for its chain is alive, since ending it would only end the jobs that run, but not ready.
    """

    interval_s: float
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _problem: str = field(init=False, default="")
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def beat(self, problem: str = "") -> None:
        """A pass ended: well, or with a passing problem."""
        with self._lock:
            self._last, self._problem = self.clock(), problem

    def check(self) -> str:
        """Raise NotWell if the last pass failed or none has ended for long."""
        if not self.alive:
            raise NotWell(f"no pass has ended for {self.age_s:.0f} s")
        with self._lock:
            if self._problem:
                raise NotWell(self._problem)
        return "passes end well"

    @property
    def age_s(self) -> float:
        """Seconds since then."""
        with self._lock:
            return self.clock() - self._last

    @property
    def alive(self) -> bool:
        """Whether that is recent."""
        return self.age_s <= max(LATE_S, LATE_FACTOR * self.interval_s)


Probe = Callable[[], object]
"""Returns a detail, or raises what is wrong."""


def readiness(probes: Mapping[str, Probe]) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Run every probe. Returns whether all succeed, and what each said."""
    found: dict[str, dict[str, Any]] = {}
    for name, probe in probes.items():
        try:
            found[name] = {"ok": True, "detail": str(probe())}
        except (ScripError, SQLAlchemyError, OSError) as error:
            found[name] = {"ok": False, "detail": f"{type(error).__name__}: {str(error)[:200]}"}
    return all(item["ok"] for item in found.values()), found
