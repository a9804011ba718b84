"""The mutants of the invariants: one a number, each fits the contracts, and what forge says is read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scripts import mutants

FAILED = """
[FAIL: broken rules: [24] refused: 0x12345678 by 0x9abcdef0; [3] supply is not backed at its price;  != ]
| Contract | Selector | Calls | Reverts | Discards |
| Handler  | accept   | 73    | 0       | 27       |
|----------+----------+-------+---------+----------|
| Handler  | buy      | 9     | 0       | 0        |
"""
PASSED = "[PASS] invariant_AllRulesHold() (runs: 256, calls: 51200, reverts: 0)\n"


def test_verdict__nothing_broken__alive() -> None:
    result = mutants.verdict("03-sales-round-down", PASSED, 1.0)
    assert (result.killed, result.rules) == (False, {})
    assert "ALIVE" in mutants.line(result)


def test_verdict__other_rule_broken__alive() -> None:
    assert not mutants.verdict("04-x", FAILED, 1.0).killed


def test_verdict__own_rule_broken__killed_with_what_was_seen() -> None:
    result = mutants.verdict("03-sales-round-down", FAILED, 1.0)
    assert (result.number, result.calls, result.killed) == (3, 82, True)
    assert "supply is not backed at its price (also 24)" in mutants.line(result)


def test_patches__unknown_number__exits_naming_it() -> None:
    with pytest.raises(SystemExit, match="no mutant 99"):
        mutants.patches(["1", "99"])


def test_patches__one_for_each_number_of_the_document() -> None:
    document = (mutants.ROOT / "docs" / "invariants.md").read_text()
    numbers = re.findall(r"^\| (\d+) \|", document, re.MULTILINE)
    assert sorted(path.name[:2] for path in mutants.patches([])) == [number.zfill(2) for number in numbers]


@pytest.mark.parametrize("patch", mutants.patches([]), ids=lambda path: str(path.stem))
def test_patch__fits_the_contracts(patch: Path) -> None:
    check = subprocess.run(
        ["git", "apply", "--check", str(patch)], cwd=mutants.ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, f"make the patch anew, the contracts changed: {check.stderr}"
