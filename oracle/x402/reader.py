"""What the SDK's `exact` scheme asks of a chain, answered by `scrip.chain`. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from x402.mechanisms.evm.types import TransactionReceipt, TypedDataDomain, TypedDataField

from scrip.calls import Call, Signature
from scrip.chain import Chain
from scrip.errors import Reverted
from scrip.structs import to_address

_PHRASES: Final[Mapping[str, str]] = {
    "DemoUSD_AuthorizationUsed": "authorization is used",
    "DemoUSD_Expired": "authorization is expired",
    "DemoUSD_NotYetValid": "authorization is not yet valid",
    "DemoUSD_BadSignature": "invalid signature",
}
"""The SDK tells reverts apart by the words of USDC's."""


class Reader:
    """`x402.mechanisms.evm.signer.FacilitatorEvmSigner` without what signs. `address` is the account that
    simulated calls come from, None in a dry run.
    """

    def __init__(self, chain: Chain, address: str | None) -> None:
        self._chain, self._address = chain, address

    def get_addresses(self) -> list[str]:
        """Our accounts."""
        return [] if self._address is None else [self._address]

    def read_contract(self, address: str, abi: list[dict[str, Any]], function_name: str, *args: Any) -> Any:
        """What a call of a contract answers. Raises RuntimeError if it reverts, NodeUnavailable."""
        entry = next(item for item in abi if item.get("name") == function_name)
        function = Signature.of({"outputs": [], **entry})
        call = Call(to_address("contract", address), function.encode(args))
        try:
            answer = self._chain.call(call.params(self._address), "pending")
        except Reverted as reverted:
            reason = _PHRASES.get(reverted.name, "")
            raise RuntimeError(f"execution reverted: {reason} {reverted}") from None
        values = function.decode(answer)
        return values[0] if len(values) == 1 else values

    def get_code(self, address: str) -> bytes:
        """Code at an address."""
        return self._chain.code(address)

    def get_chain_id(self) -> int:
        """Id of our chain."""
        return self._chain.chain_id

    def get_balance(self, address: str, token_address: str) -> int:
        """Token base units of an account."""
        return self._chain.at().token_balance(to_address("token", token_address), address)

    def verify_typed_data(
        self,
        address: str,
        domain: TypedDataDomain,
        types: dict[str, list[TypedDataField]],
        primary_type: str,
        message: dict[str, Any],
        signature: bytes,
    ) -> bool:
        """Not asked for ERC-3009."""
        self._refuse("verify typed data")

    def write_contract(
        self,
        address: str,
        abi: list[dict[str, Any]],
        function_name: str,
        *args: Any,
        data_suffix: str | None = None,
    ) -> str:
        """Refused."""
        self._refuse(function_name)

    def send_transaction(self, to: str, data: bytes) -> str:
        """Refused."""
        self._refuse("send")

    def wait_for_transaction_receipt(self, tx_hash: str) -> TransactionReceipt:
        """Refused."""
        self._refuse("wait")

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(f"{what}: the outbox sends, this only reads")
