"""The wheel as a stranger has it: built, installed into empty environments, run in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import anvil
from tests.conftest import wheelhouse
from tests.e2e.test_demo import processes_with

ROOT = Path(__file__).resolve().parents[2]
MB = 10**6
MOST_MB, MOST_HELP_SECONDS = 60, 0.4
"""Goals: what an installation without extras brings beside Scrip, and processor time of `scrip --help`."""
OURS = ("agents", "demo", "oracle", "scrip")
SECONDS = 300
HELD = (
    "agents/pipeline/plan.schema.json",
    "demo/docs/scrip.txt",
    "oracle/catalogue.toml",
    "oracle/deploy/scrip-oracle.service",
    "oracle/migrations/versions/0001_first_tables.py",
    "scrip/_abi/JobMarket.json",
    "scrip/_bytecode/JobMarket.hex",
    "scrip/evidence.schema.json",
    "scrip/py.typed",
)


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel and what it needs, and nothing else."""

    folder: Path

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def scrip(self, *arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run its `scrip` with this environment alone: nothing of the checkout is on a path."""
        return subprocess.run(
            [str(self.folder / "bin" / "scrip"), *arguments],
            cwd=cwd, env=dict(env), capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(ROOT))
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return _install(str(wheel), tmp_path_factory.mktemp("bare"))


def _install(wanted: str, folder: Path) -> Installed:
    drawn_from = wheelhouse()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    _pip("--python", python, "install", "--no-compile", "--no-index", "--find-links", str(drawn_from), wanted)
    return Installed(folder)


def _pip(*arguments: str) -> None:
    options = ("--quiet", "--no-input", "--disable-pip-version-check")
    # Without the machine's own pip settings: they could name other places to install from.
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    command = [sys.executable, "-m", "pip", *options, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _stated(pattern: str) -> float:
    """A figure of docs/install.md."""
    (figure,) = re.findall(pattern, (ROOT / "docs" / "install.md").read_text("utf-8"))
    return float(figure)


def test_wheel__built__holds_all_it_reads_and_nothing_of_the_checkout(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert set(HELD) <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(OURS)
    contracts = {Path(name).stem for name in names if name.startswith("scrip/_abi/")}
    assert contracts == {Path(name).stem for name in names if name.startswith("scrip/_bytecode/")}
    assert not [name for name in names if "__pycache__" in name]


def test_wheel__without_extras__brings_as_little_as_its_page_says(bare: Installed) -> None:
    folders = (*OURS, *(path.name for path in bare.packages.glob("scrip-*")))
    files = (path for path in bare.packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
    theirs = (file for file in files if file.relative_to(bare.packages).parts[0] not in folders)
    size = sum(file.stat().st_size for file in theirs) / MB
    assert size <= MOST_MB
    assert size == pytest.approx(_stated(r"\| dependencies on disk \| ([\d.]+) MB"), rel=0.02)


def test_wheel__without_extras__signs_and_recovers_without_coincurve(bare: Installed, tmp_path: Path) -> None:
    assert not list(bare.packages.glob("coincurve*"))
    program = (
        "from eth_account import Account; from scrip.eip712 import recover, sign; "
        "one = Account.from_key(bytes([70]) * 32); print(recover(bytes(32), sign(bytes(32), one)))"
    )
    done = subprocess.run(
        [str(bare.folder / "bin" / "python"), "-c", program],
        cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F", done.stderr


def test_help__of_the_installed_command__is_quick(bare: Installed, tmp_path: Path) -> None:
    # Processor time, and the least of several: what else the machine does must not decide it.
    taken = min(_processor_seconds(bare, tmp_path) for _ in range(6))
    assert taken <= MOST_HELP_SECONDS


def _processor_seconds(installed: Installed, folder: Path) -> float:
    command = [str(installed.folder / "bin" / "scrip"), "--help"]
    with (folder / "help.txt").open("wb") as told:
        process = subprocess.Popen(command, cwd=folder, env={"HOME": str(folder)}, stdout=told)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert "redeem" in (folder / "help.txt").read_text("utf-8")
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", ["demo", "oracle"])
def test_command_of_an_extra__without_it__names_the_extra(
    bare: Installed, tmp_path: Path, command: str
) -> None:
    done = bare.scrip(command, cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert done.returncode != 0
    assert "pip install 'scrip[" in done.stderr
    assert "Traceback" not in done.stderr


def test_demo__of_the_installed_wheel__buys_redeems_and_leaves_nothing(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    installed = _install(f"{wheel}[agents,oracle]", tmp_path_factory.mktemp("demo"))
    place, mark = tmp_path / "elsewhere", f"{tmp_path.name}-{os.getpid()}"
    (place / "tmp").mkdir(parents=True)
    env = {
        "PATH": f"{anvil.binary().parent}:/usr/bin:/bin", "HOME": str(place), "TMPDIR": str(place / "tmp"),
        "COLUMNS": "200", "WHEEL_TEST": mark,
    }  # fmt: skip
    done = installed.scrip("demo", cwd=place, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (
        "assurance 2, signed by oracle + 2 watchers",
        "1 jobs settled by receipt",
        "reserve adds up",
    ):
        assert shown in done.stdout
    assert processes_with(f"WHEEL_TEST={mark}") == []
    assert list((place / "tmp").iterdir()) == []


def test_demo__no_anvil__says_how_to_get_it(bare: Installed, tmp_path: Path) -> None:
    program = "from demo.anvil import binary; binary()"
    done = subprocess.run(
        [str(bare.folder / "bin" / "python"), "-c", program],
        cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert "npm install @foundry-rs/anvil" in done.stderr
