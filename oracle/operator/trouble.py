"""What went wrong, from all sources, the newest first: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from oracle.models import RefusalRow, StepRow
from oracle.operator.faults import Logged
from oracle.states import State
from oracle.telemetry.latest import GpuNow
from scrip.cli.output import clean

MOST: Final = 40
_BAD: Final = {
    State.CANCELLING: "given back",
    State.CANCELLED: "given back",
    State.REFUNDED: "refunded",
    State.EXPIRED: "expired",
    State.DISPUTED: "disputed",
    State.QUEUED: "attempt lost",
    State.METERED: "went wrong",
}
"""States that, with a reason, tell of something that didn't go as it should."""
_ALWAYS: Final = (State.REFUNDED, State.EXPIRED, State.DISPUTED)
"""Those that do without one."""


def trouble(
    refusals: Iterable[RefusalRow],
    steps: Iterable[StepRow],
    logged: Iterable[Logged],
    gpus: Iterable[GpuNow],
    now_problem: str,
) -> list[dict[str, Any]]:
    """Refusals of watchers, jobs that went wrong, the log's warnings and errors, GPUs that can't be read, and
    what keeps the node from working now (first, without a time).
    """
    found = [*_refusals(refusals), *_of_jobs(steps), *_of_log(logged)]
    found.sort(key=lambda one: -int(one["atMs"]))
    now = [_fault("gpu", "error", f"{gpu.name} {gpu.uuid}", gpu.problem, 0) for gpu in gpus if gpu.problem]
    if now_problem:
        now.insert(0, _fault("node", "error", "the node can't work now", now_problem, 0))
    return [*now, *found][:MOST]


def declined(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Quotes declined since the start, by reason."""
    return [{"reason": reason, "count": count} for reason, count in sorted(counts.items()) if count]


def _refusals(rows: Iterable[RefusalRow]) -> list[dict[str, Any]]:
    return [
        _fault("refusal", "error", f"{row.watcher} refused: {row.check}", row.reason, row.at_ms, row.job_id)
        for row in rows
    ]


def _of_jobs(steps: Iterable[StepRow]) -> list[dict[str, Any]]:
    """Each job's trouble once, though it goes through several states with the same reason."""
    found: dict[tuple[bytes, str], dict[str, Any]] = {}
    for step in steps:
        state = State(step.state)
        if state in _BAD and (step.reason or state in _ALWAYS):
            level = "warning" if state in (State.QUEUED, State.METERED) else "error"
            made = _fault("job", level, f"job {_BAD[state]}", step.reason, step.at_ms, step.job_id)
            found.setdefault((step.job_id, step.reason), made)
    return list(found.values())


def _of_log(lines: Iterable[Logged]) -> list[dict[str, Any]]:
    return [
        _fault("log", "warning" if line.level == "warning" else "error", line.event, line.detail, line.at_ms)
        | {"count": line.count}
        for line in lines
    ]


def _fault(kind: str, level: str, what: str, reason: str, at_ms: int, job: bytes = b"") -> dict[str, Any]:
    return {
        "kind": kind,
        "level": level,
        "what": clean(what),
        "reason": clean(reason),
        "job": "0x" + job.hex() if job else None,
        "atMs": at_ms,
        "count": 1,
    }
