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
from pathlib import Path

import pytest

import oracle.executors
from demo.processes import free_ports, tail
from oracle.settings_engines import SlurmSettings
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


class Slurm:
    """A cluster of one node. `spool` is where its Prolog and Epilog write."""

    def __init__(self, folder: Path, programs: dict[str, str]) -> None:
        self.folder, self.spool = folder, folder / "spool"
        self._conf = folder / "slurm.conf"
        munge = [
            f"--{name}={folder}/munge.{name.partition('-')[0]}"
            for name in ("key-file", "socket", "pid-file", "seed-file", "log-file")
        ]
        self._commands = {
            "munged": [programs["munged"], "--foreground", "--force", "--num-threads=2", *munge],
            "slurmctld": [programs["slurmctld"], "-D", "-f", str(self._conf)],
            "slurmd": [programs["slurmd"], "-D", "-f", str(self._conf)],
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def settings(self) -> SlurmSettings:
        """What a node that uses it would say."""
        return SlurmSettings(spool=self.spool, conf=self._conf, gres="gpu:h100", gpus=2)

    def run(self, *words: str) -> str:
        """A Slurm command's answer."""
        environment = os.environ | {"SLURM_CONF": str(self._conf)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    def live(self) -> list[str]:
        """ "<id> <state> <comment>" of every job that waits or runs."""
        return self.run("squeue", "--noheader", "--format=%i %T %k").splitlines()

    def start(self, name: str) -> None:
        """Start a daemon of it."""
        environment = os.environ | {"SLURM_CONF": str(self._conf)}
        with (self.folder / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                self._commands[name], env=environment, stdout=out, stderr=out, start_new_session=True
            )

    def stop(self, name: str) -> None:
        """End a daemon of it; its jobs go on."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)

    def start_all(self) -> None:
        """Start it, and wait until its node takes jobs."""
        self.start("munged")
        self.wait((self.folder / "munge.socket").exists)
        self.start("slurmctld")
        self.start("slurmd")
        self.wait(lambda: "idle" in self._answer("sinfo", "--noheader", "--format=%T"))

    def close(self) -> None:
        """End its jobs, then itself."""
        try:
            if len(self._processes) == len(self._commands):
                self._answer("scancel", "--state=PENDING", "--user=root")
                self._answer("scancel", "--user=root")
                self.wait(lambda: not self._answer("squeue", "--noheader"))
        finally:
            for name in reversed(list(self._processes)):
                self.stop(name)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds. Fails when a daemon ends meanwhile, or after START_S."""
        deadline = time.monotonic() + START_S
        while not condition():
            for name, process in self._processes.items():
                said = tail(self.folder / f"{name}.out")
                assert process.poll() is None, f"{name} ended with {process.returncode}: {said}"
            assert time.monotonic() < deadline, f"waited {START_S} s in vain"
            time.sleep(0.1)

    def _answer(self, *words: str) -> str:
        try:
            return self.run(*words)
        except subprocess.CalledProcessError:
            return ""


@contextmanager
def running() -> Iterator[Slurm]:
    """A fresh cluster, gone with everything it made afterwards. Skips where Slurm or root is missing."""
    programs = {name: needs_program(name) for name in ("slurmctld", "slurmd", "munged", "sbatch")}
    if os.geteuid() != 0:
        pytest.skip("a test cluster needs root: its GPUs are character devices")
    folder = Path(tempfile.mkdtemp(prefix="scrip-slurm-"))
    folder.chmod(0o755)
    try:
        _prepare(folder)
        slurm = Slurm(folder, programs)
        try:
            slurm.start_all()
            yield slurm
        finally:
            slurm.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path) -> None:
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
