"""Scan of a contract's events over any range of blocks, however little the node allows per query."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from web3.contract import Contract
from web3.types import RPCEndpoint, RPCResponse

from scrip import words
from scrip.errors import BadInput, NodeDeclined, NodeUnavailable, RpcLimit
from scrip.rpc import RATE_MESSAGE, TRANSIENT_MESSAGE, error_of, host_of, retrying

if TYPE_CHECKING:
    from scrip.chain import Chain

SPAN = 10_000
"""Most blocks in a query. Many providers' own limit; smaller ones are found by halving."""

FIRST, WIDEST = 16, 2_000
"""Blocks in the first query of a scan by pages, and at most: how crowded the next ones are isn't known."""

PAGE = 1_000
"""Events that a page should hold, just under a megabyte of answer."""

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


@dataclass(frozen=True, slots=True)
class Page:
    """All events of the blocks `first` to `last`, in chain order."""

    first: int
    last: int
    events: Sequence[LogEvent]


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
    for page in _scan(chain, contract, event, from_block, to_block, filters, _Width(span, span)):
        yield from page.events


def pages(
    chain: Chain,
    contract: str | Contract,
    event: str | Sequence[str],
    from_block: int,
    to_block: int,
    *,
    filters: Mapping[str, Any] | None = None,
    size: int = PAGE,
) -> Iterator[Page]:
    """As `scan`, by pages that cover the range without a gap, so that a caller can note how far it came.

    Queries grow from a few blocks until an answer holds about `size` events: memory stays flat however much
    the range holds. Only a single block with more makes a larger page.
    """
    yield from _scan(chain, contract, event, from_block, to_block, filters, _Width(WIDEST, FIRST, size))


Source = tuple[str, Sequence[str], Mapping[str, Any]]
"""A contract, its events, and filters as of `scan`."""


def merged(chain: Chain, sources: Sequence[Source], first: int, last: int) -> Iterator[LogEvent]:
    """Events of several contracts in chain order, a page of each at a time. Raises as `scan`."""

    def events(source: Source) -> Iterator[LogEvent]:
        contract, names, filters = source
        for page in pages(chain, contract, names, first, last, filters=filters):
            yield from page.events

    return heapq.merge(*map(events, sources), key=lambda event: (event.block, event.log_index))


def _scan(
    chain: Chain,
    contract: str | Contract,
    event: str | Sequence[str],
    start: int,
    to_block: int,
    filters: Mapping[str, Any] | None,
    width: _Width,
) -> Iterator[Page]:
    handle = chain.contract(contract) if isinstance(contract, str) else contract
    query = _Query(chain, handle, [event] if isinstance(event, str) else list(event), dict(filters or {}))
    if start > to_block:
        return
    head = chain.head()
    if to_block > head:
        raise BadInput("to_block", to_block, f"at most the node's head, {head}")
    start = max(0, start)
    with ThreadPoolExecutor(1, "scrip-logs") as ahead:
        asked = _Asked(query, start, min(start + width.now - 1, to_block))
        while asked.first <= to_block:
            try:
                logs = asked.answer()
            except _TooBig as error:
                if asked.first == asked.last:
                    raise RpcLimit(asked.first, str(error)) from None
                width.refused(asked.last - asked.first + 1)
                asked = _Asked(query, asked.first, min(asked.first + width.now - 1, to_block))
                continue
            width.answered(asked.last - asked.first + 1, len(logs))
            done, start = asked, asked.last + 1
            asked = _Asked(query, start, min(start + width.now - 1, to_block))
            if start <= to_block:
                asked.ask(ahead)  # the node looks while the caller works
            yield Page(done.first, done.last, query.decode(logs))


@dataclass(slots=True)
class _Asked:
    """A query, asked now or ahead of time."""

    query: _Query
    first: int
    last: int
    future: Future[list[dict[str, Any]]] | None = None

    def ask(self, thread: ThreadPoolExecutor) -> None:
        self.future = thread.submit(self.query.fetch, self.first, self.last)

    def answer(self) -> list[dict[str, Any]]:
        return self.query.fetch(self.first, self.last) if self.future is None else self.future.result()


