"""A real Slurm on this machine, for tests: munged, slurmctld, slurmd, two pretended GPUs, our Prolog/Epilog.

The GPUs are character devices (Slurm takes nothing less), so this needs root. Nothing of the system's own
Slurm is touched: another key, sockets, ports and folders.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import oracle.executors
from oracle.settings import SlurmSettings
from scripts.processes import free_ports
from tests.conftest import needs_program

METER = Path(oracle.executors.__file__).with_name("slurm_meter.sh")
START_S = 60.0

CONF = """
ClusterName=scrip-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 Gres=gpu:h100:2 State=UNKNOWN
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
Prolog={folder}/meter.sh
Epilog={folder}/meter.sh
"""


@dataclass(frozen=True, slots=True)
class Slurm:
    """A running cluster. `spool` is where its Prolog and Epilog write."""

    folder: Path
    spool: Path

    @property
    def settings(self) -> SlurmSettings:
        """What a node that uses it would say."""
        return SlurmSettings(spool=self.spool, conf=self.folder / "slurm.conf", gres="gpu:h100", gpus=2)

    def run(self, *words: str) -> str:
        """A Slurm command's answer."""
        environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    def live(self) -> list[str]:
        """ "<id> <state> <comment>" of every job that waits or runs."""
        return self.run("squeue", "--noheader", "--format=%i %T %k").splitlines()


@contextmanager
def running() -> Iterator[Slurm]:
    """A fresh cluster, gone with everything it made afterwards. Skips where Slurm or root is missing."""
    import pytest

    programs = {name: needs_program(name) for name in ("slurmctld", "slurmd", "munged", "sbatch")}
    if os.geteuid() != 0:
        pytest.skip("a test cluster needs root: its GPUs are character devices")
    folder = Path(tempfile.mkdtemp(prefix="scrip-slurm-"))
    folder.chmod(0o755)
    try:
        slurm = _prepare(folder)
        with _daemons(programs, slurm):
            yield slurm
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path) -> Slurm:
    host = socket.gethostname().partition(".")[0]
    spool = folder / "spool"
    for path in (folder / "state", folder / "slurmd", spool):
        path.mkdir(mode=0o755)
    for number in range(2):
        os.mknod(folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    ports = free_ports(2)
    values = {
        "host": host, "folder": folder, "cpus": os.cpu_count(), "ctld_port": ports[0],
        "slurmd_port": ports[1],
    }  # fmt: skip
    (folder / "slurm.conf").write_text(CONF.format_map(values))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu Type=h100 File={folder}/gpu[0-1]\n")
    (folder / "meter.sh").write_text(f"#!/bin/sh\nSCRIP_SPOOL={spool} exec {METER}\n")
    (folder / "meter.sh").chmod(0o755)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    return Slurm(folder, spool)


@contextmanager
def _daemons(programs: dict[str, str], slurm: Slurm) -> Iterator[None]:
    folder = slurm.folder
    munge = [
        f"--{name}={folder}/munge.{name.partition('-')[0]}"
        for name in ("key-file", "socket", "pid-file", "seed-file", "log-file")
    ]
    conf = str(folder / "slurm.conf")
    commands = [
        [programs["munged"], "--foreground", "--force", "--num-threads=2", *munge],
        [programs["slurmctld"], "-D", "-f", conf],
        [programs["slurmd"], "-D", "-f", conf],
    ]
    environment = os.environ | {"SLURM_CONF": conf}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.out").open("wb") as out:
                started.append(
                    subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
                )
            if len(started) == 1:
                _until((folder / "munge.socket").exists, started, folder)
        _until(lambda: "idle" in _sinfo(slurm), started, folder)
        yield
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)


def _sinfo(slurm: Slurm) -> str:
    try:
        return slurm.run("sinfo", "--noheader", "--format=%T")
    except subprocess.CalledProcessError:
        return ""


def _until(condition: Callable[[], bool], started: list[subprocess.Popen[bytes]], folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        for process in started:
            if process.poll() is not None:
                said = "".join(path.read_text()[-1000:] for path in folder.glob("*.out"))
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"no cluster after {START_S} s, see the logs in {folder}")
        time.sleep(0.1)
