"""Line and branch coverage of the contracts by the forge tests, and the list of gaps that have a reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scripts.prove import shell
from scripts.prove.result import Row, say

NAME = "coverage"
GOAL = 98.0
GAPS = shell.ROOT / "docs" / "coverage.md"
REPORT = shell.BUILD / "coverage" / "lcov.info"
# Code that is too deep for the stack without the intermediate language needs the second way, whose source
# maps are less exact.
WAYS: tuple[tuple[str, ...], ...] = ((), ("--ir-minimum",))
# Holds for optimized code only: it is about what little gas is left.
NO_GAS = ("--no-match-test", "NeverSkipsAKeyThatDelegatesForGas")
LISTED = re.compile(r"^\| `([^`]+)` \| `(.+)` \| (.+?) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gap:
    """A line, or a branch of a line, that no test reaches."""

    file: str
    line: int
    kind: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was found and what was hit."""

    lines: int
    lines_hit: int
    branches: int
    branches_hit: int
    gaps: tuple[Gap, ...]

    @property
    def percent_lines(self) -> float:
        """Of all lines."""
        return _percent(self.lines_hit, self.lines)

    @property
    def percent_branches(self) -> float:
        """Of all branches."""
        return _percent(self.branches_hit, self.branches)


def read(lcov: str, folder: str) -> Coverage:
    """What an lcov file says of the files in a folder."""
    file = ""
    counts = {"DA": [0, 0], "BRDA": [0, 0]}
    gaps = []
    assembly: set[int] = set()
    for entry in lcov.splitlines():
        kind, _, rest = entry.partition(":")
        if kind == "SF":
            file, assembly = rest, assembly_lines(shell.ROOT / rest)
        if kind not in counts or not file.startswith(f"{folder}/"):
            continue
        fields = rest.split(",")
        if int(fields[0]) in assembly:
            continue
        hit = fields[1 if kind == "DA" else 3] not in ("0", "-")
        counts[kind][0] += 1
        counts[kind][1] += hit
        if not hit:
            gaps.append(Gap(file, int(fields[0]), "line" if kind == "DA" else "branch"))
    (lines, lines_hit), (branches, branches_hit) = counts["DA"], counts["BRDA"]
    return Coverage(lines, lines_hit, branches, branches_hit, tuple(gaps))


def assembly_lines(source: Path) -> set[int]:
    """Lines of inline assembly, for which forge has no counter: those around them say whether they ran."""
    lines: set[int] = set()
    depth = 0
    for number, text in enumerate(source.read_text().splitlines() if source.is_file() else (), start=1):
        if depth or text.strip().startswith("assembly"):
            lines.add(number)
            depth += text.count("{") - text.count("}")
    return lines


def unlisted(gaps: tuple[Gap, ...], listed: set[tuple[str, str]], root: Path) -> list[str]:
    """Gaps without a reason.

    A reason belongs to a file and the text of a line, so that it survives edits elsewhere.
    """
    missing = []
    for gap in gaps:
        text = (root / gap.file).read_text().splitlines()[gap.line - 1].strip()
        if (gap.file, text) not in listed:
            missing.append(
                f"no {gap.kind} covered and no reason in docs/coverage.md: {gap.file}:{gap.line} {text}"
            )
    return missing


def run() -> Row:
    """Measure, and compare with the list."""
    row = Row(NAME)
    coverage, way = _measure()
    listed = {(file, text) for file, text, _ in LISTED.findall(GAPS.read_text())} if GAPS.is_file() else set()
    row.figures = (
        f"lines {coverage.percent_lines:.2f} % ({coverage.lines_hit} of {coverage.lines}), "
        f"branches {coverage.percent_branches:.2f} % ({coverage.branches_hit} of {coverage.branches}){way}"
    )
    row.problems += unlisted(coverage.gaps, listed, shell.ROOT)
    for what, percent in (("lines", coverage.percent_lines), ("branches", coverage.percent_branches)):
        if percent < GOAL:
            row.problems.append(f"{percent:.2f} % of {what}: the goal is {GOAL} %")
    return row


def _measure() -> tuple[Coverage, str]:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    output = ""
    for way in WAYS:
        say(NAME, " ".join(("forge coverage", *way)))
        argv: tuple[str | Path, ...] = (
            shell.FORGE,
            "coverage",
            *way,
            "--report",
            "lcov",
            "--report-file",
            REPORT,
        )
        options = ("--exclude-tests", "--no-match-path", "tests/solidity/invariants/*", *NO_GAS)
        settings = {"FOUNDRY_PROFILE": "coverage"} | shell.build_settings(NAME)
        status, output = shell.stream([*argv, *options], settings, _progress)
        if status == 0:
            note = f"; by {' '.join(way)}" if way else ""
            return read(REPORT.read_text(), "contracts"), note
        if "Stack too deep" not in output:
            break
    raise shell.ToolFailed(f"forge coverage failed:\n{output[-1500:]}")


def _progress(line: str) -> None:
    if line.startswith(("Ran ", "Compiling", "Analysing", "[FAIL")):
        say(NAME, line)


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0
