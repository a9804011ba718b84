"""The trees of cases in tests/solidity/trees against the contracts and their tests: no error is left out of
either, and a tree names none that doesn't exist.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scrip import abi

SOLIDITY = Path(__file__).resolve().parents[1] / "solidity"
TREES = sorted((SOLIDITY / "trees").glob("*.tree"))
CONTRACTS = ["CreditReserve", "PriceFeed", *(tree.stem for tree in TREES)]
NAMED = re.compile(r"\b(?:[A-Z][A-Za-z]+_)?[A-Z][a-z]+(?:[A-Z][a-z]+)*(?=\()")


def errors(contract: str) -> set[str]:
    """The contract's own errors, without its name; not those of what it inherits from libraries."""
    return {
        entry["name"].removeprefix(f"{contract}_")
        for entry in abi.abi(contract)
        if entry["type"] == "error" and entry["name"].startswith(f"{contract}_")
    }


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.stem)
def test_tree__every_error_of_its_contract__is_a_case(tree: Path) -> None:
    text = tree.read_text()
    missing = {name for name in errors(tree.stem) if not re.search(rf"\b{name}\b", text)}
    assert not missing


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.stem)
def test_tree__every_error_it_names__exists(tree: Path) -> None:
    known = {entry["name"] for path in abi_names() for entry in abi.abi(path) if entry["type"] == "error"}
    known |= errors(tree.stem)
    assert {name for name in NAMED.findall(tree.read_text()) if name not in known} == set()


@pytest.mark.parametrize("contract", CONTRACTS)
def test_solidity_tests__every_error__is_asserted(contract: str) -> None:
    sources = "".join(path.read_text() for path in SOLIDITY.glob("*.t.sol"))
    missing = {name for name in errors(contract) if f"{contract}_{name}.selector" not in sources}
    assert not missing


def abi_names() -> list[str]:
    """Names of all contracts whose ABI is exported."""
    return sorted(path.stem for path in (SOLIDITY.parents[1] / "abi" / "json").glob("*.json"))
