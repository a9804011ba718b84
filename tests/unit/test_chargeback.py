"""The ledger of credits: whatever happens, its entries are the burns and the money to the last unit."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from scrip.call_receipts import CallReceipt
from scrip.calls import signature
from scrip.chargeback import files
from scrip.chargeback.call_tokens import CallTokens
from scrip.chargeback.entry import BURNS, USAGE, Entry, LedgerMismatch, Tokens
from scrip.chargeback.focus import COLUMNS, NUMBERS, TIMES, Biller, Money
from scrip.chargeback.ledger import Ledger, divide, entries
from scrip.chargeback.sums import Sum, per_million
from scrip.eip712 import receipt_struct_hash
from scrip.errors import BadInput
from scrip.rates import Rate
from scrip.structs import ZERO_BYTES32
from scrip.submissions import receipts_in
from scrip.types import ClassTerms, Outcome, Receipt, Resource
from tests.unit.evidence_factory import make_class, make_terms
from tests.unit.report_stream import MARKET, PAYERS, PROVIDER, RESERVE, SESSIONS, NoFacts, Stream

DOLLARS = Money("0x" + "99" * 20, 6, "USD")


def make_receipt(units: int, energy: int = 0, given: int = 0, out: int = 0) -> Receipt:
    return Receipt(
        b"\x01" * 32, Outcome.COMPLETED, units, energy, given, out, 1_700_000_000, 1_700_000_100,
        b"\x04" * 32, b"\x05" * 32, 1,
    )  # fmt: skip


def ledger() -> Ledger:
    return Ledger(MARKET, SESSIONS, RESERVE, NoFacts())


@given(st.data())
def test_entries__any_history__add_up_to_burns_and_money(data: st.DataObject) -> None:
    stream, expected = Stream(), defaultdict(int)
    payer, units = st.sampled_from(PAYERS), st.integers(1, 10**20)
    for class_id in (1, 2):
        stream.buy(PAYERS[0], class_id, 10**24, data.draw(st.integers(0, 10**25)))
    sessions = [(stream.session(who, 0), who) for who in PAYERS]
    for _ in range(data.draw(st.integers(1, 8))):
        class_id = data.draw(st.integers(1, 2))
        match data.draw(st.sampled_from(["jobs", "claims", "reclaim", "buy"])):
            case "jobs":
                row = st.tuples(payer, st.integers(0, 10**20), st.integers(0, 3))
                rows = data.draw(st.lists(row, min_size=1, max_size=5))
                stream.jobs(class_id, rows)
                for who, used, budget in rows:
                    expected[who, budget, class_id] += used
            case "claims":
                rows = data.draw(
                    st.lists(st.tuples(st.sampled_from(sessions), units), min_size=1, max_size=5)
                )
                stream.claims(class_id, [(ident, used) for (ident, _), used in rows])
                for (_, who), used in rows:
                    expected[who, 0, class_id] += used
            case "reclaim":
                who, used = data.draw(payer), data.draw(units)
                stream.reclaim(who, class_id, used)
                expected[who, 0, class_id] += used
            case _:
                stream.buy(data.draw(payer), class_id, data.draw(units), data.draw(st.integers(0, 10**20)))
    book = ledger()
    found = list(entries(book, iter(stream.events)))
    counted: dict[tuple[str, int, int], int] = defaultdict(int)
    for entry in found:
        if entry.kind in BURNS:
            counted[entry.account, entry.budget_id, entry.class_id] += entry.units
    assert counted == {key: used for key, used in expected.items() if used}
    assert sum(one.amount for one in found if one.kind in USAGE) == stream.paid
    assert sum(one.amount for one in found if one.kind == "reclaim") == stream.returned
    for class_id in (1, 2):
        assert book.minted[class_id] - book.burned[class_id] == stream.supply[class_id]


@given(st.integers(0, 2**96), st.lists(st.integers(0, 2**96), min_size=1, max_size=9))
def test_divide__any_weights__adds_up_and_is_within_one_of_the_share(amount: int, weights: list[int]) -> None:
    shares = divide(amount, weights)
    assert sum(shares) == amount
    whole = sum(weights)
    for share, weight in zip(shares, weights, strict=True):
        assert whole == 0 or abs(Fraction(share) - Fraction(amount * weight, whole)) < 1


def history() -> Stream:
    stream = Stream()
    stream.buy(PAYERS[0], 1, 1_000, 2_000)
    stream.jobs(1, [(PAYERS[0], 10, 1), (PAYERS[1], 20, 0)])
    stream.claims(1, [(stream.session(PAYERS[2], 0), 5)])
    stream.reclaim(PAYERS[0], 1, 7)
    return stream


@pytest.mark.parametrize(
    "gone", ["JobSettled", "SessionClaimed", "PaidOut", "Reclaimed", "Bought", "TransferSingle"]
)
def test_entries__an_event_is_missing__is_a_mismatch(gone: str) -> None:
    events = history().events
    for missing in [event for event in events if event.name == gone]:
        left = [event for event in events if event is not missing]
        with pytest.raises(LedgerMismatch, match="logs aren't complete"):
            list(entries(ledger(), iter(left)))


def test_receipts_in__a_call_within_a_call__finds_each() -> None:
    receipts = [make_receipt(units) for units in (1, 2)]
    terms = make_terms().to_abi()
    attestation = (b"\x01" * 65, [])
    batch = signature("JobMarket", "submitBatch").encode(
        [[terms, terms], [one.to_abi() for one in receipts], 0, attestation]
    )
    single = signature("JobMarket", "submit").encode([terms, receipts[0].to_abi(), attestation])
    assert list(receipts_in(batch)) == receipts
    wrapped = b"\xde\xad\xbe\xef" + bytes(64) + single + bytes(13) + batch
    assert {receipt_struct_hash(one) for one in receipts_in(wrapped)} == set(
        map(receipt_struct_hash, receipts)
    )
    assert list(receipts_in(single[:100])) == []
    assert list(receipts_in(b"")) == []


def job(
    resource: Resource = Resource.GPU_SECOND, units: int = 4_000, amount: int = 4_000_000
) -> tuple[Entry, ClassTerms]:
    receipt = make_receipt(units, 2_500, 300, 100)
    terms = make_class(resource, 3, price_per_million=10**12)
    entry = Entry(
        "job", b"\x01" * 32, PAYERS[0], 3, 7, PROVIDER, units, amount, b"\x02" * 32, receipt,
        Tokens(300, 0, 100), b"\x03" * 32, 12, 4, receipt.ended_at + 60,
    )  # fmt: skip
    return entry, terms


def test_per_million__weights_given__parts_add_up_to_the_whole() -> None:
    entry, terms = job()
    found = Sum()
    found.add(replace(entry, tokens=Tokens(300, 100, 100)))
    costs = per_million(found, terms, Rate(10, 1, 40))
    assert costs is not None
    assert costs.input is not None
    assert costs.cached is not None
    assert costs.output is not None
    assert costs.input * 200 + costs.cached * 100 + costs.output * 100 == 4_000_000 * 10**6
    assert (costs.input / costs.cached, costs.output / costs.cached) == (10, 40)
    assert (costs.blended, costs.gpu_seconds, costs.joules) == (10**10, 10**4, 6_250)


def test_per_million__nothing_says_how_to_divide__only_blended() -> None:
    entry, terms = job()
    found = Sum()
    found.add(entry)
    costs = per_million(found, terms)
    assert costs is not None
    assert (costs.input, costs.cached, costs.output) == (None, None, None)
    assert per_million(Sum(), terms) is None


def test_per_million__entries_without_tokens__dont_dilute_it() -> None:
    entry, terms = job(Resource.OUTPUT_TOKEN)
    found = Sum()
    found.add(entry)
    alone = per_million(found, terms)
    found.add(replace(entry, tokens=None))
    assert per_million(found, terms) == alone
    assert alone is not None
    assert (alone.input, alone.output) == (0, 4 * 10**10)
    assert (found.silent, found.amount) == (1, 8_000_000)
    found.add(
        replace(entry, receipt=None)
    )  # its energy isn't known: the joules per token stay what they were
    after = per_million(found, terms)
    assert after is not None
    assert after.joules == alone.joules == 6_250


def test_between__claims_that_cut_a_call_or_receipts_that_lack_one__unknown() -> None:
    def call(number: int, units: int, total: int) -> CallReceipt:
        blank = ZERO_BYTES32
        return CallReceipt(b"\x01" * 32, number, blank, blank, blank, blank, 10, 4, 5, units, total, 1, 2)

    calls = CallTokens({b"\x01" * 32: [call(1, 100, 100), call(2, 50, 150), call(4, 10, 200)]})
    assert calls.between(b"\x01" * 32, 0, 150) == Tokens(20, 8, 10)
    assert calls.between(b"\x01" * 32, 100, 150) == Tokens(10, 4, 5)
    assert calls.between(b"\x01" * 32, 0, 120) is None
    assert calls.between(b"\x01" * 32, 150, 200) is None
    assert calls.between(b"\x02" * 32, 0, 10) is None


def test_row__usage__billed_nothing_and_priced_in_credits() -> None:
    entry, terms = job()
    row = Biller(31_337).row(entry, terms, DOLLARS)
    assert (row["ChargeCategory"], row["BilledCost"], row["EffectiveCost"]) == ("Usage", "0.0", "4.0")
    assert (row["PricingCurrency"], row["PricingCurrencyEffectiveCost"]) == ("Scrip class 7 credits", "4.0")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == ("4.0", "GPU-Seconds")
    assert (row["ListUnitPrice"], row["ListCost"], row["SubAccountId"]) == ("1.0", "4.0", "budget-3")
    assert (row["x_GpuSeconds"], row["x_EnergyJoules"]) == ("4.0", "2.5")


def test_row__purchase__billed_and_of_no_effective_cost() -> None:
    entry, terms = job()
    bought = replace(
        entry, kind="purchase", ident=b"", receipt=None, tokens=None, receipt_hash=b"", budget_id=0
    )
    row = Biller(31_337).row(bought, terms, DOLLARS)
    assert (row["ChargeCategory"], row["BilledCost"], row["EffectiveCost"]) == ("Purchase", "4.0", "0.0")
    assert (row["ConsumedQuantity"], row["PricingCurrency"]) == (None, "USD")
    back = Biller(31_337).row(replace(bought, kind="reclaim"), terms, DOLLARS)
    assert (back["BilledCost"], back["PricingQuantity"]) == ("-4.0", "-4.0")


@pytest.mark.parametrize("kind", ["job", "purchase", "reclaim", "grant"])
def test_row__every_kind__same_columns_numbers_and_times(kind: str) -> None:
    entry, terms = job()
    row = Biller(1).row(replace(entry, kind=kind), terms, DOLLARS)
    assert tuple(row) == COLUMNS
    assert all(row[name] is None or "." in str(row[name]) for name in NUMBERS)
    start, end = (datetime.fromisoformat(str(row[f"BillingPeriod{side}"])) for side in ("Start", "End"))
    assert (start.day, end.day) == (1, 1)
    assert all(str(row[name]).endswith("Z") for name in TIMES)
    assert json.loads(str(row["Tags"])) == {}


def test_writer__failure_half_way__leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    path.write_text("old")
    row = Biller(1).row(*job(), DOLLARS)

    def half() -> None:
        with files.writer(path) as write:
            write(row)
            raise LedgerMismatch("half way")

    with pytest.raises(LedgerMismatch):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_writer__nothing_to_bill__a_file_with_columns_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bill.{suffix}"
    with files.writer(path):
        pass
    if suffix == "csv":
        assert path.read_text() == ",".join(COLUMNS) + "\n"
    else:
        table = parquet.read_table(path)
        assert (table.num_rows, tuple(table.column_names)) == (0, COLUMNS)


def test_writer__other_name__refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"ends in .csv or .parquet"), files.writer(tmp_path / "bill.xls"):
        pass
