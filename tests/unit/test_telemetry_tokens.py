"""Token counts: from a job's own usage.json, and from inference servers' Prometheus counters."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from oracle.telemetry.base import Lease, Reading
from oracle.telemetry.tokens import (
    LLAMA_CPP,
    SERVERS,
    SGLANG,
    VLLM,
    CounterReset,
    Server,
    TokenCounts,
    TokenServerMeter,
    TokensInvalid,
    UsageFileMeter,
    parse_metrics,
    parse_usage,
)

MODEL = "acme/small-1b"


@dataclass(frozen=True)
class Ended:
    """How a process ended, as an executor reports it."""

    reason: str = "ok"
    duration_ns: int = 1
    rusage: tuple[int, int, int] = (0, 0, 0)


def lease(workdir: Path) -> Lease:
    return Lease(b"\x11" * 32, 1, 1, None, (), workdir)


VLLM_PAGE = f"""\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="{MODEL}"}} 8.128902e+06
vllm:prompt_tokens_total{{engine="1",model_name="{MODEL}"}} 98.0
vllm:prompt_tokens_total{{engine="0",model_name="other"}} 5.0
# HELP vllm:prompt_tokens_created Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{{engine="0",model_name="{MODEL}"}} 1.7e+09
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{{model_name="{MODEL}",source="local_compute"}} 8.1e+06
vllm:prompt_tokens_by_source_total{{model_name="{MODEL}",source="local_cache_hit"}} 28000.0
vllm:prompt_tokens_by_source_total{{model_name="{MODEL}",source="external_kv_transfer"}} 1000.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="{MODEL}"}} 7557572.0
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{{le="1.0",model_name="{MODEL}"}} 3.0
vllm:iteration_tokens_total_bucket{{le="+Inf",model_name="{MODEL}"}} 3.0
vllm:iteration_tokens_total_sum{{model_name="{MODEL}"}} 9.0
vllm:iteration_tokens_total_count{{model_name="{MODEL}"}} 3.0
"""
SGLANG_PAGE = f"""\
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{{model_name="{MODEL}"}} 120.0
# TYPE sglang:cached_tokens_total counter
sglang:cached_tokens_total{{cache_source="device",model_name="{MODEL}"}} 30.0
sglang:cached_tokens_total{{cache_source="host",model_name="{MODEL}"}} 10.0
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{{model_name="{MODEL}"}} 55.0
# TYPE sglang:cache_hit_rate gauge
sglang:cache_hit_rate{{model_name="{MODEL}"}} 0.33
"""
TGI_PAGE = """\
# TYPE tgi_request_input_length histogram
tgi_request_input_length_bucket{le="+Inf"} 2
tgi_request_input_length_sum 41
tgi_request_input_length_count 2
# TYPE tgi_request_generated_tokens histogram
tgi_request_generated_tokens_bucket{le="+Inf"} 2
tgi_request_generated_tokens_sum 17
tgi_request_generated_tokens_count 2
"""
LLAMA_PAGE = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 6886
# HELP llamacpp:prompt_seconds_total Prompt process time
# TYPE llamacpp:prompt_seconds_total counter
llamacpp:prompt_seconds_total 2903.63
# HELP llamacpp:tokens_predicted_total Number of generation tokens processed.
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 3469
# HELP llamacpp:prompt_tokens_seconds Average prompt throughput in tokens/s.
# TYPE llamacpp:prompt_tokens_seconds gauge
llamacpp:prompt_tokens_seconds 2.37151
"""


def llama_page(prompt: object, predicted: object) -> str:
    return f"llamacpp:prompt_tokens_total {prompt}\nllamacpp:tokens_predicted_total {predicted}\n"


