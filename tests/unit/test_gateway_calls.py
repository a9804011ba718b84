"""A call from its reservation to its receipt, over sockets: what came of it is charged, the rest released."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from aiohttp import web
from eth_utils.crypto import keccak

from scrip.call_receipts import RECEIPT_EVENT, RECEIPT_HEADER, SignedCallReceipt
from tests.unit.gateway_proxy import CHAT, KEY, MODEL, Lab, MemoryAccounts, gateway, settings
from tests.unit.gateway_upstream import (
    HELLO,
    FakeUpstream,
    begin,
    breaks_after,
    chunk,
    encode,
    fake_upstream,
    hangs_after,
    refuses,
    says,
    usage_chunk,
)

STREAM = CHAT | {"stream": True}
PATH = "/v1/chat/completions"


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


def receipt_of(response: httpx.Response) -> SignedCallReceipt:
    return SignedCallReceipt.parse(response.headers[RECEIPT_HEADER])


def events(text: str) -> list[tuple[str, str]]:
    """(name, data) of each event."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("event", ""), fields["data"]))
    return found


def error_of(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert {"message", "type", "code", "param"} <= set(error)
    return response.status_code, error["code"]


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


# Servers that fail


@pytest.mark.parametrize("body", [CHAT, STREAM])
@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "bad stop", "type": "invalid_request_error"}, (400, "invalid_value")),
        (400, {"message": "x", "type": "exceed_context_size_error"}, (400, "context_length_exceeded")),
        (400, {"message": "maximum context length is 10"}, (400, "context_length_exceeded")),
        (401, {"message": "key"}, (502, "upstream_failed")),
        (503, {"message": "Loading model"}, (429, "busy")),
        (500, {"message": "boom"}, (502, "upstream_failed")),
    ],
)
def test_server__refuses__typed_and_released(
    place: Any, upstream: FakeUpstream, body: Any, status: int, error: Any, expected: Any
) -> None:
    upstream.script = refuses(status, {"error": error})
    lab = place()
    with lab.client() as client:
        assert error_of(client.post(PATH, json=body)) == expected
    assert (lab.accounts.charged, lab.accounts.reserved) == (0, 0)


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_server__not_there__is_502_and_released(place: Any, upstream: FakeUpstream, body: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with gateway(settings(url)) as lab, lab.client() as client:
        assert error_of(client.post(PATH, json=body)) == (502, "upstream_failed")
        assert (lab.accounts.charged, lab.accounts.reserved) == (0, 0)


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_server__no_first_token_in_time__is_504_and_released(
    place: Any, upstream: FakeUpstream, body: Any
) -> None:
    upstream.script = hangs_after()
    lab = place(first_token_s=1)
    with lab.client() as client:
        assert error_of(client.post(PATH, json=body)) == (504, "upstream_timeout")
    assert (lab.accounts.charged, lab.accounts.reserved) == (0, 0)
    assert upstream.left.wait(10)


MIDDLE = (chunk() | {"prompt_progress": {"total": 7, "cache": 2, "processed": 7}}, chunk("a"), chunk("b"))
BROKEN = [
    (breaks_after(*MIDDLE), "upstream_failed"),
    (says(*MIDDLE, done=False), "upstream_failed"),
    (says(*MIDDLE, b"{nonsense"), "upstream_failed"),
    (says(*MIDDLE, b"[1]"), "upstream_failed"),
    (says(*MIDDLE, {"error": {"message": "out of memory"}}), "upstream_failed"),
    (hangs_after(*MIDDLE), "upstream_timeout"),
]


@pytest.mark.parametrize(("script", "code"), BROKEN)
def test_stream__broken_in_the_middle__charged_for_what_came_and_told(
    place: Any, upstream: FakeUpstream, script: Any, code: str
) -> None:
    upstream.script = script
    lab = place(token_s=1)
    with lab.client() as client:
        response = client.post(PATH, json=STREAM)
    found = events(response.text)
    assert "[DONE]" not in [data for _, data in found]
    assert json.loads(found[-2][1])["error"]["code"] == code
    receipt = SignedCallReceipt.parse(found[-1][1]).receipt
    assert (receipt.input_tokens, receipt.cached_tokens, receipt.output_tokens) == (7, 2, 2)
    assert receipt.response_hash == keccak(response.content.partition(f"event: {RECEIPT_EVENT}".encode())[0])
    assert (lab.accounts.charged, lab.accounts.reserved) == (9, 0)
    assert lab.counted("scrip_gateway_calls_ended_total", model=MODEL, result=code) == 1


@pytest.mark.parametrize(("script", "code"), BROKEN)
def test_json__broken_in_the_middle__charged_for_what_came_and_given_it(
    place: Any, upstream: FakeUpstream, script: Any, code: str
) -> None:
    upstream.script = script
    lab = place(token_s=1)
    with lab.client() as client:
        response = client.post(PATH, json=CHAT)
    assert error_of(response)[1] == code
    assert response.json()["partial"]["choices"][0]["message"]["content"] == "ab"
    assert response.json()["partial"]["usage"]["completion_tokens"] == 2
    assert receipt_of(response).receipt.response_hash == keccak(response.content)
    assert (lab.accounts.charged, lab.accounts.reserved) == (9, 0)


def test_server__closed_a_kept_connection__is_asked_again(place: Any, upstream: FakeUpstream) -> None:
    answered: list[int] = []

    async def script(request: web.Request, body: Any) -> web.StreamResponse:
        answered.append(1)
        if len(answered) == 2:
            assert request.transport is not None
            request.transport.abort()
        return await says(*HELLO)(request, body)

    upstream.script = script
    lab = place(count_input=False)
    with lab.client() as client:
        assert [client.post(PATH, json=CHAT).status_code for _ in range(2)] == [200, 200]
    assert (len(answered), lab.accounts.charged) == (3, 20)


def test_answer__endless__is_cut_and_charged(place: Any, upstream: FakeUpstream) -> None:
    upstream.script = says(*MIDDLE, *(chunk("x" * 50) for _ in range(100)))
    lab = place(general={"max_answer_bytes": 2_000})
    with lab.client() as client:
        response = client.post(PATH, json=CHAT)
    assert error_of(response) == (502, "upstream_failed")
    assert 0 < receipt_of(response).receipt.output_tokens < 30


def test_busy__no_place_in_time__is_429_and_released(place: Any, upstream: FakeUpstream) -> None:
    upstream.script = hangs_after(*MIDDLE)
    lab = place(calls=1, queue_s=1)
    with lab.client() as first, lab.client() as second, first.stream("POST", PATH, json=STREAM) as running:
        pieces = running.iter_raw()  # kept: the end of it would be the end of the call
        next(pieces)
        response = second.post(PATH, json=CHAT)
        assert error_of(response) == (429, "busy")
        assert response.headers["Retry-After"]
    lab.ended(2)
    assert lab.accounts.charged == 9


# Clients that leave


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_client__gone_in_the_middle__charged_and_the_server_is_told(
    place: Any, upstream: FakeUpstream, body: Any
) -> None:
    upstream.script = hangs_after(*MIDDLE)
    lab = place()
    with raw_call(lab, body):
        wait_for(lambda: "/tokenize" in upstream.paths and upstream.asked)
        if "stream" not in body:
            wait_for(lambda: len(upstream.paths) >= 3)
    lab.ended()
    assert upstream.left.wait(10)
    used = lab.accounts.used[0]
    assert (used.input, used.cached, used.output) == (7, 2, 2)
    assert lab.counted("scrip_gateway_calls_ended_total", model=MODEL, result="client_gone") == 1


def test_client__gone_before_the_first_token__pays_nothing(place: Any, upstream: FakeUpstream) -> None:
    upstream.script = hangs_after()
    lab = place()
    with raw_call(lab, STREAM):
        wait_for(lambda: upstream.asked)
    lab.ended()
    assert upstream.left.wait(10)
    assert lab.accounts.charged == 0


def test_client__takes_nothing__memory_is_bounded_and_it_is_charged(
    place: Any, upstream: FakeUpstream
) -> None:
    sent: list[int] = []

    async def script(request: web.Request, _: Any) -> web.StreamResponse:
        reply = await begin(request)
        piece = encode(*(chunk("x" * 1_000) for _ in range(50)))
        while True:
            await reply.write(piece)
            sent.append(len(piece))

    upstream.script = script
    lab = place(general={"client_s": 1, "max_answer_bytes": 256 * 2**20})
    with raw_call(lab, STREAM | {"max_tokens": 4_096}):
        lab.ended()
    assert sum(sent) < 16 * 2**20  # sockets of four ends, and no heap
    assert lab.accounts.used[0].output > 0
    assert lab.counted("scrip_gateway_calls_ended_total", model=MODEL, result="client_gone") == 1


def test_client__slow_but_reading__gets_all(place: Any, upstream: FakeUpstream) -> None:
    upstream.script = says(*(chunk("x" * 1_000) for _ in range(2_000)), chunk(finish="length"),
                           usage_chunk(completion_tokens=2_000))  # fmt: skip
    lab = place(general={"client_s": 5})
    with lab.client() as client, client.stream("POST", PATH, json=STREAM | {"max_tokens": 4_000}) as response:
        text = "".join(response.iter_text(100))
    assert SignedCallReceipt.parse(events(text)[-1][1]).receipt.output_tokens == 2_000


# Our own failures


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_accounts__cannot_charge__nothing_is_charged_or_stuck(place: Any, body: Any) -> None:
    lab = place(MemoryAccounts(broken=RuntimeError("disk")))
    with lab.client() as client:
        response = client.post(PATH, json=body)
    lab.ended()
    assert "disk" not in response.text
    assert '"internal"' in response.text
    assert "[DONE]" not in response.text
    assert (lab.accounts.charged, lab.accounts.reserved) == (0, 0)


def test_node__stops_in_the_middle__charged_for_what_came(place: Any, upstream: FakeUpstream) -> None:
    upstream.script = hangs_after(*MIDDLE)
    with gateway(settings(upstream.url)) as lab, raw_call(lab, STREAM) as connection:
        assert connection.recv(4_096)
    assert (lab.accounts.charged, lab.accounts.reserved) == (9, 0)


def test_refused__too_often__is_429_before_anything_is_read(place: Any) -> None:
    lab = place(general={"refusals_per_minute": 3})
    with lab.client(Authorization="Bearer sk-scrip-guess") as client:
        statuses = [client.post(PATH, json=CHAT).status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


def test_voucher_client__told_what_to_sign__is_no_offence(place: Any) -> None:
    lab = place(MemoryAccounts(deposit=1), general={"refusals_per_minute": 3})
    with lab.client() as client:
        assert [client.post(PATH, json=CHAT).status_code for _ in range(5)] == [402] * 5


def raw_call(lab: Lab, body: Any) -> socket.socket:
    """A request whose answer nobody reads."""
    address, content = urlsplit(lab.url), json.dumps(body).encode()
    made = socket.create_connection((address.hostname, address.port))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(content)}"
    made.sendall(f"{head}\r\n\r\n".encode() + content)
    return made


def wait_for(holds: Any) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
