"""The step on a node, as a process of its own: what it reports, and with which status it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.executors import order
from oracle.executors.order import Begun, Done, Failed, Latest, Order
from oracle.executors.step import NOT_STARTED
from oracle.jobs.names import INPUT
from tests.unit import job_probes as probes

ROOT = Path(__file__).resolve().parents[2]
GPU = "GPU-00000000-0000-4000-8000-00000000000a"
TRACE = f"scrip-nvml-trace 1\ngpu 0 {GPU} 85899345920 - Test GPU\nread 0 0 1000 300000 90 10\n"
SECONDS = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir(mode=0o700)
    return tmp_path / "folder"


def step(folder: Path, visible: str = "") -> subprocess.Popen[str]:
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": visible}
    command = [sys.executable, "-P", "-m", "oracle.executors.step", str(folder)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def ordered(folder: Path, act: str, gpus: int = 0, **params: object) -> Path:
    """Writes the order; returns the work directory."""
    place = folder.parent
    (place / "trace").write_text(TRACE)
    work = replace(probes.work(place / "work", act, **params), gpu_count=gpus)
    packages = (str(probes.package(place)),)
    order.write(
        folder, order.ORDER, Order.of(work, packages=packages, trace=str(place / "trace"), tick_ms=50)
    )
    return work.workdir


def done(folder: Path) -> Done:
    found = order.read(folder, order.DONE, Done)
    assert found is not None
    return found


def failed(folder: Path, visible: str = "") -> str:
    """Why it couldn't."""
    process = step(folder, visible)
    assert process.wait(SECONDS) == NOT_STARTED
    found = order.read(folder, order.FAILED, Failed)
    assert found is not None
    assert not (folder / order.BEGUN).exists()
    return found.problem


def test_step__no_order__says_so(folder: Path) -> None:
    assert "no order" in failed(folder)


def test_step__folder_is_gone__ends_and_leaves_nothing(tmp_path: Path) -> None:
    process = step(tmp_path / "absent")
    assert process.wait(SECONDS) == NOT_STARTED
    assert list(tmp_path.iterdir()) == []


def test_step__order_of_somebody_else__refused(folder: Path) -> None:
    ordered(folder, "ok")
    (folder / order.ORDER).chmod(0o666)
    assert "must not be writable by others" in failed(folder)


def test_step__workdir_in_use__refused(folder: Path) -> None:
    workdir = ordered(folder, "ok")
    workdir.mkdir()
    (workdir / "old").touch()
    assert "one directory per attempt" in failed(folder)


def test_step__gpus_differ_from_the_order__refused(folder: Path) -> None:
    ordered(folder, "ok", gpus=2)
    assert "gave 1 GPU(s), the job was to get 2" in failed(folder, "0")


def test_step__job_fails__its_status_and_report(folder: Path) -> None:
    ordered(folder, "exit_later", code=3, ms=400)
    assert step(folder).wait(SECONDS) == 3
    report = done(folder)
    assert (report.code, report.reason, report.problem) == (3, "failed", "")
    assert report.duration_ns >= 400_000_000
    assert order.read(folder, order.LATEST, Latest) is not None


def test_step__crash__status_of_a_shell(folder: Path) -> None:
    ordered(folder, "crash")
    assert step(folder).wait(SECONDS) == 128 + signal.SIGSEGV
    assert done(folder).signal == signal.SIGSEGV


def test_step__gpu__shown_and_read_by_uuid(folder: Path) -> None:
    ordered(folder, "ok", gpus=1)
    assert step(folder, "0").wait(SECONDS) == 0
    begun = order.read(folder, order.BEGUN, Begun)
    assert begun is not None
    assert begun.gpus == (GPU,)
    for rows in (begun.readings, done(folder).readings):
        assert {(row.source, row.device) for row in rows if row.metric == "energy_mj"} == {
            ("nvml-replay", GPU)
        }


def test_step__content__from_a_file_beside_the_order(folder: Path) -> None:
    workdir = ordered(folder, "ok")
    given = order.read(folder, order.ORDER, Order)
    assert given is not None
    order.write(folder, order.ORDER, given.model_copy(update={"content": True}))
    assert "there is none" in failed(folder)
    order.put(folder, order.CONTENT, b"what it works on")
    assert step(folder).wait(SECONDS) == 0
    assert (workdir / INPUT).read_bytes() == b"what it works on"


def test_step__sigterm__job_ended_and_reported_as_killed(folder: Path) -> None:
    ordered(folder, "hang")
    process = step(folder)
    probes.until((folder / order.BEGUN).exists, "the job to begin", SECONDS)
    process.terminate()
    process.wait(SECONDS)
    assert done(folder).reason == "killed"
