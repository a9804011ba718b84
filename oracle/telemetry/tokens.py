"""LLM tokens: input, cached input and output, kept apart.

Two sources. A job that runs its own model writes one `usage.json`, counted per request (`UsageFileMeter`). A
job that talks to an inference server is metered by the difference of the server's Prometheus counters
(`TokenServerMeter`), which is only sound while the server works for that job alone.

"Input" is the whole prompt, cache hits included, as in a request's own `usage`. vLLM, SGLang and TGI count it
so (vLLM's HELP text says otherwise: vllm-project/vllm#56923). llama.cpp counts the prompt tokens it computed
and, in builds since 2026, those it took from its cache: their sum is the input. An older build hides the
latter, so there the input is only what was computed, which is never too much, and a note says so.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from oracle.telemetry.base import Finished, Lease, Note, Reading, TelemetryError

USAGE_FILE: Final = "usage.json"
_USAGE_BYTES: Final = 64 * 1024
_EXACT: Final = 2**53  # Prometheus values are doubles; from here on they skip integers


class TokensInvalid(TelemetryError):
    """A token count is missing or malformed. It's never taken as 0."""

    def __init__(self, where: str, detail: str) -> None:
        self.where, self.detail = where, detail
        super().__init__(f"{where}: {detail}. Tokens can't be billed without a count")


