"""Receipts of jobs as they came to the chain: in the calldata of the transaction that submitted them.

Another contract (a multicall, a smart account) may have passed the call on, so it is looked for anywhere in
the data. Whoever looks for a receipt by the hash that the chain keeps knows that it is the right one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from web3.types import RPCEndpoint

from scrip.calls import Signature, signature
from scrip.eip712 import receipt_struct_hash
from scrip.errors import BadInput, NodeDeclined
from scrip.rpc import error_of
from scrip.structs import to_bytes
from scrip.types import Receipt

if TYPE_CHECKING:
    from scrip.chain import Chain

MAX_DATA = 1 << 20
"""Bytes of calldata that are looked through: more than any block of the chains we know takes."""


def receipts_by_hash(chain: Chain, tx_hash: bytes) -> dict[bytes, Receipt]:
    """Every job receipt that a transaction brought, by its struct hash. Empty if the node has forgotten it.

    Raises NodeUnavailable, NodeDeclined.
    """
    return {receipt_struct_hash(receipt): receipt for receipt in receipts_in(calldata(chain, tx_hash))}


def calldata(chain: Chain, tx_hash: bytes) -> bytes:
    """Data of a transaction, empty if the node has forgotten it. Raises NodeUnavailable, NodeDeclined."""
    method = RPCEndpoint("eth_getTransactionByHash")
    answer = chain.w3.provider.make_request(method, ["0x" + tx_hash.hex()])
    if (error := error_of(answer)) is not None:
        raise NodeDeclined(f"the node declines {method}: {error}")
    found = answer["result"]
    return b"" if found is None else to_bytes("input", found["input"])


def receipts_in(data: bytes) -> Iterator[Receipt]:
    """Receipts of every `submit` and `submitBatch` of the job market in calldata, however deep."""
    for call, given in calls_in(data, submitting()):
        try:
            yield from receipts_of(call, given)
        except BadInput:
            continue


def receipts_of(call: Signature, given: Sequence[Any]) -> list[Receipt]:
    """The receipts of one call of `submitting`. Raises BadInput for a value that its type doesn't hold."""
    rows = given[1] if call.name == "submitBatch" else [given[1]]
    return [Receipt.from_abi(row) for row in rows]


def calls_in(data: bytes, calls: Sequence[Signature]) -> Iterator[tuple[Signature, tuple[Any, ...]]]:
    """Calls of these functions in calldata, however deep, with their arguments."""
    data = data[:MAX_DATA]
    for call in calls:
        at = data.find(call.selector)
        while at >= 0:
            given = _read(call, data[at + 4 :])
            if given is not None:
                yield call, given
            at = data.find(call.selector, at + 1)


@lru_cache(maxsize=1)
def submitting() -> tuple[Signature, ...]:
    """The functions that bring receipts to the job market."""
    return signature("JobMarket", "submit"), signature("JobMarket", "submitBatch")


def _read(call: Signature, arguments: bytes) -> tuple[Any, ...] | None:
    """The arguments of one call, None if these bytes only look like one."""
    try:
        return tuple(decode(call.inputs, arguments, strict=False))
    except (DecodingError, ValueError, OverflowError):
        return None