class _Width:
    """Blocks per query: halved on refusal, grown by a quarter on success, but not back into the last refusal.

    A limit on blocks never changes, so running into it again would waste every other query; one on results
    does, so the memory of a refusal fades with success. With a `page` size it aims at answers of that many
    events, and at most doubles.
    """

    FADES_AFTER = 8

    def __init__(self, span: int, first: int, page: int | None = None) -> None:
        if span < 1:
            raise BadInput("span", span, "at least 1 block")
        self.now, self._span, self._page = first, span, page
        self._refused, self._answers = span + 1, 0

    def refused(self, width: int) -> None:
        self.now, self._refused, self._answers = max(1, width // 2), width, 0

    def answered(self, width: int, found: int) -> None:
        self._answers += 1
        if self._answers % self.FADES_AFTER == 0:
            self._refused = min(self._span + 1, self._refused * 2)
        wanted = min(self._span, self._wanted(width, found))
        if wanted < self._refused:
            self.now = wanted

    def _wanted(self, width: int, found: int) -> int:
        if self._page is None:
            return self.now + max(1, self.now // 4)
        return max(1, min(2 * self.now, self._page * width // max(1, found)))


class _TooBig(Exception):
    """A query the node may answer over fewer blocks."""


class _Query:
    def __init__(self, chain: Chain, handle: Contract, events: list[str], filters: dict[str, Any]) -> None:
        self.chain, self.handle = chain, handle
        try:
            self.events = [handle.events[name]() for name in events]
        except Exception as error:  # web3 raises several unrelated types here
            raise BadInput("event", events, f"events of the contract: {_event_names(handle)}") from error
        self.shapes = {_topic(event): _Shape(event) for event in self.events}
        self.topics = self._topics(filters)

    def _topics(self, filters: dict[str, Any]) -> list[Any]:
        names = [_topic(event) for event in self.events]
        arguments = [_arguments(event, filters) for event in self.events]
        if any(other != arguments[0] for other in arguments):
            raise BadInput("filters", sorted(filters), "arguments at the same place in each event")
        return [names if len(names) > 1 else names[0], *arguments[0]]

    def fetch(self, start: int, end: int) -> list[dict[str, Any]]:
        """One query: logs as the node gives them. Raises _TooBig, NodeUnavailable after retries, or
        NodeDeclined.
        """
        params = {
            "address": self.handle.address,
            "fromBlock": hex(start),
            "toBlock": hex(end),
            "topics": self.topics,
        }
        return retrying(ATTEMPTS)(self._once, params)

    def _once(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            # Not through web3, which would turn each field of each log into objects of its own first.
            answer = self.chain.w3.provider.make_request(RPCEndpoint("eth_getLogs"), [params])
        except NodeUnavailable as error:
            if error.too_slow:
                raise _TooBig(error.detail) from None
            raise
        if error_of(answer) is not None:
            raise self._explain(answer)
        logs: list[dict[str, Any]] = answer["result"]
        return logs

    def _explain(self, answer: RPCResponse) -> Exception:
        text = error_of(answer) or ""
        if LIMIT_MESSAGE.search(text) and not RATE_MESSAGE.search(text):
            return _TooBig(text)
        if TRANSIENT_MESSAGE.search(text):
            return NodeUnavailable(host_of(self.chain.w3), text)
        return NodeDeclined(f"the node declines a log query: {text}")

    def decode(self, logs: Sequence[Mapping[str, Any]]) -> list[LogEvent]:
        """Decoded events in chain order, without those a reorganisation took back."""
        found = [self.shapes[log["topics"][0]].read(log) for log in logs if not log.get("removed")]
        found.sort(key=lambda event: (event.block, event.log_index))
        return found


class _Shape:
    """How to read one kind of event. Events of one-word arguments, nearly all, are read directly."""

    def __init__(self, event: Any) -> None:
        self.event, self.name = event, str(event.abi["name"])
        inputs = event.abi["inputs"]
        ordered = [item for item in inputs if item["indexed"]] + [
            item for item in inputs if not item["indexed"]
        ]
        self.names = [item["name"] for item in ordered]
        self.types = tuple(str(item["type"]) for item in ordered)
        self.topics = 1 + sum(1 for item in inputs if item["indexed"])
        self.plain = all(words.one_word(kind) for kind in self.types)

    def read(self, log: Mapping[str, Any]) -> LogEvent:
        """One log, decoded. Raises BadInput if it isn't this event."""
        return LogEvent(
            name=self.name,
            args=self._plain_args(log) if self.plain else self._any_args(log),
            address=words.checksummed(log["address"]),
            block=int(log["blockNumber"], 16),
            block_hash=bytes.fromhex(log["blockHash"][2:]),
            tx_hash=bytes.fromhex(log["transactionHash"][2:]),
            log_index=int(log["logIndex"], 16),
        )

    def _plain_args(self, log: Mapping[str, Any]) -> dict[str, Any]:
        if len(log["topics"]) != self.topics:
            raise BadInput(self.name, log["topics"], f"{self.topics} topics")
        joined = "".join([topic[2:] for topic in log["topics"][1:]]) + log["data"][2:]
        return dict(zip(self.names, words.decode(self.types, bytes.fromhex(joined)), strict=True))

    def _any_args(self, log: Mapping[str, Any]) -> dict[str, Any]:
        whole = {
            **log,
            "topics": [bytes.fromhex(topic[2:]) for topic in log["topics"]],
            "data": bytes.fromhex(log["data"][2:]),
        }
        return dict(self.event.process_log(whole)["args"])


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
