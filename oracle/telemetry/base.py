"""The words every meter shares: a lease, a reading, and what a meter must be able to do. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scrip.errors import ScripError
from scrip.samples import HOST as HOST

if TYPE_CHECKING:
    from scrip.evidence import Sample


class TelemetryError(ScripError):
    """Something that must be known for a receipt could not be measured. Never replaced by a default."""


class RecordingFailed(TelemetryError):
    """One or more meters failed during a lease.

    `problems` holds what they raised, in order; `samples` is all that was read, both lease edges included,
    which is enough for the evidence of a failed job but must not be billed.
    """

    def __init__(self, problems: Sequence[BaseException], samples: Sequence[Sample]) -> None:
        self.problems, self.samples = tuple(problems), tuple(samples)
        listed = "; ".join(str(problem) for problem in problems)
        super().__init__(f"{len(problems)} meter reading(s) failed: {listed}. Don't bill this attempt")


class Reading(NamedTuple):
    """One value of one metric of one device; unit in the name, vocabulary in `scrip.evidence`."""

    source: str
    device: str
    metric: str
    value: int


class Remote(Protocol):
    """Reads the meters of a lease on another machine."""

    @property
    def platform(self) -> str:
        """That machine's `oracle.host.platform_label`."""

    def readings(self, edge: str) -> list[Reading]:
        """What was read there at the "start" or the "end" edge, or last ("tick"). Raises TelemetryError."""

    def notes(self) -> tuple[Note, ...]:
        """What its meters left out or found odd, known once it is over."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What one job holds while it runs.

    `pgid` is the process group (and session) its processes started in, `cgroup` its own cgroup v2 directory
    if it has one, `gpus` the UUIDs it holds, `workdir` the directory its program writes to. On another
    machine `pid` and `pgid` are 0, and `remote` reads there.
    """

    job_id: bytes
    pid: int
    pgid: int
    cgroup: Path | None
    gpus: tuple[str, ...]
    workdir: Path
    remote: Remote | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Why a metric is missing or odd: a stated outcome, for the log and the operator."""

    source: str
    device: str
    metric: str
    reason: str


class Finished(Protocol):
    """How the job's process ended, as the executor saw it (`oracle.executors.base.Exit` fits)."""

    @property
    def reason(self) -> str:
        """How it ended: "ok", or what went wrong."""

    @property
    def duration_ns(self) -> int:
        """Monotonic nanoseconds from fork to reaping."""

    @property
    def rusage(self) -> tuple[int, int, int]:
        """User µs, system µs and peak resident bytes of the process and the descendants it waited for."""


class Meter(Protocol):
    """Reads one kind of usage of one lease. One meter object serves one lease.

    Calls come from one thread at a time: `start` once, `tick` any number of times, `end` once. Each raises a
    `TelemetryError` when a value that a receipt may rest on can't be had; a metric the hardware simply
    doesn't offer is left out and explained in `notes`.
    """

    @property
    def name(self) -> str:
        """Short name for logs."""

    @property
    def simulated(self) -> bool:
        """True when the readings come from a replayed trace and not from hardware."""

    def start(self, lease: Lease) -> list[Reading]:
        """Readings at the start edge, right after the job's process was forked."""

    def tick(self) -> list[Reading]:
        """Readings in between."""

    def end(self, finished: Finished) -> list[Reading]:
        """Readings at the end edge, after the job's process was reaped: the values that count."""

    def notes(self) -> tuple[Note, ...]:
        """What is missing or odd so far, and why."""
