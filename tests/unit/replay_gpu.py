"""A simulated GPU under a clock that tests set by hand. Shared by the tests of metering."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from oracle.telemetry.base import Lease
from oracle.telemetry.nvml import Nvml, NvmlMeter, Replay

GPU = "GPU-00000000-0000-4000-8000-000000000000"
HEAD = f"scrip-nvml-trace 1\ngpu 0 {GPU} 85899345920 - Test GPU\n"
BUSY = HEAD + "read 0 0 1000 300000 80 40\nproc 0 0 41 1024 80 40\n"
OK = SimpleNamespace(reason="ok", duration_ns=10**18, rusage=(0, 0, 0))


class HandClock:
    """A recorder's clock and the replay library's: one file, in ms, that only moves when set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, ms: int) -> None:
        """Move to `ms`."""
        self.ms = ms
        self.path.write_text(str(ms), encoding="ascii")

    def wall_ms(self) -> int:
        """Wall time, counted from 0 as the replay library counts under this clock."""
        return self.ms

    def mono_ns(self) -> int:
        """The same instant in ns."""
        return self.ms * 1_000_000


@contextmanager
def simulated(tmp_path: Path, trace: str | Path) -> Iterator[tuple[Nvml, HandClock]]:
    """NVML playing `trace` (text or a file) under a clock of its own."""
    if isinstance(trace, str):
        path = tmp_path / "test.trace"
        path.write_text(trace, encoding="ascii")
        trace = path
    clock = HandClock(tmp_path / "now")
    with Nvml.open(Replay(trace, clock.path)) as nvml:
        yield nvml, clock


def lease(*gpus: str, pgid: int = 2**22 + 1, workdir: Path = Path("/nonexistent")) -> Lease:
    """A lease of `gpus`, by default of a process group that can't exist."""
    return Lease(b"\x11" * 32, pgid, pgid, None, gpus, workdir)


def values(readings: list[Any]) -> dict[str, int]:
    """By metric."""
    return {reading.metric: reading.value for reading in readings}


def reasons(meter: NvmlMeter, metric: str) -> list[str]:
    """Of the notes about a metric."""
    return [note.reason for note in meter.notes() if note.metric == metric]
