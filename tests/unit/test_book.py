"""What an agent remembers of what it is in the middle of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.book import Attempt, AttemptState, Book, Busy, NeedState
from agents.market import Experience
from agents.policy import Need
from scrip.errors import BadInput
from scrip.redeem import Plan
from scrip.types import Resource, sku_id
from tests.unit.evidence_factory import SPEC, make_terms

NEED = Need(
    SPEC, Resource.OUTPUT_TOKEN, 10**20, 2, sku_id("model"), "eu", frozenset({"0x" + "11" * 20}), seconds=90
)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "book")


def attempt(key: str, job: int = 1, **changes: object) -> Attempt:
    plan = Plan(bytes([job]) * 32, make_terms(salt=job), SPEC, b"\x05" * 65, "http://p", 7)
    made = Attempt(key, plan, AttemptState.PLANNED, "the cheapest", 10**19, 1_000, 10**20)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_holding__killed_in_the_middle__another_process_finds_all_of_it(book: Book) -> None:
    with book.holding(NEED) as held:
        book.write(attempt(held.key))
    again = Book(book.path)
    assert again.unfinished() == [held]
    assert replace(held, key="") == NEED
    assert again.attempts(held.key) == [attempt(held.key)]


def test_holding__equal_need_without_a_key__is_taken_up_where_it_was_left(book: Book) -> None:
    with book.holding(NEED) as first:
        pass
    with book.holding(NEED) as second:
        assert second.key == first.key
        with book.holding(NEED) as third:  # the first one is worked on: this is another
            assert third.key != first.key
    book.finish(first.key, NeedState.MET)
    book.finish(third.key, NeedState.MET)
    with book.holding(NEED) as fourth:
        assert fourth.key not in (first.key, third.key)


def test_holding__key_that_is_worked_on__is_busy(book: Book) -> None:
    keyed = replace(NEED, key="k")
    with book.holding(keyed), pytest.raises(Busy, match="need k"), Book(book.path).holding(keyed):
        pass
    with book.holding(keyed) as held:
        assert held == keyed


def test_holding__key_of_another_need__is_refused(book: Book) -> None:
    with book.holding(replace(NEED, key="k")):
        pass
    with (
        pytest.raises(BadInput, match="stands for another one"),
        book.holding(replace(NEED, key="k", max_units=1)),
    ):
        pass


def test_holding__given_up_before__starts_anew_without_what_failed(book: Book) -> None:
    keyed = replace(NEED, key="k")
    with book.holding(keyed):
        book.write(attempt("k", state=AttemptState.FAILED))
        book.finish("k", NeedState.GIVEN_UP)
    assert book.unfinished() == []
    with book.holding(keyed):
        assert book.state("k") is NeedState.ACTIVE
        assert book.attempts("k") == []
        book.write(attempt("k", 2))
    assert [one.plan.job_id[0] for one in book.attempts("k")] == [2]


def test_experience__of_what_ended__averages_time_and_counts_what_did_not_hold(book: Book) -> None:
    done = {"state": AttemptState.DONE, "started_ms": 1_000}
    book.write(attempt("k", 1, **done, ended_ms=3_000))
    book.write(attempt("k", 2, **done, ended_ms=6_001))
    book.write(attempt("k", 3, state=AttemptState.UNVERIFIED, ended_ms=99_000))
    book.write(attempt("k", 4, state=AttemptState.FAILED, ended_ms=99_000))
    assert book.experience() == {make_terms().provider: Experience(done=2, seconds=4, unverified=1)}


def test_book__file_is_no_database__is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_text("important")
    with pytest.raises(BadInput, match="mend it, don't delete it"):
        Book(path)
    assert path.read_text() == "important"
