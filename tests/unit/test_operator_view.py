"""What the page shows, from rows of a real store: exact integers as text, each with one text for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from oracle.operator import view
from oracle.operator.book import ENDED_SHOWN, Reader
from oracle.operator.costs import TokenBook, count_call, count_job
from oracle.operator.figures import Figures, Paid, Purse
from oracle.quorum import Standing
from oracle.states import Stage, State
from oracle.store import Store
from oracle.telemetry.latest import GpuNow
from scrip.call_receipts import CallReceipt
from scrip.chargeback.sums import Sum
from scrip.cli.output import Token
from scrip.rates import Rate
from scrip.types import JobTerms, Outcome, Receipt, Resource
from tests.unit.evidence_factory import make_class, make_terms

DOLLAR = Token("0xDDdDddDdDdddDDddDDddDDDDdDdDDdDDdDDDDDDd", "dUSD", 6)
TERMS = make_class(Resource.GPU_SECOND, 3, payment_token=DOLLAR.address, watcher_set=4, name="GPU-seconds")
TOKENS = make_class(Resource.OUTPUT_TOKEN, 0, payment_token=DOLLAR.address, name="tokens")
WATCHERS = tuple("0x" + digit * 40 for digit in "abc")
FIGURES = Figures(
    block=9, classes={1: TERMS, 2: TOKENS}, tokens={DOLLAR.address: DOLLAR}, watchers={4: WATCHERS},
    paid={1: Paid(2_500, 1_234_567), 2: Paid(100, 3_000_000)},
    purses=(Purse(DOLLAR, 4_234_567, 1_000_000, 3_234_567, 32_345),),
)  # fmt: skip
NOTHING = Figures()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield made
    made.close()


def terms(**changes: Any) -> JobTerms:
    return make_terms(**{"class_id": 1, "max_units": 10**20, **changes})


def receipt(job: bytes, **changes: Any) -> Receipt:
    made = Receipt(
        job_id=job, outcome=Outcome.COMPLETED, units=1_500, gpu_millijoules=700_123, input_tokens=0,
        output_tokens=0, started_at=1, ended_at=2, output_hash=bytes(32), evidence_root=bytes(32),
        assurance=2,
    )  # fmt: skip
    return replace(made, **changes)


def add(store: Store, number: int, state: State, **values: Any) -> bytes:
    job = bytes([number]) * 32
    store.add_job(job, values.pop("terms", terms()), state, values.pop("reason", ""), **values)
    return job


# Jobs and queue


def test_jobs__class_unknown_yet__units_are_base_units_of_any_size(store: Store) -> None:
    add(store, 1, State.QUEUED)
    (row,) = view.jobs(Reader(store).read(), NOTHING)["rows"]
    assert row["most"] == {"units": str(10**20), "text": str(10**20)}
    assert row["class"] == {"id": "1", "name": "class 1", "resource": None}
    (row,) = view.jobs(Reader(store).read(), FIGURES)["rows"]
    assert row["most"] == {"units": str(10**20), "text": str(10**17)}
    assert row["class"]["name"] == "GPU-seconds"


def test_jobs__going_on_newest_first__then_the_last_that_ended(store: Store) -> None:
    for number in range(1, 41):
        add(store, number, State.QUOTED)
    for number in range(1, 36):
        store.move(bytes([number]) * 32, State.LAPSED, "never opened")
    shown = view.jobs(Reader(store).read(), NOTHING)
    assert shown["counts"] == {"quoted": 5, "lapsed": 35}
    numbers = [int(row["id"][2:4], 16) for row in shown["rows"]]
    assert sorted(numbers[:5]) == [36, 37, 38, 39, 40]
    assert numbers[5:] == list(range(35, 35 - ENDED_SHOWN, -1))


def test_jobs__reason__cannot_reorder_or_move_what_is_read(store: Store) -> None:
    add(store, 1, State.CANCELLING, reason="a\u202eb\x1b[31m\nc")
    (row,) = view.jobs(Reader(store).read(), NOTHING)["rows"]
    assert row["reason"] == "a\ufffdb\ufffd[31m\ufffdc"


def test_queue__who_waits__oldest_first_without_those_that_run(store: Store) -> None:
    states = (State.QUEUED, State.EXECUTING, State.QUOTED, State.METERED, State.OPEN)
    for number, state in enumerate(states, 1):
        add(store, number, state)
    shown = view.queue(Reader(store).read(), NOTHING, slots=2, places=8)
    assert [row["state"] for row in shown["rows"]] == ["queued", "quoted", "open"]
    assert {name: shown[name] for name in ("running", "waiting", "slots", "places")} == {
        "running": 1, "waiting": 3, "slots": 2, "places": 8,
    }  # fmt: skip


def test_reader__nothing_changed__counts_are_not_counted_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, 1, State.QUEUED)
    reader, counted = Reader(store), []
    count = store.counts
    monkeypatch.setattr(store, "counts", lambda: counted.append(1) or count())
    assert [reader.read().counts[State.QUEUED] for _ in range(3)] == [1, 1, 1]
    store.move(bytes([1]) * 32, State.EXECUTING)
    assert reader.read().counts[State.EXECUTING] == 1
    assert len(counted) == 2


# Receipts


def test_receipts__vote_in_progress__says_who_signed_refused_and_is_missing(store: Store) -> None:
    job = add(store, 1, State.METERED, receipt=receipt(bytes([1]) * 32), exited_ms=5)
    store.add_settlement([job], batched=False, watcher_set=4)
    vote = Standing(4, 2, frozenset(WATCHERS[:1]), {WATCHERS[1]: "usage.energy: 2 J"}, ("w3: timed out",))
    (row,) = view.receipts(Reader(store).read(), FIGURES, {job: vote}.get)
    assert [(one["address"], one["state"], one["reason"]) for one in row["watchers"]] == [
        (WATCHERS[0], "signed", ""),
        (WATCHERS[1], "refused", "usage.energy: 2 J"),
        (WATCHERS[2], "missing", ""),
    ]
    assert (row["state"], row["threshold"], row["watcherSet"]) == ("signing", 2, "4")
    assert (row["units"], row["energyMj"]) == ({"units": "1500", "text": "1.5"}, "700123")
    assert (row["notes"], row["sinceMs"]) == (["w3: timed out"], 5)


def test_receipts__waits_for_the_next_try__last_reason_is_told(store: Store) -> None:
    job = add(store, 1, State.METERED, receipt=receipt(bytes([1]) * 32), tries=2)
    bound = store.add_settlement([job], batched=False, watcher_set=4)
    store.close_settlement(bound, Stage.DROPPED, {job: {"tries": 3}}, "1 of 2 watchers signed")
    (row,) = view.receipts(Reader(store).read(), FIGURES, lambda _: None)
    assert (row["tries"], row["notes"]) == (3, ["1 of 2 watchers signed"])
    assert {one["state"] for one in row["watchers"]} == {"missing"}


@pytest.mark.parametrize(("figures", "assurance"), [(NOTHING, 2), (FIGURES, 1), (FIGURES, 0)])
def test_receipts__no_watchers_needed_or_known__none_is_named(
    store: Store, figures: Figures, assurance: int
) -> None:
    add(store, 1, State.METERED, receipt=receipt(bytes([1]) * 32, assurance=assurance))
    (row,) = view.receipts(Reader(store).read(), figures, lambda _: None)
    assert (row["watchers"], row["watcherSet"]) == ([], "0")


def test_receipts__signed_already__waits_no_more(store: Store) -> None:
    add(store, 1, State.SIGNED, receipt=receipt(bytes([1]) * 32))
    add(store, 2, State.EXECUTING)
    assert view.receipts(Reader(store).read(), FIGURES, lambda _: None) == []


# GPUs


def test_gpus__readings__are_exact_and_shown_once() -> None:
    job = bytes([1]) * 32
    gpu = GpuNow(
        "GPU-1", "H100\x00", 80 << 30, 97, 546_049, 9_007_199_254_740_993_000, 9_007_199_254_739_758_433,
        17 << 29, 5, frozenset({job, bytes(32)}),
    )  # fmt: skip
    (shown,) = view.gpus([gpu], frozenset({job}))
    assert (shown["name"], shown["jobs"]) == ("H100\ufffd", ["0x" + job.hex()])
    assert (shown["energyMj"], shown["usedMj"]) == ("9007199254740993000", "1234567")
    assert (shown["power"], shown["used"], shown["memory"]) == ("546.0 W", "1.235 kJ", "8.5 of 80 GiB")


def test_gpus__what_is_not_offered__is_null() -> None:
    (shown,) = view.gpus([GpuNow("GPU-1", "old", 0, problem="lost")], frozenset())
    missing = ("utilPct", "powerMw", "power", "energyMj", "usedMj", "used", "memoryBytes", "memory")
    assert {shown[name] for name in missing} == {None}
    assert shown["problem"] == "lost"


@pytest.mark.parametrize(
    ("millijoules", "text"),
    [(0, "0 J"), (1, "0.001 J"), (999_999, "999.999 J"), (10**6, "1.000 kJ"), (3_600_000_001, "3.600 MJ")],
)
def test_energy__any_size__reads_well(millijoules: int, text: str) -> None:
    assert view.energy(millijoules) == text


# Money


def test_earnings__amounts__are_exact_and_the_fee_is_taken_off() -> None:
    shown = view.earnings(FIGURES, "")
    assert shown["tokens"] == [
        {
            "token": DOLLAR.address, "symbol": "dUSD",
            "settled": {"baseUnits": "4234567", "text": "4.234567 dUSD"},
            "withdrawable": {"baseUnits": "3202222", "text": "3.202222 dUSD"},
            "fee": {"baseUnits": "32345", "text": "0.032345 dUSD"},
            "withdrawn": {"baseUnits": "1000000", "text": "1 dUSD"},
        }
    ]  # fmt: skip
    assert shown["classes"][0]["units"] == {"units": "2500", "text": "2.5"}
    assert shown["classes"][0]["amount"] == {"baseUnits": "1234567", "text": "1.234567 dUSD"}
    assert sum(int(row["amount"]["baseUnits"]) for row in shown["classes"]) == 4_234_567


def test_earnings__chain_is_away__says_so_and_keeps_what_was_known() -> None:
    shown = view.earnings(FIGURES, "NodeUnavailable: node rpc")
    assert (shown["problem"], shown["block"], len(shown["tokens"])) == ("NodeUnavailable: node rpc", "9", 1)
    assert view.earnings(NOTHING, "")["block"] is None


def test_costs__jobs_on_gpus__money_seconds_and_joules_a_million() -> None:
    found = Sum()
    count_job(found, receipt(bytes(32), input_tokens=600, output_tokens=400, units=2_000))
    count_job(found, receipt(bytes(32)))  # used no tokens: isn't part of it
    (row,) = view.costs({1: found}, FIGURES, {})
    # 1234567 for 2500 units: 2000 of them cost 987653, for 1000 tokens.
    assert row["blended"] == "987.653 dUSD"
    assert (row["input"], row["cached"], row["output"]) == (None, None, None)
    assert (row["gpuSeconds"], row["joules"]) == ("2000", "700123")
    assert (row["inputTokens"], row["outputTokens"], row["served"]) == ("600", "400", 1)


def test_costs__calls_with_one_price__are_divided_by_it() -> None:
    found = Sum()
    count_call(found, call(1, 1_000, 400, 100))
    (row,) = view.costs({2: found}, FIGURES, {2: [Rate(250_000, 25_000, 1_000_000)]})
    weighed = 600 * 250_000 + 400 * 25_000 + 100 * 1_000_000
    million = Fraction(1_500_000 * 10**6, weighed)
    assert row["output"] == f"{float(million * 1_000_000 / 10**6):.6f}".rstrip("0") + " dUSD"
    assert row["cachedTokens"] == "400"
    two = {2: [Rate(1, 1, 1), Rate(2, 1, 1)]}
    assert (
        view.costs({2: found}, FIGURES, two)[0]["input"] == "0 dUSD"
    )  # by the class: only output is charged


def test_costs__nothing_was_paid_yet__is_no_cost() -> None:
    found = Sum()
    count_call(found, call(1, 1, 0, 1))
    assert view.costs({2: found}, replace(FIGURES, paid={}), {}) == []
    assert view.costs({2: found}, NOTHING, {}) == []


def call(number: int, given: int, cached: int, output: int) -> CallReceipt:
    return CallReceipt(
        bytes(32), number, bytes(32), bytes(32), bytes(32), bytes(32), given, cached, output, 50, 50, 1, 2
    )


def test_token_book__settled_jobs__each_is_counted_once(store: Store) -> None:
    book = TokenBook(store)
    for number in (1, 2, 3):
        made = receipt(bytes([number]) * 32, input_tokens=10, output_tokens=number)
        add(store, number, State.SUBMITTING, receipt=made)
        if number < 3:
            store.move(bytes([number]) * 32, State.SETTLED)
        book.refresh()
        book.refresh()
    assert book.sums[1].tokens.output == 3
    store.move(bytes([3]) * 32, State.SETTLED)
    book.refresh()
    assert (book.sums[1].tokens.output, book.sums[1].count) == (6, 3)


def test_sections__are_json_with_integers_as_text(store: Store) -> None:
    add(store, 1, State.METERED, receipt=receipt(bytes([1]) * 32))
    books = Reader(store).read()
    parts = [
        view.jobs(books, FIGURES),
        view.receipts(books, FIGURES, lambda _: None),
        view.earnings(FIGURES, ""),
    ]
    for number in numbers(json.loads(json.dumps(parts))):
        assert number < 2**53


def numbers(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int):
        yield value
