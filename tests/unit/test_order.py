"""Files between daemon and node: only the exact form, of the right owner. And GPUs as engines name them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oracle.executors import order
from oracle.executors.base import ExecutorError, Work
from oracle.executors.order import Done, Order, Remark, ReportInvalid, Row
from oracle.executors.step import given_gpus
from oracle.telemetry.nvml.errors import NvmlFailed
from tests.unit import job_probes as probes

SECOND = 1_000_000_000
GPU = "GPU-00000000-0000-4000-8000-000000000001"
OTHER = "GPU-00000000-0000-4000-8000-000000000002"
CPU = Row(source="cpu-rusage", device="cpu", metric="cpu_us", value=7)
GOOD = Done(
    code=0, signal=None, reason="ok", duration_ns=5 * SECOND, rusage=(4, 3, 2), log="said", readings=(CPU,),
    problem="", notes=(Remark(source="nvml", device="cpu", metric="energy_mj", reason="odd"),),
)  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return probes.work(tmp_path / "work", "ok")


# ---- files between daemon and node


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    order.write(tmp_path, order.DONE, GOOD)
    return tmp_path


def test_order__round_trip__same_work(work: Work, tmp_path: Path) -> None:
    given = Order.of(
        replace(work, gpu_count=1, network=True, content=b"x"), packages=("p",), trace="", tick_ms=5
    )
    order.write(tmp_path, order.ORDER, given)
    found = order.read(tmp_path, order.ORDER, Order)
    assert found is not None
    assert found.work((GPU,), b"x") == replace(work, gpu_count=1, gpus=(GPU,), network=True, content=b"x")
    assert found.content


def test_read__absent__none(tmp_path: Path) -> None:
    assert order.read(tmp_path, order.DONE, Done) is None


def test_read__other_owner__refused(folder: Path) -> None:
    if os.geteuid() != 0:
        with pytest.raises(ReportInvalid, match="must belong to 0"):
            order.read_owned(folder / order.DONE, 0, 10_000)
        return
    os.chown(folder / order.DONE, 12_345, -1)
    with pytest.raises(ReportInvalid, match="belongs to uid 12345"):
        order.read(folder, order.DONE, Done)


def test_read__writable_by_others__refused(folder: Path) -> None:
    (folder / order.DONE).chmod(0o620)
    with pytest.raises(ReportInvalid, match="mode 620"):
        order.read(folder, order.DONE, Done)


def test_read__link__refused(folder: Path) -> None:
    (folder / "other").symlink_to(folder / order.DONE)
    with pytest.raises(ReportInvalid):
        order.read(folder, "other", Done)


def test_read__pipe__refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ReportInvalid, match="not a regular file"):
        order.read(folder, "pipe", Done)


@pytest.mark.parametrize(
    "change",
    [
        {"code": "0"}, {"code": True}, {"reason": "fine"}, {"duration_ns": -1}, {"rusage": [1, 2]},
        {"more": 1},
        {"readings": [{"source": "lease", "device": "cpu", "metric": "lease_ms", "value": 10**9}]},
        {"readings": [{"source": "nvml", "device": "cpu", "metric": "lease_ms", "value": 1}]},
        {"readings": [{"source": "nvml", "device": "cpu", "metric": "exit_code", "value": 0}]},
        {"readings": [{"source": "nvml", "device": "a b", "metric": "energy_mj", "value": 1}]},
        {"readings": [{"source": "nvml", "device": "G", "metric": "energy_mj", "value": -1}]},
    ],
)  # fmt: skip
def test_read__form_differs__refused(folder: Path, change: dict[str, Any]) -> None:
    data = json.loads((folder / order.DONE).read_text()) | change
    (folder / order.DONE).write_text(json.dumps(data))
    with pytest.raises(ReportInvalid):
        order.read(folder, order.DONE, Done)


# ---- GPUs on the node


class FakeNvml:
    """Two GPUs."""

    def board_at(self, index: int) -> Any:
        if index > 1:
            raise NvmlFailed("nvmlDeviceGetHandleByIndex", str(index), 2, "no such board")
        return self.gpus()[index]

    def gpus(self) -> tuple[Any, ...]:
        return tuple(type("Gpu", (), {"uuid": uuid})() for uuid in (GPU, OTHER))


@pytest.mark.parametrize(
    ("given", "count", "found"), [("1", 1, (OTHER,)), ("1,0", 2, (OTHER, GPU)), (OTHER, 1, (OTHER,))]
)
def test_given_gpus__by_number_or_uuid(given: str, count: int, found: tuple[str, ...]) -> None:
    assert given_gpus({"CUDA_VISIBLE_DEVICES": given}, count, FakeNvml()) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "count"), [("", 1), ("0", 2), ("0,0", 2), ("2", 1), ("-1", 1), ("NoDevFiles", 1), ("0,1", 1)]
)
def test_given_gpus__not_what_was_ordered__refused(given: str, count: int) -> None:
    with pytest.raises((ExecutorError, NvmlFailed)):
        given_gpus({"CUDA_VISIBLE_DEVICES": given}, count, FakeNvml())  # type: ignore[arg-type]
