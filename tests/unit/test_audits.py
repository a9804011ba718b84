"""Audits of calls: the rate at which adding tokens loses, and what running a call again says of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oracle.audits.book import AuditBook
from oracle.audits.brought import Brought
from oracle.audits.odds import PENALTY, expected_loss, least_ppm
from oracle.audits.recount import (
    DIFFERS,
    FOREIGN,
    HONEST,
    INFLATED,
    UNFIT,
    UNSHOWN,
    Counts,
    Found,
    compare,
    judge,
)
from oracle.audits.verdicts import MOST_CALLS, Asked
from oracle.rerun import Unable
from oracle.sampling import PPM, Draw
from oracle.settings_audits import AuditSettings
from oracle.store import Store
from scrip.call_receipts import CallReceipt, SignedCallReceipt, model_id
from scrip.errors import BadInput
from scrip.rates import Rate
from scrip.session_api import CallBody
from scrip.types_spending import SessionTerms
from tests.unit.gateway_upstream import FakeUpstream, breaks_after, chunk, fake_upstream, says, usage_chunk

ROOT = Path(__file__).resolve().parents[2]
MODEL = "small"
RATE = Rate(10**6, 10**6, 10**6)
AMOUNT = st.integers(1, 10**30)
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "max_tokens": 50}
ABC = "abc"
"""What `gateway_upstream.HELLO` says, in three tokens after a prompt of seven."""


def receipt(output: int = 3, prompt: int = 7, cached: int = 0, **changes: Any) -> CallReceipt:
    made = CallReceipt(
        session_id=b"\1" * 32, number=1, previous=bytes(32), model=model_id(MODEL), request_hash=bytes(32),
        response_hash=bytes(32), input_tokens=prompt, cached_tokens=cached, output_tokens=output,
        units=RATE.units(prompt, cached, output), total_units=10**6, started_ms=1, ended_ms=2,
    )  # fmt: skip
    return replace(made, **changes)


def answer(text: str = ABC, finish: str | None = "length") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"choices": [choice]}).encode()


def settings(url: str = "http://127.0.0.1:1", **upstream: Any) -> AuditSettings:
    table = {"url": url, "engine": "llama.cpp", "context_tokens": 4096, "connect_s": 1} | upstream
    return AuditSettings.model_validate({"classes": [1], "upstreams": {MODEL: table}})


def audit(
    server: str, asked: Any = None, answered: bytes | None = None, rate: Rate | None = RATE, **charged: Any
) -> Found:
    raw = asked if isinstance(asked, bytes) else json.dumps(asked or ASKED).encode()
    body = CallBody(raw, answer() if answered is None else answered)
    hashes = {"request_hash": keccak(body.request), "response_hash": keccak(body.response)}
    return judge(receipt(**hashes | charged), body, rate, settings(server))


# The rate


def test_penalty__is_the_contracts() -> None:
    source = (ROOT / "contracts" / "SessionAudits.sol").read_text()
    assert re.findall(r"uint256 public constant PENALTY = (\d+);", source) == [str(PENALTY)]


@given(price=AMOUNT, stake=AMOUNT, added=st.integers(1, 10**9))
def test_least__any_price_and_stake__adding_loses_from_there_on_and_not_below(
    price: int, stake: int, added: int
) -> None:
    least = least_ppm(price, stake)
    assert expected_loss(added, price, stake, least) > 0
    assert expected_loss(added, price, stake, least - 1) <= 0


@given(price=AMOUNT, stake=AMOUNT, calls=st.lists(st.integers(0, 1_000), min_size=1, max_size=50))
def test_draws__added_to_any_calls__lose_on_average(price: int, stake: int, calls: list[int]) -> None:
    """Over all draws, each call run again at the least rate: the sum of what is taken is above the gain."""
    least = least_ppm(price, stake)
    if least > PPM or not any(calls):
        return
    taken = sum(PENALTY * stake * units * least for units in calls)  # each is drawn in `least` of PPM worlds
    assert taken > PPM * price * sum(calls)


@pytest.mark.parametrize(("price", "stake"), [(0, 1), (1, 0)])
def test_least__no_price_or_no_stake__no_rate_does(price: int, stake: int) -> None:
    assert least_ppm(price, stake) > PPM


def test_draw__at_the_least_rate__a_tenth_added_costs_more_than_it_brings() -> None:
    """By the watchers' own draw, with as much stake as price: 20,000 calls, a tenth of 100 tokens added."""
    draw, price = Draw(b"\7" * 32, 1), 1_000
    rate = 2 * least_ppm(price, price)
    drawn = sum(draw.picks(keccak(number.to_bytes(8, "big")), rate) for number in range(20_000))
    assert drawn * 10 * PENALTY * price > 20_000 * 10 * price