# USAGE FILE


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1]", "given a list"),
        ("{}", "input_tokens is None"),
        ('{"input_tokens":1,"output_tokens":1}', "cached_tokens is None"),
        ('{"input_tokens":1,"cached_tokens":0}', "output_tokens is None"),
        ('{"input_tokens":-1,"cached_tokens":0,"output_tokens":1}', "input_tokens is -1"),
        ('{"input_tokens":1.0,"cached_tokens":0,"output_tokens":1}', "input_tokens is 1.0"),
        ('{"input_tokens":true,"cached_tokens":0,"output_tokens":1}', "input_tokens is True"),
        ('{"input_tokens":"1","cached_tokens":0,"output_tokens":1}', "input_tokens is '1'"),
        ('{"input_tokens":9007199254740992,"cached_tokens":0,"output_tokens":1}', "2\\*\\*53"),
        ('{"input_tokens":1,"cached_tokens":2,"output_tokens":1}', "exceed"),
        ('{"input_tokens":NaN,"cached_tokens":2,"output_tokens":1}', "nan"),
    ],
)
def test_usage__malformed__raises(text: str, detail: str) -> None:
    with pytest.raises(TokensInvalid, match=detail):
        parse_usage(text)


def test_usage__other_members__are_ignored() -> None:
    text = '{"input_tokens":9,"cached_tokens":4,"output_tokens":2,"model":"x","seconds":1.5}'
    assert parse_usage(text) == TokenCounts(9, 4, 2)


@pytest.mark.parametrize("what", ["missing", "link", "pipe", "folder", "large", "binary"])
def test_usage_file__not_what_it_must_be__raises_and_never_blocks(tmp_path: Path, what: str) -> None:
    path, good = tmp_path / "usage.json", '{"input_tokens":1,"cached_tokens":0,"output_tokens":1}'
    if what == "link":
        (tmp_path / "other").write_text(good)
        path.symlink_to(tmp_path / "other")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "large":
        path.write_text(good + " " * 70_000)
    elif what == "binary":
        path.write_bytes(b"\xff\xfe")
    meter = UsageFileMeter(MODEL)
    meter.start(lease(tmp_path))
    with pytest.raises(TokensInvalid, match=r"usage\.json"):
        meter.end(Ended())


@pytest.mark.parametrize("reason", ["failed", "timeout", "memory", "output", "killed"])
def test_usage_file__job_failed__nothing_is_asked_or_billed(tmp_path: Path, reason: str) -> None:
    (tmp_path / "usage.json").write_text("half a fi")
    meter = UsageFileMeter(MODEL)
    meter.start(lease(tmp_path))
    assert meter.end(Ended(reason)) == []


def test_usage_file__job_ended_well__reads_at_the_end_edge_only(tmp_path: Path) -> None:
    meter = UsageFileMeter(MODEL)
    before = meter.start(lease(tmp_path)) + meter.tick()
    (tmp_path / "usage.json").write_text(
        json.dumps({"input_tokens": 9, "cached_tokens": 4, "output_tokens": 2})
    )
    assert before == []
    assert meter.end(Ended()) == [
        Reading("tokens", MODEL, "input_tokens", 9),
        Reading("tokens", MODEL, "cached_tokens", 4),
        Reading("tokens", MODEL, "output_tokens", 2),
    ]


# SERVERS' METRICS


@pytest.mark.parametrize(
    ("page", "detail"),
    [
        ("", "no sample llamacpp:prompt_tokens_total"),
        ("llamacpp:prompt_tokens_total 5\n", "no sample llamacpp:tokens_predicted_total"),
        (llama_page("NaN", 1), "is nan"),
        (llama_page("+Inf", 1), "is inf"),
        (llama_page(-1, 1), "is -1"),
        (llama_page(1.5, 1), "is 1.5"),
        (llama_page(2**53, 1), "below 2"),
        (llama_page("five", 1), "not Prometheus text"),
        ("<html>502 Bad Gateway</html>", "not Prometheus text|no sample"),
        ('"an unfinished page', "not JSON"),
    ],
)
def test_metrics__malformed_or_missing__raises(page: str, detail: str) -> None:
    with pytest.raises(TokensInvalid, match=detail):
        parse_metrics(page, LLAMA_CPP, MODEL)


@pytest.mark.parametrize("server", [VLLM, SGLANG])
def test_metrics__another_model__raises(server: Server) -> None:
    page = {"vllm": VLLM_PAGE, "sglang": SGLANG_PAGE}[server.name]
    with pytest.raises(TokensInvalid, match="acme/large"):
        parse_metrics(page, server, "acme/large")


