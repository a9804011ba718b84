"""Token counters of a real llama.cpp server, against what it says of each request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import xllamacpp

from oracle.catalogue import Catalogue
from oracle.jobs.llm_generate import model_path
from oracle.jobs.params import LlmSettings
from oracle.telemetry.base import Lease
from oracle.telemetry.tokens import LLAMA_CPP, TokenCounts, TokenServerMeter, parse_metrics

MODEL = "smollm2-135m-instruct-q4_1"
ENDED = SimpleNamespace(reason="ok", duration_ns=1, rusage=(0, 0, 0))
LEASE = Lease(b"\x11" * 32, 1, 1, None, (), Path("/nonexistent"))


@dataclass
class Llama:
    """A running server."""

    engine: Any

    def metrics(self) -> str:
        return self._ask("GET", "/metrics", None)

    def usage(self, prompt: str, max_tokens: int) -> dict[str, Any]:
        """Generate, and what the server says it took."""
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens, "temperature": 0, "cache_prompt": True,
        }  # fmt: skip
        usage: dict[str, Any] = json.loads(self._ask("POST", "/v1/chat/completions", json.dumps(body)))[
            "usage"
        ]
        return usage

    def _ask(self, method: str, path: str, body: str | None) -> str:
        address = urlsplit(self.engine.listening_address)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def start() -> Llama:
    settings = Catalogue.load().template("llm.generate").settings
    assert isinstance(settings, LlmSettings)
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(model_path(settings))
    wanted.n_ctx, wanted.n_gpu_layers, wanted.verbosity = 1024, 0, -1
    wanted.n_parallel = wanted.n_threads_http = 1
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.warmup = wanted.fit_params = wanted.ui = wanted.endpoint_slots = False
    wanted.endpoint_metrics = True
    return Llama(xllamacpp.Server(wanted))


@pytest.fixture(scope="module")
def llama() -> Llama:
    return start()


def counts(usages: list[dict[str, Any]]) -> TokenCounts:
    return TokenCounts(
        sum(usage["prompt_tokens"] for usage in usages),
        sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages),
        sum(usage["completion_tokens"] for usage in usages),
    )


def test_meter__real_server__differences_are_the_sum_of_the_requests_usage(llama: Llama) -> None:
    meter = TokenServerMeter(LLAMA_CPP, MODEL, llama.metrics)
    meter.start(LEASE)
    prompt = "Name the capital of each country that borders Switzerland, please."
    usages = [llama.usage(prompt, 9)]
    first = {reading.metric: reading.value for reading in meter.tick()}
    usages += [llama.usage(prompt, 5), llama.usage("And of Portugal?", 7)]
    last = {reading.metric: reading.value for reading in meter.end(ENDED)}
    whole = counts(usages)
    assert whole.cached  # the second request found the first one's prompt in the cache
    assert first["output_tokens"] == usages[0]["completion_tokens"] == 9
    assert TokenCounts(last["input_tokens"], last["cached_tokens"], last["output_tokens"]) == whole
    assert meter.notes() == ()


def test_page__real_server__parses_quoted_as_well(llama: Llama) -> None:
    page = llama.metrics()
    assert parse_metrics(json.dumps(page), LLAMA_CPP, MODEL) == parse_metrics(page, LLAMA_CPP, MODEL)


def test_page__server_started_again__counters_are_back_at_nought() -> None:
    assert parse_metrics(start().metrics(), LLAMA_CPP, MODEL) == TokenCounts(0, 0, 0)
