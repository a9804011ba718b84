"""ERC-1155 as its text has it: the interface, its events, EIP-6093's errors, and a receiver that remembers.

Nothing here comes from our contracts, so that what is tested against it is held against the standard:
https://eips.ethereum.org/EIPS/eip-1155, https://eips.ethereum.org/EIPS/eip-6093
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.contract import Contract

from scrip.structs import ZERO_ADDRESS

FUNCTIONS = {
    "safeTransferFrom(address,address,uint256,uint256,bytes)": "",
    "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)": "",
    "balanceOf(address,uint256)": "uint256",
    "balanceOfBatch(address[],uint256[])": "uint256[]",
    "setApprovalForAll(address,bool)": "",
    "isApprovedForAll(address,address)": "bool",
    "supportsInterface(bytes4)": "bool",
    "uri(uint256)": "string",
}
ERRORS = {
    "ERC1155InsufficientBalance(address,uint256,uint256,uint256)": "sender balance needed tokenId",
    "ERC1155InvalidSender(address)": "sender",
    "ERC1155InvalidReceiver(address)": "receiver",
    "ERC1155MissingApprovalForAll(address,address)": "operator owner",
    "ERC1155InvalidApprover(address)": "approver",
    "ERC1155InvalidOperator(address)": "operator",
    "ERC1155InvalidArrayLength(uint256,uint256)": "idsLength valuesLength",
}
SINGLE = keccak(text="TransferSingle(address,address,address,uint256,uint256)")
BATCH = keccak(text="TransferBatch(address,address,address,uint256[],uint256[])")
APPROVAL = keccak(text="ApprovalForAll(address,address,bool)")
URI = keccak(text="URI(string,uint256)")
ON_RECEIVED = keccak(text="onERC1155Received(address,address,uint256,uint256,bytes)")[:4]
ON_BATCH = keccak(text="onERC1155BatchReceived(address,address,uint256[],uint256[],bytes)")[:4]

TOLD, SAW = b"\x01" * 32, b"\x02" * 32
"""Topics that our receiver logs under: what it was called with, and what calls of its own returned."""


def function_abi(signature: str, returned: str = "") -> dict[str, Any]:
    """ABI entry of a function; `returned` is its only return type, if it has one."""
    name, types = _split(signature)
    outputs = [{"name": "", "type": returned}] if returned else []
    return {
        "type": "function", "name": name, "stateMutability": "view" if returned else "nonpayable",
        "inputs": [{"name": f"arg{at}", "type": kind} for at, kind in enumerate(types)], "outputs": outputs,
    }  # fmt: skip


def error_abi(signature: str, names: str) -> dict[str, Any]:
    """ABI entry of an error, with the names of its values."""
    name, types = _split(signature)
    inputs = [{"name": of, "type": kind} for of, kind in zip(names.split(), types, strict=True)]
    return {"type": "error", "name": name, "inputs": inputs}


def _split(signature: str) -> tuple[str, list[str]]:
    name, _, rest = signature.partition("(")
    return name, [kind for kind in rest[:-1].split(",") if kind]


ABI = [function_abi(*each) for each in FUNCTIONS.items()]
ERROR_ABI = [error_abi(*each) for each in ERRORS.items()]


@dataclass(frozen=True, slots=True)
class Transfer:
    """One of the two transfer events: ids and values in order, one of each from TransferSingle."""

    operator: str
    source: str
    target: str
    ids: tuple[int, ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """The call a receiver got, decoded: which hook, and its arguments."""

    hook: bytes
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Saw:
    """First word that a call by the receiver returned."""

    word: int


def entries(receipt: Any, token: str) -> list[Transfer | Told | Saw]:
    """Transfers of a token and what receivers logged, in the order of the logs."""
    found = [_entry(log, token) for log in receipt["logs"]]
    return [each for each in found if each is not None]


def transfers(logs: Sequence[Any], token: str) -> list[Transfer]:
    """The transfers alone."""
    found = [_entry(log, token) for log in logs]
    return [each for each in found if isinstance(each, Transfer)]


def receiver_code(
    token: Contract | None = None,
    asks: Sequence[tuple[str, tuple[Any, ...]]] = (),
    answer: bytes | None = None,
    reverts: bool = False,
) -> bytes:
    """Code of a contract that logs what it is called with, then answers.

    Then, before it answers, it makes the calls `asks` (functions of the token, with their arguments) and logs
    the first word that each returned. It answers the selector it was called with, which is the magic value of
    both hooks, or the bytes `answer`; with `reverts` it reverts with those.
    """
    code = _op("CALLDATASIZE") + _push(0) + _push(0) + _op("CALLDATACOPY")
    code += _push(TOLD) + _op("CALLDATASIZE") + _push(0) + _op("LOG1")
    for name, args in asks:
        assert token is not None
        data = bytes.fromhex(token.encode_abi(name, args)[2:])
        code += _store(data)
        # out: 32 bytes at 0x400, cleared first; in: `data` at 0; no value; to the caller, which is the token.
        code += _push(0) + _push(0x400) + _op("MSTORE")
        code += _push(32) + _push(0x400) + _push(len(data)) + _push(0) + _push(0)
        code += _op("CALLER") + _op("GAS") + _op("CALL") + _op("POP")
        code += _push(SAW) + _push(32) + _push(0x400) + _op("LOG1")
    end = _op("REVERT" if reverts else "RETURN")
    if answer is not None:
        return code + _store(answer) + _push(len(answer)) + _push(0) + end
    selector = b"\xff" * 4 + bytes(28)
    code += _push(0) + _op("CALLDATALOAD") + _push(selector) + _op("AND") + _push(0) + _op("MSTORE")
    return code + _push(32) + _push(0) + end


def _entry(log: Any, token: str) -> Transfer | Told | Saw | None:
    topic, data = bytes(log["topics"][0]), bytes(log["data"])
    if topic == TOLD:
        kind = "uint256" if data[:4] == ON_RECEIVED else "uint256[]"
        args = decode(["address", "address", kind, kind, "bytes"], data[4:])
        return Told(data[:4], (*map(to_checksum_address, args[:2]), *args[2:]))
    if topic == SAW:
        return Saw(int.from_bytes(data, "big"))
    if log["address"] != token or topic not in (SINGLE, BATCH):
        return None
    who = [to_checksum_address(bytes(one)[12:]) for one in log["topics"][1:]]
    if topic == SINGLE:
        class_id, value = decode(["uint256", "uint256"], data)
        return Transfer(*who, (class_id,), (value,))
    ids, values = decode(["uint256[]", "uint256[]"], data)
    return Transfer(*who, tuple(ids), tuple(values))


def books(found: Sequence[Transfer]) -> dict[tuple[str, int], int]:
    """Balances by (account, id) that transfers alone add up to; of the zero address, less than nothing."""
    sums: dict[tuple[str, int], int] = {}
    for one in found:
        assert len(one.ids) == len(one.values)
        for class_id, value in zip(one.ids, one.values, strict=True):
            for who, change in ((one.source, -value), (one.target, value)):
                sums[who, class_id] = sums.get((who, class_id), 0) + change
                assert who == ZERO_ADDRESS or sums[who, class_id] >= 0, "more was sent than was there"
    return sums


def error_data(signature: str, *values: Any) -> bytes:
    """Revert data of an error."""
    return keccak(text=signature)[:4] + encode(_split(signature)[1], values)


_OPS = {
    "MSTORE": 0x52, "CALLDATALOAD": 0x35, "CALLDATASIZE": 0x36, "CALLDATACOPY": 0x37, "AND": 0x16,
    "POP": 0x50, "CALLER": 0x33, "GAS": 0x5A, "LOG1": 0xA1, "CALL": 0xF1, "RETURN": 0xF3, "REVERT": 0xFD,
}  # fmt: skip


def _op(name: str) -> bytes:
    return bytes([_OPS[name]])


def _push(value: int | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    return bytes([0x5F + len(raw)]) + raw


def _store(data: bytes) -> bytes:
    """Put `data` into memory, from 0 on."""
    code = b""
    for start in range(0, len(data), 32):
        code += _push(data[start : start + 32].ljust(32, b"\0")) + _push(start) + _op("MSTORE")
    return code