@pytest.mark.parametrize(
    ("name", "page", "expected"),
    [
        ("vllm", VLLM_PAGE, TokenCounts(8_129_000, 29_000, 7_557_572)),
        ("sglang", SGLANG_PAGE, TokenCounts(120, 40, 55)),
        ("tgi", TGI_PAGE, TokenCounts(41, None, 17)),
        ("llama.cpp", LLAMA_PAGE, TokenCounts(6886, None, 3469)),
    ],
)
def test_metrics__each_server__input_cached_and_output_apart(
    name: str, page: str, expected: TokenCounts
) -> None:
    assert parse_metrics(page, SERVERS[name], MODEL) == expected


def test_metrics__tgi_page_of_the_wrong_server__raises() -> None:
    with pytest.raises(TokensInvalid, match="no sample"):
        parse_metrics(TGI_PAGE, VLLM, MODEL)


def test_metrics__page_served_as_a_quoted_string__is_read() -> None:
    assert parse_metrics(json.dumps(LLAMA_PAGE), LLAMA_CPP, MODEL) == TokenCounts(6886, None, 3469)


def test_metrics__llama_cpp_that_tells_cached_tokens__input_is_the_whole_prompt() -> None:
    page = LLAMA_PAGE + "llamacpp:prompt_tokens_cached_total 114\n"
    assert parse_metrics(page, LLAMA_CPP, MODEL) == TokenCounts(7000, 114, 3469)


# DIFFERENCES


@pytest.mark.parametrize("counts", [TokenCounts(9, 5, 5), TokenCounts(10, 4, 5), TokenCounts(10, 5, 4)])
def test_since__any_counter_fell__raises(counts: TokenCounts) -> None:
    with pytest.raises(CounterReset, match="the server restarted"):
        counts.since(TokenCounts(10, 5, 5))


def test_since__cached_counter_appears__counts_from_zero() -> None:
    assert TokenCounts(20, 3, 7).since(TokenCounts(10, None, 5)) == TokenCounts(10, 3, 2)


class Pages:
    """A server whose /metrics page changes from call to call."""

    def __init__(self, *pages: str) -> None:
        self._pages = list(pages)

    def __call__(self) -> str:
        return self._pages.pop(0)


def values(readings: list[Reading]) -> list[int]:
    return [reading.value for reading in readings]


def test_server_meter__work_for_the_job__is_the_difference(tmp_path: Path) -> None:
    pages = Pages(llama_page(100, 50), llama_page(120, 55), llama_page(150, 90))
    meter = TokenServerMeter(LLAMA_CPP, MODEL, pages)
    assert values(meter.start(lease(tmp_path))) == [0, 0]
    assert values(meter.tick()) == [20, 5]
    assert values(meter.end(Ended())) == [50, 40]
    (note,) = meter.notes()
    assert "llama.cpp doesn't report it" in note.reason


def test_server_meter__cached_reported__has_no_note(tmp_path: Path) -> None:
    meter = TokenServerMeter(SGLANG, MODEL, Pages(SGLANG_PAGE))
    assert [reading.metric for reading in meter.start(lease(tmp_path))] == [
        "input_tokens",
        "cached_tokens",
        "output_tokens",
    ]
    assert meter.notes() == ()


def test_server_meter__restarts_and_outgrows_the_baseline__raises(tmp_path: Path) -> None:
    """Against the baseline alone, 200 → 150 would look like 50 tokens of work."""
    pages = Pages(llama_page(100, 50), llama_page(200, 90), llama_page(150, 91))
    meter = TokenServerMeter(LLAMA_CPP, MODEL, pages)
    meter.start(lease(tmp_path))
    meter.tick()
    with pytest.raises(CounterReset, match="input_tokens fell from 200 to 150"):
        meter.tick()


def test_server_meter__read_before_the_start__raises() -> None:
    with pytest.raises(TokensInvalid, match="before the start edge"):
        TokenServerMeter(LLAMA_CPP, MODEL, Pages(llama_page(1, 1))).tick()
