"""Contract ABIs: read from `abi/json` in a checkout, from `scrip/_abi` in an installed wheel."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from scrip.errors import NotFound

_HERE = Path(__file__).resolve().parent


def _function(name: str, inputs: str, outputs: str, mutability: str) -> dict[str, Any]:
    def listed(types: str) -> list[dict[str, str]]:
        return [{"name": f"arg{i}", "type": kind} for i, kind in enumerate(types.split())]

    return {
        "type": "function", "name": name, "stateMutability": mutability,
        "inputs": listed(inputs), "outputs": listed(outputs),
    }  # fmt: skip


ERC20: list[dict[str, Any]] = [
    _function("approve", "address uint256", "bool", "nonpayable"),
    _function("transfer", "address uint256", "bool", "nonpayable"),
    _function("allowance", "address address", "uint256", "view"),
    _function("balanceOf", "address", "uint256", "view"),
    _function("decimals", "", "uint8", "view"),
    _function("symbol", "", "string", "view"),
]
"""What we use of any payment token (EIP-20)."""


def folder() -> Path:
    """Folder that holds `<Name>.json` for each contract. Raises NotFound if the ABIs were never exported."""
    for place in (_HERE / "_abi", _HERE.parent / "abi" / "json"):
        if place.is_dir():
            return place
    raise NotFound("folder", "abi/json", "Compile and export the contracts first: make setup")


@cache
def names() -> tuple[str, ...]:
    """Names of all contracts with an ABI, sorted."""
    return tuple(sorted(path.stem for path in folder().glob("*.json")))


@cache
def abi(name: str) -> list[dict[str, Any]]:
    """ABI of contract `name`. Raises NotFound."""
    path = folder() / f"{name}.json"
    if not path.is_file():
        raise NotFound("ABI", name, f"known: {', '.join(names())}")
    content = json.loads(path.read_text("utf-8"))
    # Exporters write either the bare list or an artifact that has it under "abi".
    entries: list[dict[str, Any]] = content["abi"] if isinstance(content, dict) else content
    return entries
