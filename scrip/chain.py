"""One deployment on one chain, through one node: head, finality, contract handles and raw calls.

Reads of contract state go through `Chain.at(block)`, which pins them all to one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

from eth_typing import ABIFunction, ChecksumAddress, HexStr
from eth_utils.abi import abi_to_signature, function_abi_to_4byte_selector
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import (
    BlockNotFound,
    TransactionIndexingInProgress,
    TransactionNotFound,
    Web3RPCError,
)
from web3.types import BlockIdentifier, RPCEndpoint, TxParams, TxReceipt

from scrip.abi import ERC20, abi
from scrip.errors import NodeDeclined, NodeUnavailable, NotFound, WrongChain
from scrip.keys import LOCAL_CHAINS
from scrip.reverts import ErrorTable, from_rpc, known_errors
from scrip.rpc import OnFailure, error_of, host_of, make_web3
from scrip.structs import to_address, to_bytes
from scrip.types import Deployment
from scrip.view import ChainView

FINALITY_DEPTH = 64
"""Blocks behind the head that count as final off local chains: two epochs of Ethereum's proof of stake."""

FALLBACK_TIP = 1_000_000_000
"""Priority fee where the node can't suggest one: 1 gwei."""


class Chain:
    """Handle on a deployment. Safe to share between threads; holds no key and sends nothing."""

    def __init__(
        self,
        w3: Web3,
        deployment: Deployment,
        *,
        finality_depth: int | None = None,
        errors: ErrorTable | None = None,
    ) -> None:
        """Wrap a connection without checking it; `connect` is the usual way in.

        `finality_depth` is in blocks, by default 0 on local chains and `FINALITY_DEPTH` elsewhere. `errors`
        replaces the table that revert data is decoded with.
        """
        self.w3, self.deployment, self.chain_id = w3, deployment, deployment.chain_id
        default = 0 if self.chain_id in LOCAL_CHAINS else FINALITY_DEPTH
        self.finality_depth = default if finality_depth is None else finality_depth
        self.errors = known_errors() if errors is None else errors
        self._contracts: dict[tuple[str, str], Contract] = {}

    @classmethod
    def connect(
        cls,
        rpc_url: str,
        deployment: Deployment,
        *,
        timeout: float = 30.0,
        attempts: int = 4,
        finality_depth: int | None = None,
        on_failure: OnFailure | None = None,
    ) -> Self:
        """Connect to the node at `rpc_url` and check that it serves this deployment. `on_failure` is told of
        requests that fail.

        Raises WrongChain if its chain id differs or an address holds no code, NodeUnavailable if it doesn't
        answer.
        """
        w3 = make_web3(rpc_url, timeout, attempts, on_failure)
        chain = cls(w3, deployment, finality_depth=finality_depth)
        chain.check()
        return chain

    def check(self) -> None:
        """Raise WrongChain unless the node's chain id is ours and every address holds code."""
        served = self.served_id()
        if served != self.chain_id:
            raise WrongChain(f"the node serves chain {served}, the deployment is on chain {self.chain_id}")
        contracts = self.deployment.contracts.items()
        with _typed():
            empty = [f"{name} {at}" for name, at in contracts if not self.w3.eth.get_code(_checksum(at))]
        if empty:
            raise WrongChain(
                f"no code on chain {served} at {', '.join(empty)}. Was the chain reset since the deployment?"
            )

    def unknown_to_code(self, name: str) -> list[str]:
        """Signatures of those functions of contract `name` that the code at its address doesn't know: it is
        another contract, or another version. A dispatcher holds the selector of each function it serves.
        """
        with _typed():
            code = bytes(self.w3.eth.get_code(_checksum(self.address(name))))
        functions = [entry for entry in abi(name) if entry["type"] == "function"]
        return [
            abi_to_signature(cast(ABIFunction, entry))
            for entry in functions
            if function_abi_to_4byte_selector(cast(ABIFunction, entry)).lstrip(b"\0") not in code
        ]

    def served_id(self) -> int:
        """Id of the chain that the node serves."""
        with _typed():
            return int(self.w3.eth.chain_id)

    def head(self) -> int:
        """Number of the newest block."""
        with _typed():
            return int(self.w3.eth.block_number)

    def finalized(self) -> int:
        """Number of the newest block that counts as final: `finality_depth` behind the head, at least 0."""
        return max(0, self.head() - self.finality_depth)

    def block_time(self, block: int) -> int:
        """Unix seconds of a block. Raises NotFound."""
        try:
            with _typed():
                return int(self.w3.eth.get_block(block)["timestamp"])
        except BlockNotFound:
            raise NotFound("block", block) from None

    def block_hash(self, block: int) -> bytes:
        """Hash of a block. Raises NotFound."""
        try:
            with _typed():
                return bytes(self.w3.eth.get_block(block)["hash"])
        except BlockNotFound:
            raise NotFound("block", block) from None

    def time_of(self, tag: str) -> int | None:
        """Unix seconds of the block with a tag (latest, pending), None if the node has no such block."""
        answer = self.w3.provider.make_request(RPCEndpoint("eth_getBlockByNumber"), [tag, False])
        block = answer.get("result")
        return None if block is None else int(block["timestamp"], 16)

    def balance(self, address: str, block: BlockIdentifier = "latest") -> int:
        """Wei of an account."""
        with _typed():
            return int(self.w3.eth.get_balance(_checksum(to_address("address", address)), block))

    def code(self, address: str, block: BlockIdentifier = "latest") -> bytes:
        """Code of an account: empty unless it is a contract, or delegates to one (EIP-7702)."""
        with _typed():
            return bytes(self.w3.eth.get_code(_checksum(to_address("address", address)), block))

    def nonce(self, address: str, block: BlockIdentifier = "latest") -> int:
        """How many transactions of an account are mined at `block`, i.e. the next nonce there."""
        with _typed():
            return int(self.w3.eth.get_transaction_count(_checksum(address), block))

    def receipt(self, tx_hash: bytes) -> TxReceipt | None:
        """Receipt of a transaction, None if it isn't mined. Raises NodeUnavailable while it is indexed."""
        try:
            with _typed():
                return self.w3.eth.get_transaction_receipt(HexStr("0x" + tx_hash.hex()))
        except TransactionNotFound:
            return None
        except TransactionIndexingInProgress:
            raise NodeUnavailable(host_of(self.w3), "it is still indexing transactions") from None

    def mined_in(self, tx_hash: bytes) -> int | None:
        """Number of the block a transaction was mined in, None if it wasn't. Cheaper than its receipt, whose
        logs web3 takes apart one by one.
        """
        method = RPCEndpoint("eth_getTransactionReceipt")
        answer = self.w3.provider.make_request(method, ["0x" + tx_hash.hex()])
        if (error := error_of(answer)) is not None:
            raise NodeDeclined(f"the node declines {method}: {error}")
        receipt = answer["result"]
        return None if receipt is None else int(receipt["blockNumber"], 16)

    def base_fee(self) -> int:
        """Base fee of the newest block, wei per gas; 0 on chains without one."""
        with _typed():
            return int(self.w3.eth.get_block("latest").get("baseFeePerGas", 0))

    def suggested_tip(self) -> int:
        """Priority fee the node suggests, wei per gas; `FALLBACK_TIP` if it has no suggestion."""
        response = self.w3.provider.make_request(RPCEndpoint("eth_maxPriorityFeePerGas"), [])
        return FALLBACK_TIP if response.get("error") else int(str(response["result"]), 16)

    def at(self, block: int | None = None) -> ChainView:
        """Reads pinned to `block`, by default the present head."""
        return ChainView(self, self.head() if block is None else block)

    def address(self, name: str) -> str:
        """Address of contract `name` in the deployment. Raises NotFound."""
        return self.deployment.address(name)

    def contract(self, name: str) -> Contract:
        """Handle on contract `name` of the deployment."""
        return self._handle(name, self.address(name), abi)

    def erc20(self, address: str) -> Contract:
        """Handle on any ERC-20 token."""
        return self._handle("ERC20", to_address("token", address), lambda _: ERC20)

    def call(self, tx: TxParams, block: BlockIdentifier = "latest") -> bytes:
        """eth_call. Raises Reverted with the decoded error, NodeDeclined if the node won't answer."""
        return to_bytes("eth_call", self._execute("eth_call", tx, block))

    def estimate_gas(self, tx: TxParams) -> int:
        """eth_estimateGas in the block to come. Raises Reverted with the decoded error, or NodeDeclined."""
        return int(self._execute("eth_estimateGas", tx, "pending"), 16)

    def _execute(self, method: str, tx: TxParams, block: BlockIdentifier) -> str:
        # Not through web3: its reading of revert data fails on what a hostile contract can return.
        fields = {name: _hex(value) for name, value in tx.items()}
        response = self.w3.provider.make_request(RPCEndpoint(method), [fields, _hex(block)])
        error = response.get("error")
        if error is None:
            return str(response["result"])
        reverted = None if isinstance(error, str) else from_rpc(cast(dict[str, Any], error), self.errors)
        raise reverted or NodeDeclined(f"the node declines {method}: {error_of(response)}")

    def _handle(self, name: str, address: str, abi_of: Any) -> Contract:
        key = (name, address)
        if key not in self._contracts:
            self._contracts[key] = self.w3.eth.contract(address=_checksum(address), abi=abi_of(name))
        return self._contracts[key]


@contextmanager
def _typed() -> Iterator[None]:
    """Turn the JSON-RPC errors that web3 raises into NodeDeclined."""
    try:
        yield
    except (TransactionNotFound, TransactionIndexingInProgress, BlockNotFound):
        raise
    except Web3RPCError as error:
        raise NodeDeclined(
            f"the node declines: {error_of(error.rpc_response or {}) or error.message}"
        ) from None


def _hex(value: Any) -> Any:
    return hex(value) if isinstance(value, int) else value


def _checksum(address: str) -> ChecksumAddress:
    return ChecksumAddress(HexStr(address))  # type: ignore[arg-type]
