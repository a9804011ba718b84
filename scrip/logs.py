"""Scan of a contract's events over any range of blocks, however little the node allows per query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from eth_typing import BlockNumber
from web3.contract import Contract
from web3.exceptions import Web3RPCError
from web3.types import FilterParams, LogReceipt

from scrip.errors import BadInput, NodeDeclined, NodeUnavailable, RpcLimit
from scrip.rpc import RATE_MESSAGE, TRANSIENT_MESSAGE, error_of, host_of, retrying

if TYPE_CHECKING:
    from scrip.chain import Chain

SPAN = 10_000
"""Blocks in the first query. Most providers' own limit; smaller ones are found by halving."""

ATTEMPTS = 4

LIMIT_MESSAGE = re.compile(
    r"block.?range|range.{0,30}(large|wide|limit|exceed|max|not supported|should work)"
    r"|(limit|max|most|up to|exceed|over).{0,40}range"
    r"|(more than|exceeds?|over).{0,20}\d+.{0,10}(result|log|event|block)|too many (block|log|result|event)"
    r"|max(imum)?.{0,10}(result|log|block)s?\b|(response|result|log).{0,20}(size|too (big|large))"
    r"|(query|request|execution).{0,15}(timeout|timed out|aborted)|deadline exceeded|limit exceeded"
    r"|exceeds? limit|requested too many|limit the query|query returned",
    re.IGNORECASE,
)
"""What nodes say when a log query is too big.

Alchemy "Log response size exceeded", Ankr "block range is too wide", Avalanche "requested too many blocks",
BSC "exceed maximum block range: 5000" and "limit exceeded", Cloudflare "Max range: 800", dRPC "ranges over
10000 blocks are not supported", Erigon and Geth "query timeout exceeded", Infura "query returned more than
10000 results", QuickNode "eth_getLogs is limited to a 10,000 range", Reth "query exceeds max results 20000".
"""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One decoded event. `args` are by Solidity name, structs in them too; addresses are checksummed."""

    name: str
    args: Mapping[str, Any]
    address: str
    block: int
    block_hash: bytes
    tx_hash: bytes
    log_index: int


def scan(
    chain: Chain,
    contract: str | Contract,
    event: str | Sequence[str],
    from_block: int,
    to_block: int,
    *,
    filters: Mapping[str, Any] | None = None,
    span: int = SPAN,
) -> Iterator[LogEvent]:
    """Events of `contract` named `event` (one or several) from `from_block` to `to_block`, both included.

    In chain order. Starts with `span` blocks per query, halves that when the node finds a query too big and
    grows it back. `filters` gives values of indexed arguments, or lists of them of which any will do; of
    several events each must have the arguments at the same place.

    Raises BadInput if `to_block` isn't mined yet (nodes answer such ranges with silence) or an event or
    filter is unknown, RpcLimit if the node refuses even one block, NodeUnavailable if it stays away.
    """
    handle = chain.contract(contract) if isinstance(contract, str) else contract
    query = _Query(chain, handle, [event] if isinstance(event, str) else list(event), dict(filters or {}))
    if span < 1:
        raise BadInput("span", span, "at least 1 block")
    if from_block > to_block:
        return
    head = chain.head()
    if to_block > head:
        raise BadInput("to_block", to_block, f"at most the node's head, {head}")
    width, start = _Width(span), max(0, from_block)
    while start <= to_block:
        end = min(start + width.now - 1, to_block)
        try:
            logs = query.fetch(start, end)
        except _TooBig as error:
            if start == end:
                raise RpcLimit(start, str(error)) from None
            width.refused(end - start + 1)
            continue
        width.answered()
        yield from query.decode(logs)
        start = end + 1


class _Width:
    """Blocks per query: halved on refusal, grown by a quarter on success, but not back into the last refusal.

    A limit on blocks never changes, so running into it again would waste every other query; one on results
    does, so the memory of a refusal fades with success.
    """

    FADES_AFTER = 8

    def __init__(self, span: int) -> None:
        self.now, self._span, self._refused, self._answers = span, span, span + 1, 0

    def refused(self, width: int) -> None:
        self.now, self._refused, self._answers = max(1, width // 2), width, 0

    def answered(self) -> None:
        self._answers += 1
        if self._answers % self.FADES_AFTER == 0:
            self._refused = min(self._span + 1, self._refused * 2)
        wider = min(self._span, self.now + max(1, self.now // 4))
        if wider < self._refused:
            self.now = wider


class _TooBig(Exception):
    """A query the node may answer over fewer blocks."""


class _Query:
    def __init__(self, chain: Chain, handle: Contract, events: list[str], filters: dict[str, Any]) -> None:
        self.chain, self.handle = chain, handle
        try:
            self.events = [handle.events[name]() for name in events]
        except Exception as error:  # web3 raises several unrelated types here
            raise BadInput("event", events, f"events of the contract: {_event_names(handle)}") from error
        self.by_topic = {bytes.fromhex(_topic(event)[2:]): event for event in self.events}
        self.topics = self._topics(filters)

    def _topics(self, filters: dict[str, Any]) -> list[Any]:
        names = [_topic(event) for event in self.events]
        arguments = [_arguments(event, filters) for event in self.events]
        if any(other != arguments[0] for other in arguments):
            raise BadInput("filters", sorted(filters), "arguments at the same place in each event")
        return [names if len(names) > 1 else names[0], *arguments[0]]

    def fetch(self, start: int, end: int) -> Sequence[LogReceipt]:
        """One query. Raises _TooBig, NodeUnavailable after retries, or NodeDeclined."""
        params: FilterParams = {
            "address": self.handle.address,
            "fromBlock": BlockNumber(start),
            "toBlock": BlockNumber(end),
            "topics": self.topics,
        }
        return retrying(ATTEMPTS)(self._once, params)

    def _once(self, params: FilterParams) -> Sequence[LogReceipt]:
        try:
            return self.chain.w3.eth.get_logs(params)
        except NodeUnavailable as error:
            if error.too_slow:
                raise _TooBig(error.detail) from None
            raise
        except Web3RPCError as error:
            raise self._explain(error) from None

    def _explain(self, error: Web3RPCError) -> Exception:
        text = error_of(error.rpc_response or {}) or str(error.message)
        if LIMIT_MESSAGE.search(text) and not RATE_MESSAGE.search(text):
            return _TooBig(text)
        if TRANSIENT_MESSAGE.search(text):
            return NodeUnavailable(host_of(self.chain.w3), text)
        return NodeDeclined(f"the node declines a log query: {text}")

    def decode(self, logs: Sequence[LogReceipt]) -> Iterator[LogEvent]:
        """Decoded events in chain order, without those a reorganisation took back."""
        kept = [log for log in logs if not log.get("removed")]
        for log in sorted(kept, key=lambda log: (log["blockNumber"], log["logIndex"])):
            event = self.by_topic[bytes(log["topics"][0])]
            done = event.process_log(log)
            yield LogEvent(
                name=done["event"],
                args=dict(done["args"]),
                address=done["address"],
                block=done["blockNumber"],
                block_hash=bytes(done["blockHash"]),
                tx_hash=bytes(done["transactionHash"]),
                log_index=done["logIndex"],
            )


def _topic(event: Any) -> str:
    return str(event.topic)


def _arguments(event: Any, filters: Mapping[str, Any]) -> list[Any]:
    """Topics of an event's indexed arguments, as far as there is one to ask for."""
    indexed = [item for item in event.abi["inputs"] if item.get("indexed")]
    names = {item["name"] for item in indexed}
    if unknown := set(filters) - names:
        raise BadInput("filters", sorted(unknown), f"among the indexed arguments {sorted(names)}")
    topics = [_wanted(item, filters) for item in indexed]
    while topics and topics[-1] is None:
        topics.pop()
    return topics


def _wanted(item: Mapping[str, Any], filters: Mapping[str, Any]) -> str | list[str] | None:
    """The topic of an indexed argument of a value type, or several; None lets any value pass."""
    if item["name"] not in filters:
        return None
    value = filters[item["name"]]
    return [_encoded(item, one) for one in value] if isinstance(value, list) else _encoded(item, value)


def _encoded(item: Mapping[str, Any], value: object) -> str:
    try:
        return "0x" + encode([item["type"]], [value]).hex()
    except (EncodingError, OverflowError, TypeError) as error:
        raise BadInput(f"filters.{item['name']}", value, item["type"]) from error


def _event_names(handle: Contract) -> list[str]:
    return sorted(entry["name"] for entry in handle.abi if entry["type"] == "event")
