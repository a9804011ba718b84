"""Session accounts: what is refused, what is charged, and what a crash or lost state leaves."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from oracle.gateway.accounts import (
    BadCredential,
    ModelRefused,
    NotServing,
    PaymentNeeded,
    ReservationGone,
    SessionClosing,
    SessionRefused,
    TokenBounds,
    UnknownSession,
    VoucherUsed,
)
from oracle.gateway.metrics import GatewayMetrics
from oracle.store import NOBODY
from scrip.call_receipts import ReceiptWrong, SignedCallReceipt, check_chain, model_id
from scrip.errors import NotFound
from scrip.structs import ZERO_BYTES32
from tests.unit.gateway_factory import (
    CHAIN_ID,
    DEAR,
    MODEL,
    NOW,
    ORACLE,
    OTHER_CLASS,
    SESSIONS,
    STRANGER,
    Till,
    held,
    used,
    voucher,
)


@pytest.fixture
def till(tmp_path: Path, database_url: str) -> Iterator[Till]:
    made = Till(tmp_path, url=database_url)
    yield made
    made.store.close()


# What is refused


def test_reserve__unknown_session__says_where_to_open_it(till: Till) -> None:
    with pytest.raises(UnknownSession, match="POST its terms to /v1/scrip/sessions"):
        till.reserve(b"\x09" * 32, 10, 10)


def test_reserve__voucher_of_another_key__is_refused(till: Till) -> None:
    session = till.opened()
    with pytest.raises(BadCredential, match="isn't signed by the session's key"):
        till.accounts.reserve(voucher(session, 10, STRANGER), MODEL, TokenBounds(5, 0))
    assert held(till, session) == (0, 0, 0)


def test_reserve__voucher_shown_before__says_which_numbers_are_free(till: Till) -> None:
    session = till.opened()
    till.accounts.release(till.reserve(session, 10, 10))
    with pytest.raises(VoucherUsed) as caught:
        till.reserve(session, 10, 10)
    assert (caught.value.status, caught.value.needed, caught.value.authorised) == (402, 0, 10)
    assert caught.value.headers["Scrip-Authorised"] == "10"


def test_reserve__more_than_authorised__says_what_is_needed(till: Till) -> None:
    session = till.opened()
    till.accounts.charge(till.reserve(session, 50, 50), used(30))
    with pytest.raises(PaymentNeeded) as caught:
        till.reserve(session, 60, 31)
    numbers = caught.value.needed, caught.value.authorised, caught.value.charged, caught.value.deposit
    assert numbers == (61, 60, 30, 1_000)
    assert caught.value.body()["error"]["needed"] == "61"
    assert held(till, session) == (60, 30, 0)


def test_reserve__more_than_deposited__asks_for_a_top_up(till: Till) -> None:
    session = till.opened(deposit=100)
    with pytest.raises(PaymentNeeded, match="Top the session up first") as caught:
        till.reserve(session, 5_000, 101)
    assert caught.value.needed == 101
    till.refresh(session, deposit=101)
    assert till.reserve(session, 5_001, 101).units == 101


def test_reserve__model_without_a_rate__names_those_offered(till: Till) -> None:
    session = till.opened(class_id=OTHER_CLASS)
    with pytest.raises(ModelRefused, match=f"offered is {MODEL}"):
        till.reserve(session, 10, 1, DEAR)


@pytest.mark.parametrize("changes", [{"close_at": NOW + 3_600}, {"closed": True}])
def test_reserve__close_pending_or_done__is_refused(till: Till, changes: dict[str, Any]) -> None:
    session = till.opened()
    till.refresh(session, **changes)
    with pytest.raises(SessionClosing):
        till.reserve(session, 10, 10)


def test_reserve__past_the_end__is_refused(till: Till) -> None:
    session = till.opened(expires_at=NOW + 50)
    till.now += 49
    till.accounts.release(till.reserve(session, 10, 10))
    till.now += 1
    with pytest.raises(SessionRefused, match="has ended"):
        till.reserve(session, 11, 10)


def test_reserve__chain_not_seen_for_long__is_refused(till: Till) -> None:
    session = till.opened()
    till.now += 301
    with pytest.raises(NotServing, match="wasn't seen for 301 s"):
        till.reserve(session, 10, 10)
    till.accounts.looked(NOW)
    assert till.reserve(session, 10, 10).units == 10


def test_reserve__another_node_leads__is_refused(till: Till) -> None:
    session = till.opened()
    till.store.epoch = NOBODY
    with pytest.raises(NotServing, match="another node leads"):
        till.reserve(session, 10, 10)


def test_open__not_on_chain__is_refused_and_forgotten(till: Till) -> None:
    terms = till.sessions.opened()
    till.sessions.slots.clear()
    with pytest.raises(SessionRefused):
        till.accounts.open(terms)
    with pytest.raises(UnknownSession):
        till.accounts.view(till.sessions.session_id(terms))


def test_charge__call_that_was_released__is_refused(till: Till) -> None:
    session = till.opened()
    call = till.reserve(session, 10, 10)
    till.accounts.release(call)
    with pytest.raises(ReservationGone):
        till.accounts.charge(call, used(5))
    assert held(till, session) == (10, 0, 0)


def test_charge__reserved_by_an_earlier_process__is_refused(till: Till) -> None:
    session = till.opened()
    call = till.reserve(session, 10, 10)
    till.restart()
    with pytest.raises(ReservationGone):
        till.accounts.charge(call, used(5))


# What is charged


def test_open__again__changes_nothing_but_what_the_chain_says(till: Till) -> None:
    terms = till.sessions.opened()
    session = till.accounts.open(terms).session
    till.accounts.charge(till.reserve(session, 10, 10), used(4))
    till.sessions.change(session, deposit=2_000)
    view = till.accounts.open(terms)
    assert (view.deposit, view.charged, view.authorised) == (2_000, 4, 10)


def test_charge__less_than_held__frees_the_rest_and_signs(till: Till) -> None:
    session = till.opened()
    call = till.reserve(session, 100, 100)
    assert held(till, session) == (100, 0, 100)
    signed = till.accounts.charge(call, used(40, cached=10, output=2))
    signed.check_signer(ORACLE.address, CHAIN_ID, SESSIONS)
    receipt = signed.receipt
    assert (receipt.units, receipt.total_units, receipt.number) == (37, 37, 1)  # 30 + 10 / 2 + 2
    assert (receipt.previous, receipt.model) == (ZERO_BYTES32, model_id(MODEL))
    assert (receipt.input_tokens, receipt.cached_tokens, receipt.output_tokens) == (40, 10, 2)
    assert held(till, session) == (100, 37, 0)


def test_charge__more_than_held__is_what_was_held(till: Till) -> None:
    session = till.opened()
    signed = till.accounts.charge(till.reserve(session, 100, 20), used(55))
    assert signed.receipt.units == 20
    assert held(till, session) == (100, 20, 0)


def test_charge__twice__charges_once_and_gives_the_same_receipt(till: Till) -> None:
    session = till.opened()
    call = till.reserve(session, 100, 20)
    first = till.accounts.charge(call, used(7))
    assert till.accounts.charge(call, used(9)) == first
    till.restart()
    assert till.accounts.charge(call, used(9)) == first
    assert held(till, session)[1] == 7


def test_charge__many__receipts_are_a_chain_over_restarts(till: Till) -> None:
    session, receipts = till.opened(), []
    for number in range(1, 8):
        call = till.reserve(session, number * 20, 10)
        receipts.append(till.accounts.charge(call, used(number)).receipt)
        if number % 3 == 0:
            till.restart()
    last = check_chain(receipts, CHAIN_ID, SESSIONS)
    assert last is not None
    assert (last.number, last.total_units) == (7, sum(range(1, 8)))
    rows = till.accounts.book.calls(session, 2, 3)
    assert [SignedCallReceipt.parse(row.receipt).receipt for row in rows] == receipts[2:5]


def test_restart__charges_survive_and_reservations_vanish(till: Till) -> None:
    session = till.opened()
    till.accounts.charge(till.reserve(session, 50, 50), used(30))
    till.reserve(session, 90, 40)
    till.restart()
    assert held(till, session) == (50, 30, 0)
    with pytest.raises(VoucherUsed):
        till.reserve(session, 50, 1)


def test_vouchers__out_of_order__each_pays_for_one_call(till: Till) -> None:
    session = till.opened()
    calls = [till.reserve(session, units, 10) for units in (30, 10, 20)]
    assert held(till, session) == (30, 0, 30)
    for call in calls:
        till.accounts.charge(call, used(10))
    assert held(till, session) == (30, 30, 0)


def test_authorise__without_a_call__is_kept(till: Till) -> None:
    session = till.opened()
    till.accounts.authorise(session, voucher(session, 70))
    till.accounts.authorise(session, voucher(session, 60))
    till.accounts.authorise(session, voucher(session, 70))
    till.restart()
    assert held(till, session) == (70, 0, 0)
    with pytest.raises(VoucherUsed):
        till.reserve(session, 70, 1)


def test_deterministic_call__its_bytes__are_kept_until_pruned(till: Till) -> None:
    session = till.opened()
    kept = used(5, request=b"asked", response=b"answered", deterministic=True)
    till.accounts.charge(till.reserve(session, 10, 5), kept)
    till.accounts.charge(till.reserve(session, 20, 5), used(5, request=b"asked", response=b"b"))
    body = till.accounts.book.body(session, 1)
    assert (body.request, body.response) == (b"asked", b"answered")
    with pytest.raises(NotFound):
        till.accounts.book.body(session, 2)
    assert till.accounts.book.prune(till.wall_ms + 1, 0) == 1
    with pytest.raises(NotFound):
        till.accounts.book.body(session, 1)
    assert len(till.accounts.book.calls(session, 0, 9)) == 2


# At one moment


def test_reserve__in_parallel_on_a_balance_for_one__admits_exactly_one(till: Till) -> None:
    session, count = till.opened(deposit=100), 12
    start, got = threading.Barrier(count), []

    def call(number: int) -> None:
        start.wait(10)
        try:
            got.append(till.reserve(session, 100 + number, 100))
        except PaymentNeeded:
            got.append(None)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(got) == count
    assert len([one for one in got if one is not None]) == 1
    assert held(till, session)[2] == 100


def test_charge__in_parallel__receipts_are_one_chain(till: Till) -> None:
    session, count = till.opened(deposit=10_000), 24
    calls = [till.reserve(session, 10 * (number + 1), 10) for number in range(count)]
    receipts: list[SignedCallReceipt] = []

    def charge(number: int) -> None:
        receipts.append(till.accounts.charge(calls[number], used(number % 10)))

    threads = [threading.Thread(target=charge, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ordered = sorted((one.receipt for one in receipts), key=lambda one: one.number)
    assert [one.number for one in ordered] == list(range(1, count + 1))
    last = check_chain(ordered, CHAIN_ID, SESSIONS)
    assert last is not None
    assert last.total_units == sum(number % 10 for number in range(count))
    till.restart()
    assert till.accounts.view(session).last == last.digest(CHAIN_ID, SESSIONS)


# Lost state


def lost(till: Till, tmp_path: Path) -> None:
    """The provider's database is gone."""
    till.store.close()
    till.folder, till.url = tmp_path / "new", ""
    till.start()