# What is judged by


@given(
    output=st.integers(0, 10_000), prompt=st.integers(1, 10_000), same=st.booleans(), room=st.integers(0, 20)
)
def test_compare__within_the_room__is_never_found_guilty(
    output: int, prompt: int, same: bool, room: int
) -> None:
    counts = Counts(prompt, output, prompt + 1, output + room, same)
    for charged in (output, output + room):
        found = compare(receipt(charged, prompt), RATE, counts)
        assert (found.check, found.units) == (HONEST if same else DIFFERS, 0)


@given(
    output=st.integers(1, 10_000), added=st.integers(2, 5_000), prompt=st.integers(1, 1_000),
    cached=st.integers(0, 1_000), rates=st.tuples(*[st.integers(0, 10**9)] * 3),
)  # fmt: skip
def test_compare__added__never_more_units_than_were_added(
    output: int, added: int, prompt: int, cached: int, rates: tuple[int, int, int]
) -> None:
    rate, cached = Rate(*rates), min(cached, prompt)
    due, charged = (rate.units(prompt, cached, tokens) for tokens in (output, output + added))
    made = receipt(output + added, prompt, cached, units=charged)
    counts = Counts(prompt, output, prompt + 1, output + 1, same=True)
    assert compare(made, rate, counts) == Found(INFLATED, compare(made, rate, counts).reason, charged - due)


@given(units=st.integers(0, 200))
def test_compare__rate_was_another__at_most_what_the_receipt_charged(units: int) -> None:
    found = compare(receipt(110, units=units), RATE, Counts(7, 100, 8, 101, same=True))
    assert found.check == INFLATED
    assert found.units == max(0, min(units, 117) - 107)


# Running it again


@pytest.fixture
def upstream() -> Any:
    with fake_upstream() as made:
        yield made


def test_judge__same_text__counts_by_what_running_it_took(upstream: FakeUpstream) -> None:
    assert audit(upstream.url).check == HONEST
    assert audit(upstream.url, output_tokens=4, units=11).check == HONEST  # an end mark
    found = audit(upstream.url, output_tokens=5, units=12)
    assert (found.check, found.units) == (INFLATED, 2)
    found = audit(upstream.url, input_tokens=9, units=12)
    assert (found.check, found.units) == (INFLATED, 2)


def test_judge__streamed_answer__is_read_as_one(upstream: FakeUpstream) -> None:
    events = (chunk("ab"), chunk("c"), chunk(finish="length"))
    raw = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    asked = {**ASKED, "stream": True}
    assert audit(upstream.url, asked, raw).check == HONEST
    assert audit(upstream.url, asked, raw, output_tokens=9, units=16).check == INFLATED


def test_judge__another_text__is_held_to_what_it_can_be_and_no_fraud(upstream: FakeUpstream) -> None:
    upstream.text_tokens = 100
    other = answer("quite another text")
    most = 100 + 2 + 1 + 3  # as its tokens, in other pieces, an end mark, and a character that broke off
    assert audit(upstream.url, answered=other, output_tokens=most, units=7 + most).check == DIFFERS
    found = audit(upstream.url, answered=other, output_tokens=most + 4, units=7 + most + 4)
    assert (found.check, found.units) == (INFLATED, 4)


def test_judge__own_server_fails_or_says_nothing__cannot_judge(upstream: FakeUpstream) -> None:
    upstream.script = breaks_after(chunk("a"))
    with pytest.raises(Unable, match="our own server"):
        audit(upstream.url, output_tokens=500)
    upstream.script = says(chunk(ABC), chunk(finish="length"))
    with pytest.raises(Unable, match="doesn't say"):
        audit(upstream.url, output_tokens=500)
    upstream.script, upstream.tokens = says(chunk("x"), chunk(finish="stop"), usage_chunk()), None
    with pytest.raises(Unable, match="doesn't tokenise"):
        audit(upstream.url, output_tokens=500)


