"""`text.retrieve` and `text.check`: what they find, the same bytes every time, run as they are."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.catalogue import Catalogue, SpecRefused, Template
from oracle.executors.local import LocalExecutor
from oracle.executors.result import read_output
from oracle.jobs.common import BadParams
from oracle.jobs.params import CheckParams, RetrieveParams
from oracle.jobs.passages import passages, sentences, words
from oracle.jobs.text_check import check
from oracle.jobs.text_retrieve import retrieve
from oracle.rerun import Rerunner
from oracle.sampling import Budget, Draw, Risk
from scrip.spec import JobSpec

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "scrip.txt").read_text("utf-8")
QUERY = "Where is the money for a credit kept?"
TEXTS = st.text(st.sampled_from("ab7é .!?\n\t\r—s"), min_size=1, max_size=200)
SPECS = {
    "text.retrieve": {"query": QUERY, "document": DOCUMENT, "passages": 2, "words": 30},
    "text.check": {"claim": "The money is kept in a reserve. It earns 7 %.", "sources": DOCUMENT},
}


def found(**params: Any) -> dict[str, Any]:
    given = {"query": QUERY, "document": DOCUMENT, **params}
    result: dict[str, Any] = json.loads(retrieve(RetrieveParams(**given)).output)
    return result


def checked(claim: str, sources: str = DOCUMENT, needed_bps: int = 6_000) -> dict[str, Any]:
    params = CheckParams(claim=claim, sources=sources, needed_bps=needed_bps)
    result: dict[str, Any] = json.loads(check(params).output)
    return result


# WHAT IS REFUSED


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("text.retrieve", {"document": ""}, "document"),
        ("text.retrieve", {"document": "x" * 100_001}, "document"),
        ("text.retrieve", {"passages": 0}, "passages"),
        ("text.retrieve", {"words": 7}, "words"),
        ("text.check", {"claim": ""}, "claim"),
        ("text.check", {"sources": "x" * 60_001}, "sources"),
        ("text.check", {"needed_bps": 10_001}, "needed_bps"),
        ("text.check", {"shell": "id"}, "shell"),
    ],
)
def test_parse__beyond_the_schema__refused(name: str, change: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecRefused) as refused:
        Catalogue.load().parse(JobSpec(name, {**SPECS[name], **change}))
    assert refused.value.field == field


def test_retrieve__blank_document__bad_params() -> None:
    with pytest.raises(BadParams, match="must hold text"):
        found(document=" \n\t ")


@pytest.mark.parametrize(
    "text", ["a\n\n" * 33_000, "a " * 50_000, "." * 100_000, "\n" * 50_000 + "a" * 50_000]
)
def test_retrieve__hostile_document__in_linear_time(text: str) -> None:
    started = time.process_time()
    found(document=text[:100_000], query="a " * 1000, words=8, passages=16)
    assert time.process_time() - started < 5


# WHAT THEY FIND


def test_retrieve__question__the_passage_that_answers_it() -> None:
    text = found(passages=1, words=20)["text"]
    assert text == "The money for every credit is kept in a reserve until the work is done."


def test_retrieve__several__in_the_documents_order_and_where_they_say() -> None:
    result = found(passages=3, words=30)
    places = [(each["start"], each["end"]) for each in result["passages"]]
    assert places == sorted(places)
    assert result["text"] == "\n\n".join(DOCUMENT[start:end] for start, end in places)


def test_retrieve__nothing_matches__nothing() -> None:
    assert found(query="zebra") == {"passages": [], "text": ""}


def test_retrieve__equal_scores__the_earlier_one() -> None:
    [chosen] = found(query="kiwi", document="A kiwi is here. A kiwi is here. A plum.", words=8, passages=1)[
        "passages"
    ]
    assert (chosen["start"], chosen["end"]) == (0, 31)


def test_retrieve__bm25__the_figure_of_the_formula() -> None:
    """N = 2 passages, n = 1 with the word, f = 1, l = 8 words of L = 6 on average."""
    [chosen] = found(query="Kiwis", document="kiwi b c d e f g h. i j k l.", words=8)["passages"]
    norm = 1.2 * (1 - 0.75 + 0.75 * 8 / 6)
    assert chosen["score"] == int(1_000_000 * math.log(2) * 2.2 / (1 + norm))


def test_check__all_from_the_sources__full_score() -> None:
    result = checked("Credits that were used are burned. The buyer gets credits back.")
    assert (result["scoreBps"], result["supported"], result["unbacked"]) == (10_000, 2, [])


def test_check__made_up_sentence__named() -> None:
    result = checked("The money is kept in a reserve. Bananas cost 7 dollars!")
    assert result["scoreBps"] == 4_285
    assert [row["supported"] for row in result["sentences"]] == [True, False]
    assert result["unbacked"] == ["7", "banana", "cost", "dollar"]


def test_check__wrong_figure__one_word_less() -> None:
    assert checked("It took 15 days.", "It took 14 days.")["unbacked"] == ["15"]


def test_check__no_content_words__scores_nothing() -> None:
    result = checked("It is so. ...")
    assert (result["scoreBps"], result["supported"]) == (0, 0)


@given(TEXTS, st.integers(1, 12))
def test_passages__any_text__cover_every_piece_once_in_order(text: str, most: int) -> None:
    spans = passages(text, most)
    assert " ".join(" ".join(span.of(text).split()) for span in spans).split() == text.split()
    assert all(len(span.of(text).split()) <= most for span in spans)
    assert [word for span in spans for word in words(span.of(text))] == words(text)


@given(TEXTS)
def test_sentences__any_text__nothing_lost(text: str) -> None:
    assert "".join("".join(span.of(text).split()) for span in sentences(text)) == "".join(text.split())


@given(TEXTS, TEXTS)
def test_check__any_texts__shares_add_up(claim: str, sources: str) -> None:
    result = checked(claim, sources)
    counted = sum(row["words"] for row in result["sentences"])
    backed = sum(row["backed"] for row in result["sentences"])
    assert result["scoreBps"] == (10_000 * backed // counted if counted else 0)
    assert (backed == counted) == (not result["unbacked"])


# AS THE EXECUTOR AND A WATCHER RUN THEM


@pytest.fixture(scope="module", params=["rlimits", "bubblewrap"])
def executor(request: pytest.FixtureRequest) -> LocalExecutor:
    return LocalExecutor(confinement=request.param)


def expected(name: str) -> bytes:
    if name == "text.retrieve":
        return retrieve(RetrieveParams.model_validate(SPECS[name])).output
    return check(CheckParams.model_validate(SPECS[name])).output


@pytest.fixture(params=sorted(SPECS))
def template(request: pytest.FixtureRequest) -> Template:
    return Catalogue.load().template(request.param)


def test_program__confined__the_same_bytes_as_here(
    executor: LocalExecutor, template: Template, tmp_path: Path
) -> None:
    work = template.work(b"\x01" * 32, 1, template.parse(SPECS[template.name]), tmp_path / "work")
    ended = executor.start(work).wait(60)
    assert ended.reason == "ok", ended.log
    assert read_output(work.workdir, work.limits.output_bytes) == expected(template.name)


def test_rerun__by_a_watcher__the_same_output(template: Template, tmp_path: Path) -> None:
    draw = Draw(b"\x01" * 32, floor_ppm=1_000_000)
    again = Rerunner(LocalExecutor(), draw, Budget(60), tmp_path, slots=1).run(
        b"\x02" * 32, Risk(0, 0), template, template.parse(SPECS[template.name])
    )
    assert again is not None
    assert (again.reason, again.output) == ("ok", expected(template.name))


@pytest.mark.parametrize("seed", ["0", "1"])
def test_output__hash_seed_differs__the_same_bytes(seed: str) -> None:
    code = (
        "import json,sys; from oracle.jobs.text_check import check; "
        "from oracle.jobs.params import CheckParams;"
        "sys.stdout.buffer.write(check(CheckParams(**json.load(sys.stdin))).output)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(SPECS["text.check"]).encode(),
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert done.stdout == expected("text.check")
