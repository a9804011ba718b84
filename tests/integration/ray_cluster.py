"""A real Ray on this machine, for tests: one head with token authentication, in an environment of its own.

Ended by its own pids only: `ray stop` would end every Ray of the machine.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from demo.processes import free_ports, tail
from oracle.executors import proc
from oracle.settings_engines import RaySettings
from tests.conftest import python_of

START_S = 120.0
MARK = "SCRIP_TEST_RAY"
PORTS = (
    "port", "dashboard-port", "node-manager-port", "object-manager-port", "ray-client-server-port",
    "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
    "metrics-export-port",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ray:
    """A running head."""

    url: str
    token_file: Path

    @property
    def settings(self) -> RaySettings:
        """What a node that uses it would say."""
        return RaySettings(url=self.url, token_file=self.token_file, gpus=2)

    def get(self, path: str) -> httpx.Response:
        """An answer of the dashboard's API."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        return httpx.get(self.url + path, headers=headers, timeout=30, trust_env=False)


@contextmanager
def running() -> Iterator[Ray]:
    """A fresh cluster of 2 CPUs and 2 pretended GPUs, gone afterwards. Skips where Ray isn't installed."""
    program = python_of("ray").with_name("ray")
    folder = Path(tempfile.mkdtemp(prefix="scrip-ray-"))
    token, mark = secrets.token_hex(32), secrets.token_hex(8)
    (folder / "token").write_text(token)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    command = [
        str(program), "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=true",
        "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--num-cpus=2", "--num-gpus=2",
        f"--object-store-memory={80 << 20}", f"--temp-dir={folder}/r",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    environment = {"PATH": os.defpath, "HOME": str(folder), MARK: mark}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    ray = Ray(f"http://127.0.0.1:{ports['dashboard-port']}", folder / "token")
    log = folder / "start.log"
    try:
        with log.open("wb") as out, _started(command, environment, out, mark) as process:
            _wait(ray, process, log)
            yield ray
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(
    command: list[str], environment: dict[str, str], out: IO[bytes], mark: str
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        _end_marked(mark)
        process.wait(10)


def _end_marked(mark: str) -> None:
    """Every process that inherited our mark: only those of this cluster."""
    wanted = f"{MARK}={mark}".encode()
    deadline = time.monotonic() + 20
    while found := [pid for pid in proc.pids() if wanted in proc.environment(pid)]:
        assert time.monotonic() < deadline, f"processes of Ray survive: {found}"
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _wait(ray: Ray, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, f"Ray ended with {process.returncode}: {tail(log)}"
        assert time.monotonic() < deadline, f"no Ray after {START_S} s: {tail(log)}"
        with contextlib.suppress(httpx.HTTPError):
            if ray.get("/api/jobs/").status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
