"""What Prolog and Epilog noted of a Slurm job (`slurm_meter.sh`): its edges, GPUs and exit code.

A file counts only if it belongs to the user that slurmd runs as and nobody else can write it; then no job can
have made it. Anything but the exact form is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oracle.executors.base import ExecutorError
from oracle.executors.order import ReportInvalid, read_owned

_MOST_BYTES: Final = 1_024
_FORM: Final = re.compile(
    r"scrip-slurm 1\nedge=(?P<edge>begin|end)\njob=(?P<job>\d{1,10})\nid=(?P<id>[0-9a-f]{64})\n"
    r"gpus=(?P<gpus>(?:\d{1,4}(?:,\d{1,4})*)?)\nexit=(?P<exit>(?:\d{1,3}:\d{1,3})?)\n"
    r"uptime=(?P<seconds>\d{1,11})\.(?P<hundredths>\d\d)\nat=\d{1,12}\n",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Edges:
    """Both edges of a job. `span_ns` by the node's clock since boot, in steps of 10 ms; `gpus` are Slurm's
    numbers; `status` as a shell would give it, None if Slurm gave none.
    """

    span_ns: int
    gpus: tuple[int, ...]
    status: int | None


def read_edges(spool: Path, uid: int, ticket: str, job_id: bytes) -> Edges | None:
    """The edges of Slurm job `ticket`, or None until both are there.

    Raises ReportInvalid for a file of another owner, form or job, and for an end before the begin.
    """
    begin, end = (_read(spool, uid, ticket, job_id, edge) for edge in ("begin", "end"))
    if begin is None or end is None:
        return None
    span_ns = _uptime_ns(end) - _uptime_ns(begin)
    where = spool / f"{ticket}.end"
    if span_ns < 0:
        raise ReportInvalid(where, "ends before it begins: the node was restarted in between")
    if begin["gpus"] != end["gpus"]:
        raise ReportInvalid(where, f"GPUs {end['gpus']!r}, at the begin {begin['gpus']!r}")
    return Edges(span_ns, tuple(int(gpu) for gpu in end["gpus"].split(",") if gpu), _status(end["exit"]))


def check_spool(spool: Path, uid: int) -> None:
    """Raises ExecutorError unless only `uid` can put files there."""
    try:
        found = spool.stat()
    except OSError as problem:
        raise ExecutorError(
            f"{spool}: {problem.strerror}. Make the folder that Epilog writes to"
        ) from problem
    if not spool.is_dir() or found.st_uid != uid or found.st_mode & 0o022:
        given = f"uid {found.st_uid}, mode {found.st_mode & 0o7777:o}"
        raise ExecutorError(f"{spool}: {given}, must be a folder of uid {uid} that nobody else can write")


def _read(spool: Path, uid: int, ticket: str, job_id: bytes, edge: str) -> re.Match[str] | None:
    path = spool / f"{ticket}.{edge}"
    data = read_owned(path, uid, _MOST_BYTES)
    if data is None:
        return None
    found = _FORM.fullmatch(data.decode(errors="replace"))
    if found is None:
        raise ReportInvalid(path, "not of the form that slurm_meter.sh writes")
    if (found["edge"], found["job"], found["id"]) != (edge, ticket, job_id.hex()):
        raise ReportInvalid(path, "of another job or edge")
    return found


def _uptime_ns(found: re.Match[str]) -> int:
    return (int(found["seconds"]) * 100 + int(found["hundredths"])) * 10_000_000


def _status(given: str) -> int | None:
    if not given:
        return None
    code, signal = (int(part) for part in given.split(":"))
    return 128 + signal if signal else code
