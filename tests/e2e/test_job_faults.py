"""Jobs that misbehave and watchers that are cut off: the payer keeps its units, the node its secrets."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oracle.catalogue import DEFAULT_FILE
from oracle.evidence import EvidenceStore
from scrip.types import Status
from tests.conftest import needs_program
from tests.e2e import misbehave
from tests.e2e.site import LONG, RPC_KEY, SHORT, Site, until
from tests.integration.oracle_lab import PASSWORD
from tests.integration.system import account

ENV_SECRET = "environment-secret-of-the-daemon"  # noqa: S105


@pytest.fixture(scope="module")
def classes(site: Site) -> tuple[int, int]:
    """Classes whose jobs settle at once, and only if both watchers agree."""
    needs_program("bwrap")
    site.configure_watchers()
    package, catalogue = misbehave.install(site.lab.folder, wanted(site), DEFAULT_FILE.read_text())
    site.configure_provider(
        {
            "provider": {"packages": [str(package)], "catalogue": str(catalogue)},
            "quorum": {"timeout_s": 2},
        },
        {"SCRIP_TEST_SECRET": ENV_SECRET},
    )
    create = site.system.create_class
    return create(min_assurance=1), create(min_assurance=2, watcher_set=1)


def wanted(site: Site) -> str:
    """Where the spy looks: every file with a secret, and the ports of chain, node and watchers."""
    folder = site.lab.folder
    files = [folder / "oracle.json", folder / "password", folder / "provider.toml", site.state / "oracle.db"]
    files += [Path("/etc/shadow"), Path("/etc/passwd"), Path.home() / ".bashrc"]
    urls = (site.gate.url, site.system.anvil.url, site.lab.url, *site.lab.watcher_urls)
    ports = [int(url.rpartition(":")[2]) for url in urls]
    return json.dumps({"files": [str(path) for path in files], "ports": ports})


@pytest.fixture
def plant(site: Site, classes: tuple[int, int]) -> Iterator[Site]:
    """All nodes run when a test begins."""
    site.start()
    yield site
    site.watchers(signal.SIGCONT)


def output(site: Site, job: bytes) -> bytes:
    """What the buyer gets."""
    return EvidenceStore(site.state / "evidence").get(job).output


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("forks", "processes"),
        ("hangs", "timeout"),
        ("hoards", "memory"),
        ("floods", "output"),
        ("shouts", "failed"),
    ],
)
def test_job__breaks_a_limit__is_ended_refunded_and_says_why(
    plant: Site, classes: tuple[int, int], name: str, reason: str
) -> None:
    mark, asked = plant.log_size(), plant.open(plant.ask(classes[0], misbehave.job(name)))
    plant.given_back(asked, Status.REFUNDED)
    assert str(plant.row(asked.id)["reason"]) == "" or reason in plant.row(asked.id)["reason"]
    ended = [line for line in plant.events(mark) if line["event"] == "job ended"]
    assert reason in ended[-1]["reason"]
    assert not list((plant.state / "work").iterdir())


def test_job__leaves_a_process_behind__it_is_ended_and_the_job_settles(
    plant: Site, classes: tuple[int, int]
) -> None:
    asked = plant.open(plant.ask(classes[0], misbehave.job("escapes")))
    plant.settled(asked)
    assert output(plant, asked.id) == b"left one behind"
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if misbehave.SURVIVOR in text(path)]


def text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_job__looks_for_secrets__finds_none_to_put_into_its_output(
    plant: Site, classes: tuple[int, int]
) -> None:
    asked = plant.open(plant.ask(classes[0], misbehave.job("spies")))
    plant.settled(asked)
    raw = output(plant, asked.id)
    found: dict[str, Any] = json.loads(raw)
    assert found["files"]
    assert all(said in ("FileNotFoundError", "PermissionError") for said in found["files"].values())
    assert set(found["ports"].values()) == {"ConnectionRefusedError"}
    for secret in secrets(plant):
        assert secret.encode() not in raw


def test_job__prints_lines_like_our_log__log_stays_one_object_a_line(
    plant: Site, classes: tuple[int, int]
) -> None:
    mark, asked = plant.log_size(), plant.open(plant.ask(classes[0], misbehave.job("shouts")))
    plant.given_back(asked, Status.REFUNDED)
    lines = plant.log(since=mark).splitlines()
    events = [json.loads(line) for line in lines]
    assert "forged" not in {event["event"] for event in events}
    assert "hunter2" not in plant.log(since=mark)


def secrets(site: Site) -> tuple[str, ...]:
    """All that only the daemon may know."""
    keystore = json.loads((site.lab.folder / "oracle.json").read_text())["crypto"]
    key = account("oracle").key.hex().removeprefix("0x")
    return key, PASSWORD, RPC_KEY, ENV_SECRET, keystore["ciphertext"], keystore["mac"]


def test_log__of_a_run_with_failures__holds_no_secret(plant: Site, classes: tuple[int, int]) -> None:
    asked = plant.ask(classes[0], LONG)
    plant.open(asked)
    plant.gate.down = True  # errors that name the node's URL
    plant.wait_log("pass failed, tried again")
    plant.gate.heal()
    plant.settled(asked)
    assert plant.kill(signal.SIGTERM) == 0
    everything = "".join(plant.log(name) for name in plant.nodes)
    assert "tried again" in everything
    for secret in secrets(plant):
        assert secret not in everything
        assert secret.upper() not in everything.upper()


# Watchers cut off


def test_watcher__one_cut_off__job_waits_and_settles_once_it_is_back(
    plant: Site, classes: tuple[int, int]
) -> None:
    mark, asked = plant.log_size(), plant.ask(classes[1])
    plant.send_signal("watcher-1", signal.SIGSTOP)
    plant.open(asked)
    plant.wait_log("watcher gives no vote", mark)
    assert plant.lab.status(asked.id) is Status.RUNNING
    plant.send_signal("watcher-1", signal.SIGCONT)
    assert plant.settled(asked).assurance == 2


def test_watcher__all_cut_off_for_good__payer_gets_everything_back(
    plant: Site, classes: tuple[int, int]
) -> None:
    now = plant.now()
    asked = plant.ask(classes[1], SHORT, submit_by=now + 22, accept_by=now + 15)
    plant.watchers(signal.SIGSTOP)
    mark = plant.log_size()
    plant.open(asked)
    plant.given_back(asked, Status.CANCELLED)
    plant.wait_log("job given back", mark)


def test_watcher__killed_while_it_checks__job_settles_once_it_is_back(
    plant: Site, classes: tuple[int, int]
) -> None:
    asked = plant.ask(classes[1])
    plant.send_signal("watcher-0", signal.SIGSTOP)
    plant.open(asked)
    plant.wait_state(asked.id, "signing")
    plant.nodes["watcher-0"].kill(signal.SIGKILL)
    until(lambda: not plant.nodes["watcher-0"].is_running, "it is gone")
    plant.start()
    assert plant.settled(asked).assurance == 2
