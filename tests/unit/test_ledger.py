from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agents.ledger import Ledger, LimitReached
from scrip.errors import BadInput


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "spent.json", 100)


def test_reserve__past_the_limit__refused_with_figures_and_nothing_kept(ledger: Ledger) -> None:
    ledger.reserve("a", 60)
    with pytest.raises(LimitReached, match="asked 41, left 40 of 100"):
        ledger.reserve("b", 41)
    assert ledger.spent() == 60


def test_reserve__same_key_or_negative__refused(ledger: Ledger) -> None:
    ledger.reserve("a", 1)
    for key, amount in (("a", 1), ("b", -1)):
        with pytest.raises(BadInput, match="reservation"):
            ledger.reserve(key, amount)


def test_settle__more_than_reserved_or_unknown__refused(ledger: Ledger) -> None:
    ledger.reserve("a", 10)
    for key, amount in (("a", 11), ("b", 0), ("a", -1)):
        with pytest.raises(BadInput, match="settlement"):
            ledger.settle(key, amount)


def test_ledger__unreadable_file__stops_instead_of_starting_anew(ledger: Ledger) -> None:
    for text in ("{", "[]", '{"a": -1}', '{"a": 1.5}', '{"a": true}'):
        ledger.path.write_text(text)
        with pytest.raises(BadInput, match="ledger"):
            ledger.spent()


def test_ledger__new_process__remembers(ledger: Ledger) -> None:
    ledger.reserve("a", 30)
    ledger.settle("a", 20)
    again = Ledger(ledger.path, 100)
    assert (again.spent(), again.left()) == (20, 80)
    assert Ledger(ledger.path, 10).left() == 0


def test_reserve__many_threads__admits_exactly_what_fits(ledger: Ledger) -> None:
    admitted = []

    def attempt(number: int) -> None:
        try:
            Ledger(ledger.path, 100).reserve(str(number), 30)
            admitted.append(number)
        except LimitReached:
            pass

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 3
    assert ledger.spent() == 90
