"""Which contracts are exported, and that their text depends on nothing but their ABI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import export_abi

FUNCTION = {"type": "function", "name": "buy", "inputs": [{"type": "uint256", "name": "id"}]}
ERROR = {"type": "error", "name": "Reserve_Empty", "inputs": []}


def artefact(folder: Path, name: str, **changes: Any) -> None:
    """One file as Brownie writes it."""
    content = {
        "contractName": name,
        "type": "contract",
        "bytecode": "60",
        "sourcePath": f"contracts/{name}.sol",
        "abi": [FUNCTION, ERROR],
        **changes,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_exported__nothing_compiled__raises(tmp_path: Path) -> None:
    with pytest.raises(export_abi.NotCompiled, match="make setup"):
        export_abi.exported(tmp_path)


def test_exported__only_deployable_contracts_of_our_own(tmp_path: Path) -> None:
    artefact(tmp_path, "Reserve")
    artefact(tmp_path, "Base", bytecode="")
    artefact(tmp_path, "AllowList", sourcePath="contracts/eligibility/AllowList.sol")
    artefact(tmp_path, "IReserve", type="interface", sourcePath="contracts/interfaces/IReserve.sol")
    artefact(tmp_path, "Rules", type="library", sourcePath="contracts/libraries/Rules.sol")
    artefact(tmp_path, "ERC20", sourcePath="node_modules/x/ERC20.sol")
    artefact(tmp_path, "Broken", sourcePath="contracts/testing/Broken.sol")
    artefact(tmp_path, "DemoUSD", sourcePath="contracts/testing/DemoUSD.sol")
    assert sorted(export_abi.exported(tmp_path)) == ["AllowList", "DemoUSD", "Reserve"]


def test_render__order_of_entries_and_keys__does_not_matter() -> None:
    turned = [dict(reversed(list(entry.items()))) for entry in (ERROR, FUNCTION)]
    assert export_abi.render(turned) == export_abi.render([FUNCTION, ERROR])
    assert [entry["type"] for entry in json.loads(export_abi.render(turned))] == ["function", "error"]


def test_stale__missing_changed_and_orphaned_files__are_named(tmp_path: Path) -> None:
    export_abi.write({"Same": "1\n", "Changed": "1\n", "Orphan": "1\n"}, tmp_path)
    wanted = {"Same": "1\n", "Changed": "2\n", "Missing": "1\n"}
    assert export_abi.stale(wanted, tmp_path) == ["Changed", "Missing", "Orphan"]
    export_abi.write(wanted, tmp_path)
    assert export_abi.stale(wanted, tmp_path) == []
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["Changed", "Missing", "Same"]
