"""The stock OpenAI client, with its base URL and key changed and nothing else, against a real llama.cpp."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from demo import llm_server
from demo.llm_server import MODEL, LlmServer
from oracle.settings_gateway import GatewaySettings, RateSettings
from scrip.call_receipts import RECEIPT_HEADER, CallReceipt, SignedCallReceipt
from tests.unit.gateway_proxy import CLASS, KEY, Lab, gateway

HI: Any = [{"role": "user", "content": "Say hi."}]
LONG: Any = {"model": MODEL, "prompt": "1 2 3 4 5 6 7", "max_tokens": 1_000, "temperature": 0}
GREEDY: Any = {"model": MODEL, "messages": HI, "max_tokens": 6, "temperature": 0}


@pytest.fixture(scope="module")
def llama() -> Iterator[LlmServer]:
    with llm_server.running(slots=2) as server:
        yield server


def chosen(llama: LlmServer) -> GatewaySettings:
    upstreams = {MODEL: llm_server.upstream(llama.url, slots=2)}
    rate = RateSettings(model=MODEL, class_id=CLASS, input=1_000_000, output=1_000_000)
    return GatewaySettings.model_validate({"upstreams": upstreams, "rates": (rate,)})


@pytest.fixture
def lab(llama: LlmServer) -> Iterator[Lab]:
    with gateway(chosen(llama)) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Iterator[openai.OpenAI]:
    with openai_client(lab) as made:
        yield made


def openai_client(lab: Lab, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{lab.url}/v1", api_key=key, max_retries=0, timeout=60)


def receipt_of(raw: Any) -> CallReceipt:
    return SignedCallReceipt.parse(raw.headers[RECEIPT_HEADER]).receipt


def direct(llama: LlmServer, path: str, **body: Any) -> dict[str, Any]:
    response = httpx.post(f"{llama.url}/v1/{path}", json={"model": MODEL} | body, timeout=60, trust_env=False)
    found: dict[str, Any] = response.json()
    return found


def no_disagreement(lab: Lab) -> bool:
    return not any(lab.counted("scrip_gateway_count_differences_total", model=MODEL, count=kind)
                   for kind in ("input", "cached", "output"))  # fmt: skip


def test_chat__not_streamed__as_from_the_server_itself(
    lab: Lab, client: openai.OpenAI, llama: LlmServer
) -> None:
    raw = client.chat.completions.with_raw_response.create(**GREEDY, logprobs=True, top_logprobs=2)
    found, receipt = raw.parse(), receipt_of(raw)
    expected = direct(llama, "chat/completions", **GREEDY, logprobs=True, top_logprobs=2)
    choice, wanted = found.choices[0].model_dump(exclude_none=True), expected["choices"][0]
    assert choice["message"] == wanted["message"]
    assert choice["finish_reason"] == wanted["finish_reason"]
    assert [item["token"] for item in choice["logprobs"]["content"]] == [
        item["token"] for item in wanted["logprobs"]["content"]
    ]
    assert found.usage is not None
    assert found.usage.prompt_tokens == expected["usage"]["prompt_tokens"] == receipt.input_tokens
    assert found.usage.completion_tokens == expected["usage"]["completion_tokens"] == receipt.output_tokens
    assert found.model == MODEL
    assert no_disagreement(lab)


def test_chat__streamed__same_words_and_nothing_disturbs(lab: Lab, client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**GREEDY)
    chunks = list(
        client.chat.completions.create(**GREEDY, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(item.choices[0].delta.content or "" for item in chunks if item.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [item.usage is not None for item in chunks] == [False] * (len(chunks) - 1) + [True]
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 6
    assert lab.accounts.used[1].output == 6
    assert no_disagreement(lab)


def test_async__streamed_and_not__connections_are_kept(lab: Lab) -> None:
    async def both() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=f"{lab.url}/v1", api_key=KEY, max_retries=0) as client:
            whole = await client.chat.completions.create(**GREEDY)
            pieces = [
                item.choices[0].delta.content or ""
                async for item in await client.chat.completions.create(**GREEDY, stream=True)
            ]
            return whole.choices[0].message.content, "".join(pieces)

    whole, streamed = asyncio.run(both())
    assert whole == streamed
    assert no_disagreement(lab)


def test_completions__text__as_from_the_server_itself(
    lab: Lab, client: openai.OpenAI, llama: LlmServer
) -> None:
    body: Any = {"prompt": "Once upon", "max_tokens": 5, "temperature": 0}
    found = client.completions.create(model=MODEL, **body)
    pieces = list(client.completions.create(model=MODEL, **body, stream=True))
    expected = direct(llama, "completions", **body)
    assert found.choices[0].text == expected["choices"][0]["text"]
    assert "".join(item.choices[0].text for item in pieces) == expected["choices"][0]["text"]
    assert found.usage is not None
    assert found.usage.completion_tokens == expected["usage"]["completion_tokens"]
    assert no_disagreement(lab)


@pytest.mark.parametrize("prompt", ["Write three emoji.", "Schreibe: \N{SNOWMAN} \N{GRINNING FACE} 漢字 ñ"])
@pytest.mark.parametrize("max_tokens", [1, 2, 3, 40])
def test_counting__characters_of_many_bytes__no_false_alarm(
    lab: Lab, client: openai.OpenAI, prompt: str, max_tokens: int
) -> None:
    answer = client.completions.create(
        model=MODEL, prompt=prompt + " 😀🌟😀🌟😀🌟", max_tokens=max_tokens, temperature=0
    )
    assert answer.usage is not None
    assert lab.accounts.used[-1].output == answer.usage.completion_tokens
    assert no_disagreement(lab)


def test_counting__end_mark_and_stop_sequence__no_false_alarm(lab: Lab, client: openai.OpenAI) -> None:
    ended = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Say only: yes"}], max_tokens=100, temperature=0
    )
    stopped = client.completions.create(model=MODEL, prompt="One two three", stop=[" "], max_tokens=20)
    assert ended.choices[0].finish_reason == stopped.choices[0].finish_reason == "stop"
    assert no_disagreement(lab)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"n": 2}, openai.BadRequestError),
        ({"max_tokens": 1_000_000}, openai.BadRequestError),
        ({"messages": []}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "word " * 4_000}]}, openai.BadRequestError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors__raised_as_the_client_knows_them(
    lab: Lab, client: openai.OpenAI, change: Any, error: Any, stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(**GREEDY | change, stream=stream)
    assert caught.value.code
    assert (lab.accounts.charged, lab.accounts.reserved) == (0, 0)


def test_errors__bad_key__is_an_authentication_error(lab: Lab) -> None:
    with openai_client(lab, "sk-no") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**GREEDY)


def test_models__listed__with_rates(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, client.models.retrieve(MODEL).id) == (MODEL, MODEL)
    assert model.model_extra is not None
    assert model.model_extra["scrip"]["rates"][0]["input"] == "1000000"


def test_client__leaves_in_the_middle__charged_for_about_what_it_saw(lab: Lab, client: openai.OpenAI) -> None:
    stream = client.completions.create(**LONG, stream=True)
    pieces = iter(stream)
    seen = [next(pieces) for _ in range(5)]
    stream.close()
    lab.ended()
    used = lab.accounts.used[0]
    assert len(seen) <= used.output < 500
    assert used.input > 5


def test_server__killed_in_the_middle__charged_and_the_client_is_told() -> None:
    with llm_server.running(slots=1) as own, gateway(chosen(own)) as lab, openai_client(lab) as client:
        stream = iter(client.completions.create(**LONG, stream=True))
        seen = [next(stream) for _ in range(4)]
        os.kill(own.pid, signal.SIGKILL)
        with pytest.raises(openai.APIError) as caught:
            seen.extend(stream)
        lab.ended()
        assert caught.value.code == "upstream_failed"
        assert 4 <= lab.accounts.used[0].output < 1_000
        with pytest.raises(openai.InternalServerError):
            client.completions.create(**LONG)
    assert lab.accounts.reserved == 0


def test_parallel__more_calls_than_slots__all_are_served_and_sum_up(lab: Lab) -> None:
    async def run() -> list[int]:
        async with openai.AsyncOpenAI(base_url=f"{lab.url}/v1", api_key=KEY, max_retries=0) as client:
            calls = [
                client.completions.create(model=MODEL, prompt=f"Count {number}", max_tokens=2)
                for number in range(20)
            ]
            answers = await asyncio.gather(*calls)
        return [answer.usage.total_tokens for answer in answers if answer.usage]

    totals = asyncio.run(run())
    assert len(totals) == 20
    assert lab.accounts.charged == sum(totals)
    assert no_disagreement(lab)


def test_llm_server__ends__leaves_nothing(tmp_path: Path) -> None:
    server = llm_server.server(tmp_path / "log", slots=1)
    server.start()
    server.wait_ready()
    begun = time.monotonic()
    server.stop()
    assert not server.is_running
    assert time.monotonic() - begun < 10
    assert not server.is_ready()
