"""What may be asked: checked before anything is set aside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.gateway.refusals import GatewayRefused
from oracle.gateway.requests import Call, parse
from oracle.settings_upstreams import Kind
from tests.unit.gateway_proxy import CHAT, MODEL, settings

CHOSEN = settings("http://127.0.0.1:1", most_max_tokens=1_000, default_max_tokens=77)


def ask(body: Any, kind: Kind = Kind.CHAT) -> Call:
    return parse(kind, body if isinstance(body, bytes) else json.dumps(body).encode(), CHOSEN)


def refusal(body: Any, kind: Kind = Kind.CHAT) -> tuple[int, str, str | None]:
    with pytest.raises(GatewayRefused) as caught:
        ask(body, kind)
    return caught.value.status, caught.value.code, caught.value.param


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b"\xff", b'{"model": NaN}', nested(33), nested(100_000)]
)
def test_body__no_usable_json__is_refused(body: bytes) -> None:
    assert refusal(body) == (400, "invalid_value", None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": None}, (400, "invalid_value", "model")),
        ({"model": "other"}, (404, "model_not_found", "model")),
        ({"n": 2}, (400, "unsupported_parameter", "n")),
        ({"n": True}, (400, "unsupported_parameter", "n")),
        ({"best_of": 3}, (400, "unsupported_parameter", "best_of")),
        ({"store": True}, (400, "unsupported_parameter", "store")),
        ({"service_tier": "priority"}, (400, "unsupported_parameter", "service_tier")),
        ({"use_beam_search": True}, (400, "unsupported_parameter", "use_beam_search")),
        ({"n_probs": 5}, (400, "unsupported_parameter", "n_probs")),
        (
            {"stream_options": {"continuous_usage_stats": True}},
            (400, "unsupported_parameter", "stream_options"),
        ),
        ({"stream": 1}, (400, "invalid_value", "stream")),
        ({"max_tokens": 0}, (400, "invalid_value", "max_tokens")),
        ({"max_tokens": -1}, (400, "invalid_value", "max_tokens")),
        ({"max_tokens": 1.5}, (400, "invalid_value", "max_tokens")),
        ({"max_tokens": True}, (400, "invalid_value", "max_tokens")),
        ({"max_tokens": 1_001}, (400, "invalid_value", "max_tokens")),
        ({"max_completion_tokens": 4_097}, (400, "context_length_exceeded", "max_completion_tokens")),
        ({"max_tokens": 3, "max_completion_tokens": 4}, (400, "invalid_value", "max_tokens")),
        ({"messages": []}, (400, "invalid_value", "messages")),
        ({"messages": "Hi"}, (400, "invalid_value", "messages")),
        ({"messages": [{"role": "user", "content": ""}]}, (400, "invalid_value", "messages")),
        ({"messages": [{"content": "Hi"}]}, (400, "invalid_value", "messages")),
        ({"messages": [{"role": "user", "content": 5}]}, (400, "invalid_value", "messages")),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            (400, "unsupported_parameter", "messages"),
        ),
    ],
)
def test_chat__bad_field__is_refused_by_name(change: Any, expected: Any) -> None:
    assert refusal(CHAT | change) == expected


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("", "invalid_value"), ([], "invalid_value"), (None, "invalid_value"), ([""], "invalid_value"),
        (["a", "b"], "unsupported_parameter"), ([[1], [2]], "unsupported_parameter"), (5, "invalid_value"),
    ],
)  # fmt: skip
def test_completions__prompt_empty_or_several__is_refused(prompt: Any, code: str) -> None:
    assert refusal({"model": MODEL, "prompt": prompt}, Kind.COMPLETIONS) == (400, code, "prompt")


@pytest.mark.parametrize("given", [{"echo": True}, {"suffix": "x"}, {"best_of": 2}])
def test_completions__changes_the_bill__is_refused(given: Any) -> None:
    assert refusal({"model": MODEL, "prompt": "a"} | given, Kind.COMPLETIONS)[1] == "unsupported_parameter"


@pytest.mark.parametrize("inputs", ["", [], [""], ["a", 5], [[]], ["a"] * 257, None])
def test_embeddings__empty_or_too_many__is_refused(inputs: Any) -> None:
    body = {"model": MODEL, "input": inputs}
    assert refusal(body, Kind.EMBEDDINGS) == (400, "invalid_value", "input")


def test_model__not_for_this_kind__is_refused() -> None:
    chosen = settings("http://127.0.0.1:1", kinds=["completions"])
    with pytest.raises(GatewayRefused, match="only for completions"):
        parse(Kind.CHAT, json.dumps(CHAT).encode(), chosen)


def test_max_tokens__missing__is_ours() -> None:
    call = ask(CHAT)
    assert (call.most.output, call.body["max_tokens"]) == (77, 77)


def test_body__for_the_server__streams_and_counts() -> None:
    call = ask(CHAT | {"max_completion_tokens": 9, "n": 1, "user": "me", "temperature": 0.5, "stop": ["ab"]})
    assert call.body == {
        **CHAT, "temperature": 0.5, "stop": ["ab"], "max_tokens": 9, "stream": True,
        "stream_options": {"include_usage": True}, "return_progress": True,
    }  # fmt: skip
    assert (call.streams, call.wants_usage, call.hidden_bytes) == (False, False, 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False), ({"temperature": 0}, True), ({"temperature": 0.0}, True), ({"temperature": 0.1}, False),
        ({"temperature": None}, False), ({"temperature": False}, False), ({"top_k": 1}, True),
    ],
)  # fmt: skip
def test_deterministic__greedy__is_flagged(given: Any, expected: bool) -> None:
    assert ask(CHAT | given).deterministic is expected


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=6))
def test_bound__any_messages__at_least_a_token_a_byte_up_to_the_context(texts: list[str]) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    most = ask({"model": MODEL, "messages": messages}).most.input
    assert min(size + len(texts), 4_096) <= most <= 4_096


def test_bound__tools__count_as_indented() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with_tools, without = ask(CHAT | {"tools": tools}), ask(CHAT)
    assert with_tools.most.input - without.most.input >= len(json.dumps(tools, indent=4))
