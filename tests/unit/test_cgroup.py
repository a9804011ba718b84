"""Control groups of jobs: real ones where this machine allows them, and made-up /proc and cgroup folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oracle.executors import cgroup


def pretend(tmp_path: Path, mounts: str, groups: str) -> Path:
    """A /proc that says so."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mounts").write_text(mounts)
    (tmp_path / "self/cgroup").write_text(groups)
    return tmp_path


@pytest.mark.parametrize(
    ("mounts", "groups"),
    [
        ("", "0::/a\n"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n", "0::/a\n"),
        ("cgroup2 {there} cgroup2 rw 0 0\n", "4:memory:/a\n"),
        ("cgroup2 {there} cgroup2 rw 0 0\n", "0::/../other\n"),
        ("cgroup2 {there}/gone cgroup2 rw 0 0\n", "0::/\n"),
        ("cgroup2 {there} cgroup2 rw 0 0\n", "0::/\n"),  # a plain folder: no process can be moved there
    ],
)
def test_home__none_to_be_had__is_none(tmp_path: Path, mounts: str, groups: str) -> None:
    there = tmp_path / "there"
    there.mkdir()
    assert cgroup.home(pretend(tmp_path, mounts.format(there=there), groups)) is None
    assert not any(path.name == "cpu.stat" for path in there.iterdir())


@pytest.mark.parametrize(
    "content", [None, "", "usage_usec 5\n", "user_usec x\nsystem_usec 1\n", "user_usec\n"]
)
def test_cpu__unreadable__is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "cpu.stat").write_text(content)
    assert cgroup.cpu_us(tmp_path) is None


def test_cpu__is_user_and_system(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 12\nuser_usec 9\nsystem_usec 3\nnice_usec 0\n")
    assert cgroup.cpu_us(tmp_path) == (9, 3)


def test_home__left_by_an_oracle_that_is_gone__is_swept(tmp_path: Path) -> None:
    there = tmp_path / "there"
    for name in ("scrip-job-4194304-0", "scrip-job-77-1", "other-4194304-0"):
        (there / name).mkdir(parents=True)
    proc = pretend(tmp_path, f"cgroup2 {there} cgroup2 rw 0 0\n", "0::/\n")
    (proc / "77").mkdir()
    cgroup.home(proc)
    assert {"scrip-job-77-1", "other-4194304-0"} <= {path.name for path in there.iterdir()}
    assert not (there / "scrip-job-4194304-0").exists()


def test_home__where_there_is_one__leaves_nothing_behind() -> None:
    found = cgroup.home()
    if found is not None:
        assert not list(found.glob(f"scrip-job-{os.getpid()}-*"))
        made = cgroup.make(found)
        assert cgroup.cpu_us(made) == (0, 0)
        cgroup.remove(made)
        assert not made.exists()
