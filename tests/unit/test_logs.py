"""Log scans against a node that limits its queries."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import Web3
from web3.providers.base import BaseProvider

from scrip.chain import Chain
from scrip.errors import BadInput, ChainError, NodeUnavailable, RpcLimit
from scrip.logs import LIMIT_MESSAGE, LogEvent, Page, pages, scan
from scrip.types import Deployment

AT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
HEAD = 20_000
STAKED = "0x" + keccak(text="Staked(address,uint256,uint256)").hex()
SKU_SET = "0x" + keccak(text="SkuSet(address,bytes32,bool)").hex()


def topic(address: str) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")


def staked(block: int, index: int = 0, amount: int = 5, **changes: Any) -> dict[str, Any]:
    return {
        "address": AT,
        "topics": [STAKED, topic(ALICE)],
        "data": "0x" + encode(["uint256", "uint256"], [amount, amount]).hex(),
        "blockNumber": hex(block),
        "blockHash": "0x" + "bb" * 32,
        "transactionHash": "0x" + "cc" * 32,
        "transactionIndex": "0x0",
        "logIndex": hex(index),
        "removed": False,
        **changes,
    }


def sku_set(block: int, index: int) -> dict[str, Any]:
    topics = [SKU_SET, topic(ALICE), "0x" + "05" * 32]
    return staked(block, index, topics=topics, data="0x" + encode(["bool"], [True]).hex())


class Node(BaseProvider):
    """Answers eth_getLogs unless `refuse(from, to, attempt)` gives an error or raises one."""

    def __init__(self, logs: list[dict[str, Any]], refuse: Any = lambda start, end, attempt: None) -> None:
        super().__init__()
        self.logs, self.refuse = logs, refuse
        self.queries: list[tuple[int, int]] = []
        self.topics: list[Any] = []

    def make_request(self, method: Any, params: Any) -> Any:
        if method == "eth_blockNumber":
            return self.answer(hex(HEAD))
        assert method == "eth_getLogs", method
        query = params[0]
        start, end = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        self.queries.append((start, end))
        self.topics.append(query["topics"])
        error = self.refuse(start, end, len(self.queries))
        if error is not None:
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": error}}
        return self.answer([log for log in self.logs if start <= int(log["blockNumber"], 16) <= end])

    def answer(self, result: Any) -> Any:
        return {"jsonrpc": "2.0", "id": 1, "result": result}


def wide(most: int) -> Any:
    return lambda start, end, attempt: "block range is too wide" if end - start + 1 > most else None


def run(node: Node, start: int = 0, end: int = HEAD, event: Any = "Staked", **options: Any) -> list[LogEvent]:
    chain = Chain(Web3(node), Deployment(31337, 0, {"ProviderRegistry": AT}))
    return list(scan(chain, "ProviderRegistry", event, start, end, **options))


def test_scan__not_even_one_block__raises_rpc_limit() -> None:
    with pytest.raises(RpcLimit, match=r"block 0 alone.*too wide"):
        run(Node([], wide(0)))


def test_scan__beyond_the_head__raises_instead_of_missing_events() -> None:
    with pytest.raises(BadInput, match=f"head, {HEAD}"):
        run(Node([]), 0, HEAD + 1)


def test_scan__unknown_event__raises_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="SkuSet"):
        run(Node([]), event="Nothing")


def test_scan__filter_that_is_not_indexed__raises() -> None:
    with pytest.raises(BadInput, match="indexed arguments"):
        run(Node([]), filters={"amount": 5})


def test_scan__filter_of_wrong_type__raises() -> None:
    with pytest.raises(BadInput, match=r"filters\.provider"):
        run(Node([]), filters={"provider": 5})


def test_scan__filter_that_one_of_two_events_lacks__raises() -> None:
    with pytest.raises(BadInput, match="indexed arguments"):
        run(Node([]), event=["Staked", "SkuSet"], filters={"sku": bytes(32)})


def test_scan__filter_at_another_place_in_the_second_event__raises() -> None:
    # The provider comes first in one event and second in the other: no list of topics asks for both.
    with pytest.raises(BadInput, match="at the same place in each event"):
        run(Node([]), event=["Staked", "Slashed"], filters={"provider": ALICE})


def test_scan__list_with_a_value_of_wrong_type__raises() -> None:
    with pytest.raises(BadInput, match=r"filters\.provider"):
        run(Node([]), filters={"provider": [ALICE, 5]})


def test_scan__span_of_zero__raises() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        run(Node([]), span=0)


def test_scan__other_rpc_error__is_not_taken_for_a_limit() -> None:
    node = Node([], lambda start, end, attempt: "invalid params")
    with pytest.raises(ChainError, match="invalid params"):
        run(node)
    assert len(node.queries) == 1


def test_scan__node_stays_away__raises_after_retries() -> None:
    def away(start: int, end: int, attempt: int) -> None:
        raise NodeUnavailable("node", "ConnectionError")

    node = Node([], away)
    with pytest.raises(NodeUnavailable):
        run(node)
    assert len(node.queries) == 4


def test_scan__node_away_for_a_moment__goes_on() -> None:
    def shaky(start: int, end: int, attempt: int) -> None:
        if attempt == 2:
            raise NodeUnavailable("node", "HTTP 503", status=503)

    node = Node([staked(3), staked(15_000)], shaky)
    assert [event.block for event in run(node)] == [3, 15_000]
    assert node.queries[1] == node.queries[2]


def test_scan__rate_limit__is_waited_out_and_not_taken_for_a_range_limit() -> None:
    message = "rate limit exceeded, up to 10 requests over a range of 1 s"
    node = Node([staked(3)], lambda start, end, attempt: message if attempt == 1 else None)
    assert [event.block for event in run(node)] == [3]
    assert node.queries[0] == node.queries[1] == (0, 9_999)


def test_scan__timeout__is_answered_with_a_smaller_query() -> None:
    def slow(start: int, end: int, attempt: int) -> None:
        if end - start >= 4_000:
            raise NodeUnavailable("node", "ReadTimeout", too_slow=True)

    node = Node([staked(3)], slow)
    assert [event.block for event in run(node)] == [3]
    assert node.queries[:3] == [(0, 9_999), (0, 4_999), (0, 2_499)]


def test_scan__range_limit__halves_and_grows_back() -> None:
    node = Node([staked(block) for block in range(0, HEAD + 1, 500)], wide(3_000))
    found = run(node)
    assert [event.block for event in found] == list(range(0, HEAD + 1, 500))
    sizes = [end - start + 1 for start, end in node.queries]
    assert sizes[:7] == [10_000, 5_000, 2_500, 3_125, 1_562, 1_952, 2_440]
    assert len(node.queries) - len(answered(node, 3_000)) <= 4
    ranges = answered(node, 3_000)
    assert [start for start, _ in ranges] == [0, *(end + 1 for _, end in ranges[:-1])]
    assert ranges[-1][1] == HEAD


def test_scan__limit_that_lifts__returns_to_the_full_span() -> None:
    node = Node([], lambda start, end, attempt: "too many logs" if start < 100 and end - start > 50 else None)
    run(node, 0, HEAD, span=500)
    assert max(end - start + 1 for start, end in node.queries if start > 10_000) == 500


def answered(node: Node, most: int) -> list[tuple[int, int]]:
    return [(start, end) for start, end in node.queries if end - start < most]


def test_scan__limit_on_results__reads_a_crowded_block_by_itself() -> None:
    logs = [staked(7, index) for index in range(3)] + [staked(9, 0)]

    def crowded(start: int, end: int, attempt: int) -> str | None:
        inside = [log for log in logs if start <= int(log["blockNumber"], 16) <= end]
        return "query returned more than 3 results" if len(inside) > 3 else None

    found = run(Node(logs, crowded), 0, 100)
    assert [(event.block, event.log_index) for event in found] == [(7, 0), (7, 1), (7, 2), (9, 0)]


def test_scan__empty_range__asks_nothing() -> None:
    node = Node([])
    assert run(node, 5, 4) == []
    assert node.queries == []


def test_scan__bounds__are_both_included() -> None:
    found = run(Node([staked(4), staked(5), staked(9), staked(10)]), 5, 9)
    assert [event.block for event in found] == [5, 9]


def test_scan__unsorted_and_removed_logs__come_out_in_chain_order() -> None:
    logs = [staked(9, 1), staked(9, 0), staked(8, 5), staked(8, 6, removed=True)]
    assert [(event.block, event.log_index) for event in run(Node(logs))] == [(8, 5), (9, 0), (9, 1)]


def test_scan__event__is_decoded() -> None:
    (event,) = run(Node([staked(9, 2, amount=7)]), filters={"provider": ALICE})
    assert (event.name, event.args) == ("Staked", {"provider": ALICE, "amount": 7, "total": 7})
    assert (event.address, event.block, event.log_index) == (AT, 9, 2)
    assert (event.block_hash, event.tx_hash) == (b"\xbb" * 32, b"\xcc" * 32)


def test_scan__filter__is_sent_as_a_topic() -> None:
    node = Node([])
    run(node, filters={"provider": ALICE})
    assert node.topics[0] == [STAKED, topic(ALICE)]


def test_scan__filter_on_the_second_argument__lets_any_first_pass() -> None:
    node = Node([])
    run(node, event="SkuSet", filters={"sku": b"\x05" * 32})
    assert node.topics[0] == [SKU_SET, None, "0x" + "05" * 32]


def test_scan__filter_with_several_values__is_sent_as_alternatives() -> None:
    node = Node([])
    run(node, event=["Staked", "SkuSet"], filters={"provider": [ALICE, AT]})
    assert node.topics[0] == [[STAKED, SKU_SET], [topic(ALICE), topic(AT)]]


def test_scan__two_events__come_in_one_query_in_order() -> None:
    node = Node([staked(9, 1), sku_set(9, 0)])
    assert [event.name for event in run(node, end=9_999, event=["Staked", "SkuSet"])] == ["SkuSet", "Staked"]
    assert node.topics == [[[STAKED, SKU_SET]]]


@pytest.mark.parametrize(
    "message",
    [
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
        "block range is too wide",
        "Block range is too large",
        "requested too many blocks from 0 to 9999, maximum is set to 2048",
        "exceed maximum block range: 5000",
        "limit exceeded",
        "Max range: 800",
        "ranges over 10000 blocks are not supported on freetier",
        "query timeout exceeded",
        "query returned more than 10000 results",
        "eth_getLogs is limited to a 10,000 range",
        "query exceeds max results 20000, retry with the range 0-500",
        "query exceeds max block range 100000",
        "logs matched by query exceeds limit of 10000",
        "please limit the query to at most 1000 blocks",
        "response is too big",
        "backend response too large",
        "too many logs",
        "eth_getLogs block range too large, range: 9999, max: 1000",
    ],
)
def test_limit_message__of_a_known_node__is_recognised(message: str) -> None:
    assert LIMIT_MESSAGE.search(message)


@pytest.mark.parametrize(
    "message", ["invalid params", "method not found", "unauthorized", "missing trie node"]
)
def test_limit_message__other_error__is_not(message: str) -> None:
    assert not LIMIT_MESSAGE.search(message)


def paged(node: Node, size: int, end: int = HEAD) -> list[Page]:
    chain = Chain(Web3(node), Deployment(31337, 0, {"ProviderRegistry": AT}))
    return list(pages(chain, "ProviderRegistry", "Staked", 0, end, size=size))


def test_pages__sparse_then_crowded__covers_the_range_without_a_gap() -> None:
    logs = [staked(block, index) for block in range(9_000, 9_200) for index in range(10)]
    node = Node(logs)
    found = paged(node, 100)
    assert [page.first for page in found] == [0, *(page.last + 1 for page in found[:-1])]
    assert found[-1].last == HEAD
    seen = [(event.block, event.log_index) for page in found for event in page.events]
    assert seen == [(block, index) for block in range(9_000, 9_200) for index in range(10)]


def test_pages__crowded_blocks__hold_about_as_many_events_as_asked_for() -> None:
    node = Node([staked(block, index) for block in range(2_000) for index in range(10)])
    sizes = [len(page.events) for page in paged(node, 100, end=1_999)]
    assert max(sizes[2:]) <= 100
    assert len(sizes) <= 2_000 * 10 // 100 + 2


def test_pages__query_refused__is_made_smaller() -> None:
    node = Node([staked(block) for block in range(0, HEAD, 7)], wide(500))
    found = [event.block for page in paged(node, 10_000) for event in page.events]
    assert found == list(range(0, HEAD, 7))


def test_pages__failure_ahead__is_raised_where_it_belongs() -> None:
    def away(start: int, end: int, attempt: int) -> str | None:
        return "invalid params" if start > 0 else None

    chain = Chain(Web3(Node([staked(3)], away)), Deployment(31337, 0, {"ProviderRegistry": AT}))
    found = pages(chain, "ProviderRegistry", "Staked", 0, HEAD)
    assert [event.block for event in next(found).events] == [3]
    with pytest.raises(ChainError, match="invalid params"):
        next(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "0x" + "00" * 32},
        {"topics": [STAKED]},
        {"topics": [STAKED, "0x01" + "00" * 31]},
    ],
)
def test_scan__log_that_is_not_the_event__is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        run(Node([staked(9, **changes)]))
