"""How providers' jobs ended, as the events tell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents import reputation
from agents.reputation import Record, Reputation, count
from scrip.errors import BadInput
from scrip.logs import LogEvent, Page
from scrip.types import Fault

HERE, THERE = "0x" + "11" * 20, "0x" + "22" * 20


def event(name: str, job: int, **args: Any) -> LogEvent:
    return LogEvent(name, {"jobId": bytes([job]) * 32, **args}, HERE, 1, bytes(32), bytes(32), 0)


def counted(*events: LogEvent) -> tuple[dict[str, Record], dict[str, str]]:
    records: dict[str, Record] = {}
    running: dict[str, str] = {}
    for one in events:
        count(records, running, one)
    return records, running


TAKEN = (event("JobAccepted", 1, provider=HERE), event("JobOpened", 1, provider=HERE, quoted=True))


@pytest.mark.parametrize("taken", TAKEN, ids=["accepted", "quoted"])
@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (event("JobSettled", 1, provider=HERE, units=5), Record(settled=1)),
        (event("JobRefunded", 1, provider=HERE), Record(failed=1)),
        (event("JobCancelled", 1, by=HERE), Record(dropped=1)),
        (event("JobExpired", 1, by=THERE), Record(expired=1)),
    ],
)
def test_count__job_that_was_taken__its_end_counts_for_its_provider(
    ending: LogEvent, expected: Record, taken: LogEvent
) -> None:
    assert counted(taken, ending) == ({HERE: expected}, {})


def test_count__job_that_nobody_took__says_nothing_of_its_provider() -> None:
    opened = [event("JobOpened", job, provider=HERE, quoted=False) for job in (1, 2)]
    assert counted(*opened, event("JobExpired", 1, by=HERE), event("JobCancelled", 2, by=THERE)) == ({}, {})


def test_count__dispute_lost__counts_beside_how_the_job_ended() -> None:
    taken, ending = event("JobAccepted", 1, provider=HERE), event("JobRefunded", 1, provider=HERE)
    for fault, lost in ((Fault.PROVIDER, 1), (Fault.CHALLENGER, 0), (Fault.NONE, 0)):
        records, _ = counted(taken, event("JobResolved", 1, units=0, fault=int(fault)), ending)
        assert records == {HERE: Record(failed=1, lost=lost)}


class Node:
    """A chain of events by block; `hashes` are its blocks'."""

    chain_id, deployment = 31337, SimpleNamespace(block=2)

    def __init__(self) -> None:
        self.events: dict[int, list[LogEvent]] = {}
        self.hashes = {block: bytes([block]) * 32 for block in range(100)}
        self.final = 10
        self.asked: list[tuple[int, int]] = []
        self.w3 = SimpleNamespace(eth=SimpleNamespace(get_block=lambda block: {"hash": self.hashes[block]}))

    def head(self) -> int:
        return self.final

    finalized = head

    def address(self, name: str) -> str:
        return HERE

    def pages(self, chain: Any, contract: str, names: Any, first: int, last: int) -> Any:
        self.asked.append((first, last))
        for start in range(first, last + 1, 4):
            end = min(start + 3, last)
            yield Page(start, end, [one for at in range(start, end + 1) for one in self.events.get(at, [])])


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node()
    monkeypatch.setattr(reputation.logs, "pages", made.pages)
    made.events[3] = [event("JobAccepted", 1, provider=HERE)]
    made.events[9] = [event("JobSettled", 1, provider=HERE, units=1), event("JobAccepted", 2, provider=HERE)]
    return made


def test_update__again_and_in_another_process__reads_only_what_is_new(node: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert Reputation(node, path).update() == {HERE: Record(settled=1)}
    node.final, node.events[12] = 20, [event("JobExpired", 2, by=THERE)]
    again = Reputation(node, path)
    assert again.update() == again.update() == {HERE: Record(settled=1, expired=1)}
    assert node.asked == [(2, 10), (11, 20), (21, 20)]


def test_update__other_chain_behind_the_node__starts_anew(node: Any, tmp_path: Path) -> None:
    Reputation(node, tmp_path / "r.json").update()
    node.hashes[10], node.events = b"\xff" * 32, {4: [event("JobRefunded", 7, provider=THERE)]}
    assert Reputation(node, tmp_path / "r.json").update() == {THERE: Record(failed=1)}


def test_update__long_history__only_the_newest_blocks_are_read(node: Any) -> None:
    node.final = 90
    Reputation(node, look_back=5).update()
    assert node.asked == [(86, 90)]


def test_load__file_is_not_ours__says_that_it_may_be_deleted(node: Any, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"version": 1}')
    with pytest.raises(BadInput, match="it is a cache"):
        Reputation(node, tmp_path / "r.json")
