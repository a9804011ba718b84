"""The comparison of forge's and Brownie's artefacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import bytecode


@pytest.fixture
def brownie(tmp_path: Path) -> Path:
    """Brownie's folder with one contract of ours, one interface and one of a package."""
    folder = tmp_path / "brownie"
    folder.mkdir()
    rows = [
        ("Reserve", "60aa", "contracts/Reserve.sol"),
        ("IReserve", "", "contracts/interfaces/IReserve.sol"),
        ("ERC20", "60bb", "node_modules/x/ERC20.sol"),
    ]
    for name, code, source in rows:
        artefact = {"contractName": name, "bytecode": code, "sourcePath": source}
        (folder / f"{name}.json").write_text(json.dumps(artefact))
    return folder


def forge(folder: Path, code: str) -> Path:
    """forge's folder with the one contract."""
    file = folder / "forge" / "Reserve.sol" / "Reserve.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"bytecode": {"object": code}}))
    return folder / "forge"


def test_problems__nothing_compiled__says_so(tmp_path: Path) -> None:
    (problem,) = bytecode.problems(tmp_path / "none", tmp_path / "none")
    assert "make setup" in problem


def test_problems__code_differs__names_the_contract(brownie: Path, tmp_path: Path) -> None:
    assert bytecode.problems(brownie, forge(tmp_path, "0x60ab")) == [
        "Reserve: forge's bytecode differs from Brownie's"
    ]


def test_problems__forge_lacks_it__names_the_contract(brownie: Path, tmp_path: Path) -> None:
    assert bytecode.problems(brownie, tmp_path) == ["Reserve: forge did not compile it"]


def test_problems__same_code__is_empty(brownie: Path, tmp_path: Path) -> None:
    assert bytecode.problems(brownie, forge(tmp_path, "0x60aa")) == []
