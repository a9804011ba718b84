"""One node of a local stack, as a process: start, wait until it is ready, kill, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from demo.anvil import NO_TLS
from demo.processes import has_ended, spawn, stop_group, tail
from scrip.errors import NotFound, ScripError

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS, STOP_SECONDS, POLL_SECONDS = 60.0, 15.0, 0.1


class NodeFailed(ScripError):
    """A node of the stack ended, or didn't get ready in time. Holds the end of its log."""


@dataclass(slots=True)
class Node:
    """One process that serves `/readyz` at `url`. `process` is None until it is started."""

    name: str
    url: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id. Raises NotFound if it was never started."""
        return self._started().pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and not has_ended(self.process)

    def start(self) -> None:
        """Start it, adding to its log; `wait_ready` tells when it works. Does nothing while it runs."""
        if self.is_running:
            return
        # The file alone decides: a variable of the developer's shell would replace its values.
        env = {name: value for name, value in os.environ.items() if not name.startswith("SCRIP_")}
        with self.log.open("ab") as log:
            self.process = spawn(self.command, log, cwd=ROOT, env=env)

    def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False, verify=NO_TLS).is_success
        except httpx.HTTPError:
            return False

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it is ready. Raises NodeFailed if it ends before, or takes too long."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if not self.is_running:
                raise NodeFailed(f"{self.name} ended with status {self._started().wait()}:\n{tail(self.log)}")
            if time.monotonic() >= deadline:
                raise NodeFailed(f"{self.name} is not ready after {seconds:.0f} s:\n{tail(self.log)}")
            time.sleep(POLL_SECONDS)

    def kill(self, number: signal.Signals = signal.SIGKILL, seconds: float = STOP_SECONDS) -> int:
        """Signal the process alone, not what it started, and return its status once it is gone.

        Raises NodeFailed if it is still there after `seconds`.
        """
        process = self._started()
        if process.returncode is None:
            process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NodeFailed(f"{self.name} still runs {seconds:.0f} s after {number.name}") from None

    def stop(self) -> None:
        """Let it finish its step, then end whatever is left of its group."""
        if self.process is not None:
            stop_group(self.process, STOP_SECONDS)

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise NotFound("process", self.name, "start() it first")
        return self.process
