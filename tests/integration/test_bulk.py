"""Many slots in one request, on a real market: the same answers as one by one, at one block."""

from __future__ import annotations

from pathlib import Path

import pytest

from scrip import bulk
from scrip.chain import Chain
from scrip.errors import ChainError
from scrip.types import JobState, Status
from tests.integration.oracle_lab import lab
from tests.integration.system import System

UNKNOWN = [number.to_bytes(32) for number in range(1, 800)]
"""More than fit a request."""


def test_job_states__some_opened_some_unknown__are_those_read_one_by_one(
    system: System, chain: Chain, tmp_path: Path
) -> None:
    with lab(system, chain, tmp_path / "lab", watchers=0) as place:
        class_id = system.create_class(min_assurance=1)
        buyer = place.buy(class_id, 1_000_000)
        before = chain.at()
        jobs = [place.open(buyer, place.terms(buyer, class_id)) for _ in range(3)]
    asked = [jobs[0], *UNKNOWN, jobs[1], jobs[2]]
    view = chain.at()
    states = view.job_states(asked)
    assert [states[0], *states[-2:]] == [view.job_state(job) for job in jobs]
    assert set(states[1:-2]) == {JobState(Status.NONE, 0, 0)}
    assert view.job_statuses(asked) == [state.status for state in states]
    assert view.job_statuses(jobs) == [Status.OPEN] * 3
    assert before.job_statuses(jobs) == [Status.NONE] * 3
    assert view.job_states([]) == []


@pytest.mark.parametrize("arguments", [[bytes(32)], UNKNOWN])
def test_read__function_that_reverts__is_an_error(chain: Chain, arguments: list[bytes]) -> None:
    market = chain.address("JobMarket")
    with pytest.raises(ChainError):
        list(bulk.read(chain, market, b"\xff\xff\xff\xff", arguments, 32, chain.head()))


def test_read__no_contract_there__is_an_error_and_not_zeros(chain: Chain) -> None:
    nobody = "0x" + "12" * 20
    with pytest.raises(ChainError):
        list(bulk.read(chain, nobody, b"\xff\xff\xff\xff", [bytes(32)], 32, chain.head()))
