"""Rules for every Python test: markers by folder, no network in unit tests, nothing skipped in CI."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from scripts.setup import extra as extras
from tests.databases import bare_url, database_url, postgres

__all__ = ["bare_url", "database_url", "postgres"]  # fixtures

TESTS = Path(__file__).resolve().parent
FOLDERS = ("unit", "integration", "e2e", "gpu")
MAY_SKIP = "gpu"

LONGEST = (
    "test_docs", "test_kill", "test_two_nodes", "test_testnet", "test_chain_faults", "test_demo",
    "test_operator_page", "test_gateway", "test_wheel",
    "test_slurm", "test_slurm_daemon", "test_slurm_admission", "test_deploy", "test_deploy_interrupted",
    "test_call_audits", "test_x402_jobs", "test_watcher_faults", "test_cli_examples_nodes", "test_pipeline",
    "test_api_schema", "test_mcp_stdio", "test_abi_package", "test_web", "test_web_payment",
    "test_x402_credits", "test_ray", "test_quorum", "test_daemon", "test_settle",
)  # fmt: skip
"""Files of a minute and more. They go first: begun last, one of them would run alone at the end."""

_skipped: list[str] = []

# How long an example takes depends on what else the machine does. Speed is measured in bench/, not here.
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("scrip", deadline=None, suppress_health_check=SLOW, derandomize="CI" in os.environ)
settings.load_profile("scrip")


class NetworkBlocked(RuntimeError):
    """A unit test tried to reach something other than this machine."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test with the folder it lies in, so that `-m integration` and the like work.

    Tests of one file stay in one process, where they share what the file brings up, unless the file names
    groups of its own; so do those of Slurm, for a machine has room for one cluster. The groups are named here
    because xdist reads them before any conftest's `pytest_collection_modifyitems` runs.
    """
    folder = _folder(item.path)
    if folder in FOLDERS:
        item.add_marker(folder)
    if item.get_closest_marker("xdist_group") is None:
        group = "slurm" if item.path.stem.startswith("test_slurm") else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if _folder(request.path) == "unit":
        for name in ("connect", "connect_ex"):
            monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(original: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise NetworkBlocked(f"unit tests reach this machine only, not {address!r}")
        return original(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _folder(path: Path) -> str:
    parts = path.relative_to(TESTS).parts if path.is_relative_to(TESTS) else ()
    return parts[0] if parts else ""


def python_of(extra: str) -> Path:
    """The interpreter of an environment of its own. Skips the test where `make extras` hasn't made it."""
    found = extras.python_of(extra)
    if found is None:
        pytest.skip(f"the environment {extra} isn't made: `make extras` makes it")
    return found


def wheelhouse() -> Path:
    """The folder of what our wheel needs. Skips the test where `make extras` hasn't filled it."""
    found = extras.wheelhouse()
    if found is None:
        pytest.skip("there is no folder of wheels: `make extras` fills one")
    return found


def needs_program(name: str) -> str:
    """Where a program is. Skips the test where the system package that brings it isn't installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} isn't installed")
    return found


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect skips. An expected failure is reported as a skip too, and is none."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Collect modules that skip themselves as a whole."""
    if report.skipped:
        _skipped.append(report.nodeid)


def _forbidden() -> list[str]:
    if os.environ.get("CI", "").lower() not in ("1", "true"):
        return []
    return [nodeid for nodeid in _skipped if f"tests/{MAY_SKIP}/" not in nodeid]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What CI skips, it does not prove: there, a skip outside tests/gpu fails the run."""
    if _forbidden() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips that fail the run."""
    for nodeid in _forbidden():
        terminalreporter.write_line(f"FAILED: skipped under CI=true: {nodeid}", red=True)
