"""Slurm: jobs through sbatch, found again by the escrow id in their comment, metered by Prolog and Epilog.

Slurm needs no plugin and no database for this: squeue says whether a job waits or runs, the Epilog's file how
it ended. Command lines are built from settings and numbers; what a buyer chose travels in a file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from oracle.executors.base import EngineAway, ExecutorError, Work
from oracle.executors.cluster import Cause, Over
from oracle.executors.order import ENGINE_LOG, ReportInvalid
from oracle.executors.slurm_spool import check_spool, read_edges
from oracle.logging import get
from oracle.settings_engines import SlurmSettings

COMMENT: Final = "scrip:0x"
"""Begins the comment of our jobs; the escrow id follows."""
_MIB: Final = 1 << 20
_OWN_MIB: Final = 256
"""Memory of the step and the launcher, beside the job's."""
_GRACE_S: Final = 120
"""Slurm's own limit is a brake behind ours: it counts in minutes, and from before the step starts."""
_TIMEOUT_S: Final = 20
_LOG_BYTES: Final = 2_000
_ENDED: Final = {
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL",
    "PREEMPTED", "REVOKED",
}  # fmt: skip
_CAUSES: Final[dict[str, Cause]] = {
    "TIMEOUT": "timeout", "DEADLINE": "timeout", "OUT_OF_MEMORY": "memory", "CANCELLED": "killed",
    "NODE_FAIL": "killed", "BOOT_FAIL": "killed", "PREEMPTED": "killed", "REVOKED": "killed",
}  # fmt: skip
UNKNOWN: Final = "Invalid job id"
_AWAY: Final = re.compile(
    "unable to contact|timed out|connection (refused|failure)|temporarily unable|standby mode|zero bytes",
    re.I,
)
"""What Slurm's commands say when slurmctld is down, restarting or too busy (slurm_errno.c)."""

_log = get(__name__)


class SlurmQueue:
    """See `oracle.executors.cluster.Queue`. A ticket is `<Slurm job id>`."""

    name = "slurm"

    def __init__(self, settings: SlurmSettings) -> None:
        self._settings = settings

    def submit(self, folder: Path, command: str, work: Work) -> str:
        """Queue it. Never requeued by Slurm: a second run is an attempt of its own."""
        given, limits = self._settings, work.limits
        words = [
            "sbatch", "--parsable", "--export=NIL", "--no-requeue", "--job-name=scrip",
            f"--comment={COMMENT}{work.job_id.hex()}", f"--chdir={folder}", f"--output={ENGINE_LOG}",
            "--nodes=1", "--ntasks=1", f"--cpus-per-task={limits.cores}",
            f"--mem={-(-limits.memory_bytes // _MIB) + _OWN_MIB}M",
            f"--time={-(-(limits.seconds + _GRACE_S) // 60)}",
        ]  # fmt: skip
        if work.gpu_count:
            words.append(f"--gres={given.gres}:{work.gpu_count}")
        chosen = {"partition": given.partition, "account": given.account, "qos": given.qos}
        words += [f"--{name}={value}" for name, value in chosen.items() if value]
        said = self._run(words, f"#!/bin/sh\n{command}\n").strip()
        ticket = said.partition(";")[0]  # "<id>;<cluster>" in a federation
        if not ticket.isdecimal():
            raise ExecutorError(f"sbatch said {said[:100]!r} instead of a job id")
        return ticket

    def look(self, ticket: str, job_id: bytes) -> Over | None:
        """Over once squeue says so (or has forgotten it); the rest is the Epilog's word."""
        state = self._state(ticket)
        if state and state not in _ENDED:
            return None
        try:
            edges = read_edges(self._settings.spool, self._settings.spool_uid, ticket, job_id)
        except ReportInvalid as problem:  # as good as none
            _log.warning("edges refused", ticket=ticket, reason=str(problem))
            edges = None
        cause = _CAUSES.get(state, "")
        if edges is None:
            return Over(None, None, None, cause)
        return Over(edges.status, edges.span_ns, len(edges.gpus), cause)

    def cancel(self, ticket: str) -> None:
        """scancel; one that is over or unknown is fine."""
        try:
            self._run(["scancel", ticket])
        except ExecutorError as problem:
            if UNKNOWN not in str(problem):
                raise

    def find(self, job_id: bytes) -> Sequence[str]:
        """Job ids with the escrow id in their comment that wait or run."""
        wanted = f"{COMMENT}{job_id.hex()}"
        rows = self._run(["squeue", "--noheader", f"--user={os.geteuid()}", "--format=%i|%T|%k"]).splitlines()
        found = (row.strip().split("|", 2) for row in rows)
        return [ticket for ticket, state, comment in found if comment == wanted and state not in _ENDED]

    def log(self, ticket: str, folder: Path) -> str:
        """The file that sbatch's --output names."""
        try:
            with open(folder / ENGINE_LOG, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def check(self) -> str:
        """Version and nodes; the spool's rights."""
        check_spool(self._settings.spool, self._settings.spool_uid)
        version = self._run(["sbatch", "--version"]).strip()
        partition = [f"--partition={self._settings.partition}"] if self._settings.partition else []
        up = self._run(["sinfo", "--noheader", "--responding", "--format=%D", *partition]).split()
        nodes = sum(int(count) for count in up if count.isdecimal())
        if not nodes:
            raise ExecutorError(f"{version}, but no node of the partition answers: see sinfo")
        return f"{version}, {nodes} node(s) answer; edges in {self._settings.spool}"

    def _state(self, ticket: str) -> str:
        """squeue's word for it, "" for one it no longer knows."""
        words = ["squeue", "--noheader", "--states=all", f"--jobs={ticket}", "--format=%T"]
        try:
            return self._run(words).strip()
        except ExecutorError as problem:
            if UNKNOWN in str(problem):
                return ""
            raise

    def _run(self, words: Sequence[str], given: str = "") -> str:
        return run(words, self._settings.conf, given)


def run(words: Sequence[str], conf: Path | None, given: str = "") -> str:
    """A Slurm command's answer; it gets none of our environment. `conf` is a slurm.conf elsewhere than usual.
    Raises EngineAway if Slurm doesn't answer, ExecutorError.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    if conf is not None:
        environment["SLURM_CONF"] = str(conf)
    program = shutil.which(words[0], path=environment["PATH"])
    if program is None:
        raise ExecutorError(f"{words[0]} isn't installed here. Install Slurm's client commands")
    try:
        done = subprocess.run(
            [program, *words[1:]], input=given, env=environment, capture_output=True, text=True,
            timeout=_TIMEOUT_S, check=False, cwd="/",
        )  # fmt: skip
    except OSError as problem:
        raise ExecutorError(f"{words[0]}: {problem}") from problem
    except subprocess.TimeoutExpired as problem:
        raise EngineAway(f"{words[0]}: no answer within {_TIMEOUT_S} s") from problem
    if done.returncode != 0:
        said = re.sub(r"\s+", " ", done.stderr).strip()[:300]
        kind = EngineAway if _AWAY.search(said) else ExecutorError
        raise kind(f"{words[0]} failed ({done.returncode}): {said}")
    return done.stdout
