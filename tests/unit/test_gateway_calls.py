"""A call from its reservation to its receipt, over sockets: what came of it is charged, the rest released."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from aiohttp import web
from eth_utils.crypto import keccak

from scrip.call_receipts import RECEIPT_EVENT, SignedCallReceipt
from tests.unit.gateway_proxy import (
    CHAT,
    MODEL,
    PATH,
    STREAM,
    Lab,
    MemoryAccounts,
    error_of,
    events,
    gateway,
    receipt_of,
    settings,
    wait_for,
)
from tests.unit.gateway_upstream import (
    HELLO,
    FakeUpstream,
    breaks_after,
    chunk,
    fake_upstream,
    says,
    usage_chunk,
)


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with fake_upstream() as made:
        yield made


@pytest.fixture
def place(upstream: FakeUpstream) -> Iterator[Any]:
    """Starts a gateway in front of the upstream: settings of the upstream by name, `general` and accounts."""
    with ExitStack() as opened:

        def start(accounts: MemoryAccounts | None = None, **changes: Any) -> Lab:
            return opened.enter_context(gateway(settings(upstream.url, **changes), accounts))

        yield start


# Answers


def test_json__whole__has_usage_and_receipt_of_the_same_numbers(place: Any) -> None:
    lab = place()
    with lab.client() as client:
        response = client.post(PATH, json=CHAT)
    body, receipt = response.json(), receipt_of(response).receipt
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "abc"}
    assert body["choices"][0]["finish_reason"] == "length"
    assert (body["model"], body["object"]) == (MODEL, "chat.completion")
    assert body["usage"]["prompt_tokens"] == receipt.input_tokens == 7
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == receipt.cached_tokens == 2
    assert body["usage"]["completion_tokens"] == receipt.output_tokens == 3
    assert receipt.request_hash == keccak(response.request.content)
    assert receipt.response_hash == keccak(response.content)
    assert receipt.started_ms <= receipt.ended_ms
    assert (lab.accounts.charged, lab.accounts.reserved) == (10, 0)


@pytest.mark.parametrize("asked", [None, {"include_usage": True}, {"include_usage": False}])
def test_stream__usage__only_if_asked_for(place: Any, asked: Any) -> None:
    with place().client() as client:
        found = events(client.post(PATH, json=STREAM | {"stream_options": asked}).text)
    done = [data for _, data in found].index("[DONE]")
    chunks = [json.loads(data) for _, data in found[:done]]
    wanted = bool(asked and asked["include_usage"])
    assert [item["choices"] == [] for item in chunks] == [False] * 4 + [True] * wanted
    assert any(item.get("usage") for item in chunks) is wanted
    assert not any("prompt_progress" in item for item in chunks)
    if wanted:
        assert chunks[-1]["usage"]["total_tokens"] == 10


def test_stream__receipt__comes_after_done_and_hashes_all_before(place: Any) -> None:
    with place().client() as client:
        response = client.post(PATH, json=STREAM)
    body, _, rest = response.content.partition(b"data: [DONE]\n\n")
    name, data = events(rest.decode())[0]
    receipt = SignedCallReceipt.parse(data).receipt
    assert name == RECEIPT_EVENT
    assert receipt.response_hash == keccak(body)
    assert receipt.request_hash == keccak(response.request.content)


def test_completions__text_and_logprobs__are_put_together(place: Any, upstream: FakeUpstream) -> None:
    def piece(text: str, finish: str | None = None) -> dict[str, Any]:
        logprobs = {"tokens": [text], "token_logprobs": [-1.0]}
        return {
            "id": "c",
            "choices": [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}],
        }

    upstream.script = says(piece("a"), piece("b"), piece("c", "stop"), usage_chunk())
    with place().client() as client:
        choice = client.post("/v1/completions", json={"model": MODEL, "prompt": "x"}).json()["choices"][0]
    logprobs = {"tokens": ["a", "b", "c"], "token_logprobs": [-1.0] * 3}
    assert choice == {"index": 0, "text": "abc", "logprobs": logprobs, "finish_reason": "stop"}


def test_tool_calls__in_pieces__are_put_together(place: Any, upstream: FakeUpstream) -> None:
    def piece(**call: Any) -> dict[str, Any]:
        delta = {"tool_calls": [{"index": 0} | call]}
        return chunk() | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    function = {"name": "add", "arguments": ""}
    upstream.script = says(
        piece(id="t", type="function", function=function), piece(function={"arguments": '{"a"'}),
        piece(function={"arguments": ": 1}"}), chunk(finish="tool_calls"), usage_chunk(completion_tokens=20),
    )  # fmt: skip
    with place().client() as client:
        response = client.post(PATH, json=CHAT)
    message = response.json()["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "t", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]
    assert receipt_of(response).receipt.output_tokens == 20


def test_embeddings__input_tokens_only__are_charged(place: Any, upstream: FakeUpstream) -> None:
    async def script(_: web.Request, __: Any) -> web.StreamResponse:
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        return web.json_response({"object": "list", "data": [{"embedding": [0.5]}], "usage": usage})

    upstream.script = script
    with place().client() as client:
        response = client.post("/v1/embeddings", json={"model": MODEL, "input": "abc"})
    receipt = receipt_of(response).receipt
    assert response.json()["data"] == [{"embedding": [0.5]}]
    assert response.json()["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert (receipt.input_tokens, receipt.output_tokens) == (4, 0)


def test_deterministic__request_and_answer__are_kept(place: Any) -> None:
    lab = place()
    with lab.client() as client:
        greedy = client.post(PATH, json=CHAT | {"temperature": 0})
        client.post(PATH, json=CHAT)
    first, second = lab.accounts.used
    assert (first.deterministic, first.request, first.response) == (
        True,
        greedy.request.content,
        greedy.content,
    )
    assert (second.deterministic, second.request, second.response) == (False, b"", b"")


@pytest.mark.parametrize(
    ("tokens", "own", "charged", "kind"),
    [(40, 7, 3, "output"), (3, 5, 3, "input")],
)
def test_counts_differ__lower_one__is_charged_shown_and_counted(
    place: Any, upstream: FakeUpstream, tokens: int, own: int, charged: int, kind: str
) -> None:
    upstream.script, upstream.tokens = says(*HELLO[:-1], usage_chunk(completion_tokens=tokens)), own
    lab = place()
    with lab.client() as client:
        response = client.post(PATH, json=CHAT)
    assert (
        response.json()["usage"]["completion_tokens"] == receipt_of(response).receipt.output_tokens == charged
    )
    assert response.json()["usage"]["prompt_tokens"] == receipt_of(response).receipt.input_tokens == own
    assert lab.counted("scrip_gateway_count_differences_total", model=MODEL, count=kind) == 1


def test_tokeniser__fails__the_server_is_believed_within_its_bound(
    place: Any, upstream: FakeUpstream
) -> None:
    upstream.tokens = None
    with place().client() as client:
        assert receipt_of(client.post(PATH, json=CHAT)).receipt.input_tokens == 7


# vLLM and SGLang, as their events are


def vllm_events(*texts: str) -> list[dict[str, Any]]:
    """Usage so far in every event; each text is two tokens."""
    found = []
    for number, text in enumerate(texts, 1):
        usage = {"prompt_tokens": 7, "completion_tokens": 2 * number, "total_tokens": 7 + 2 * number}
        found.append(chunk(text, usage=usage))
    return found


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_several_tokens_an_event__tokeniser_agrees__all_are_charged(
    place: Any, upstream: FakeUpstream, engine: str
) -> None:
    upstream.text_tokens = 8
    upstream.script = says(
        *vllm_events("one two", " three four", " five six", " seven eight"), chunk(finish="length"),
        usage_chunk(completion_tokens=8),
    )  # fmt: skip
    lab = place(engine=engine)
    with lab.client() as client:
        text = client.post(PATH, json=STREAM).text
    chunks = [json.loads(data) for name, data in events(text) if not name and data != "[DONE]"]
    assert not any("usage" in item for item in chunks)
    assert upstream.asked[0]["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert (lab.accounts.used[0].input, lab.accounts.used[0].output) == (7, 8)
    counted = ["/tokenize", "/tokenize"] if engine == "vllm" else ["/tokenize"]  # SGLang counts no chats
    assert [path for path in upstream.paths if path != PATH] == counted


def test_vllm__cut_in_the_middle__usage_so_far_is_charged(place: Any, upstream: FakeUpstream) -> None:
    upstream.script, upstream.text_tokens = breaks_after(*vllm_events("one two", " three four")), 4
    lab = place(engine="vllm")
    with lab.client() as client:
        assert error_of(client.post(PATH, json=CHAT)) == (502, "upstream_failed")
    assert (lab.accounts.used[0].input, lab.accounts.used[0].output) == (7, 4)


# Models


def test_models__listed__with_their_rates(place: Any) -> None:
    with place().client() as client:
        listed, one = client.get("/v1/models").json(), client.get(f"/v1/models/{MODEL}").json()
        missing = client.get("/v1/models/other")
    assert listed["data"] == [one]
    rate = {"classId": "3", "input": "1000000", "cached": "1000000", "output": "1000000"}
    assert one["scrip"]["rates"] == [rate]
    assert error_of(missing) == (404, "model_not_found")


# Refusals before anything is set aside


@pytest.mark.parametrize("key", ["", "Bearer", "Basic abc", "Bearer sk-scrip-other"])
def test_credential__none_or_unknown__is_401(place: Any, key: str) -> None:
    lab = place()
    with lab.client(Authorization=key) as client:
        assert error_of(client.post(PATH, json=CHAT)) == (401, "invalid_api_key")
    assert lab.accounts.held == []


@pytest.mark.parametrize(
    "headers",
    [{"Scrip-Session": "0x11"}, {"Scrip-Voucher": "1:0x00"}, {"Scrip-Session": "0x" + "11" * 32}],
)
def test_credential__half_a_voucher__is_401_even_with_a_key(place: Any, headers: dict[str, str]) -> None:
    lab = place()
    with lab.client(**headers) as client:
        assert error_of(client.post(PATH, json=CHAT)) == (401, "invalid_api_key")


def test_body__too_large__is_413(place: Any) -> None:
    lab = place(general={"max_body_bytes": 2_000})
    big = json.dumps(CHAT | {"user": "x" * 2_000}).encode()
    with lab.client() as client:
        assert error_of(client.post(PATH, content=big)) == (413, "request_too_large")
        assert error_of(client.post(PATH, content=iter([big[:500], big[500:]]))) == (413, "request_too_large")
    assert lab.accounts.held == []


def test_method__wrong__is_405(place: Any) -> None:
    with place().client() as client:
        response = client.get(PATH)
    assert error_of(response) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


def test_bad_request__nothing_was_set_aside_nor_asked(place: Any, upstream: FakeUpstream) -> None:
    lab = place()
    with lab.client() as client:
        assert error_of(client.post(PATH, json=CHAT | {"n": 2})) == (400, "unsupported_parameter")
    assert (lab.accounts.held, upstream.asked) == ([], [])


def test_parallel__balance_for_one__exactly_one_is_served(place: Any, upstream: FakeUpstream) -> None:
    lab = place(MemoryAccounts(deposit=338 + 256))
    others_refused = threading.Event()

    async def script(request: web.Request, body: Any) -> web.StreamResponse:
        await asyncio.to_thread(others_refused.wait, 20)
        return await says(*HELLO)(request, body)

    upstream.script = script
    with ThreadPoolExecutor(12) as threads, lab.client() as client:
        calls = [threads.submit(client.post, PATH, json=CHAT) for _ in range(12)]
        wait_for(lambda: sum(call.done() for call in calls) == 11)
        others_refused.set()
        statuses = sorted(call.result().status_code for call in calls)
    assert statuses == [200] + [402] * 11
    assert (lab.accounts.charged, lab.accounts.reserved, len(upstream.asked)) == (10, 0, 1)
