"""Does the chain hold the deployment that a record describes? Compiled code, cross references and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from scrip.deploying.plan import CONTRACTS, DEMO_USD, ROLED
from scripts.deployment_record import Record

REFERENCES: Final[Mapping[str, str]] = {
    "CREDITS": "ComputeCredits",
    "RESERVE": "CreditReserve",
    "REGISTRY": "ProviderRegistry",
    "VERIFIER": "ReceiptVerifier",
    "MARKET": "JobMarket",
    "SESSIONS": "MeteredSessions",
    "BUDGETS": "SpendingBudgets",
    "EXCHANGE": "CreditExchange",
    "METADATA": "ClassMetadata",
}
"""Getters of immutables, and the contract that each must return wherever a contract has it."""

_PUSH1, _PUSH32 = 0x60, 0x7F


def code_matches(runtime: bytes, compiled: bytes) -> bool:
    """Whether `runtime` is `compiled` with values in the places of its immutables.

    The compiler emits an immutable as a PUSH32 of zeros, and writes a zero of its own as PUSH0, so those 32
    bytes may differ and nothing else.
    """
    if len(runtime) != len(compiled) or not compiled:
        return False
    masked = bytearray(runtime)
    for start in _immutable_places(compiled):
        masked[start : start + 32] = bytes(32)
    return bytes(masked) == compiled


def problems(project: Any, eth: Any, record: Record) -> Iterator[str]:
    """What is wrong with `record` on the chain `eth` (web3's) is connected to; nothing if all is well.

    `project` is the compiled Brownie project.
    """
    contracts = record.deployment.contracts
    missing = [name for name in CONTRACTS if name not in contracts]
    if missing:
        yield f"the record has no {', '.join(missing)}"
    known = {name: at for name, at in contracts.items() if name in (*CONTRACTS, DEMO_USD)}
    sound = set()
    for name, address in known.items():
        if problem := code_problem(project, eth, name, address):
            yield problem
        else:
            sound.add(name)
    for name in sound:
        handle = project[name].at(contracts[name])
        yield from _reference_problems(handle, name, record)
        if name in ROLED and not handle.rolesSealed():
            yield f"{name}: its roles aren't sealed, so its admin can grant them without a word"


def code_problem(project: Any, eth: Any, name: str, address: str) -> str | None:
    """Why the code at `address` isn't contract `name` as compiled here, None if it is."""
    runtime = bytes(eth.get_code(address))
    if not runtime:
        return f"{name} {address}: no code there"
    compiled = bytes.fromhex(project[name]._build["deployedBytecode"].removeprefix("0x"))
    return None if code_matches(runtime, compiled) else f"{name} {address}: its code is not the compiled one"


def is_absent(eth: Any, record: Record) -> bool:
    """Whether not one of the record's addresses holds code: the chain is another one, or was started anew."""
    return not any(bytes(eth.get_code(address)) for address in record.deployment.contracts.values())


def references(abi: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Those of `REFERENCES` that a contract with this ABI has."""
    functions = {entry["name"] for entry in abi if entry["type"] == "function"}
    return {getter: target for getter, target in REFERENCES.items() if getter in functions}


def _reference_problems(contract: Any, name: str, record: Record) -> Iterator[str]:
    contracts = record.deployment.contracts
    expected = {getter: contracts.get(target) for getter, target in references(contract.abi).items()}
    if name == "ProviderRegistry":
        expected["STAKE_TOKEN"] = record.stake_token
    for getter, wanted in expected.items():
        actual = str(getattr(contract, getter)())
        if actual != wanted:
            yield f"{name}.{getter} is {actual}, the record says {wanted}"


def _immutable_places(code: bytes) -> Iterator[int]:
    position = 0
    while position < len(code):
        opcode = code[position]
        position += 1
        if opcode == _PUSH32 and code[position : position + 32] == bytes(32):
            yield position
        if _PUSH1 <= opcode <= _PUSH32:
            position += opcode - _PUSH1 + 1
