"""CPU time of whole process trees: not lost with children that exit early, fork twice or go unwaited."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.executors import cgroup, sandbox
from oracle.executors.local import LocalExecutor
from tests.unit import job_probes as probes


@pytest.fixture(scope="module", params=["rlimits", "bubblewrap"])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalExecutor:
    if request.param == "bubblewrap":
        _, problem = sandbox.find([])
        if problem:
            pytest.skip(f"bubblewrap doesn't work here: {problem}")
    return probes.executor(tmp_path_factory.mktemp("packages"), request.param)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_run__grandchild_works__its_cpu_time_counts(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "spin_in_grandchild", ms=400)).wait(20)
    user_us, system_us, peak = done.rusage
    assert 390_000 <= user_us + system_us < 5_000_000
    assert peak > 4 * probes.MIB


@pytest.mark.parametrize("act", ["spin_detached", "spin_unwaited"])
def test_run__orphan_or_unwaited_child_works__its_cpu_time_counts(
    executor: LocalExecutor, workdir: Path, act: str
) -> None:
    done = executor.start(probes.work(workdir, act, ms=400)).wait(20)
    assert 390_000 <= sum(done.rusage[:2]) < 5_000_000, done.log


def test_run__children_of_a_job_that_ignores_them__count_where_there_is_a_cgroup(
    executor: LocalExecutor, workdir: Path
) -> None:
    """The kernel adds nothing of them to anybody's rusage: without a cgroup that time is not billed."""
    done = executor.start(probes.work(workdir, "spin_ignored", ms=400)).wait(20)
    cpu_us = sum(done.rusage[:2])
    if cgroup.home() is None:
        assert cpu_us < 5_000_000
    else:
        assert 390_000 <= cpu_us < 5_000_000
