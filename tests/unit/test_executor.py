"""Jobs as processes: how they end, what they may use, that nothing of them survives. In both confinements."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.executors import cgroup, proc, sandbox
from oracle.executors.base import ExecutorError, Limits, ResultInvalid, Running
from oracle.executors.launch import MARK
from oracle.executors.local import LocalExecutor
from oracle.executors.result import read_output
from oracle.executors.running import LocalRunning
from oracle.executors.stale import kill_stale
from scrip.errors import BadInput
from tests.unit import job_probes as probes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["rlimits", "bubblewrap"])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalExecutor:
    if request.param == "bubblewrap":
        _, problem = sandbox.find([])
        if problem:
            pytest.skip(f"bubblewrap doesn't work here: {problem}")
    return probes.executor(tmp_path_factory.mktemp("packages"), request.param)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> LocalExecutor:
    return probes.executor(tmp_path_factory.mktemp("packages"), "rlimits")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Jobs to end, whatever the test does."""
    jobs: list[Running] = []
    yield jobs
    for job in jobs:
        job.kill()
        job.wait(10)


def marked(pgid: int, born_ns: int) -> list[int]:
    """Living processes that descend from a job's first one."""
    mark = f"{MARK}={pgid}:{born_ns}".encode()
    found = [pid for pid in proc.pids() if mark in proc.environment(pid)]
    rows = [proc.read(pid) for pid in found]
    return [row.pid for row in rows if row is not None and row.state not in "ZX"]


def launcher_of(job: Running) -> int:
    row = proc.read(job.pid)
    assert row is not None
    return row.parent


# ---- refusals before anything runs


def test_start__workdir_in_use__refused(bare: LocalExecutor, workdir: Path) -> None:
    workdir.mkdir()
    (workdir / "old").touch()
    with pytest.raises(BadInput, match="one directory per attempt"):
        bare.start(probes.work(workdir, "ok"))


def test_start__relative_workdir__refused(bare: LocalExecutor) -> None:
    with pytest.raises(BadInput, match="absolute"):
        bare.start(probes.work(Path("somewhere"), "ok"))


@pytest.mark.parametrize("module", ["probes.act;x", "../x", "-c", "", "probes.act\n"])
def test_start__not_a_module__refused(bare: LocalExecutor, workdir: Path, module: str) -> None:
    with pytest.raises(BadInput, match="module"):
        bare.start(replace(probes.work(workdir, "ok"), module=module))


@pytest.mark.parametrize("gpu", ["0", "GPU-1,GPU-2", "all", "GPU-"])
def test_start__not_a_gpu_uuid__refused(bare: LocalExecutor, workdir: Path, gpu: str) -> None:
    with pytest.raises(BadInput, match="gpus"):
        bare.start(replace(probes.work(workdir, "ok"), gpus=(gpu,)))


def test_start__workdir_cannot_be_made__executor_error(bare: LocalExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExecutorError, match="work directory"):
        bare.start(probes.work(tmp_path / "file" / "work", "ok"))


@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_limits__not_positive_integers__refused(value: int) -> None:
    with pytest.raises(BadInput, match=r"limits\.seconds"):
        Limits(seconds=value, memory_bytes=1, output_bytes=1, processes=1, cores=1)


def test_launch__program_cannot_be_executed__executor_error(workdir: Path) -> None:
    workdir.mkdir()
    order = {
        "argv": ["/nowhere/python"], "env": {}, "cwd": str(workdir), "workdir": str(workdir),
        "sandboxed": False, "cgroup": "", "gpus": 0, "grace_ms": 100, "nice": 0, "seconds": 5, "cores": 1,
        "memory_bytes": 1 << 28, "output_bytes": 1 << 20, "processes": 4,
    }  # fmt: skip
    command = [sys.executable, "-S", "-m", "oracle.executors.launch"]
    with pytest.raises(ExecutorError, match=r"/nowhere/python: No such file"):
        LocalRunning.launch(order, command, {"PYTHONPATH": str(ROOT)})


