"""Jobs by their events: told apart from jobs that never were, and followed past an emptied slot."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from scrip import jobs, redeem
from scrip.errors import BadInput, NotFound
from scrip.logs import LogEvent
from scrip.redeem import NotFinished, Plan
from scrip.structs import camel
from scrip.types import JobState, JobTerms, Status
from tests.unit.evidence_factory import MARKET, NOW, SPEC, make_terms

JOB, OTHER, TX = b"\x1f" * 32, b"\x2f" * 32, b"\xab" * 32
NONE = JobState(Status.NONE, 0, 0)
RECEIPT_HASH = b"\x05" * 32


@dataclass
class World:
    """A market's slots and events. `now` is the time of every view, `asked` the scans made."""

    slots: dict[bytes, JobState] = field(default_factory=dict)
    logs: list[LogEvent] = field(default_factory=list)
    now: int = NOW
    block: int = 50
    asked: list[tuple[Any, int | None, Any]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    chain_id: int = 31337

    # The chain

    def at(self) -> World:
        return self

    @property
    def chain(self) -> World:
        return self

    def block_time(self, block: int) -> int:
        return 1_000 + block

    def contract(self, name: str) -> Any:
        return SimpleNamespace(functions={"open": lambda terms, quote: "open"})

    # The view

    def time(self) -> int:
        return self.now

    def job_state(self, job: bytes) -> JobState:
        return self.slots.get(job, NONE)

    def events(self, contract: str, event: Any, *, since: int | None = None, **filters: Any) -> Any:
        self.asked.append((event, since, filters))
        names = event if isinstance(event, list) else [event]
        for log in self.logs:
            wanted = filters.get("jobId", log.args["jobId"])
            matches = log.args["jobId"] in wanted if isinstance(wanted, list) else log.args["jobId"] == wanted
            if log.name in names and matches and (since or 0) <= log.block <= self.block:
                yield log

    # What happens

    def open(self, job: bytes = JOB, block: int = 10, nonce: int = 77, **changes: Any) -> JobTerms:
        terms = make_terms(**changes)
        names = ("payer", "provider", "class_id", "max_units", "resources", "accept_by", "submit_by",
                 "spec_hash", "budget_id", "salt")  # fmt: skip
        args = {camel(name): getattr(terms, name) for name in names} | {"jobId": job, "nonce": nonce}
        self.logs.append(LogEvent("JobOpened", args, MARKET, block, b"", TX, 0))
        self.slots[job] = JobState(Status.OPEN, self.block_time(block), nonce)
        return terms

    def end(self, name: str, job: bytes = JOB, block: int = 40, **args: Any) -> None:
        """Ends it after its acceptBy: the event stays, the slot goes."""
        self.logs.append(LogEvent(name, {"jobId": job, **args}, MARKET, block, b"", b"\xee" * 32, 0))
        self.slots[job] = NONE


@pytest.fixture
def world() -> Any:
    return World()


def send(world: World) -> Any:
    return SimpleNamespace(
        send=lambda call, label: world.sent.append(label) or {"transactionHash": TX}  # type: ignore[func-returns-value]
    )


def planned(terms: JobTerms) -> Plan:
    return Plan(JOB, terms, SPEC, b"", "http://127.0.0.1:1", 9)


# No such job


def test_opening__never_opened__not_found(world: Any) -> None:
    world.open(OTHER)
    with pytest.raises(NotFound, match="job 0x1f1f1f1f"):
        jobs.opening(world, JOB)


def test_opening__malformed_id__raises(world: Any) -> None:
    with pytest.raises(BadInput, match="exactly 32 bytes"):
        jobs.opening(world, b"\x01")
    with pytest.raises(BadInput, match="exactly 32 bytes"):
        jobs.ending(world, b"\x01")


def test_status__never_opened__none(world: Any) -> None:
    assert jobs.status(world, JOB) is Status.NONE
    assert jobs.ending(world, JOB) is None


def test_follow__never_opened__not_found(world: Any) -> None:
    with pytest.raises(NotFound):
        redeem.follow(world, JOB, timeout=1)


def test_endings__of_no_jobs__asks_nothing(world: Any) -> None:
    assert (jobs.endings(world, []), world.asked) == ({}, [])


# Jobs that ended


@pytest.mark.parametrize(
    ("name", "args", "status", "units", "receipt"),
    [
        ("JobSettled", {"units": 9, "receiptHash": RECEIPT_HASH}, Status.SETTLED, 9, RECEIPT_HASH),
        ("JobRefunded", {"receiptHash": RECEIPT_HASH}, Status.REFUNDED, 0, RECEIPT_HASH),
        ("JobCancelled", {"by": MARKET}, Status.CANCELLED, 0, b""),
        ("JobExpired", {"by": MARKET}, Status.EXPIRED, 0, b""),
    ],
)
def test_ending__each_kind__in_one_scan_from_the_block_given(
    world: Any, name: str, args: dict[str, Any], status: Status, units: int, receipt: bytes
) -> None:
    world.open()
    world.end(name, **args)
    end = jobs.ending(world, JOB, 10)
    assert end == jobs.Ending(status, units, receipt, b"\xee" * 32, 40)
    assert world.asked == [(list(jobs.ENDINGS), 10, {"jobId": [JOB]})]


def test_ending__of_another_job__is_not_ours(world: Any) -> None:
    world.open()
    world.open(OTHER)
    world.end("JobExpired", OTHER)
    assert jobs.ending(world, JOB) is None


def test_ending__after_the_views_block__hasnt_happened_yet(world: Any) -> None:
    world.open()
    world.end("JobExpired")
    world.block = 39
    assert jobs.status(world, JOB) is Status.NONE


def test_status__slot_is_there__no_event_is_asked_for(world: Any) -> None:
    world.open()
    assert jobs.status(world, JOB) is Status.OPEN
    assert world.asked == []


def test_follow__slot_empties_while_we_wait__is_the_status_of_its_ending(world: Any) -> None:
    world.open()
    seen: list[Status] = []

    def wait(seconds: float) -> None:
        world.end("JobSettled", units=9, receiptHash=RECEIPT_HASH)

    found = redeem.follow(world, JOB, timeout=60, since=9, on_status=seen.append, sleep=wait)
    assert (found, seen) == (Status.SETTLED, [Status.OPEN, Status.SETTLED])
    assert world.asked[-1][1] == 9


def test_follow__still_open_at_the_end__not_finished(world: Any) -> None:
    world.open()
    with pytest.raises(NotFinished, match="still open"):
        redeem.follow(world, JOB, timeout=0)


def test_states__some_ended__slots_and_events_together_in_one_scan(world: Any) -> None:
    third = b"\x3f" * 32
    for number, job in enumerate((JOB, OTHER, third)):
        world.open(job, block=10 + number, nonce=70 + number)
    world.end("JobExpired", OTHER)
    world.end("JobSettled", third, units=1, receiptHash=RECEIPT_HASH)
    opened = jobs.openings(world)
    world.asked.clear()
    assert jobs.states(world, opened) == {
        JOB: JobState(Status.OPEN, 1_010, 70),
        OTHER: JobState(Status.EXPIRED, 1_011, 71),
        third: JobState(Status.SETTLED, 1_012, 72),
    }
    assert world.asked == [(list(jobs.ENDINGS), 11, {"jobId": [OTHER, third]})]


def test_states__taken_by_a_reorganisation__stays_none(world: Any) -> None:
    world.open()
    opened = jobs.openings(world)
    world.slots.clear()
    assert jobs.states(world, opened) == {JOB: NONE}


def test_nonce__slot_there_or_not__is_what_was_drawn(world: Any) -> None:
    world.open()
    world.slots[JOB] = replace(world.slots[JOB], nonce=5)
    assert jobs.nonce(world, JOB) == 5
    world.end("JobExpired")
    assert jobs.nonce(world, JOB, 10) == 77
    with pytest.raises(NotFound):
        jobs.nonce(world, OTHER)


# Opening twice


def test_open_job__not_there__is_sent_once(world: Any) -> None:
    terms = make_terms(accept_by=NOW + 60)
    assert redeem.open_job(world, send(world), planned(terms)) == TX
    assert (len(world.sent), world.asked) == (1, [])


def test_open_job__slot_there__is_not_sent(world: Any) -> None:
    terms = world.open(accept_by=NOW + 60)
    assert redeem.open_job(world, send(world), planned(terms)) is None
    assert world.sent == []


def test_open_job__ended_after_its_accept_by__is_not_sent_again(world: Any) -> None:
    terms = world.open(accept_by=NOW - 1)
    world.end("JobSettled", units=9, receiptHash=RECEIPT_HASH)
    assert redeem.open_job(world, send(world), planned(terms)) is None
    assert (world.sent, world.asked[-1][1]) == ([], 9)


def test_open_job__too_late_and_never_opened__the_market_says_so(world: Any) -> None:
    terms = make_terms(accept_by=NOW - 1)
    assert redeem.open_job(world, send(world), planned(terms)) == TX
    assert len(world.sent) == 1
