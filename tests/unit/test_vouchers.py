"""Vouchers, rates and call receipts: what is refused, and that each equals the chain's own encoding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from oracle.gateway.seen import Seen
from scrip.call_receipts import (
    CALL_RECEIPT_TYPE,
    CallReceipt,
    ReceiptWrong,
    SignedCallReceipt,
    check_chain,
    check_follows,
    check_units,
)
from scrip.errors import BadInput, BadSignature
from scrip.rates import Rate
from scrip.structs import ZERO_BYTES32
from scrip.vouchers import SESSION_HEADER, VOUCHER_HEADER, Voucher, VoucherChecker, sign_voucher

CHAIN_ID = 31337
SESSIONS = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
SESSION = b"\x05" * 32
KEY = Account.from_key("0x" + "22" * 32)
OTHER = Account.from_key("0x" + "33" * 32)
DOMAIN = {"name": "Scrip MeteredSessions", "version": "1", "chainId": CHAIN_ID, "verifyingContract": SESSIONS}
HIGH_S = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def checker() -> VoucherChecker:
    return VoucherChecker(SESSION, KEY.address, CHAIN_ID, SESSIONS)


def receipt(number: int = 1, units: int = 10, total: int = 10, **changes: Any) -> CallReceipt:
    made = CallReceipt(
        SESSION, number, ZERO_BYTES32, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, 10, 0, 0, units, total, 1, 2
    )
    return replace(made, **changes)


# Vouchers


@pytest.mark.parametrize(
    ("session", "voucher"),
    [
        ("0x05", "1:0x" + "11" * 65),
        ("05" * 32, "1:0x" + "11" * 65),
        ("0x" + "05" * 32, "1:0x" + "11" * 64),
        ("0x" + "05" * 32, "-1:0x" + "11" * 65),
        ("0x" + "05" * 32, "1" * 40 + ":0x" + "11" * 65),
        ("0x" + "05" * 32, "\u0661:0x" + "11" * 65),
        ("0x" + "05" * 32, str(2**128) + ":0x" + "11" * 65),
        ("0x" + "05" * 32, ""),
    ],
)
def test_voucher__headers_malformed__are_refused(session: str, voucher: str) -> None:
    with pytest.raises(BadInput):
        Voucher.parse(session, voucher)


def test_voucher__headers_and_json__go_round() -> None:
    made = sign_voucher(SESSION, 12, KEY, CHAIN_ID, SESSIONS)
    headers = made.headers()
    assert Voucher.parse(headers[SESSION_HEADER], headers[VOUCHER_HEADER]) == made
    assert Voucher.from_json(made.to_json()) == made
    with pytest.raises(BadInput):
        Voucher.from_json(made.to_json() | {"more": 1})


def test_check__wrong_number_session_key_or_chain__is_refused() -> None:
    good = sign_voucher(SESSION, 12, KEY, CHAIN_ID, SESSIONS)
    one = checker()
    one.check(12, good.signature)
    one.check(12, good.signature)  # the public key is known now
    for made in (
        sign_voucher(SESSION, 12, OTHER, CHAIN_ID, SESSIONS),
        sign_voucher(SESSION, 13, KEY, CHAIN_ID, SESSIONS),
        sign_voucher(b"\x06" * 32, 12, KEY, CHAIN_ID, SESSIONS),
        sign_voucher(SESSION, 12, KEY, CHAIN_ID + 1, SESSIONS),
        sign_voucher(SESSION, 12, KEY, CHAIN_ID, OTHER.address),
    ):
        with pytest.raises(BadSignature):
            one.check(12, made.signature)
        with pytest.raises(BadSignature):
            checker().check(12, made.signature)


def test_check__malleable_or_malformed_signature__is_refused() -> None:
    signature = sign_voucher(SESSION, 12, KEY, CHAIN_ID, SESSIONS).signature
    s = HIGH_S - int.from_bytes(signature[32:64])
    flipped = signature[:32] + s.to_bytes(32) + bytes((55 - signature[64],))
    for bad in (flipped, signature[:64], signature + b"\0", bytes(65), signature[:64] + b"\x00"):
        with pytest.raises(BadSignature):
            checker().check(12, bad)


@given(st.integers(min_value=0, max_value=2**128 - 1))
def test_check__any_number__is_what_eth_account_signs(units: int) -> None:
    types = {"Voucher": [{"name": "sessionId", "type": "bytes32"}, {"name": "units", "type": "uint256"}]}
    message = encode_typed_data(DOMAIN, types, {"sessionId": SESSION, "units": units})
    checker().check(units, bytes(KEY.sign_message(message).signature))


# Vouchers that were shown


def test_seen__numbers_again_or_too_low__are_known() -> None:
    seen = Seen(most=3)
    assert [seen.add(number) for number in (5, 2, 9, 5)] == [True, True, True, False]
    assert seen.add(7)  # 2 is forgotten, so nothing at or below it is told apart
    assert [seen.add(number) for number in (2, 1, 0)] == [False, False, False]
    assert seen.floor == 2
    assert [seen.unused(least) for least in (0, 5, 6, 9)] == [3, 6, 6, 10]


@given(st.lists(st.integers(min_value=0, max_value=40), max_size=60))
def test_seen__any_order__no_number_is_new_twice(numbers: list[int]) -> None:
    seen, shown = Seen(most=5), set()
    for number in numbers:
        if seen.add(number):
            assert number not in shown
            shown.add(number)
        assert len(seen._numbers) <= 5
        assert seen.unused(number) not in shown


# Rates


def test_rate__impossible_tokens_or_price__are_refused() -> None:
    with pytest.raises(BadInput):
        Rate(1, 1, 1).units(5, 6, 0)
    with pytest.raises(BadInput):
        Rate(-1, 0, 0)
    with pytest.raises(BadInput):
        Rate.from_json({"input": "1", "cached": "x", "output": "2"})


@given(*[st.integers(min_value=0, max_value=10**7)] * 3, *[st.integers(min_value=0, max_value=10**9)] * 3)
def test_rate__any_call__is_rounded_up_once_and_within_its_bound(
    fresh: int, cached: int, output: int, a: int, b: int, c: int
) -> None:
    rate = Rate(a, b, c)
    units = rate.units(fresh + cached, cached, output)
    exact = fresh * a + cached * b + output * c
    assert (units - 1) * 1_000_000 < exact <= units * 1_000_000
    assert units <= rate.most(fresh + cached, output)
    assert Rate.from_json(rate.to_json()) == rate


# Receipts


def test_receipt__type__is_the_one_agreed_on() -> None:
    assert CALL_RECEIPT_TYPE == (
        "CallReceipt(bytes32 sessionId,uint64 number,bytes32 previous,bytes32 model,bytes32 requestHash,"
        "bytes32 responseHash,uint64 inputTokens,uint64 cachedTokens,uint64 outputTokens,uint128 units,"
        "uint128 totalUnits,uint64 startedMs,uint64 endedMs)"
    )


def test_receipt__digest__is_what_eth_account_signs() -> None:
    made = receipt()
    fields = [part.split(" ") for part in CALL_RECEIPT_TYPE[12:-1].split(",")]
    types = {"CallReceipt": [{"name": name, "type": kind} for kind, name in fields]}
    values = dict(zip((name for _, name in fields), made.to_abi(), strict=True))
    expected = KEY.sign_message(encode_typed_data(DOMAIN, types, values)).signature
    signed = SignedCallReceipt.signed(made, KEY, CHAIN_ID, SESSIONS)
    assert signed.signature == bytes(expected)
    signed.check_signer(KEY.address, CHAIN_ID, SESSIONS)
    assert SignedCallReceipt.parse(signed.header()) == signed
    with pytest.raises(ReceiptWrong, match="must be the oracle key"):
        signed.check_signer(OTHER.address, CHAIN_ID, SESSIONS)


@pytest.mark.parametrize("header", ["", "{}", "[]", '{"receipt": {}, "signature": "0x"}', "\u2603"])
def test_receipt__header_malformed__is_refused(header: str) -> None:
    with pytest.raises(BadInput):
        SignedCallReceipt.parse(header)


def test_chain__a_receipt_left_out_changed_or_doubled__is_wrong() -> None:
    chain = [receipt()]
    for number in (2, 3, 4):
        before = chain[-1]
        total = before.total_units + 10
        chain.append(receipt(number, total=total, previous=before.digest(CHAIN_ID, SESSIONS)))
    assert check_chain(chain, CHAIN_ID, SESSIONS) == chain[-1]
    for wrong in (
        [chain[0], *chain[2:]],
        [chain[0], *chain],
        [chain[0], replace(chain[1], total_units=21), *chain[2:]],
        [chain[0], replace(chain[1], started_ms=7), *chain[2:]],
    ):
        with pytest.raises(ReceiptWrong):
            check_chain(wrong, CHAIN_ID, SESSIONS)
    with pytest.raises(ReceiptWrong, match="totalUnits"):
        check_follows(receipt(total=15), None, CHAIN_ID, SESSIONS)
    check_follows(receipt(total=15), None, CHAIN_ID, SESSIONS, base=5)


def test_chain__numbers_left_out_and_no_receipt__is_right() -> None:
    first = receipt()
    last = receipt(7, total=first.total_units + 10, previous=first.digest(CHAIN_ID, SESSIONS))
    assert check_chain([first, last], CHAIN_ID, SESSIONS) == last
    with pytest.raises(ReceiptWrong, match="doesn't follow"):
        check_follows(replace(last, number=1), first, CHAIN_ID, SESSIONS)


def test_units__more_than_the_tokens_cost__are_wrong() -> None:
    rate = Rate(1_000_000, 0, 0)
    check_units(receipt(units=10), rate)
    check_units(receipt(units=9), rate)
    with pytest.raises(ReceiptWrong, match="its tokens cost 10"):
        check_units(receipt(units=11), rate)
