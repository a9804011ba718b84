"""The parts of `make prove` that run no tool."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from scripts.prove import campaigns, coverage, findings, shell, symbolic
from scripts.prove.mutation import survivors, targets
from scripts.prove.mutation.mutant import Mutant
from scripts.prove.mutation.store import Result, Store
from scripts.prove.scale import FULL, BadScale, chosen
from scripts.prove.sources import Sources

REENTRANCY = findings.Finding("High", "reentrancy-eth", "A.f(uint256)")
MUTANT = Mutant("contracts/A.sol", "A.f", "compare", 4, 6, 1, "<=", "<")


@pytest.mark.parametrize("name", ["0", "-1", "", "huge", "1.5"])
def test_chosen__not_a_scale__raises(name: str) -> None:
    with pytest.raises(BadScale, match="neither quick nor full"):
        chosen(name)


def test_chosen__number__full_depth() -> None:
    scale = chosen("150")
    assert (scale.runs, scale.depth, scale.mutants) == (150, 500, 150)
    assert chosen("full") == FULL


def test_compare__new_and_stale_findings__both_told() -> None:
    listed = Counter({REENTRANCY: 1, findings.Finding("Medium", "x", "B"): 2})
    found = Counter({REENTRANCY: 2, findings.Finding("Medium", "x", "B"): 1})
    new, stale = findings.compare(found, listed)
    assert "new: High reentrancy-eth in A.f(uint256) (2 found, 1 listed)" in new
    assert "x in B (1 of 2)" in stale


def test_triaged__line_without_reason__not_listed() -> None:
    head = "| High | reentrancy-eth | `A.f(uint256)` | 1 |"
    assert findings.triaged(f"{head}  |\n") == Counter()
    assert findings.triaged(f"{head} guarded |\n") == Counter({REENTRANCY: 1})


def test_read_lcov__other_folders_and_unhit_branches__only_own_gaps() -> None:
    lcov = "SF:tests/T.sol\nDA:1,0\nSF:contracts/A.sol\nDA:3,2\nDA:4,0\nBRDA:3,0,0,-\nBRDA:3,0,1,5\n"
    read = coverage.read(lcov, "contracts")
    assert read.gaps == (
        coverage.Gap("contracts/A.sol", 4, "line"),
        coverage.Gap("contracts/A.sol", 3, "branch"),
    )
    assert (read.percent_lines, read.percent_branches) == (50.0, 50.0)


def test_chunks__longer_campaign__begins_with_the_shorter() -> None:
    short, long = campaigns.chunks(chosen("20")), campaigns.chunks(chosen("25"))
    assert sum(chunk.runs for chunk in long) == 25
    assert long[: len(short)] == short


def test_read_campaign__failure__named() -> None:
    output = (
        "[PASS] invariant_a() (runs: 2, calls: 40, reverts: 1)\n[FAIL: too much] invariant_b() (runs: 1)\n"
    )
    assert campaigns.read(output) == campaigns.Outcome(1, 40, ("invariant_b: too much",))


def test_read_halmos__coloured_results__by_contract() -> None:
    output = (
        "Running 2 tests for tests/halmos/A.t.sol:ACheck\n\x1b[32m[PASS]\x1b[0m check_a(uint256) (paths: 1)\n"
    )
    assert symbolic.read(output) == [symbolic.Checked("ACheck", "check_a", "PASS")]


def test_mutant_id__moved__same() -> None:
    moved = Mutant("contracts/A.sol", "A.f", "compare", 90, 92, 7, "<=", "<")
    assert moved.id == MUTANT.id
    assert MUTANT.apply(b"a = <=b") == b"a = <b"


def test_survivors__written_and_read__reasons_kept() -> None:
    known = survivors.Known(MUTANT.id, "equivalent", "a or b")
    row = survivors.row(MUTANT, "if (a || b <= c) revert();", known)
    assert survivors.read(survivors.write(f"# Head\n{survivors.HEADING}old", [row])) == {MUTANT.id: known}


def test_problems__unexplained_stale_and_killed__all_told() -> None:
    known = {
        "a": survivors.Known("a", "equivalent", ""),
        "b": survivors.Known("b", "accepted", "why"),
        "c": survivors.Known("c", "accepted", "why"),
    }
    told = survivors.problems(known, every=["a", "b"], survived=["a", "b"], killed=["b"])
    assert [line.rpartition(" ")[2] for line in told] == ["a", "c", "b"]


def test_targets__every_source__has_tests_of_its_own_or_is_named() -> None:
    without = {
        name for name in targets.sources(shell.ROOT) if not list(shell.ROOT.glob(targets.own_tests(name)))
    }
    # Hashes words in assembly, for four contracts.
    assert without == {"contracts/libraries/WordsHash.sol"}


def test_closure__shared_source__found_in_all_that_hold_it() -> None:
    files = targets.deployed(shell.ROOT)
    holders = Sources(shell.ROOT).dependents("contracts/base/DelayedRoles.sol", files)
    assert set(holders) == {"ComputeCredits", "CreditExchange", "CreditReserve", "ReceiptVerifier"}


def test_store__suite_changed__kill_forgotten_but_hinted(tmp_path: Path) -> None:
    for folder in ("contracts", "tests/solidity"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "foundry.toml").touch()
    suite = tmp_path / "tests/solidity/A.t.sol"
    suite.write_text("contract A {}")
    Store(tmp_path / "store", tmp_path).put("m", Result("killed", "test_f", "tests/solidity/A.t.sol", 1.0))
    (tmp_path / "tests/solidity/B.t.sol").touch()
    assert Store(tmp_path / "store", tmp_path).get("m") == Result(
        "killed", "test_f", "tests/solidity/A.t.sol", 1.0
    )
    suite.write_text("contract A { uint256 a; }")
    changed = Store(tmp_path / "store", tmp_path)
    assert (changed.get("m"), changed.hint("m")) == (None, "tests/solidity/A.t.sol")