def test_lost_state__open__goes_on_from_what_was_claimed(till: Till, tmp_path: Path) -> None:
    terms = till.sessions.opened()
    session = till.accounts.open(terms).session
    till.accounts.charge(till.reserve(session, 50, 50), used(30))
    till.sessions.change(session, claimed=30)
    lost(till, tmp_path)
    view = till.accounts.open(terms)
    assert (view.charged, view.authorised, view.calls) == (30, 30, 0)
    assert till.reserve(session, 80, 50).units == 50


def test_lost_state__client_shows_its_last_receipt__chain_goes_on(till: Till, tmp_path: Path) -> None:
    terms = till.sessions.opened()
    session = till.accounts.open(terms).session
    first = till.accounts.charge(till.reserve(session, 50, 50), used(30))
    last = till.accounts.charge(till.reserve(session, 90, 50), used(45))
    lost(till, tmp_path)
    till.accounts.open(terms)
    with pytest.raises(PaymentNeeded):
        till.accounts.restore(session, last, voucher(session, 74))
    view = till.accounts.restore(session, last, voucher(session, 90))
    assert (view.charged, view.authorised, view.calls) == (75, 90, 2)
    assert till.accounts.restore(session, first, voucher(session, 50)) == view
    following = till.accounts.charge(till.reserve(session, 125, 50), used(5)).receipt
    assert check_chain([first.receipt, last.receipt, following], CHAIN_ID, SESSIONS) == following
    till.restart()
    assert held(till, session) == (125, 80, 0)


