"""What every cluster has in common: three clocks, two witnesses, and patience that ends.

The engine and the node are scripted here (mocks); real ones are in tests/integration: test_slurm, test_ray.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from oracle.executors import cluster, order
from oracle.executors.base import ExecutorError, Left, NotPlaced, Work
from oracle.executors.cluster import ClusterExecutor, ClusterRunning, Over
from oracle.executors.order import Begun, Done, Failed, Latest, Remark, Row
from oracle.telemetry.base import TelemetryError
from tests.unit import job_probes as probes

SECOND = 1_000_000_000
GPU = "GPU-00000000-0000-4000-8000-000000000001"
OTHER = "GPU-00000000-0000-4000-8000-000000000002"
CPU = Row(source="cpu-rusage", device="cpu", metric="cpu_us", value=7)
GOOD = Done(
    code=0, signal=None, reason="ok", duration_ns=5 * SECOND, rusage=(4, 3, 2), log="said", readings=(CPU,),
    problem="", notes=(Remark(source="nvml", device="cpu", metric="energy_mj", reason="odd"),),
)  # fmt: skip


class FakeTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND

    def monotonic(self) -> float:
        return self.now_ns / SECOND

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns + 10**18

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND)


@dataclass
class FakeQueue:
    """An engine that answers what it is told to, and whose node does `on_submit` at once."""

    name: str = "engine"
    on_submit: Callable[[Path], None] = lambda folder: order.write(folder, order.BEGUN, begun())
    answer: Callable[[], Over | None] = lambda: None
    found: list[list[str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    submitted: list[tuple[Path, str]] = field(default_factory=list)

    def submit(self, folder: Path, command: str, work: Work) -> str:
        self.submitted.append((folder, command))
        self.on_submit(folder)
        return "17"

    def look(self, ticket: str, job_id: bytes) -> Over | None:
        return self.answer()

    def cancel(self, ticket: str) -> None:
        self.cancelled.append(ticket)

    def find(self, job_id: bytes) -> Sequence[str]:
        return self.found.pop(0) if self.found else []

    def log(self, ticket: str, folder: Path) -> str:
        return "last\nwords"

    def check(self) -> str:
        return "fine"


def begun(*gpus: str) -> Begun:
    return Begun(gpus=gpus, platform="x86_64 avx", confinement="rlimits", readings=(CPU,))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    made = FakeTime()
    monkeypatch.setattr(cluster, "time", made)
    return made


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def executor(queue: FakeQueue, tmp_path: Path) -> ClusterExecutor:
    return ClusterExecutor(queue, tmp_path / "engine")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return probes.work(tmp_path / "work", "ok")


def folder_of(queue: FakeQueue) -> Path:
    return queue.submitted[-1][0]


def ended(queue: FakeQueue, job: ClusterRunning, done: Done | None, over: Over) -> Any:
    """How a job ends of which node and engine say this."""
    if done is not None:
        order.write(folder_of(queue), order.DONE, done)
    queue.answer = lambda: over
    return job.wait(600)


# ---- before it runs


def test_start__never_placed__cancelled_and_nothing_left(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, clock: FakeTime, tmp_path: Path
) -> None:
    queue.on_submit = lambda folder: None
    until = clock.monotonic() + 90
    with pytest.raises(NotPlaced, match="engine didn't start the job in 90 s"):
        executor.start(work, lambda: clock.monotonic() >= until)
    assert queue.cancelled == ["17"]
    assert list((tmp_path / "engine").iterdir()) == []


def test_start__node_cannot__its_reason(queue: FakeQueue, executor: ClusterExecutor, work: Work) -> None:
    queue.on_submit = lambda folder: order.write(folder, order.FAILED, Failed(problem="no room on the disk"))
    with pytest.raises(ExecutorError, match="no room on the disk"):
        executor.start(work)


def test_start__over_before_it_began__what_the_engine_caught(
    queue: FakeQueue, executor: ClusterExecutor, work: Work
) -> None:
    queue.on_submit = lambda folder: None
    queue.answer = lambda: Over(127, 1, 0)
    with pytest.raises(ExecutorError, match=r"status 127 .*before its job began\. last words"):
        executor.start(work)


def test_start__fewer_gpus_than_ordered__refused(
    queue: FakeQueue, executor: ClusterExecutor, work: Work
) -> None:
    queue.on_submit = lambda folder: order.write(folder, order.BEGUN, begun(GPU))
    with pytest.raises(ExecutorError, match=r"1 GPU\(s\) instead of 2"):
        executor.start(replace(work, gpu_count=2))
    assert queue.cancelled == ["17"]


def test_start__earlier_copy_that_will_not_end__refused(
    queue: FakeQueue, executor: ClusterExecutor, work: Work
) -> None:
    queue.found = [["16"]] * 100
    with pytest.raises(ExecutorError, match="hasn't ended 16 yet"):
        executor.start(work)
    assert queue.submitted == []


def test_command__environment_of_its_own_and_nothing_of_the_buyer(
    queue: FakeQueue, executor: ClusterExecutor, work: Work
) -> None:
    executor.start(replace(work, params={"act": "$(reboot)"}))
    folder, command = queue.submitted[0]
    assert command.startswith("exec env -i ")
    assert command.endswith(f"-m oracle.executors.step {folder}")
    assert "reboot" not in command
    assert json.loads((folder / order.ORDER).read_text())["params"] == {"act": "$(reboot)"}
    assert folder.stat().st_mode & 0o777 == 0o700


# ---- lease time: the shortest of three clocks


@pytest.mark.parametrize(
    ("ours_s", "engines_s", "nodes_s", "lease_s"),
    [(10, 9, 8, 8), (10, 8, 9, 8), (8, 10, 9, 8), (8, 10**6, 10**6, 8), (10, 0, 9, 0)],
)
def test_duration__shortest_of_three_clocks(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, clock: FakeTime, ours_s: int, engines_s: int,
    nodes_s: int, lease_s: int,
) -> None:  # fmt: skip
    job = executor.start(work)
    clock.sleep(ours_s)
    done = ended(
        queue, job, GOOD.model_copy(update={"duration_ns": nodes_s * SECOND}), Over(0, engines_s * SECOND, 0)
    )
    assert done.duration_ns == lease_s * SECOND
    assert done.ended_wall_ms == done.started_wall_ms + lease_s * 1000
    assert (done.code, done.reason, done.rusage, done.log) == (0, "ok", (4, 3, 2), "said")


# ---- an end counts if engine and node agree on it


@pytest.mark.parametrize(
    ("done", "over", "reason", "says"),
    [
        (GOOD, Over(3, SECOND, 0), "killed", "exit status 3 by engine, 0 by the node"),
        (GOOD, Over(None, SECOND, 0), "killed", "exit status None by engine"),
        (GOOD, Over(0, None, 0), "killed", "no start and end"),
        (GOOD, Over(0, SECOND, 1), "killed", r"leased 1 GPU\(s\) instead of 0"),
        (None, Over(0, SECOND, 0), "killed", "no report from the node. last words"),
        (None, Over(None, SECOND, None, "timeout"), "timeout", "before it could report"),
        (None, Over(None, SECOND, None, "memory"), "memory", "before it could report"),
        (GOOD.model_copy(update={"reason": "killed"}), Over(0, SECOND, 0, "timeout"), "timeout", "said"),
        (GOOD.model_copy(update={"reason": "killed"}), Over(0, SECOND, 0, ""), "killed", "said"),
    ],
)
def test_end__witnesses_differ_or_one_is_missing(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, done: Done | None, over: Over, reason: str,
    says: str,
) -> None:  # fmt: skip
    found = ended(queue, executor.start(work), done, over)
    assert (found.code, found.reason) == (None, reason)
    assert re.search(says, found.log)


@pytest.mark.parametrize(("code", "signal", "status"), [(3, None, 3), (None, 9, 137), (None, None, 1)])
def test_end__failed__status_as_a_shell_gives_it(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, code: int | None, signal: int | None, status: int
) -> None:
    done = GOOD.model_copy(update={"code": code, "signal": signal, "reason": "failed"})
    found = ended(queue, executor.start(work), done, Over(status, SECOND, 0))
    assert (found.code, found.signal, found.reason) == (code, signal, "failed")


def test_end__report_late__waited_for(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, clock: FakeTime
) -> None:
    job = executor.start(work)
    queue.answer = lambda: Over(0, SECOND, 0)
    with pytest.raises(TimeoutError):
        job.wait(cluster.LAG_S / 2)
    order.write(folder_of(queue), order.DONE, GOOD)
    assert job.wait(1).reason == "ok"


# ---- patience


def silent() -> Over | None:
    raise ExecutorError("no answer")


def test_engine_silent__job_followed_until_its_limit_then_given_up(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, clock: FakeTime
) -> None:
    job, began = executor.start(work), clock.monotonic()
    queue.answer = silent
    found = job.wait(10_000)
    assert found.reason == "killed"
    assert "we wait no longer" in found.log
    assert work.limits.seconds + cluster.PATIENCE_S < clock.monotonic() - began < work.limits.seconds + 130
    assert set(queue.cancelled) == {"17"}


def test_engine_silent_for_a_while__nothing_lost(
    queue: FakeQueue, executor: ClusterExecutor, work: Work
) -> None:
    job = executor.start(work)
    queue.answer = silent
    with pytest.raises(TimeoutError):
        job.wait(9)
    assert ended(queue, job, GOOD, Over(0, SECOND, 0)).reason == "ok"


def test_kill__engine_asked_again_but_not_each_time(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, clock: FakeTime
) -> None:
    job = executor.start(work)
    for _ in range(50):
        job.kill()
    assert queue.cancelled == ["17"]
    with pytest.raises(TimeoutError):
        job.wait(5)
    job.kill()
    assert queue.cancelled == ["17", "17"]
    assert ended(queue, job, None, Over(None, None, None, "killed")).reason == "killed"


def test_end_stale__found_by_escrow_id__cancelled_and_folders_removed(
    queue: FakeQueue, executor: ClusterExecutor, work: Work, tmp_path: Path
) -> None:
    executor.start(work)
    queue.found = [["17", "18"], ["18"], []]
    assert executor.end_stale(Left(work.job_id, None, None)) == 2
    assert queue.cancelled == ["17", "18", "18"]
    assert list((tmp_path / "engine").iterdir()) == []


# ---- readings


def test_readings__edges_and_ticks(queue: FakeQueue, executor: ClusterExecutor, work: Work) -> None:
    job = executor.start(work)
    assert job.readings("start") == [CPU.reading()]
    assert job.readings("tick") == []
    order.write(folder_of(queue), order.LATEST, Latest(readings=(CPU,)))
    assert job.readings("tick") == [CPU.reading()]
    with pytest.raises(TelemetryError, match="no readings"):
        job.readings("end")
    ended(queue, job, GOOD, Over(0, SECOND, 0))
    assert job.readings("end") == [CPU.reading()]
    assert [note.reason for note in job.notes()] == ["odd"]


def test_readings__meter_failed_on_the_node__raised_here(
    queue: FakeQueue, executor: ClusterExecutor, work: Work
) -> None:
    job = executor.start(work)
    ended(queue, job, GOOD.model_copy(update={"problem": "GPU lost"}), Over(0, SECOND, 0))
    with pytest.raises(TelemetryError, match="GPU lost"):
        job.readings("end")
