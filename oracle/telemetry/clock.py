"""Where meters and the recorder get the time from."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A wall clock and a monotonic one."""

    def wall_ms(self) -> int:
        """Unix milliseconds."""

    def mono_ns(self) -> int:
        """Monotonic nanoseconds from any origin."""


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def mono_ns(self) -> int:
        """Monotonic nanoseconds."""
        return time.monotonic_ns()
