"""What `make check` and `make test` run: named sections, every one of them even after a failure, one table.

Under CI=true a skipped test outside tests/gpu is a failure: what CI does not run, it does not prove.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build" / "test"
BIN = Path(".venv") / "bin"
PACKAGES = ("scrip", "oracle", "agents", "demo", "scripts")
PYTEST_FOLDERS = ("gpu", "unit", "integration", "e2e")
SIDE_BY_SIDE = ("-n", "4", "--dist", "loadgroup", "--no-loadscope-reorder")
"""Four processes of tests, also on two cores: most tests wait for a chain or for another process. Their order
is tests/conftest.py's."""
SOLHINT_OPTIONS = ("--disc", "--noPoster", "--max-warnings", "0")
FORGE_TOTALS = re.compile(r"(\d+) tests? passed, (\d+) failed, (\d+) skipped \(\d+ total")
FORGE_SKIP = re.compile(r"^\[SKIP[^\]]*\] (\S+)")


@dataclass(slots=True)
class Outcome:
    """How one section ended. Counts are of tests, or of sections that failed as a whole."""

    name: str
    seconds: float = 0.0
    ok: bool = True
    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)


Section = tuple[str, Callable[[Outcome], None]]


def check_sections() -> list[Section]:
    """The sections of `make check`, quickest first."""
    python_paths = [name for name in (*PACKAGES, "tests", "bench") if (ROOT / name).is_dir()]
    return [
        ("ruff format", _command(BIN / "ruff", "format", "--check", *python_paths)),
        ("ruff lint", _command(BIN / "ruff", "check", *python_paths)),
        ("forge fmt", _command(BIN / "forge", "fmt", "--check")),
        ("abi fresh", _abi_fresh),
        ("reference fresh", _command(BIN / "python", "-m", "scripts.reference", "--check")),
        ("layering", _command(BIN / "python", "-m", "pytest", "-q", "tests/unit/test_layering.py")),
        ("solhint", _command("node_modules/.bin/solhint", *SOLHINT_OPTIONS, "contracts/**/*.sol")),
        ("mypy", _command(BIN / "mypy", "--strict", *PACKAGES, "bench")),
        ("tsc", _command("node_modules/.bin/tsc", "--noEmit", "-p", "abi")),
        ("tsc web", _command("node_modules/.bin/tsc", "-p", "web")),
        ("gas", _command(BIN / "python", "-m", "bench", "--check")),
    ]


def test_sections() -> list[Section]:
    """The sections of `make test`: the contracts first, since all the rest stands on them."""
    pytest_sections: list[Section] = [(name, _pytest(name)) for name in PYTEST_FOLDERS]
    bytecode = _command(BIN / "python", "-m", "scripts.bytecode")
    return [("forge", _forge), ("same bytecode", bytecode), *pytest_sections]


def run(sections: Sequence[Section], *, counts: bool) -> int:
    """Run every section, print the table (with `counts` of tests) and return the exit status."""
    outcomes = []
    for name, action in sections:
        print(f"\n=== {name} ===", flush=True)
        outcome = Outcome(name)
        started = time.monotonic()
        action(outcome)
        if not outcome.ok and not outcome.failed:
            outcome.failed = 1  # it did not even come to a test: that is a failure of its own
        outcome.seconds = time.monotonic() - started
        outcomes.append(outcome)
    print("\n" + "\n".join(_table(outcomes, counts)), flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _table(outcomes: Sequence[Outcome], counts: bool) -> list[str]:
    lines = ["section          result     seconds" + "  passed  failed  skipped" * counts]
    for o in outcomes:
        row = f"{o.name:15}  {'ok' if o.ok else 'FAILED':9}  {o.seconds:7.1f}"
        lines.append(row + f"  {o.passed:6}  {o.failed:6}  {len(o.skipped):7}" * counts)
    if counts:
        skipped = [name for o in outcomes for name in o.skipped]
        lines += [f"skipped: {name}" for name in skipped]
        passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
        lines.append(f"{passed} passed, {failed} failed, {len(skipped)} skipped")
    return lines


def _command(*argv: str | Path) -> Callable[[Outcome], None]:
    def action(outcome: Outcome) -> None:
        outcome.ok = _call(argv) == 0

    return action


def _call(argv: Sequence[str | Path]) -> int:
    return subprocess.run(
        [str(part) for part in argv], cwd=ROOT, stdin=subprocess.DEVNULL, check=False
    ).returncode


def _abi_fresh(outcome: Outcome) -> None:
    outcome.ok = _call([BIN / "python", "-m", "scripts.export_abi", "--check"]) == 0
    if _in_ci() and outcome.ok:
        # The set-up has just exported them: in a clean clone git tells whether the committed ones were stale.
        dirty = _git_changes("abi/json") + _git_changes("abi/src/generated")
        outcome.ok = not dirty
        for line in dirty:
            print(f"{line}: the committed file is stale: run `make setup` and commit it")


def _git_changes(path: str) -> list[str]:
    argv = ["git", "status", "--porcelain", "--", path]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def _forge(outcome: Outcome) -> None:
    if not any((ROOT / "tests" / "solidity").rglob("*.t.sol")):
        print("no tests")
        return
    argv = [str(BIN / "forge"), "test"]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            _count_forge_line(line, outcome)
    outcome.ok = process.returncode == 0 and not (_in_ci() and outcome.skipped)


def _count_forge_line(line: str, outcome: Outcome) -> None:
    if totals := FORGE_TOTALS.search(line):
        outcome.passed, outcome.failed = int(totals.group(1)), int(totals.group(2))
    elif skip := FORGE_SKIP.match(line):
        outcome.skipped.append(f"tests/solidity: {skip.group(1)}")


def _pytest(name: str) -> Callable[[Outcome], None]:
    def action(outcome: Outcome) -> None:
        folder = Path("tests") / name
        if not any((ROOT / folder).rglob("test_*.py")):
            print("no tests")
            return
        report = REPORTS / f"{name}.xml"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        status = _call([BIN / "python", "-m", "pytest", folder, "-q", *SIDE_BY_SIDE, f"--junitxml={report}"])
        if report.is_file():
            _read_report(report, outcome)
        outcome.ok = status == 0

    return action


def _read_report(report: Path, outcome: Outcome) -> None:
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest run
        if case.find("skipped") is not None:
            name = f"{case.get('classname')}::{case.get('name')}"
            outcome.skipped.append(name.rpartition("@")[0] or name)  # xdist puts the group behind
        elif case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
        else:
            outcome.passed += 1


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


def main() -> int:
    """`python -m scripts.gate check|test`."""
    sections = {"check": check_sections, "test": test_sections}
    if len(sys.argv) != 2 or sys.argv[1] not in sections:
        print("usage: python -m scripts.gate check|test", file=sys.stderr)
        return 2
    return run(sections[sys.argv[1]](), counts=sys.argv[1] == "test")


if __name__ == "__main__":
    sys.exit(main())
