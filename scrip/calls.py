"""What a call or a transaction carries: encoding of contract functions without asking a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from eth_typing import ChecksumAddress, HexStr
from web3.contract.contract import ContractFunction
from web3.types import Nonce, TxParams, Wei

from scrip.structs import to_address, to_bytes

_NO_QUESTIONS: TxParams = {
    "chainId": 1, "gas": 0, "nonce": Nonce(0), "maxFeePerGas": Wei(0), "maxPriorityFeePerGas": Wei(0),
}  # fmt: skip
"""With these given, web3 builds a transaction without asking the node for them."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does: calls `to` with `data` and sends `value` wei."""

    to: str
    data: bytes = b""
    value: int = 0

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


def encoded(function: ContractFunction) -> TxParams:
    """Parameters for eth_call of a view function."""
    return Call.of(function).params()
