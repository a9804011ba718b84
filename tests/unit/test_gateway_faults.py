"""Servers that fail, clients that leave, and our own failures: what came of a call is charged, the rest
released.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from aiohttp import web
from eth_utils.crypto import keccak

from oracle.settings_fields import CLIENT_S
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
    raw_call,
    receipt_of,
    settings,
    wait_for,
)
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


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with fake_upstream() as made:
        yield made


@pytest.fixture
def place(upstream: FakeUpstream) -> Iterator[Any]:
    """Starts a gateway in front of the upstream: settings of the upstream by name, `general`, accounts, and
    how long a client may keep it waiting.
    """
    with ExitStack() as opened:

        def start(accounts: MemoryAccounts | None = None, client_s: float = CLIENT_S, **changes: Any) -> Lab:
            return opened.enter_context(gateway(settings(upstream.url, **changes), accounts, client_s))

        yield start


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
    lab = place(client_s=1, general={"max_answer_bytes": 256 * 2**20})
    with raw_call(lab, STREAM | {"max_tokens": 4_096}):
        lab.ended()
    assert sum(sent) < 16 * 2**20  # sockets of four ends, and no heap
    assert lab.accounts.used[0].output > 0
    assert lab.counted("scrip_gateway_calls_ended_total", model=MODEL, result="client_gone") == 1


def test_client__slow_but_reading__gets_all(place: Any, upstream: FakeUpstream) -> None:
    upstream.script = says(*(chunk("x" * 1_000) for _ in range(2_000)), chunk(finish="length"),
                           usage_chunk(completion_tokens=2_000))  # fmt: skip
    lab = place(client_s=5)
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
    with ExitStack() as left:
        with gateway(settings(upstream.url)) as lab:
            answer = left.enter_context(left.enter_context(raw_call(lab, STREAM)).makefile("rb"))
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        text = answer.read().decode()
    assert (lab.accounts.charged, lab.accounts.reserved) == (9, 0)
    assert '"not_serving"' in text
    assert f"event: {RECEIPT_EVENT}" in text
    assert "[DONE]" not in text


def test_refused__too_often__is_429_before_anything_is_read(place: Any) -> None:
    lab = place(general={"refusals_per_minute": 3})
    with lab.client(Authorization="Bearer sk-scrip-guess") as client:
        statuses = [client.post(PATH, json=CHAT).status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


def test_voucher_client__told_what_to_sign__is_no_offence(place: Any) -> None:
    lab = place(MemoryAccounts(deposit=1), general={"refusals_per_minute": 3})
    with lab.client() as client:
        assert [client.post(PATH, json=CHAT).status_code for _ in range(5)] == [402] * 5
