"""What a call or a transaction carries: encoding of contract functions without asking a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from eth_abi.abi import decode, encode
from eth_abi.exceptions import EncodingError
from eth_typing import ChecksumAddress, HexStr
from eth_utils.abi import collapse_if_tuple
from eth_utils.crypto import keccak
from web3.contract.contract import ContractFunction
from web3.types import Nonce, TxParams, Wei

from scrip.abi import abi
from scrip.errors import BadInput
from scrip.structs import to_address, to_bytes

_NO_QUESTIONS: TxParams = {
    "chainId": 1, "gas": 0, "nonce": Nonce(0), "maxFeePerGas": Wei(0), "maxPriorityFeePerGas": Wei(0),
}  # fmt: skip
"""With these given, web3 builds a transaction without asking the node for them."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does: calls `to` with `data` and sends `value` wei.

    `spare_gas` is added to the estimate, where what others do before it is mined makes it cost more.
    """

    to: str
    data: bytes = b""
    value: int = 0
    spare_gas: int = 0

    @classmethod
    def of(cls, function: ContractFunction, value: int = 0) -> Self:
        """The call a bound contract function stands for. Raises web3's error if its arguments don't fit."""
        built: Any = function.build_transaction({**_NO_QUESTIONS, "value": Wei(value)})
        return cls(to_address("to", function.address), to_bytes("data", built["data"]), value)

    def params(self, sender: str | None = None) -> TxParams:
        """Parameters for eth_call and eth_estimateGas."""
        params: TxParams = {
            "to": ChecksumAddress(HexStr(self.to)),  # type: ignore[arg-type]
            "data": HexStr("0x" + self.data.hex()),
            "value": Wei(self.value),
        }
        if sender is not None:
            params["from"] = ChecksumAddress(HexStr(sender))  # type: ignore[arg-type]
        return params


@dataclass(frozen=True, slots=True)
class Signature:
    """A function of a contract, ready to encode calls of it: web3 goes through the whole ABI for each."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """From the function's entry in an ABI."""
        inputs, outputs = (
            tuple(collapse_if_tuple(item) for item in entry[side]) for side in ("inputs", "outputs")
        )
        named = f"{entry['name']}({','.join(inputs)})"
        return cls(str(entry["name"]), bytes(keccak(text=named)[:4]), inputs, outputs)

    def encode(self, arguments: Sequence[object]) -> bytes:
        """Data of a call. Raises BadInput if the arguments don't fit."""
        try:
            return self.selector + encode(self.inputs, arguments)
        except (EncodingError, OverflowError, TypeError, ValueError) as error:
            raise BadInput(self.name, arguments, f"arguments ({', '.join(self.inputs)})") from error

    def decode(self, answer: bytes) -> tuple[Any, ...]:
        """What a call returned. Raises eth_abi's DecodingError."""
        return tuple(decode(self.outputs, answer))


@lru_cache(maxsize=256)
def signature(contract: str, function: str) -> Signature:
    """A function of one of our contracts, none of which is overloaded. Raises BadInput."""
    known = {item["name"]: item for item in abi(contract) if item["type"] == "function"}
    if function not in known:
        raise BadInput("function", function, f"a function of {contract}: {sorted(known)}")
    return Signature.of(known[function])
