"""From revert data to a `Reverted` with the custom error's name and arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple
from eth_utils.crypto import keccak

from scrip.abi import abi, names
from scrip.errors import NotFound, Reverted

ErrorTable = Mapping[bytes, dict[str, Any]]
"""ABI entry of each custom error by its 4-byte selector."""

_BUILT_IN: list[dict[str, Any]] = [
    {"type": "error", "name": "Error", "inputs": [{"name": "reason", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
]

_PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "no such enum value",
    0x32: "index out of range",
    0x41: "out of memory",
}
"""https://docs.soliditylang.org/en/latest/control-structures.html#panic-via-assert-and-error-via-require"""

_EXECUTION = re.compile(r"revert|vm exception|evm error|invalid opcode|out of gas", re.IGNORECASE)


def error_table(abis: Iterable[list[dict[str, Any]]]) -> ErrorTable:
    """Table of every error in `abis`, and Solidity's two built-in ones."""
    entries = [entry for one in [_BUILT_IN, *abis] for entry in one if entry.get("type") == "error"]
    return {_selector(entry): entry for entry in entries}


@cache
def known_errors() -> ErrorTable:
    """Table of the errors of all our contracts; only the built-in ones before the ABIs are exported."""
    try:
        return error_table(abi(name) for name in names())
    except NotFound:
        return error_table([])


def decode_revert(data: bytes, table: ErrorTable | None = None, tx_hash: bytes | None = None) -> Reverted:
    """The `Reverted` that `data` stands for; name "Unknown" if no table entry matches or fits."""
    entry = (known_errors() if table is None else table).get(data[:4])
    if entry is None:
        return Reverted("Unknown", {"data": data} if data else {}, tx_hash)
    inputs = entry["inputs"]
    try:
        values = decode([collapse_if_tuple(item) for item in inputs], data[4:])
    except (DecodingError, OverflowError, UnicodeDecodeError):
        return Reverted("Unknown", {"data": data}, tx_hash)
    named = [item["name"] or f"arg{position}" for position, item in enumerate(inputs)]
    params: dict[str, Any] = dict(zip(named, values, strict=True))
    if entry["name"] == "Panic":
        params["meaning"] = _PANICS.get(params["code"], "see Solidity's panic codes")
    return Reverted(entry["name"], params, tx_hash)


def from_rpc(
    error: Mapping[str, Any], table: ErrorTable | None = None, tx_hash: bytes | None = None
) -> Reverted | None:
    """The same for the JSON-RPC error of a call or a gas estimate; None if it isn't about execution."""
    message, data = str(error.get("message") or ""), _revert_data(error.get("data"))
    if not (data or error.get("code") == 3 or _EXECUTION.search(message)):
        return None
    if data:
        return decode_revert(data, table, tx_hash)
    return Reverted("Unknown", {"message": message or "execution reverted"}, tx_hash)


def _revert_data(data: object) -> bytes:
    # Some nodes wrap it once more: {"data": "0x.."}, {"originalError": {"data": "0x.."}}, "Reverted 0x..".
    while isinstance(data, Mapping):
        data = data.get("data") or data.get("originalError")
    text = data.removeprefix("Reverted ") if isinstance(data, str) else ""
    try:
        return bytes.fromhex(text[2:]) if text.startswith("0x") else b""
    except ValueError:
        return b""


def _selector(entry: Mapping[str, Any]) -> bytes:
    types = ",".join(collapse_if_tuple(item) for item in entry["inputs"])
    return bytes(keccak(text=f"{entry['name']}({types})")[:4])
