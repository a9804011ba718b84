"""Running jobs again, those that are drawn: in the watcher's own executor, within a budget of seconds."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Final

from oracle.catalogue import Template
from oracle.executors.base import Executor, Exit, ResultInvalid
from oracle.executors.result import read_job_file, read_output
from oracle.host import platform_label
from oracle.jobs.names import USAGE
from oracle.jobs.params import Params
from oracle.logging import get
from oracle.sampling import Budget, Draw, Risk
from oracle.telemetry.tokens import TokensInvalid, parse_usage
from oracle.verify import Rerun
from scrip.errors import ScripError

USAGE_BYTES: Final = 64 * 1024

_log = get(__name__)


class Unable(ScripError):
    """The watcher can't judge now: its node, the provider's server or its own machine is in the way. Ask
    again.
    """


class Rerunner:
    """Runs drawn jobs again, `slots` at once. Safe to share between threads."""

    def __init__(self, executor: Executor, draw: Draw, budget: Budget, workroot: Path, slots: int) -> None:
        self._executor, self._draw, self._budget, self._workroot = executor, draw, budget, workroot
        self._slots = threading.BoundedSemaphore(slots)

    def run(self, job_id: bytes, risk: Risk, template: Template, params: Params) -> Rerun | None:
        """What the job gives here; None if it isn't drawn.

        Raises Unable, BudgetSpent and ExecutorError, which say nothing about the receipt.
        """
        odds_ppm = self._draw.odds_ppm(risk)
        drawn = self._draw.picks(job_id, odds_ppm)
        _log.info("drawn" if drawn else "not drawn", job="0x" + job_id.hex(), odds_ppm=odds_ppm)
        if not drawn:
            return None
        workdir = self._workroot / f"{job_id.hex()}-{secrets.token_hex(4)}"
        with self._slots:
            self._budget.check()
            try:
                ended = self._execute(template, params, job_id, workdir)
                if ended.reason in ("killed", "memory"):
                    raise Unable(f"the job can't be run again here: {ended.reason}")
                if ended.reason != "ok":
                    return Rerun(ended.reason, b"", None, None, platform_label())
                return _outcome(workdir, template, params)
            finally:
                shutil.rmtree(workdir, ignore_errors=True)

    def _execute(self, template: Template, params: Params, job_id: bytes, workdir: Path) -> Exit:
        started = time.monotonic()
        try:
            return self._executor.start(template.work(job_id, 0, params, workdir)).wait()
        finally:
            self._budget.charge(time.monotonic() - started)


def _outcome(workdir: Path, template: Template, params: Params) -> Rerun:
    try:
        output = read_output(workdir, template.limits.output_bytes)
        if params.most_tokens() is None:
            return Rerun("ok", output, None, None, platform_label())
        counts = parse_usage(read_job_file(workdir, USAGE, USAGE_BYTES).decode("utf-8", errors="replace"))
    except (ResultInvalid, TokensInvalid) as invalid:
        raise Unable(f"run again, the job left no usable result: {invalid}") from invalid
    return Rerun("ok", output, counts.input, counts.output, platform_label())