def test_restore__receipt_of_somebody_else__is_refused(till: Till) -> None:
    session = till.opened()
    signed = till.accounts.charge(till.reserve(session, 50, 50), used(30))
    forged = SignedCallReceipt.signed(signed.receipt, STRANGER, CHAIN_ID, SESSIONS)
    with pytest.raises(ReceiptWrong, match="must be the oracle key"):
        till.accounts.restore(session, forged, voucher(session, 50))
    with pytest.raises(ReceiptWrong, match="of session"):
        till.accounts.restore(till.opened(), signed, voucher(session, 50))


def test_metrics__count_calls_tokens_units_and_refusals(till: Till) -> None:
    session = till.opened()
    till.accounts.charge(till.reserve(session, 50, 50), used(20, cached=4, output=3))
    with pytest.raises(PaymentNeeded):
        till.reserve(session, 51, 900)
    read = till.metrics.calls.labels(MODEL)._value.get
    assert read() == 1
    assert till.metrics.tokens.labels("cached")._value.get() == 4
    assert till.metrics.units._value.get() == 21  # 16 + 4 / 2 + 3
    assert till.metrics.refused.labels("payment_needed")._value.get() == 1
    assert till.metrics.reserved._value.get() == 0


def test_metrics__of_accounts__are_those_of_the_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "sessions.md").read_text()
    registry = CollectorRegistry()
    GatewayMetrics(registry)
    suffix = {"counter": "_total"}
    found = {family.name + suffix.get(family.type, "") for family in registry.collect()}
    assert found == set(re.findall(r"^\| `(scrip_\w+)`", page, re.MULTILINE))
