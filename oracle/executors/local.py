"""Runs jobs as confined subprocesses of this machine: bubblewrap where it works."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import scrip
from oracle.executors import cgroup
from oracle.executors.base import ExecutorError, GivenUp, Left, NoConfinement, Work, never
from oracle.executors.running import LocalRunning
from oracle.executors.sandbox import JOB_DIR, Sandbox, find
from oracle.executors.stale import kill_stale
from oracle.jobs.names import INPUT, PARAMS, SCRATCH, SETTINGS
from scrip.errors import BadInput
from scrip.spec import canonical_json

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_OURS: Final = (_PACKAGE, Path(scrip.__file__).resolve().parent)
"""The oracle package and what it stands on: all that a built-in job program needs besides installed ones."""
_MODULE: Final = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_]\w*)*\Z", re.ASCII)
_GPU: Final = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{1,100}\Z")
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_log = logging.getLogger(__name__)


class LocalExecutor:
    """Starts each job through a launcher process of its own (`oracle.executors.launch`).

    `confinement` asked for: "auto" takes bubblewrap if a probe succeeds and otherwise warns once;
    "bubblewrap" raises NoConfinement instead. `packages` are directories of further Python packages that
    hold job programs. `grace_s` is what a job has between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        *,
        confinement: Literal["auto", "bubblewrap", "rlimits"] = "auto",
        packages: Sequence[Path] = (),
        grace_s: float = 2.0,
        nice: int = 5,
    ) -> None:
        self._packages = (*_OURS, *(path.resolve() for path in packages))
        self._grace_ms = round(grace_s * 1000)
        self._nice = nice
        self._sandbox = self._choose(confinement)
        self._cgroups = cgroup.home()

    places_gpus = False

    @property
    def confinement(self) -> str:
        """What holds a job in: "bubblewrap" or "rlimits"."""
        return "rlimits" if self._sandbox is None else "bubblewrap"

    def start(self, work: Work, given_up: GivenUp = never) -> LocalRunning:
        """Starts one job in its new, private work directory, at once: `given_up` isn't asked.

        Raises BadInput for a work directory in use or an impossible module or GPU name, ExecutorError if
        the machine can't start it.
        """
        if not _MODULE.match(work.module):
            raise BadInput("work.module", work.module, "a Python module")
        for gpu in work.gpus:
            if not _GPU.match(gpu):
                raise BadInput("work.gpus", gpu, "the UUID of a GPU or MIG instance")
        _prepare(work)
        running = LocalRunning.launch(self._order(work), _launcher_command(), _launcher_environment())
        running.gpus = work.gpus
        return running

    def end_stale(self, left: Left) -> int:
        """Kills what outlived its oracle; returns how many processes. Raises ExecutorError."""
        return kill_stale(left.pgid, left.born_ns) if left.pgid and left.born_ns else 0

    def _choose(self, wanted: str) -> Sandbox | None:
        if wanted == "rlimits":
            return None
        sandbox, problem = find(self._packages)
        if sandbox is None and wanted == "bubblewrap":
            raise NoConfinement(problem)
        if sandbox is None:
            _log.warning(
                "jobs run without a sandbox, held by resource limits only: bubblewrap doesn't work (%s). "
                "A job could read this user's files and use the network. Install bubblewrap",
                problem,
            )
        return sandbox

    def _order(self, work: Work) -> dict[str, Any]:
        """What the launcher is told."""
        inside = JOB_DIR if self._sandbox is not None else str(work.workdir)
        argv = [sys.executable, "-P", "-s", "-B", "-m", work.module, inside]
        if self._sandbox is not None:
            argv = self._sandbox.wrap(argv, work.workdir, gpus=bool(work.gpus), network=work.network)
        limits = work.limits
        return {
            "argv": argv,
            "env": self._environment(work, inside),
            "cwd": str(work.workdir),
            "workdir": str(work.workdir),
            "cgroup": self._cgroup(),
            "sandboxed": self._sandbox is not None,
            "gpus": len(work.gpus),
            "grace_ms": self._grace_ms,
            "nice": self._nice,
            "seconds": limits.seconds,
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
            "processes": limits.processes,
            "cores": limits.cores,
        }

    def _cgroup(self) -> str:
        """A new control group for a job, or "" where there can't be one: then rusage has to do."""
        if self._cgroups is None:
            return ""
        try:
            return str(cgroup.make(self._cgroups))
        except OSError as problem:
            raise ExecutorError(f"no cgroup can be made in {self._cgroups}: {problem.strerror}") from problem

    def _environment(self, work: Work, inside: str) -> dict[str, str]:
        """Built from nothing: no variable of the oracle reaches a job."""
        parents = dict.fromkeys(str(package.parent) for package in self._packages)
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": inside,
            "TMPDIR": f"{inside}/{SCRATCH}",
            "PYTHONPATH": os.pathsep.join(parents),
            "PYTHONHASHSEED": "0",
            "CUDA_VISIBLE_DEVICES": ",".join(work.gpus),
            **dict.fromkeys(_THREAD_VARIABLES, str(work.limits.cores)),
        }


def _prepare(work: Work) -> None:
    """The work directory with what the program reads."""
    if not work.workdir.is_absolute():
        raise BadInput("work.workdir", str(work.workdir), "an absolute path")
    try:
        work.workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
        work.workdir.chmod(0o700)
        if any(work.workdir.iterdir()):
            raise BadInput("work.workdir", str(work.workdir), "absent or empty, one directory per attempt")
        (work.workdir / SCRATCH).mkdir(mode=0o700)
        (work.workdir / PARAMS).write_bytes(canonical_json(work.params))
        (work.workdir / SETTINGS).write_bytes(canonical_json(work.settings))
        if work.content is not None:
            (work.workdir / INPUT).write_bytes(work.content)
    except OSError as problem:
        raise ExecutorError(f"work directory {work.workdir}: {problem.strerror or problem}") from problem


def _launcher_command() -> list[str]:
    return [sys.executable, "-P", "-s", "-S", "-B", "-m", "oracle.executors.launch"]


def _launcher_environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(_PACKAGE.parent)}
