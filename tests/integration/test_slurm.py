"""Jobs on a real Slurm: how they end, what is metered, that nothing is left, and what a buyer can't reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.executors import cluster
from oracle.executors.base import EngineAway, ExecutorError, Left, NotPlaced, Running, Work
from oracle.executors.cluster import ClusterExecutor
from oracle.executors.result import read_output
from oracle.executors.slurm import SlurmQueue
from oracle.settings_engines import SlurmSettings
from oracle.telemetry.base import Lease
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.remote import RemoteMeter
from scrip.evidence import Sample
from tests.integration.slurm_cluster import Slurm
from tests.unit import job_probes as probes

ROOT = Path(__file__).resolve().parents[2]
JOB = b"\x01" * 32
COMMENT = "scrip:0x" + "01" * 32
SECONDS = 40.0

TRACE = """scrip-nvml-trace 1
gpu 0 GPU-00000000-0000-4000-8000-00000000000a 85899345920 - Test GPU
gpu 1 GPU-00000000-0000-4000-8000-00000000000b 85899345920 - Test GPU
read 0 0 1000 300000 90 10
read 0 1 5000 300000 90 10
read 100 0 31000 300000 90 10
read 100 1 35000 300000 90 10
"""
"""Two simulated GPUs: the test cluster's own are no more than names."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for one test's jobs, with the program they run."""
    probes.package(tmp_path)
    (tmp_path / "two.trace").write_text(TRACE)
    return tmp_path


def made(place: Path, settings: SlurmSettings) -> ClusterExecutor:
    return ClusterExecutor(
        SlurmQueue(settings),
        place / "slurm",
        packages=[place / "probes"],
        trace=place / "two.trace",
        tick_ms=100,
    )


@pytest.fixture
def executor(slurm: Slurm, place: Path) -> Iterator[ClusterExecutor]:
    found = made(place, slurm.settings)
    yield found
    found.end_stale(Left(JOB, None, None))


def work(
    place: Path, act: str, limits: dict[str, int] | None = None, gpus: int = 0, **params: object
) -> Work:
    from dataclasses import replace

    return replace(probes.work(place / "work", act, limits, **params), job_id=JOB, gpu_count=gpus)


def edges_of(slurm: Slurm, ticket: str) -> dict[str, dict[str, str]]:
    """What Prolog and Epilog wrote."""
    found = {}
    for edge in ("begin", "end"):
        lines = (slurm.spool / f"{ticket}.{edge}").read_text().splitlines()[1:]
        found[edge] = dict(line.split("=", 1) for line in lines)
    return found


def span_ns(edges: dict[str, dict[str, str]]) -> int:
    return round((float(edges["end"]["uptime"]) - float(edges["begin"]["uptime"])) * 1e9)


def ticket_of(slurm: Slurm) -> str:
    (row,) = [row for row in slurm.live() if COMMENT in row]
    return row.split()[0]


# ---- what it refuses


def test_check__answers_with_version_and_nodes(executor: ClusterExecutor) -> None:
    assert "1 node(s) answer" in executor.check()


def test_check__spool_that_others_can_write__refused(slurm: Slurm, place: Path) -> None:
    (place / "spool").mkdir()
    (place / "spool").chmod(0o777)
    settings = slurm.settings.model_copy(update={"spool": place / "spool"})
    with pytest.raises(ExecutorError, match="nobody else can write"):
        made(place, settings).check()


def test_start__partition_that_is_not_there__says_what_slurm_says(slurm: Slurm, place: Path) -> None:
    settings = slurm.settings.model_copy(update={"partition": "nowhere"})
    with pytest.raises(ExecutorError, match="invalid partition"):
        made(place, settings).start(work(place, "ok"))


def test_start__python_missing_on_the_node__says_so(slurm: Slurm, place: Path) -> None:
    broken = ClusterExecutor(SlurmQueue(slurm.settings), place / "slurm", python=Path("/nowhere/python"))
    with pytest.raises(ExecutorError, match=r"before its job began.*/nowhere/python"):
        broken.start(work(place, "ok"))


def test_start__no_room_while_it_is_wanted__not_placed_and_not_left(
    slurm: Slurm, executor: ClusterExecutor, place: Path
) -> None:
    holder = slurm.run("sbatch", "--parsable", "--gres=gpu:h100:2", "--output=/dev/null", "--wrap=sleep 60")
    try:
        probes.until(lambda: f"{holder} RUNNING" in " ".join(slurm.live()), "the other job", SECONDS)
        seen: list[str] = []

        def given_up() -> bool:
            seen.append(next((row for row in slurm.live() if COMMENT in row), ""))
            return "PENDING" in seen[-1]

        with pytest.raises(NotPlaced, match="slurm didn't start"):
            executor.start(work(place, "ok", gpus=1), given_up)
        probes.until(lambda: COMMENT not in " ".join(slurm.live()), "the end of what was queued")
    finally:
        slurm.run("scancel", holder)


def test_end__no_edges_from_prolog_and_epilog__nothing_to_bill(
    slurm: Slurm, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LAG_S", 0.5)
    (place / "empty").mkdir()
    settings = slurm.settings.model_copy(update={"spool": place / "empty"})
    done = made(place, settings).start(work(place, "ok")).wait(SECONDS)
    assert (done.code, done.reason) == (None, "killed")
    assert "no start and end" in done.log


# ---- how jobs end


def test_run__good_job__output_edges_and_comment(
    slurm: Slurm, executor: ClusterExecutor, place: Path
) -> None:
    job = executor.start(work(place, "spin_in_grandchild", ms=600))
    ticket = ticket_of(slurm)
    assert f"Comment={COMMENT}" in slurm.run("scontrol", "show", "job", ticket)
    done = job.wait(SECONDS)
    assert (done.code, done.signal, done.reason) == (0, None, "ok")
    assert sum(done.rusage[:2]) >= 590_000
    edges = edges_of(slurm, ticket)
    assert {edge["id"] for edge in edges.values()} == {JOB.hex()}
    assert edges["end"]["exit"] == "0:0"
    assert 0 < done.duration_ns <= span_ns(edges)
    assert done.ended_wall_ms == done.started_wall_ms + done.duration_ns // 1_000_000
    assert list((place / "slurm").iterdir()) == []


def test_run__exit_code_3__comes_back_as_failed(slurm: Slurm, executor: ClusterExecutor, place: Path) -> None:
    job = executor.start(work(place, "exit_later", code=3, ms=500))
    ticket = ticket_of(slurm)
    done = job.wait(SECONDS)
    assert (done.code, done.signal, done.reason) == (3, None, "failed")
    assert edges_of(slurm, ticket)["end"]["exit"] == "3:0"


def test_run__crash__signal_comes_back(executor: ClusterExecutor, place: Path) -> None:
    done = executor.start(work(place, "crash")).wait(SECONDS)
    assert (done.code, done.signal, done.reason) == (None, 11, "failed")


def test_limit__time__ended_on_the_node(executor: ClusterExecutor, place: Path) -> None:
    done = executor.start(work(place, "stubborn", {"seconds": 1})).wait(SECONDS)
    assert done.reason == "timeout"
    assert done.duration_ns < 10_000_000_000


def test_kill__cancelled_in_slurm(slurm: Slurm, executor: ClusterExecutor, place: Path) -> None:
    job = executor.start(work(place, "hang"))
    ticket = ticket_of(slurm)
    with pytest.raises(TimeoutError):
        job.wait(0.05)
    job.kill()
    assert job.wait(SECONDS).reason == "killed"
    assert "JobState=CANCELLED" in slurm.run("scontrol", "show", "job", ticket)


def test_scancel__by_the_operator__killed_and_never_ok(
    slurm: Slurm, executor: ClusterExecutor, place: Path
) -> None:
    job = executor.start(work(place, "hang"))
    slurm.run("scancel", ticket_of(slurm))
    assert job.wait(SECONDS).reason == "killed"


# ---- metering


def recorded(place: Path, job: Running) -> list[Sample]:
    lease = Lease(JOB, job.pid, job.pgid, None, job.gpus, place / "work", job.remote)
    recorder = Recorder(lease, [RemoteMeter()], period_s=0.1)
    recorder.start()
    return recorder.end(job.wait(SECONDS))


def test_gpus__two__visible_leased_and_metered_at_both_edges(
    slurm: Slurm, executor: ClusterExecutor, place: Path
) -> None:
    job = executor.start(work(place, "env", gpus=2))
    samples = recorded(place, job)
    shown = json.loads(read_output(place / "work", 100_000))["CUDA_VISIBLE_DEVICES"].split(",")
    assert len(set(shown)) == 2
    assert tuple(shown) == job.gpus
    assert {s.device for s in samples if s.metric == "lease_ms"} == set(shown)
    for gpu in shown:
        energy = {s.edge: s.value for s in samples if (s.device, s.metric) == (gpu, "energy_mj")}
        assert energy["start"] <= energy["end"]
    assert {s.source for s in samples if s.metric == "energy_mj"} == {"nvml-replay"}


def test_samples__cpu_from_the_node_lease_from_us(executor: ClusterExecutor, place: Path) -> None:
    samples = recorded(place, executor.start(work(place, "spin_in_grandchild", ms=700)))
    end = {s.metric: s.value for s in samples if s.edge == "end"}
    assert end["cpu_us"] >= 690_000
    assert 0 < end["lease_ms"] <= end["wall_ms"]
    assert any(s.edge == "tick" and s.metric == "cpu_us" for s in samples)


def test_meter__job_of_somebody_else__leaves_nothing(slurm: Slurm) -> None:
    ticket = slurm.run("sbatch", "--parsable", "--comment=other", "--output=/dev/null", "--wrap=true")
    probes.until(
        lambda: "JobState=COMPLETED" in slurm.run("scontrol", "show", "job", ticket), "its end", SECONDS
    )
    assert list(slurm.spool.glob(f"{ticket}.*")) == []


# ---- what a buyer can't reach


HOSTILE = "$(touch /tmp/owned) `id` ; rm -rf / # --wrap=x\n#SBATCH --uid=0 %j \\ '\""


def test_params__hostile__read_from_a_file_and_in_no_command(
    slurm: Slurm, executor: ClusterExecutor, place: Path
) -> None:
    job = executor.start(work(place, "echo", text=HOSTILE, ms=500))
    ticket = ticket_of(slurm)
    script = slurm.run("scontrol", "write", "batch_script", ticket, "-")
    shown = slurm.run("scontrol", "show", "job", ticket)
    assert job.wait(SECONDS).reason == "ok"
    assert read_output(place / "work", 1000).decode() == HOSTILE
    assert "oracle.executors.step" in script
    assert "touch" not in script + shown


# ---- after a crash


def test_slurmctld__restarted_during_a_job__nothing_lost(
    slurm: Slurm, executor: ClusterExecutor, place: Path
) -> None:
    job = executor.start(work(place, "exit_later", ms=3_000, code=3))
    ticket = ticket_of(slurm)
    slurm.stop("slurmctld")
    try:
        with pytest.raises(EngineAway):
            executor.end_stale(Left(b"\x02" * 32, None, None))
        with pytest.raises(TimeoutError):
            job.wait(4)  # it has ended by now, but only slurmctld can say so
    finally:
        slurm.start("slurmctld")
    done = job.wait(SECONDS)
    assert (done.code, done.reason) == (3, "failed")
    assert 2_900_000_000 < done.duration_ns <= span_ns(edges_of(slurm, ticket))


CRASHING = """
import sys, time
from pathlib import Path
from oracle.settings_engines import SlurmSettings
from tests.integration import test_slurm as tests
place = Path(sys.argv[1])
settings = SlurmSettings.model_validate_json(sys.argv[2])
tests.made(place, settings).start(tests.work(place, "hang"))
print("started", flush=True)
time.sleep(600)
"""


def test_daemon_killed__next_one_finds_its_job_by_the_comment_and_ends_it(slurm: Slurm, place: Path) -> None:
    command = [sys.executable, "-c", CRASHING, str(place), slurm.settings.model_dump_json()]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert any(line == "started\n" for line in daemon.stdout)  # after log lines
        daemon.kill()
    ticket = ticket_of(slurm)
    following = made(place, slurm.settings)
    assert following.end_stale(Left(JOB, None, None)) == 1
    assert following.end_stale(Left(JOB, None, None)) == 0
    assert "JobState=CANCELLED" in slurm.run("scontrol", "show", "job", ticket)
    assert list((place / "slurm").iterdir()) == []


def test_start__copy_left_by_a_lost_answer__ended_first(
    slurm: Slurm, executor: ClusterExecutor, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LAG_S", 0.5)
    first = executor.start(work(place, "hang"))
    again = probes.work(place / "again", "hang")
    second = executor.start(again)
    assert first.wait(SECONDS).reason == "killed"
    assert second.poll() is None
    assert len([row for row in slurm.live() if COMMENT in row]) == 1
    second.kill()
    second.wait(SECONDS)
