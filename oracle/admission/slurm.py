"""Slurm: what its submit filter asks, and its list of workloads. Nothing that a user wrote is trusted."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from oracle.admission.keeper import Live
from oracle.admission.rule import Claim, Denied, System, Why
from oracle.executors.base import ExecutorError
from oracle.executors.slurm import COMMENT, UNKNOWN, run
from oracle.settings import Settings
from scrip.types import sku_id

SYSTEM: Final[System] = "slurm"
UNSET: Final = 0xFFFF_FFFE
"""Slurm's NO_VAL; INFINITE is one more."""
_UNSET16: Final = 0xFFFE
_MINUTE_S: Final = 60
_SLACK_S: Final = 240
"""How much longer than a job's own limit the daemon has Slurm wait: 2 minutes, rounded up, and a minute more
(`oracle.executors.slurm`)."""
_COMMENT: Final = re.compile(re.escape(COMMENT) + r"([0-9a-f]{64})", re.ASCII)
_GPUS: Final = re.compile(
    r"(?:gres[:/])?gpu(?::(?P<kind>[A-Za-z_][A-Za-z0-9_.-]*))?(?:[:=](?P<count>\d{1,6}))?", re.ASCII
)

Number = Annotated[int, Field(ge=0, le=1 << 32)]
Text = Annotated[str, Field(max_length=1_024)]


class Asked(BaseModel):
    """A submission, as slurmctld's Lua has it: raw numbers, where UNSET means that nothing was given."""

    model_config = ConfigDict(extra="forbid")

    comment: Text
    uid: Number
    minutes: Number
    nodes: Number
    tasks: Number
    shared: Number
    array: Text = ""
    per_node: Text = ""
    per_job: Text = ""
    per_task: Text = ""
    per_socket: Text = ""


class Edge(BaseModel):
    """A workload that starts or has ended, as PrologSlurmctld and EpilogSlurmctld know it."""

    model_config = ConfigDict(extra="forbid")

    comment: Text
    ticket: Annotated[str, Field(pattern=r"^\d{1,10}$")]

    def claim(self) -> Claim:
        """The claim of a workload that was admitted before. Raises Denied."""
        return Claim(SYSTEM, job_of(self.comment), self.ticket, 0, None, 0, None, None)


class Terms:
    """How this site's submissions are read: its users, its hardware."""

    def __init__(self, settings: Settings) -> None:
        given = settings.admission.slurm if settings.admission is not None else None
        if given is None:
            raise ValueError("admission.slurm isn't set")
        self._daemon = os.geteuid() if given.daemon_uid is None else given.daemon_uid
        self._payers = {int(uid): frozenset(payers) for uid, payers in given.users.items()}
        self._skus, self._default = given.skus, settings.of_provider().gpu_sku

    def claim(self, asked: Asked) -> Claim:
        """What a submission asks for. Raises Denied."""
        job_id = job_of(asked.comment)
        if asked.array:
            raise Denied(Why.FORM, "a job array is many workloads. Submit one job for each escrow job")
        if asked.shared == 0:
            raise Denied(Why.FORM, "--exclusive takes whole nodes. Ask for what the job pays for with --gres")
        if asked.minutes >= UNSET:
            raise Denied(
                Why.FORM, "no time limit is given. Give one with --time, at most what the job pays for"
            )
        gpus, sku = self._gpus(asked)
        own = asked.uid == self._daemon
        return Claim(
            SYSTEM, job_id, "", gpus, None, asked.minutes * _MINUTE_S, sku,
            None if own else self._payers.get(asked.uid, frozenset()), _SLACK_S if own else 0,
        )  # fmt: skip

    def _gpus(self, asked: Asked) -> tuple[int, bytes | None]:
        """How many GPUs, at most, and the hash of their label."""
        given = [text for text in (asked.per_node, asked.per_job, asked.per_task, asked.per_socket) if text]
        if not given:
            return 0, None
        if len(given) > 1 or asked.per_socket:
            raise Denied(Why.FORM, "GPUs are asked for in more than one way. Use --gres or --gpus alone")
        found = [_parse(item) for item in given[0].split(",")]
        kinds = {kind for kind, _ in found}
        if len(kinds) > 1:
            raise Denied(Why.FORM, "two types of GPU are asked for. One job pays for one type")
        times = self._times(asked)
        return times * sum(count for _, count in found), self._sku(kinds.pop())

    def _times(self, asked: Asked) -> int:
        if asked.per_job:
            return 1
        times, option = (asked.nodes, "--nodes") if asked.per_node else (asked.tasks, "--ntasks")
        if times >= UNSET:
            raise Denied(Why.FORM, f"nothing says how many times these GPUs are meant. Give {option}")
        return times

    def _sku(self, kind: str) -> bytes | None:
        name = f"gpu:{kind}" if kind else "gpu"
        label = self._skus.get(name, "") if self._skus else self._default
        return sku_id(label) if label else None


def _parse(item: str) -> tuple[str, int]:
    found = _GPUS.fullmatch(item)
    if found is None:
        raise Denied(Why.RESOURCE, f"{item} isn't sold here, only whole GPUs are (--gres=gpu:TYPE:COUNT)")
    return found["kind"] or "", int(found["count"] or 1)


def job_of(comment: str) -> bytes:
    """The job that a comment names. Raises Denied."""
    found = _COMMENT.fullmatch(comment)
    if found is None:
        raise Denied(
            Why.FORM, f"this partition runs paid jobs only. Name yours with --comment={COMMENT}<job id>"
        )
    return bytes.fromhex(found[1])


class SlurmCluster:
    """The partitions that are guarded. Listing and ending others' jobs needs an operator's rights there."""

    system: System = SYSTEM

    def __init__(self, settings: Settings) -> None:
        given = settings.admission.slurm if settings.admission is not None else None
        if given is None:
            raise ValueError("admission.slurm isn't set")
        self._partitions = given.partitions
        self._conf = None if settings.slurm is None else settings.slurm.conf

    def live(self) -> Sequence[Live]:
        """See `Cluster`."""
        words = ["squeue", "--noheader", "--array", f"--partition={','.join(self._partitions)}", "--sort=i"]
        rows = run([*words, "--format=%i|%k"], self._conf).splitlines()
        return [_live(*row.strip().partition("|")[::2]) for row in rows if row.strip()]

    def evict(self, workload: str) -> None:
        """See `Cluster`."""
        try:
            run(["scancel", workload], self._conf)
        except ExecutorError as problem:
            if UNKNOWN not in str(problem):
                raise


def _live(ticket: str, comment: str) -> Live:
    found = _COMMENT.fullmatch(comment)
    return Live(ticket, None if found is None else bytes.fromhex(found[1]))
