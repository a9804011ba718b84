"""What a job can't reach under bubblewrap, and what happens where bubblewrap doesn't work."""

from __future__ import annotations

import logging
import shutil
import socket
from pathlib import Path

import pytest

from oracle.executors import sandbox
from oracle.executors.base import NoConfinement
from oracle.executors.local import LocalExecutor
from oracle.executors.result import read_output
from tests.unit import job_probes as probes

needs_bubblewrap = pytest.mark.skipif(
    bool(sandbox.find([])[1]), reason=f"bubblewrap doesn't work here: {sandbox.find([])[1]}"
)


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> LocalExecutor:
    return probes.executor(tmp_path_factory.mktemp("packages"), "bubblewrap")


@pytest.fixture
def broken_bwrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bwrap that fails as it does where user namespaces are forbidden."""
    fake = tmp_path / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))


def came_of(executor: LocalExecutor, workdir: Path, act: str, **params: object) -> str:
    done = executor.start(probes.work(workdir, act, **params)).wait(10)
    assert done.reason == "ok", done.log
    return read_output(workdir, 100_000).decode()


@needs_bubblewrap
def test_network__listener_on_this_machine__unreachable(confined: LocalExecutor, tmp_path: Path) -> None:
    bare = probes.executor(tmp_path, "rlimits")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert came_of(bare, tmp_path / "bare", "connect", port=port) == "done: connected"
        refused = came_of(confined, tmp_path / "confined", "connect", port=port)
    assert refused == "refused: ConnectionRefusedError"


@needs_bubblewrap
def test_read__file_outside__not_there(confined: LocalExecutor, tmp_path: Path) -> None:
    secret = tmp_path / "keystore.json"
    secret.write_text("secret")
    assert came_of(confined, tmp_path / "work", "read", path=str(secret)) == "refused: FileNotFoundError"


@needs_bubblewrap
@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/home", "/var/log", "/sys/kernel"])
def test_read__system_and_homes__not_there(confined: LocalExecutor, tmp_path: Path, path: str) -> None:
    assert came_of(confined, tmp_path / "work", "read", path=path) == "refused: FileNotFoundError"


@needs_bubblewrap
@pytest.mark.parametrize("folder", ["", "/usr", "/tmp", "/dev", "/dev/shm", "/proc"])  # noqa: S108
def test_write__outside_workdir__refused(confined: LocalExecutor, tmp_path: Path, folder: str) -> None:
    assert came_of(confined, tmp_path / "work", "write", path=f"{folder}/x").startswith("refused: ")


@needs_bubblewrap
@pytest.mark.parametrize(
    "name", ["sys/kernel/core_pattern", "sys/vm/overcommit_memory", "self/oom_score_adj"]
)
def test_kernel_settings__even_for_root__read_only(
    confined: LocalExecutor, tmp_path: Path, name: str
) -> None:
    # Opened, never written: a sandbox that fails this test mustn't change the machine it runs on.
    came = came_of(confined, tmp_path / "work", "open_for_writing", path=f"/proc/{name}")
    assert came in ("refused: OSError", "refused: PermissionError")


@needs_bubblewrap
def test_user_namespace__of_its_own__refused(confined: LocalExecutor, tmp_path: Path) -> None:
    assert came_of(confined, tmp_path / "work", "nest") == "refused: OSError"


@needs_bubblewrap
def test_write__scratch__works(confined: LocalExecutor, tmp_path: Path) -> None:
    assert came_of(confined, tmp_path / "work", "write", path="/job/scratch/x") == "done: 1"


@needs_bubblewrap
def test_packages__read_only_and_only_the_named_ones(confined: LocalExecutor, tmp_path: Path) -> None:
    repo = Path(sandbox.__file__).resolve().parents[2]
    listed = came_of(confined, tmp_path / "list", "list", path=str(repo))
    assert "'oracle'" in listed
    assert "'tests'" not in listed
    assert "'contracts'" not in listed
    written = came_of(confined, tmp_path / "write", "write", path=str(repo / "oracle" / "jobs" / "names.py"))
    assert written == "refused: OSError"


@needs_bubblewrap
def test_processes__others__invisible(confined: LocalExecutor, tmp_path: Path) -> None:
    assert came_of(confined, tmp_path / "work", "pids") == "done: ['1', '2']"


def test_auto__bubblewrap_missing__rlimits_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with caplog.at_level(logging.WARNING):
        executor = LocalExecutor()
    assert executor.confinement == "rlimits"
    [record] = caplog.records
    assert "isn't installed" in record.getMessage()
    assert "without a sandbox" in record.getMessage()


@pytest.mark.usefixtures("broken_bwrap")
def test_auto__bubblewrap_forbidden__rlimits_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        executor = LocalExecutor()
    assert executor.confinement == "rlimits"
    [record] = caplog.records
    assert "No permissions to create new namespace" in record.getMessage()


@pytest.mark.usefixtures("broken_bwrap")
def test_demanded__bubblewrap_forbidden__raises() -> None:
    with pytest.raises(NoConfinement, match="No permissions"):
        LocalExecutor(confinement="bubblewrap")


def test_rlimits__demanded__no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert LocalExecutor(confinement="rlimits").confinement == "rlimits"
    assert not caplog.records


def test_gpus__leased__device_nodes_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("glob.glob", lambda _: ["/dev/nvidia0", "/dev/nvidiactl"])
    words = sandbox.Sandbox("bwrap", []).wrap(["true"], tmp_path, gpus=True)
    assert " ".join(words).count("--dev-bind /dev/nvidia") == 2
    assert "/dev/nvidia0" not in sandbox.Sandbox("bwrap", []).wrap(["true"], tmp_path)
