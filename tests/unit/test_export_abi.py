"""Which contracts are exported and as what, and that the text depends on ABI, NatSpec and addresses only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scrip import deployments
from scrip.types import Deployment
from scripts import export_abi

MARKET = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
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
    abis, notices = export_abi.exported(tmp_path)
    assert sorted(abis) == ["AllowList", "DemoUSD", "Reserve"]
    assert notices == {}


def test_exported__notices_of_errors__are_those_of_our_own_sources(tmp_path: Path) -> None:
    def tree(notice: str) -> dict[str, Any]:
        error = {"nodeType": "ErrorDefinition", "name": "Reserve_Empty", "documentation": {"text": notice}}
        return {"nodeType": "SourceUnit", "nodes": [{"nodeType": "ContractDefinition", "nodes": [error]}]}

    artefact(tmp_path, "Reserve", ast=tree("@notice Nothing\n is left."))
    artefact(tmp_path, "ZBase", ast=tree("@dev For us."), bytecode="")
    artefact(tmp_path, "ZOther", ast=tree("@notice Not ours."), sourcePath="node_modules/x/ZOther.sol")
    assert export_abi.exported(tmp_path)[1] == {"Reserve_Empty": "Nothing is left."}


def test_render__order_of_entries_and_keys__does_not_matter() -> None:
    turned = [dict(reversed(list(entry.items()))) for entry in (ERROR, FUNCTION)]
    assert export_abi.render(turned) == export_abi.render([FUNCTION, ERROR])
    assert [entry["type"] for entry in json.loads(export_abi.render(turned))] == ["function", "error"]


def test_files__of_a_contract__are_json_and_the_same_as_typescript(tmp_path: Path) -> None:
    made = export_abi.files(
        {"JobMarket": [FUNCTION, ERROR]}, {"Reserve_Empty": "Why.", "Gone": "No."}, tmp_path
    )
    assert json.loads(made["json/JobMarket.json"]) == [FUNCTION, ERROR]
    assert constant(made["src/generated/JobMarket.ts"], "jobMarketAbi") == [FUNCTION, ERROR]
    assert constant(made["src/generated/notices.ts"], "notices") == {"Reserve_Empty": "Why."}
    assert "JobMarket: jobMarketAbi," in made["src/generated/index.ts"]


def test_files__deployments__are_those_of_public_chains(tmp_path: Path) -> None:
    for chain in (31337, 84532, 11155111):
        deployments.save(Deployment(chain, 5, {"JobMarket": MARKET}), tmp_path)
    (tmp_path / "84532.partial.json").write_text("{}")
    made = export_abi.files({"JobMarket": [ERROR]}, {}, tmp_path)
    recorded = constant(made["src/generated/deployments.ts"], "recorded")
    assert list(recorded) == ["11155111", "84532"]
    assert recorded["84532"] == {"chainId": 84532, "block": 5, "contracts": {"JobMarket": MARKET}}


def test_stale__missing_changed_and_orphaned_files__are_named(tmp_path: Path) -> None:
    kept = tmp_path / "src" / "amounts.ts"
    kept.parent.mkdir()
    kept.write_text("by hand")
    before = {"json/Same.json": "1\n", "json/Changed.json": "1\n", "src/generated/Orphan.ts": "1\n"}
    export_abi.write(before, tmp_path)
    wanted = {"json/Same.json": "1\n", "json/Changed.json": "2\n", "src/generated/Missing.ts": "1\n"}
    changes = ["json/Changed.json", "src/generated/Missing.ts", "src/generated/Orphan.ts"]
    assert export_abi.stale(wanted, tmp_path) == changes
    export_abi.write(wanted, tmp_path)
    assert export_abi.stale(wanted, tmp_path) == []
    assert not (tmp_path / "src" / "generated" / "Orphan.ts").exists()
    assert kept.read_text() == "by hand"


def constant(text: str, name: str) -> Any:
    """The value of the one constant of a generated module."""
    _, _, value = text.partition(f"export const {name} = ")
    return json.loads(value.removesuffix(" as const;\n"))
