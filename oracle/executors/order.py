"""The files by which the daemon and a node of a cluster speak of one job. Read by both, believed by neither.

They lie in a folder of the attempt that both see at the same path, outside the job's work directory and so of
its sandbox. The daemon writes the order; `oracle.executors.step` on the node answers with one file at each
edge, and one with the latest readings in between. Every file appears whole (written aside, then renamed),
belongs to the daemon's own user and has the form below, or it is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from oracle.executors.base import ExecutorError, Limits, Reason, Work
from oracle.telemetry.base import Note, Reading
from scrip.samples import CLOSING_METRICS, MAX_INT, METRICS

ORDER: Final = "order.json"
BEGUN: Final = "begun.json"
LATEST: Final = "latest.json"
DONE: Final = "done.json"
FAILED: Final = "failed.json"
CONTENT: Final = "content.bin"
ENGINE_LOG: Final = "engine.log"
"""What the engine caught of the step's own stdout and stderr; the job's go into its report."""

_MOST_BYTES: Final = 4 << 20
_OURS: Final = {
    "lease_ms", "input_tokens", "cached_tokens", "output_tokens", "stored_bytes", "moved_bytes", "platform",
}  # fmt: skip
_METRICS: Final = METRICS - CLOSING_METRICS - _OURS

Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Uuid = Annotated[str, Field(pattern=r"^(GPU|MIG)-[0-9A-Za-z/-]{1,100}$")]


class ReportInvalid(ExecutorError):
    """A file of a node isn't what it should be."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"{path}: {detail}. Nothing is billed by it")


class File(BaseModel):
    """One of the files."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


F = TypeVar("F", bound=File)


class Row(File):
    """A reading taken on the node. Lease time isn't among them: that is ours to measure."""

    source: Literal["nvml", "nvml-replay", "cpu-rusage", "cpu-cgroup", "rapl"]
    device: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]
    metric: str
    value: Count

    @field_validator("metric")
    @classmethod
    def _of_a_node(cls, given: str) -> str:
        if given not in _METRICS:
            raise ValueError(f"{given[:40]!r} isn't read on a node")
        return given

    def reading(self) -> Reading:
        """As meters give it."""
        return Reading(self.source, self.device, self.metric, self.value)


class Remark(File):
    """`oracle.telemetry.base.Note`: what a meter on the node left out or found odd."""

    source: str
    device: str
    metric: str
    reason: str

    def note(self) -> Note:
        """As meters give it."""
        return Note(self.source, self.device, self.metric, self.reason)


class LimitsRow(File):
    """`oracle.executors.base.Limits`."""

    seconds: int
    memory_bytes: int
    output_bytes: int
    processes: int
    cores: int


class Order(File):
    """What a node shall run. `trace` is that of a simulated GPU, or "" for real ones; `content` says that the
    file CONTENT lies beside it.
    """

    job_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    nonce: int
    template: str
    module: str
    params: dict[str, Any]
    settings: dict[str, Any]
    workdir: str
    limits: LimitsRow
    gpu_count: Count
    network: bool
    content: bool
    packages: tuple[str, ...]
    trace: str
    tick_ms: Annotated[int, Field(ge=1)]

    @classmethod
    def of(cls, work: Work, *, packages: tuple[str, ...], trace: str, tick_ms: int) -> Order:
        """The order to do `work`."""
        limits = {name: getattr(work.limits, name) for name in LimitsRow.model_fields}
        return cls(
            job_id=work.job_id.hex(), nonce=work.nonce, template=work.template, module=work.module,
            params=dict(work.params), settings=dict(work.settings), workdir=str(work.workdir),
            limits=LimitsRow(**limits), gpu_count=work.gpu_count, network=work.network,
            content=work.content is not None, packages=packages, trace=trace,
            tick_ms=tick_ms,
        )  # fmt: skip

    def work(self, gpus: tuple[str, ...], content: bytes | None = None) -> Work:
        """The same for the executor of the node, with the GPUs that the engine chose."""
        return Work(
            job_id=bytes.fromhex(self.job_id), nonce=self.nonce, template=self.template, params=self.params,
            workdir=Path(self.workdir), limits=Limits(**self.limits.model_dump()), module=self.module,
            settings=self.settings, gpus=gpus, gpu_count=self.gpu_count, network=self.network,
            content=content,
        )  # fmt: skip


class Begun(File):
    """The job's process runs: on these GPUs and this processor, held in by this, with these readings."""

    platform: Annotated[str, Field(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?$")]
    gpus: tuple[Uuid, ...]
    confinement: Literal["bubblewrap", "rlimits"]
    readings: tuple[Row, ...]


class Latest(File):
    """Readings while it runs."""

    readings: tuple[Row, ...]


class Done(File):
    """The job ended, as `oracle.executors.base.Exit` has it. `problem` says which meter failed, if any."""

    code: int | None
    signal: int | None
    reason: Reason
    duration_ns: Count
    rusage: tuple[Count, Count, Count]
    log: str
    readings: tuple[Row, ...]
    notes: tuple[Remark, ...]
    problem: str

    @property
    def status(self) -> int:
        """The exit status by which the step passes the end on to the engine, as a shell would."""
        if self.code is not None:
            return self.code
        return 1 if self.signal is None else 128 + self.signal


class Failed(File):
    """The node could not start the job."""

    problem: str


def write(folder: Path, name: str, file: File) -> None:
    """Put a file in place, whole."""
    put(folder, name, file.model_dump_json().encode())


def put(folder: Path, name: str, data: bytes) -> None:
    """Put bytes in place, whole."""
    aside = folder / f"{name}.new"
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(handle)
    aside.rename(folder / name)


def read(folder: Path, name: str, kind: type[F]) -> F | None:
    """A file, or None while it isn't there. Raises ReportInvalid."""
    path = folder / name
    data = read_owned(path, os.geteuid(), _MOST_BYTES)
    if data is None:
        return None
    try:
        return kind.model_validate_json(data)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReportInvalid(path, f"{where}: {first['msg']}") from problem


def read_owned(path: Path, uid: int, limit: int) -> bytes | None:
    """A small plain file that nobody but `uid` can have written, or None if there is none.

    Raises ReportInvalid.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ReportInvalid(path, problem.strerror or str(problem)) from problem
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ReportInvalid(path, "not a regular file")
        if found.st_uid != uid:
            raise ReportInvalid(path, f"belongs to uid {found.st_uid}, must belong to {uid}")
        if found.st_mode & 0o022:
            raise ReportInvalid(path, f"mode {found.st_mode & 0o777:o}, must not be writable by others")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ReportInvalid(path, f"larger than {limit} bytes")
    return data
