"""Calls by the stock OpenAI client through a provider's process, which is killed in the middle: what is
charged, in its books and on chain, is what was used, to the token.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import openai
import pytest
from eth_utils.crypto import keccak

from demo import llm_server
from demo.llm_server import MODEL
from scrip.call_receipts import RECEIPT_HEADER, SignedCallReceipt, check_chain
from scrip.gateway_client import pay_by_vouchers
from tests.e2e.inference import Inference, tables
from tests.e2e.site import PROVIDER, Site, until
from tests.integration.system import account

CALLS: Final = 1_000
AT_ONCE: Final = 16
SLOTS: Final = 4
DEPOSIT: Final = 10_000_000
PROMPTS: Final = ("A", "A cat", "A cat sat")
"""Short: what is counted matters here, not what is said."""


@pytest.fixture(scope="module")
def paid(site: Site) -> Iterator[Inference]:
    """A provider that sells the small model, and a session with credits."""
    with llm_server.running(slots=SLOTS) as llama:
        class_id = Inference.token_class(site)
        site.configure_watchers()
        site.configure_provider(tables(class_id, llama.url, AT_ONCE))
        site.start()
        made = Inference.open(site, class_id, DEPOSIT)
        made.authorise(DEPOSIT)
        yield made


@dataclass
class Callers:
    """Makes calls until all have ended well, and remembers what the clients saw. `hashes` are of the bodies
    that were sent, by `user`: each attempt has its own.
    """

    paid: Inference
    key: str
    hashes: dict[str, bytes] = field(default_factory=dict)
    seen: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    shown: list[SignedCallReceipt] = field(default_factory=list)
    broken: int = 0

    async def run(self, calls: int, kill_after: int) -> None:
        """All calls; the provider is killed and started again once so many have ended."""
        numbers = iter(range(calls))
        kill = asyncio.create_task(self._kill(kill_after))
        async with openai.AsyncOpenAI(
            base_url=f"{self.paid.site.lab.url}/v1", api_key=self.key, max_retries=0, timeout=60,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._note]}),
        ) as client:  # fmt: skip
            await asyncio.gather(*(self._work(client, numbers) for _ in range(AT_ONCE)))
        await kill

    async def _note(self, request: Any) -> None:
        self.hashes[json.loads(request.content)["user"]] = keccak(request.content)

    async def _work(self, client: openai.AsyncOpenAI, numbers: Iterator[int]) -> None:
        for number in numbers:
            for attempt in itertools.count():
                name = f"{number}.{attempt}"
                body = {"prompt": PROMPTS[number % 3], "max_tokens": 1 + number % 2, "user": name}
                try:
                    self.seen[name] = await (self._stream if number % 4 < 2 else self._whole)(client, body)
                    break
                except (openai.APIConnectionError, openai.InternalServerError, httpx.HTTPError):
                    self.broken += 1
                    await asyncio.sleep(0.1)

    async def _whole(self, client: openai.AsyncOpenAI, body: Any) -> tuple[int, int, int]:
        raw = await client.completions.with_raw_response.create(model=MODEL, temperature=0, **body)
        self.shown.append(SignedCallReceipt.parse(raw.headers[RECEIPT_HEADER]))
        return usage_of(raw.parse().usage)

    async def _stream(self, client: openai.AsyncOpenAI, body: Any) -> tuple[int, int, int]:
        last = None
        async for item in await client.completions.create(
            model=MODEL, stream=True, stream_options={"include_usage": True}, **body
        ):
            last = item.usage or last
        if last is None:
            raise openai.InternalServerError("cut off", response=httpx.Response(500, request=ANY), body=None)
        return usage_of(last)

    async def _kill(self, after: int) -> None:
        while len(self.seen) < after:
            await asyncio.sleep(0.01)
        site = self.paid.site
        assert site.kill() == -signal.SIGKILL
        await asyncio.to_thread(site.start, PROVIDER)


ANY: Final = httpx.Request("POST", "http://127.0.0.1")


def usage_of(usage: Any) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens


def test_thousand_calls__killed_in_the_middle__charged_is_used_to_the_token(paid: Inference) -> None:
    callers = Callers(paid, paid.api_key(DEPOSIT))
    asyncio.run(callers.run(CALLS, kill_after=CALLS // 2))
    assert len(callers.seen) == CALLS
    assert callers.broken >= 1  # it was in the middle

    signed = paid.receipts()
    receipts = [item.receipt for item in signed]
    chain = paid.site.lab.chain
    place = chain.chain_id, chain.address("MeteredSessions")
    check_chain(receipts, *place)
    assert receipts[0].number == 1
    for item in signed:
        item.check_signer(account("oracle").address, *place)

    # Each call that a client saw end is among them, once, with the same usage.
    by_request = {item.request_hash: item for item in receipts}
    assert len(by_request) == len(receipts)
    for name, usage in callers.seen.items():
        found = by_request[callers.hashes[name]]
        assert (found.input_tokens, found.cached_tokens, found.output_tokens) == usage
    # Those that no client saw end were charged just before the kill: no more than were running.
    assert CALLS <= len(receipts) <= CALLS + AT_ONCE
    # What clients were shown is what the provider's books hold.
    assert all(signed[item.receipt.number - 1] == item for item in callers.shown)

    used = sum(item.input_tokens + item.output_tokens for item in receipts)
    book = paid.account()
    assert int(book["charged"]) == sum(item.units for item in receipts) == receipts[-1].total_units == used
    assert book["reserved"] == "0"
    until(lambda: paid.claimed() == used, "what was charged is claimed on chain")


def test_parallel__balance_for_one__exactly_one_is_served(paid: Inference) -> None:
    body = {"model": MODEL, "prompt": "x", "max_tokens": 60}
    key = paid.api_key(cap=60 + 1 + 8)  # its bound: a byte, and the marks around it

    async def run() -> list[int]:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            head = {"Authorization": f"Bearer {key}"}
            url = f"{paid.site.lab.url}/v1/completions"
            calls = [client.post(url, json=body, headers=head) for _ in range(10)]
            return sorted(answer.status_code for answer in await asyncio.gather(*calls))

    assert asyncio.run(run()) == [200] + [402] * 9


def test_vouchers__stock_client_over_one__each_receipt_is_checked(paid: Inference) -> None:
    lab = paid.site.lab
    auth = pay_by_vouchers(
        lab.chain, lab.url, paid.terms, account("session key"), cap=DEPOSIT, call_cap=1_000
    )
    body: Any = {"prompt": "A cat", "max_tokens": 3, "temperature": 0}
    with httpx.Client(auth=auth, trust_env=False, timeout=60) as http:
        whole = http.post(f"{lab.url}/v1/completions", json={"model": MODEL, **body})
        with http.stream(
            "POST", f"{lab.url}/v1/completions", json={"model": MODEL, "stream": True, **body}
        ) as cut:
            streamed = "".join(cut.iter_text())
    assert whole.status_code == 200, whole.text
    assert "event: scrip.receipt" in streamed
    last = auth.payer.last
    assert last is not None
    assert last == paid.receipts()[-1]


def test_registration__names_models_and_rates(paid: Inference) -> None:
    url = paid.site.lab.url
    shown = httpx.get(f"{url}/.well-known/agent-registration.json", trust_env=False).json()["scrip"][
        "gateway"
    ]
    (model,) = httpx.get(f"{url}/v1/models", trust_env=False).json()["data"]
    assert shown["models"][0]["model"] == model["id"] == MODEL
    assert shown["rates"][0]["input"] == model["scrip"]["rates"][0]["input"] == "1000000"
