"""Jobs on a real Ray head with token authentication: how they end, what is metered, that nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.executors.base import ExecutorError, Left, Work
from oracle.executors.cluster import ClusterExecutor
from oracle.executors.ray import RayQueue
from oracle.executors.result import read_output
from oracle.telemetry.base import Lease
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.remote import RemoteMeter
from scrip.chain import Chain
from scrip.types import Receipt, Status
from tests.integration import ray_cluster
from tests.integration.oracle_lab import catalogue_on, lab
from tests.integration.ray_cluster import Ray
from tests.integration.system import System
from tests.unit import job_probes as probes

SECONDS = 60.0
TRACE = """scrip-nvml-trace 1
gpu 0 GPU-00000000-0000-4000-8000-00000000000a 85899345920 - Test GPU
gpu 1 GPU-00000000-0000-4000-8000-00000000000b 85899345920 - Test GPU
read 0 0 1000 300000 90 10
read 0 1 5000 300000 90 10
"""


@pytest.fixture(scope="module")
def ray() -> Iterator[Ray]:
    with ray_cluster.running() as found:
        yield found


@pytest.fixture
def executor(ray: Ray, tmp_path: Path) -> ClusterExecutor:
    (tmp_path / "two.trace").write_text(TRACE)
    return ClusterExecutor(
        RayQueue(ray.settings),
        tmp_path / "ray",
        packages=[probes.package(tmp_path)],
        trace=tmp_path / "two.trace",
        tick_ms=100,
    )


def work(place: Path, job: int, act: str, **params: object) -> Work:
    """Of a job of its own: Ray remembers those that ended."""
    return replace(probes.work(place / "work", act, **params), job_id=bytes([job]) * 32)


def test_check__wrong_token__refused(ray: Ray, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    settings = ray.settings.model_copy(update={"token_file": tmp_path / "token"})
    with pytest.raises(ExecutorError, match=r"gives 40[13]") as refused:
        RayQueue(settings).check()
    assert "0" * 64 not in str(refused.value)


def test_run__good_job__metered_within_rays_own_times(
    ray: Ray, executor: ClusterExecutor, tmp_path: Path
) -> None:
    assert executor.check().startswith("Ray 2.")
    job = executor.start(work(tmp_path, 1, "spin_in_grandchild", ms=500))
    recorder = Recorder(
        Lease(b"\x01" * 32, 0, 0, None, job.gpus, tmp_path / "work", job.remote),
        [RemoteMeter()],
        period_s=0.1,
    )
    recorder.start()
    done = job.wait(SECONDS)
    end = {s.metric: s.value for s in recorder.end(done) if s.edge == "end"}
    assert (done.code, done.reason) == (0, "ok")
    assert end["cpu_us"] >= 490_000
    shown = ray.get("/api/jobs/0x" + "01" * 32).json()
    assert shown["driver_exit_code"] == 0
    assert 0 < done.duration_ns <= (shown["end_time"] - shown["start_time"]) * 1_000_000
    assert 0 < end["lease_ms"] <= done.duration_ns // 1_000_000


def test_run__exit_code_3__failed_and_again_under_the_next_name(
    ray: Ray, executor: ClusterExecutor, tmp_path: Path
) -> None:
    for attempt in ("", "-2"):
        given = work(tmp_path, 2, "exit", code=3)
        done = executor.start(replace(given, workdir=tmp_path / f"work{attempt}")).wait(SECONDS)
        assert (done.code, done.reason) == (3, "failed")
        assert ray.get("/api/jobs/0x" + "02" * 32 + attempt).json()["driver_exit_code"] == 3


def test_gpu__chosen_by_ray__shown_to_the_job_by_uuid(executor: ClusterExecutor, tmp_path: Path) -> None:
    job = executor.start(replace(work(tmp_path, 3, "env"), gpu_count=1))
    assert job.wait(SECONDS).reason == "ok"
    shown = json.loads(read_output(tmp_path / "work", 100_000))["CUDA_VISIBLE_DEVICES"]
    assert (shown,) == job.gpus


def test_daemon_gone__next_one_finds_its_job_by_name_and_stops_it(
    ray: Ray, executor: ClusterExecutor, tmp_path: Path
) -> None:
    executor.start(work(tmp_path, 4, "hang"))
    following = ClusterExecutor(RayQueue(ray.settings), tmp_path / "ray")
    assert following.end_stale(Left(b"\x04" * 32, None, None)) == 1
    assert following.end_stale(Left(b"\x04" * 32, None, None)) == 0
    assert ray.get("/api/jobs/0x" + "04" * 32).json()["status"] == "STOPPED"


def test_kill__stopped_in_ray(executor: ClusterExecutor, tmp_path: Path) -> None:
    job = executor.start(work(tmp_path, 5, "hang"))
    job.kill()
    assert job.wait(SECONDS).reason == "killed"


def test_daemon__catalogue_says_ray__settles(ray: Ray, system: System, chain: Chain, tmp_path: Path) -> None:
    with lab(system, chain, tmp_path / "lab", watchers=0) as place:
        class_id = system.create_class(min_assurance=1)
        buyer = place.buy(class_id, 1_000_000)
        offer = {"catalogue": catalogue_on(place.folder, "ray")}
        place.start("provider", place.provider_settings(provider=offer, ray=ray.settings.model_dump()))
        terms = place.terms(buyer, class_id)
        job = place.open(buyer, terms, place.quote(terms))
        place.wait_for([job], Status.SETTLED)
        assert Receipt.from_json(place.show(job)["receipt"]).units > 0
        assert ray.get(f"/api/jobs/0x{job.hex()}").json()["status"] == "SUCCEEDED"


def test_start__python_missing__says_what_ray_caught(ray: Ray, tmp_path: Path) -> None:
    broken = ClusterExecutor(RayQueue(ray.settings), tmp_path / "ray", python=Path("/nowhere/python"))
    with pytest.raises(ExecutorError, match=r"before its job began.*nowhere/python"):
        broken.start(work(tmp_path, 6, "ok"))