class CounterReset(TelemetryError):
    """A server's counter went down: it restarted during the job, and what it served before is unknown."""

    def __init__(self, metric: str, before: int, after: int) -> None:
        self.metric, self.before, self.after = metric, before, after
        super().__init__(f"{metric} fell from {before} to {after}: the server restarted. Run the job again")


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens in, those of them served from a cache (None: the server doesn't say), and out."""

    input: int
    cached: int | None
    output: int

    def since(self, before: TokenCounts) -> TokenCounts:
        """What was added since `before`. Raises CounterReset."""
        cached = None
        if self.cached is not None:
            # A counter with labels appears with its first increment: absent before means it stood at 0.
            cached = _added("cached_tokens", before.cached or 0, self.cached)
        return TokenCounts(
            _added("input_tokens", before.input, self.input),
            cached,
            _added("output_tokens", before.output, self.output),
        )

    def readings(self, model: str) -> list[Reading]:
        """As readings of the device `model`; an unknown cached count is left out."""
        found = [Reading("tokens", model, "input_tokens", self.input)]
        if self.cached is not None:
            found.append(Reading("tokens", model, "cached_tokens", self.cached))
        return [*found, Reading("tokens", model, "output_tokens", self.output)]


@dataclass(frozen=True, slots=True)
class Server:
    """Where an inference server keeps its counters: sample names, and labels that a sample must carry.

    `cached` is a list of (name, required labels); all samples that match any of them are added up.
    """

    name: str
    input: str
    output: str
    cached: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    labelled: bool = True  # samples carry model_name
    input_has_cached: bool = True  # the input counter includes what came from a cache


VLLM: Final = Server(
    "vllm",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    (
        ("vllm:prompt_tokens_by_source_total", (("source", "local_cache_hit"),)),
        ("vllm:prompt_tokens_by_source_total", (("source", "external_kv_transfer"),)),
    ),
)
SGLANG: Final = Server(
    "sglang",
    "sglang:prompt_tokens_total",
    "sglang:generation_tokens_total",
    (("sglang:cached_tokens_total", ()),),
)
TGI: Final = Server("tgi", "tgi_request_input_length_sum", "tgi_request_generated_tokens_sum", labelled=False)
LLAMA_CPP: Final = Server(
    "llama.cpp",
    "llamacpp:prompt_tokens_total",
    "llamacpp:tokens_predicted_total",
    (("llamacpp:prompt_tokens_cached_total", ()),),
    labelled=False,
    input_has_cached=False,
)
SERVERS: Final = {server.name: server for server in (VLLM, SGLANG, TGI, LLAMA_CPP)}


def parse_metrics(text: str, server: Server, model: str) -> TokenCounts:
    """The server's counters for one model, from its /metrics page. Raises TokensInvalid.

    Samples of several engines are added up. A server whose samples carry no model name serves one model.
    """
    samples = list(_samples(_unquoted(text, server.name), server.name))
    wanted = {"model_name": model} if server.labelled else {}
    cached = [
        value
        for name, labels in server.cached
        for value in _matching(samples, name, wanted | dict(labels), server.name)
    ]
    counted = _total(samples, server.input, wanted, server.name)
    return TokenCounts(
        counted if server.input_has_cached else counted + sum(cached),
        sum(cached) if cached else None,
        _total(samples, server.output, wanted, server.name),
    )


def parse_usage(text: str, where: str = USAGE_FILE) -> TokenCounts:
    """Counts from a usage.json: `input_tokens`, `cached_tokens`, `output_tokens`. Raises TokensInvalid."""
    try:
        usage = json.loads(text)
    except ValueError as problem:
        raise TokensInvalid(where, f"not JSON ({problem})") from problem
    if not isinstance(usage, dict):
        raise TokensInvalid(where, f"given a {type(usage).__name__}, must be an object")
    counts = TokenCounts(
        *(_count(usage, key, where) for key in ("input_tokens", "cached_tokens", "output_tokens"))
    )
    if counts.cached is not None and counts.cached > counts.input:
        raise TokensInvalid(where, f"cached_tokens {counts.cached} exceed input_tokens {counts.input}")
    return counts


class UsageFileMeter:
    """Tokens from the `usage.json` that the job's own program leaves in its work directory.

    Read once, at the end edge. A job that didn't end well is billed for nothing, so no file is asked of it.
    """

    name = "tokens"
    simulated = False

    def __init__(self, model: str) -> None:
        self._model = model

    def start(self, lease: Lease) -> list[Reading]:
        """Nothing to read yet."""
        self._path = lease.workdir / USAGE_FILE
        return []

    def tick(self) -> list[Reading]:
        """Nothing: the file is complete only at the end."""
        return []

    def end(self, finished: Finished) -> list[Reading]:
        """The counts. Raises TokensInvalid when a job that ended well left none."""
        if finished.reason != "ok":
            return []
        return parse_usage(_read_job_file(self._path), str(self._path)).readings(self._model)

    def notes(self) -> tuple[Note, ...]:
        """Nothing: a missing count raises."""
        return ()


class TokenServerMeter:
    """Tokens of a job by the difference of its inference server's counters since the start edge.

    `fetch` returns the /metrics page as text; what it raises ends the recording.
    """

    name = "tokens"
    simulated = False

    def __init__(self, server: Server, model: str, fetch: Callable[[], str]) -> None:
        self._server, self._model, self._fetch = server, model, fetch
        self._first: TokenCounts | None = None
        self._last: TokenCounts | None = None

    def start(self, lease: Lease) -> list[Reading]:
        """Takes the baseline; the readings are zeros by definition."""
        del lease  # the server is told apart by `fetch`
        self._first = self._last = parse_metrics(self._fetch(), self._server, self._model)
        return self._first.since(self._first).readings(self._model)

    def tick(self) -> list[Reading]:
        """Tokens since the start edge. Raises CounterReset, TokensInvalid."""
        if self._first is None or self._last is None:
            raise TokensInvalid(self._server.name, "read before the start edge")
        now = parse_metrics(self._fetch(), self._server, self._model)
        now.since(self._last)  # a restart shows against the last reading even where the first was lower
        self._last = now
        return now.since(self._first).readings(self._model)

    def end(self, finished: Finished) -> list[Reading]:
        """The values that count."""
        del finished
        return self.tick()

    def notes(self) -> tuple[Note, ...]:
        """States when the server doesn't tell cached tokens apart."""
        if self._last is None or self._last.cached is not None:
            return ()
        return (Note("tokens", self._model, "cached_tokens", f"{self._server.name} doesn't report it"),)


def _added(metric: str, before: int, after: int) -> int:
    if after < before:
        raise CounterReset(metric, before, after)
    return after - before


def _unquoted(text: str, where: str) -> str:
    """llama.cpp once served the page as one JSON string (ggml-org/llama.cpp#17384)."""
    if not text.lstrip().startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError as problem:
        raise TokensInvalid(where, f"a quoted page that is not JSON ({problem})") from problem


def _samples(text: str, where: str) -> Iterable[Any]:
    try:
        for family in text_string_to_metric_families(text):
            yield from family.samples
    except ValueError as problem:
        raise TokensInvalid(where, f"not Prometheus text ({problem})") from problem


def _matching(samples: list[Any], name: str, labels: dict[str, str], where: str) -> list[int]:
    return [
        _whole(sample.value, name, where)
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def _total(samples: list[Any], name: str, labels: dict[str, str], where: str) -> int:
    values = _matching(samples, name, labels, where)
    if not values:
        raise TokensInvalid(where, f"no sample {name} with labels {labels}")
    return sum(values)


def _whole(value: float, name: str, where: str) -> int:
    if not (0 <= value < _EXACT and float(value).is_integer()):  # also false for NaN
        raise TokensInvalid(where, f"{name} is {value}, must be a whole number below 2**53")
    return int(value)


def _count(usage: dict[str, Any], key: str, where: str) -> int:
    value = usage.get(key)
    if type(value) is not int or not 0 <= value < _EXACT:
        raise TokensInvalid(where, f"{key} is {value!r}, must be a whole number below 2**53")
    return value


def _read_job_file(path: Path) -> str:
    """A job's file as text. The job chose what is at that path: no link is followed, no pipe waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise TokensInvalid(str(path), problem.strerror or str(problem)) from problem
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise TokensInvalid(str(path), "not a regular file")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(_USAGE_BYTES + 1)
    finally:
        os.close(handle)
    if len(data) > _USAGE_BYTES:
        raise TokensInvalid(str(path), f"larger than {_USAGE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        raise TokensInvalid(str(path), "not UTF-8") from problem
