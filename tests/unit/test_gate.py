"""The gate's table and counts, and that CI does not accept a skipped test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import gate

ROOT = Path(__file__).resolve().parents[2]


def fails(outcome: gate.Outcome) -> None:
    """A section that fails before any test ran."""
    outcome.ok = False


def passes(outcome: gate.Outcome) -> None:
    """A section with two tests and one skip."""
    outcome.passed = 2
    outcome.skipped.append("tests.gpu.test_x::test_y")


def test_run__first_section_fails__still_runs_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.run([("one", fails), ("two", passes)], counts=True) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "skipped: tests.gpu.test_x::test_y" in lines
    assert lines[-1] == "2 passed, 1 failed, 1 skipped"


def test_run__all_pass__returns_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.run([("two", passes)], counts=True) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed, 1 skipped"


def test_run__without_counts__prints_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.run([("one", fails)], counts=False) == 1
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["one", "FAILED"]


def test_forge_output__totals_and_skips__are_counted() -> None:
    outcome = gate.Outcome("forge")
    gate._count_forge_line("[SKIP] test_later() (gas: 0)", outcome)
    gate._count_forge_line(
        "Ran 2 test suites in 1ms (2ms CPU time): 7 tests passed, 1 failed, 1 skipped (9 total tests)",
        outcome,
    )
    assert (outcome.passed, outcome.failed, outcome.skipped) == (7, 1, ["tests/solidity: test_later()"])


def pytest_on(root: Path, in_ci: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Pytest with our conftest and settings, on the files that lie under `root`."""
    for name in ("conftest.py", "databases.py"):
        (root / "tests" / name).write_bytes((ROOT / "tests" / name).read_bytes())
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:pytest-brownie", "-p", "no:cacheprovider"]
    config = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(root)]
    # Not a part of the run that this test may be in.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
        "CI": in_ci
    }
    return subprocess.run(
        [*argv, *config, *map(str, arguments)], cwd=root, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("folder", "in_ci", "status"), [("unit", "true", 1), ("unit", "", 0), ("gpu", "true", 0)]
)
def test_conftest__skipped_test__fails_ci_outside_of_gpu(
    tmp_path: Path, folder: str, in_ci: str, status: int
) -> None:
    file = tmp_path / "tests" / folder / "test_it.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import pytest\n\n@pytest.mark.skip\ndef test_skipped(): ...\n\n"
        "@pytest.mark.xfail\ndef test_expected(): assert False\n\ndef test_runs(): ...\n"
    )
    result = pytest_on(tmp_path, in_ci, file)
    assert result.returncode == status, result.stdout
    assert ("skipped under CI=true" in result.stdout) is (status == 1)


def test_conftest__files_side_by_side__each_stays_in_one_process(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    for name in ("one", "two", "three"):
        (folder / f"test_{name}.py").write_text(
            "import os\nfrom pathlib import Path\n\nimport pytest\n\n\n"
            "@pytest.mark.parametrize('number', range(6))\n"
            "def test_number(number):\n"
            "    Path(f'{Path(__file__).stem}-{os.getpid()}').touch()\n"
        )
    result = pytest_on(tmp_path, "", *gate.SIDE_BY_SIDE, folder)
    assert result.returncode == 0, result.stdout + result.stderr
    ran = sorted(path.name.partition("-")[0] for path in tmp_path.glob("test_*-*"))
    assert ran == ["test_one", "test_three", "test_two"]
