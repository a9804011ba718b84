"""The machine under a running provider misbehaves: disk, database, clock. Every job ends exactly once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.anvil import NO_TLS
from tests.conftest import needs_program
from tests.e2e.site import LONG, SHORT, Site, until

DISK_BYTES = 128 << 20
LOCK = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def disk(site: Site) -> Iterator[Path]:
    """A small disk of its own for the provider's state."""
    site.state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "scrip-test", str(site.state)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can't be mounted here: that takes root")
    yield site.state
    site.provider.stop()
    subprocess.run(["umount", "-l", str(site.state)], check=True)


@pytest.fixture(scope="module")
def clock(site: Site) -> Path:
    """What is written here moves the wall clock of the provider's process."""
    library, offset = site.lab.folder / "clock.so", site.lab.folder / "clock"
    source = Path(__file__).with_name("clock.c")
    compiler = [needs_program("gcc"), "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O2"]
    subprocess.run([*compiler, "-o", str(library), str(source)], check=True)
    offset.write_text("0")
    env = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(offset)}
    settle = {"retry_s": 1, "max_age_s": 3, "max_batch": 2}
    site.configure_provider({"quorum": {"watchers": []}, "settle": settle}, env)
    return offset


@pytest.fixture(scope="module")
def class_id(site: Site) -> int:
    return site.system.create_class(min_assurance=1)


@pytest.fixture
def plant(site: Site, disk: Path, clock: Path, class_id: int) -> Iterator[Site]:
    """The provider runs when a test begins, with room on its disk and the right time."""
    site.start()
    yield site
    clock.write_text("0")


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is free in the meantime."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        ballast.unlink()


def readiness(site: Site) -> dict[str, object]:
    """What the node says about itself; it may take a while when the database is locked."""
    answer = httpx.get(f"{site.provider.url}/readyz", timeout=60, trust_env=False, verify=NO_TLS)
    found: dict[str, object] = answer.json()["checks"]
    assert (answer.status_code == 200) == answer.json()["ok"]
    return found


def test_disk__full_when_a_job_opens__waits_says_so_and_settles(
    plant: Site, disk: Path, class_id: int
) -> None:
    mark, asked = plant.log_size(), plant.ask(class_id)
    with full(disk):
        plant.open(asked)
        plant.wait_log("disk is full", mark)
        assert "0 bytes free" in str(readiness(plant)["disk"])
    plant.settled(asked)
    assert plant.row(asked.id)["attempt"] == 1


def test_disk__fills_while_a_job_runs__attempt_is_repeated_not_billed(
    plant: Site, disk: Path, class_id: int
) -> None:
    mark, asked = plant.log_size(), plant.open(plant.ask(class_id, LONG))
    until(lambda: plant.row(asked.id).get("process_group"), "the job's process started")
    with full(disk):
        plant.wait_log("disk is full|No space left|bytes free, a job needs", mark)
        until(lambda: '"attempt lost"' in plant.log(since=mark), "the attempt is given up")
    plant.settled(asked)
    assert plant.row(asked.id)["attempt"] == 2


def test_disk__little_room__job_waits_for_it(plant: Site, disk: Path, class_id: int) -> None:
    mark, asked, ballast = plant.log_size(), plant.ask(class_id), disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES - (8 << 20)))
    plant.open(asked)
    plant.wait_log("bytes free, a job needs", mark)
    assert plant.state_of(asked.id) == "queued"
    ballast.unlink()
    plant.settled(asked)


def test_database__locked_by_another_process__waits_and_settles(plant: Site, class_id: int) -> None:
    mark, asked = plant.log_size(), plant.ask(class_id)
    command = [sys.executable, "-c", LOCK, str(plant.state / "oracle.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        plant.open(asked)
        plant.wait_log("database is locked.*pass failed, tried again", mark)
        assert not plant.provider.is_ready()
        other.stdin.close()
    plant.settled(asked)


@pytest.mark.parametrize("jump", ["3600", "-3600"])
def test_clock__set_while_a_job_runs__times_and_units_are_right(
    plant: Site, clock: Path, class_id: int, jump: str
) -> None:
    asked = plant.open(plant.ask(class_id, LONG))
    until(lambda: plant.row(asked.id).get("process_group"), "the job's process started")
    clock.write_text(jump)
    receipt = plant.settled(asked)
    seconds = receipt.ended_at - receipt.started_at
    assert 0 < receipt.units <= (seconds + 1) * 1000
    opened = int(plant.row(asked.id)["opened_at"])
    assert opened <= receipt.started_at <= receipt.ended_at <= plant.lab.chain.at().time()


def test_clock__set_back_an_hour_while_a_receipt_waits__is_sent_in_time(
    plant: Site, clock: Path, class_id: int
) -> None:
    asked = plant.open(plant.ask(class_id, SHORT))
    plant.wait_state(asked.id, "metered", "signing")
    clock.write_text("-3600")
    plant.settled(asked)
