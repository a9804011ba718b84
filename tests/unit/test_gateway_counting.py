"""What is charged of two counts: the server's and ours."""

from __future__ import annotations

from typing import Any

import pytest

from oracle.gateway.counting import Agreed, Tally, agree, read_usage
from oracle.gateway.usage import TokenBounds
from tests.unit.gateway_upstream import chunk, usage_chunk

MOST = TokenBounds(100, 50)


def charged(
    *events: dict[str, Any], own_input: int | None = 7, own_output: int | None = None, stop_bytes: int = 0,
    most: TokenBounds = MOST,
) -> Agreed:  # fmt: skip
    tally = Tally()
    for item in events:
        tally.see(item)
    return agree(tally, most, stop_bytes=stop_bytes, own_input=own_input, own_output=own_output)


def text(*pieces: str, finish: str | None = "stop") -> list[dict[str, Any]]:
    return [chunk(piece) for piece in pieces] + ([chunk(finish=finish)] if finish else [])


def output(tokens: int) -> dict[str, Any]:
    return usage_chunk(completion_tokens=tokens)


# What agrees


@pytest.mark.parametrize("tokens", [3, 4])  # with and without the end mark
def test_output__end_mark__is_in_order(tokens: int) -> None:
    assert charged(*text("a", "b", "c"), output(tokens)) == Agreed(7, 2, tokens)


@pytest.mark.parametrize("tokens", [1, 2, 3, 4])
def test_output__character_of_four_bytes__may_be_as_many_tokens(tokens: int) -> None:
    assert charged(*text("\N{GRINNING FACE}", finish="length"), output(tokens)) == Agreed(7, 2, tokens)


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_output__character_never_completed__shows_nothing_and_is_charged(tokens: int) -> None:
    assert charged(*text(finish="length"), output(tokens)) == Agreed(7, 2, tokens)


def test_output__stop_sequence__was_generated_and_not_shown() -> None:
    assert charged(*text("a"), output(6), stop_bytes=4) == Agreed(7, 2, 6)
    assert charged(*text("a"), output(7), stop_bytes=4).disagreements


def test_output__tool_call__at_most_a_token_a_byte_and_its_frame() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    event = chunk() | {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}
    assert charged(event, chunk(finish="tool_calls"), output(40)).output == 40
    assert charged(event, chunk(finish="tool_calls"), output(46)).disagreements


def test_output__reasoning__counts_as_text_with_its_marks() -> None:
    event = chunk() | {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]}
    assert charged(event, *text("a"), output(6)) == Agreed(7, 2, 6)


@pytest.mark.parametrize(("tokens", "agrees"), [(100, True), (102, True), (103, True), (104, False)])
def test_output__several_tokens_an_event__the_tokeniser_is_asked(tokens: int, agrees: bool) -> None:
    events = [*text("word " * 100), output(tokens)]
    tally = Tally()
    for item in events:
        tally.see(item)
    assert tally.must_tokenise(0)
    found = charged(*events, own_output=100, most=TokenBounds(100, 500))
    assert (found.output, not found.disagreements) == (tokens if agrees else 100, agrees)


def test_output__agreed_by_events__the_tokeniser_is_not_asked() -> None:
    tally = Tally()
    for item in [*text("a", "b"), output(3)]:
        tally.see(item)
    assert not tally.must_tokenise(0)


@pytest.mark.parametrize(("finish", "allowed"), [("stop", 1), ("length", 3)])
def test_output__more_than_can_be_hidden__is_a_difference(finish: str, allowed: int) -> None:
    assert not charged(*text("a", "b", finish=finish), output(2 + allowed)).disagreements
    assert charged(*text("a", "b", finish=finish), output(3 + allowed)).output == 2


# What doesn't: the lower one


@pytest.mark.parametrize(
    ("said", "own", "due"), [(20, None, 3), (2, None, 2), (20, 9, 9), (0, None, 0), (20, 2, 3)]
)
def test_output__counts_differ__lower_one_is_charged(said: int, own: int | None, due: int) -> None:
    found = charged(*text("a", "b", "c"), output(said), own_output=own)
    assert found.output == due
    assert found.disagreements[0].startswith("output: ")


@pytest.mark.parametrize(("said", "own", "due"), [(20, 7, 7), (7, 20, 7), (9, 7, 7)])
def test_input__counts_differ__lower_one_is_charged(said: int, own: int, due: int) -> None:
    found = charged(*text("a"), usage_chunk(prompt_tokens=said, completion_tokens=1), own_input=own)
    assert found.input == due
    assert [item.partition(":")[0] for item in found.disagreements] == ["input"]


@pytest.mark.parametrize("own", [6, 7, 8, None])
def test_input__first_mark_or_no_tokeniser__is_in_order(own: int | None) -> None:
    assert charged(*text("a"), output(1), own_input=own) == Agreed(7, 2, 1)


def test_bounds__server_says_more_than_was_set_aside__bound_is_charged() -> None:
    found = charged(
        *text("a", "b", "c"), usage_chunk(prompt_tokens=101, completion_tokens=3), own_input=101,
        most=TokenBounds(100, 2),
    )  # fmt: skip
    assert (found.input, found.output, len(found.disagreements)) == (100, 2, 2)


def test_cached__more_than_the_input__is_cut_down() -> None:
    found = charged(*text("a"), usage_chunk(prompt_tokens_details={"cached_tokens": 8}, completion_tokens=1))
    assert (found.input, found.cached) == (7, 7)
    assert found.disagreements


def test_usage__none_at_all__our_own_count_is_charged() -> None:
    found = charged(*text("a", "b"))
    assert (found.input, found.cached, found.output) == (7, 0, 2)
    assert len(found.disagreements) == 2


@pytest.mark.parametrize(
    "usage",
    [
        None, [], {"prompt_tokens": -1}, {"prompt_tokens": 1.5}, {"completion_tokens": True},
        {"prompt_tokens": "7"}, {"prompt_tokens": 1 << 53},
    ],
)  # fmt: skip
def test_read_usage__no_counts__is_none(usage: object) -> None:
    assert read_usage(usage) is None


# Calls that are cut


def progress(total: int, processed: int) -> dict[str, Any]:
    return chunk() | {"prompt_progress": {"total": total, "cache": 2, "processed": processed, "time_ms": 1}}


def test_cut__before_the_first_token__costs_nothing() -> None:
    assert charged(progress(7, 0), progress(7, 7)) == Agreed()


def test_cut__llama_cpp__prompt_and_the_tokens_so_far() -> None:
    found = charged(progress(7, 0), progress(7, 7), *text("a", "b", finish=None), own_input=None)
    assert found == Agreed(7, 2, 2)


def test_cut__usage_in_every_event__the_last_one_counts() -> None:
    def so_far(piece: str, tokens: int) -> dict[str, Any]:
        return chunk(piece, usage={"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 0})

    assert charged(so_far("a", 1), so_far("b", 2), own_input=None) == Agreed(7, 0, 2)
    assert charged(so_far("a", 1), so_far("b", 9), own_input=None).output == 2