def test_launch__launcher_fails__says_what_it_said() -> None:
    order = {"seconds": 1, "grace_ms": 1}
    with pytest.raises(ExecutorError, match="KeyError"):
        LocalRunning.launch(
            order, [sys.executable, "-m", "oracle.executors.launch"], {"PYTHONPATH": str(ROOT)}
        )


# ---- how a job ends


def test_run__good_job__output_and_times(executor: LocalExecutor, workdir: Path) -> None:
    job = executor.start(probes.work(workdir, "ok"))
    done = job.wait(10)
    assert (done.code, done.signal, done.reason, done.log) == (0, None, "ok", "")
    assert read_output(workdir, 100) == b"fine"
    assert done.duration_ns > 0
    assert done.ended_wall_ms == done.started_wall_ms + done.duration_ns // 1_000_000
    assert job.poll() is job.wait(0) is done
    assert workdir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("code", [1, 2, 77])
def test_run__exit_code__kept(executor: LocalExecutor, workdir: Path, code: int) -> None:
    done = executor.start(probes.work(workdir, "exit", code=code)).wait(10)
    assert (done.code, done.signal, done.reason) == (code, None, "failed")


def test_run__crash__signal_kept(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "crash")).wait(10)
    assert (done.code, done.signal, done.reason) == (None, signal.SIGSEGV, "failed")


def test_run__stderr__is_the_log(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "fail_loudly")).wait(10)
    assert (done.code, done.log) == (1, "no luck today\n")


def test_run__endless_stderr__log_bounded(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "shout")).wait(10)
    assert done.reason == "ok"
    assert len(done.log) < 65 * 1024
    assert done.log.startswith("begin")
    assert done.log.endswith("end")
    assert "bytes left out" in done.log


def test_run__environment__nothing_of_ours(
    executor: LocalExecutor, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIP_KEY_PASSWORD", "secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    gpu = "GPU-12345678-aaaa-bbbb-cccc-1234567890ab"
    done = executor.start(replace(probes.work(workdir, "env"), gpus=(gpu,))).wait(10)
    assert done.reason == "ok"
    env = json.loads(read_output(workdir, 10_000))
    inside = "/job" if executor.confinement == "bubblewrap" else str(workdir)
    assert env.pop("PWD", inside) == inside
    assert env.pop("LC_CTYPE", "C.UTF-8") == "C.UTF-8"
    assert set(env) == {
        "PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH", "PYTHONHASHSEED", "CUDA_VISIBLE_DEVICES", MARK,
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    }  # fmt: skip
    assert (env["HOME"], env["CUDA_VISIBLE_DEVICES"], env["OMP_NUM_THREADS"]) == (inside, gpu, "1")


def test_run__open_files_of_ours__not_inherited(
    executor: LocalExecutor, workdir: Path, tmp_path: Path
) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        done = executor.start(probes.work(workdir, "descriptors")).wait(10)
    assert done.reason == "ok"
    assert read_output(workdir, 1000) == b"done: ['0', '1', '2', '3']"  # 3 is the listing itself


def test_start__from_a_thread_that_ends__job_lives_on(
    executor: LocalExecutor, workdir: Path, started: list[Running]
) -> None:
    thread = threading.Thread(target=lambda: started.append(executor.start(probes.work(workdir, "polite"))))
    thread.start()
    thread.join()
    probes.until((workdir / "ready").exists, "the job to get ready")
    assert started[0].poll() is None


# ---- limits


def test_limit__time__terminated_then_killed(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "stubborn", {"seconds": 1})).wait(10)
    assert done.reason == "timeout"
    assert 1_000_000_000 <= done.duration_ns < 4_000_000_000


def test_limit__time__job_may_say_goodbye(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "polite", {"seconds": 2})).wait(10)
    assert done.reason == "timeout"
    assert read_output(workdir, 100) == b"goodbye"