@pytest.mark.parametrize(
    ("asked", "answered", "check"),
    [
        ({**ASKED, "model": "other"}, None, UNFIT),
        ({**ASKED, "temperature": 1}, None, UNFIT),
        ({**ASKED, "max_tokens": 10**6}, None, UNFIT),
        (b"no JSON", None, UNFIT),
        (b"[" * 100_000, None, UNFIT),
        (None, b"no JSON", UNFIT),
        (None, b"{}", UNFIT),
        (None, b'{"choices": [7]}', UNFIT),
        (None, answer(finish=None), UNFIT),
        ({**ASKED, "stream": True}, b"data: [1]\n\n", UNFIT),
    ],
)
def test_judge__what_cannot_be_run_here__is_no_fraud(asked: Any, answered: bytes | None, check: str) -> None:
    found = audit("http://127.0.0.1:1", asked, answered, output_tokens=500)
    assert (found.check, found.units) == (check, 0)


def test_judge__not_shown_or_other_bytes_or_another_model__is_no_fraud() -> None:
    body = CallBody(json.dumps(ASKED).encode(), answer())
    assert judge(receipt(), None, RATE, settings()).check == UNSHOWN
    assert judge(receipt(), body, RATE, settings()).check == FOREIGN
    assert audit("http://127.0.0.1:1", model=model_id("other")).check == FOREIGN
    assert audit("http://127.0.0.1:1", rate=None).check == UNFIT


# What is asked of others


TERMS = SessionTerms(
    payer="0x" + "1" * 40, provider="0x" + "2" * 40, class_id=1, key="0x" + "3" * 40, expires_at=9,
    budget_id=0, salt=1,
)  # fmt: skip
ASK = Asked(TERMS, 5, "0x" + "4" * 40, (0, 3), b"\1" * 65)


def test_asked__round_trip() -> None:
    assert Asked.from_json(json.loads(json.dumps(ASK.to_json()))) == ASK


@pytest.mark.parametrize(
    "change",
    [
        {"calls": []}, {"calls": [1, 1]}, {"calls": [-1]}, {"calls": [True]}, {"calls": ["1"]}, {"calls": 1},
        {"calls": list(range(MOST_CALLS + 1))}, {"units": 5}, {"units": "-5"}, {"units": str(1 << 128)},
        {"reporter": "0x12"}, {"terms": {}}, {"signature": "0x"}, {"more": 1},
    ],
)  # fmt: skip
def test_asked__malformed__is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Asked.from_json({**ASK.to_json(), **change})


def test_brought__round_trip_and_malformed() -> None:
    made = Brought(TERMS, SignedCallReceipt(receipt(), b"\1" * 65), CallBody(b"asked", b"answered"))
    assert Brought.from_json(json.loads(json.dumps(made.to_json()))) == made
    for change in ({"request": "no base64"}, {"response": 7}, {"receipt": {}}, {"more": 1}):
        with pytest.raises(BadInput):
            Brought.from_json({**made.to_json(), **change})


def test_settings__without_servers_or_classes__are_refused() -> None:
    with pytest.raises(ValidationError, match="servers of the watcher's own"):
        AuditSettings.model_validate({"classes": [1]})
    with pytest.raises(ValidationError, match="classes"):
        AuditSettings.model_validate({"classes": [], "upstreams": settings().upstreams})


# What is kept


def test_book__another_receipt_for_one_place__is_judged_too_and_the_costlier_stays(tmp_path: Path) -> None:
    book, session = AuditBook(Store.open(f"sqlite:///{tmp_path / 'a.db'}")), b"\1" * 32
    first, second = b"\1" * 32, b"\2" * 32
    book.record(session, 4, Found(INFLATED, "", 6), first)
    assert book.is_judged(session, 4, first)
    assert not book.is_judged(session, 4, second)
    book.record(session, 4, Found(HONEST, ""), second)
    assert book.overcharged(session) == {4: 6}
    book.record(session, 5, Found(UNSHOWN, ""), first)
    assert not book.is_judged(session, 5, first)
    book.record(session, 5, Found(INFLATED, "", 1), first)
    assert book.overcharged(session) == {4: 6, 5: 1}
    book.store.close()