def test_limit__memory__killed(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "hog", {"memory_bytes": 100 * probes.MIB})).wait(10)
    assert done.reason == "memory"
    assert 100 * probes.MIB < done.rusage[2] < 600 * probes.MIB


def test_limit__memory__pages_shared_by_forks_count_once(executor: LocalExecutor, workdir: Path) -> None:
    limits = {"memory_bytes": 150 * probes.MIB, "seconds": 1}
    done = executor.start(probes.work(workdir, "share", limits, count=4)).wait(10)
    assert done.reason == "timeout"


def test_limit__one_large_file__output(executor: LocalExecutor, workdir: Path) -> None:
    done = executor.start(probes.work(workdir, "flood")).wait(10)
    assert done.reason == "output"
    assert (workdir / "output.bin").stat().st_size == probes.LIMITS.output_bytes


def test_limit__many_small_files__output(executor: LocalExecutor, workdir: Path) -> None:
    assert executor.start(probes.work(workdir, "litter")).wait(10).reason == "output"


def test_limit__forks__killed_all_at_once(executor: LocalExecutor, workdir: Path) -> None:
    job = executor.start(probes.work(workdir, "fork_many", count=200))
    assert job.wait(10).reason == "processes"
    assert marked(job.pgid, job.born_ns) == []


def test_limit__kernel_brakes__set_hard(executor: LocalExecutor, workdir: Path) -> None:
    assert executor.start(probes.work(workdir, "limits")).wait(10).reason == "ok"
    rows = read_output(workdir, 10_000).decode().splitlines()
    hard = {row[:26].strip(): row[47:68].strip() for row in rows}
    assert hard["Max cpu time"] == str(probes.LIMITS.seconds * probes.LIMITS.cores + 1)
    assert hard["Max file size"] == str(probes.LIMITS.output_bytes)
    assert hard["Max core file size"] == "0"
    assert hard["Max open files"] == "256"
    assert int(hard["Max data size"]) == probes.LIMITS.memory_bytes + (512 << 20)


# ---- nothing survives


def test_end__double_fork__survivor_killed(executor: LocalExecutor, workdir: Path) -> None:
    job = executor.start(probes.work(workdir, "detach"))
    done = job.wait(10)
    assert (workdir / "alive").exists()
    assert done.reason == "ok"
    assert marked(job.pgid, job.born_ns) == []


def test_kill__hanging_tree__all_gone(executor: LocalExecutor, workdir: Path) -> None:
    job = executor.start(probes.work(workdir, "detach_and_hang"))
    probes.until((workdir / "alive").exists, "the survivor")
    assert len(marked(job.pgid, job.born_ns)) >= 2
    with pytest.raises(TimeoutError):
        job.wait(0.05)
    job.kill()
    job.kill()
    assert job.wait(10).reason == "killed"
    assert marked(job.pgid, job.born_ns) == []


def test_kill__while_another_thread_waits__both_return(executor: LocalExecutor, workdir: Path) -> None:
    job = executor.start(probes.work(workdir, "hang"))
    seen: list[str] = []
    waiter = threading.Thread(target=lambda: seen.append(job.wait(10).reason))
    waiter.start()
    job.kill()
    waiter.join(10)
    assert seen == [job.wait(10).reason] == ["killed"]


def test_launcher_killed__kernel_ends_the_job(executor: LocalExecutor, workdir: Path) -> None:
    job = executor.start(probes.work(workdir, "stubborn"))
    probes.until((workdir / "ready").exists, "the job to get ready")
    os.kill(launcher_of(job), signal.SIGKILL)
    done = job.wait(10)
    assert (done.code, done.signal, done.reason, done.rusage) == (None, None, "killed", (0, 0, 0))
    assert "supervisor lost" in done.log
    probes.until(lambda: not marked(job.pgid, job.born_ns), "the job to die with its launcher")


ORPHAN_MAKER = """
import sys, time
from pathlib import Path
from tests.unit import job_probes as probes
executor = probes.executor(Path(sys.argv[1]), sys.argv[2])
job = executor.start(probes.work(Path(sys.argv[3]), "detach_and_hang"))
print(job.pgid, job.born_ns, flush=True)
time.sleep(60)
"""


def test_oracle_killed__its_jobs_end(executor: LocalExecutor, tmp_path: Path, workdir: Path) -> None:
    command = [sys.executable, "-c", ORPHAN_MAKER, str(tmp_path), executor.confinement, str(workdir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as oracle:
        assert oracle.stdout is not None
        pgid, born_ns = map(int, oracle.stdout.readline().split())
        probes.until((workdir / "alive").exists, "the survivor")
        oracle.kill()
    probes.until(lambda: not marked(pgid, born_ns), "the job to die with the oracle")


# ---- after a restart


def test_kill_stale__recycled_number__innocent_spared() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        row = proc.read(innocent.pid)
        assert row is not None
        assert kill_stale(innocent.pid, row.born_ns + 10_000_000) == 0
        assert innocent.poll() is None
        assert kill_stale(innocent.pid, row.born_ns) == 1
        assert innocent.wait(10) == -signal.SIGKILL


def test_kill_stale__long_gone__nothing(bare: LocalExecutor, workdir: Path) -> None:
    job = bare.start(probes.work(workdir, "ok"))
    job.wait(10)
    assert kill_stale(job.pgid, job.born_ns) == 0


@pytest.mark.parametrize(("pgid", "born_ns"), [(0, 1), (1, 1), (-1, 1), (1234567, 0)])
def test_kill_stale__ids_of_no_job__refused(pgid: int, born_ns: int) -> None:
    with pytest.raises(ExecutorError, match="not the ids of a job"):
        kill_stale(pgid, born_ns)


def test_lost_launcher__detached_survivor__dies_with_its_cgroup_where_there_is_one(
    bare: LocalExecutor, workdir: Path
) -> None:
    job = bare.start(probes.work(workdir, "detach_and_hang"))
    probes.until((workdir / "alive").exists, "the survivor")
    os.kill(launcher_of(job), signal.SIGKILL)
    assert job.wait(10).reason == "killed"
    if cgroup.home() is not None:
        assert marked(job.pgid, job.born_ns) == []
    kill_stale(job.pgid, job.born_ns)
    assert marked(job.pgid, job.born_ns) == []


def test_kill_stale__detached_from_a_lost_launcher__found(
    bare: LocalExecutor, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare, "_cgroups", None)
    job = bare.start(probes.work(workdir, "detach_and_hang"))
    probes.until((workdir / "alive").exists, "the survivor")
    os.kill(launcher_of(job), signal.SIGKILL)
    job.wait(10)
    probes.until(lambda: job.pid not in marked(job.pgid, job.born_ns), "the first process to die")
    assert len(marked(job.pgid, job.born_ns)) == 1
    assert kill_stale(job.pgid, job.born_ns) == 1
    assert marked(job.pgid, job.born_ns) == []


# ---- what it left


@pytest.mark.parametrize("act", ["link", "pipe"])
def test_read_output__not_a_plain_file__invalid(bare: LocalExecutor, workdir: Path, act: str) -> None:
    assert bare.start(probes.work(workdir, act, path="/etc/passwd")).wait(10).reason == "ok"
    with pytest.raises(ResultInvalid, match=r"output\.bin"):
        read_output(workdir, 100_000)


def test_read_output__missing_or_too_large__invalid(tmp_path: Path) -> None:
    with pytest.raises(ResultInvalid, match="No such file"):
        read_output(tmp_path, 10)
    (tmp_path / "output.bin").write_bytes(b"x" * 11)
    with pytest.raises(ResultInvalid, match="larger than 10"):
        read_output(tmp_path, 10)
