"""Values of one word each: equal to eth_abi's encoding, and nothing else is taken."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from scrip import words
from scrip.words import NotWords

ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"

sizes = st.integers(1, 32).map(lambda size: 8 * size)
values = st.one_of(
    sizes.flatmap(lambda bits: st.tuples(st.just(f"uint{bits}"), st.integers(0, (1 << bits) - 1))),
    sizes.flatmap(
        lambda bits: st.tuples(st.just(f"int{bits}"), st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
    ),
    st.integers(1, 32).flatmap(
        lambda size: st.tuples(st.just(f"bytes{size}"), st.binary(min_size=size, max_size=size))
    ),
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(
        st.just("address"),
        st.binary(min_size=20, max_size=20).map(lambda raw: words.checksummed("0x" + raw.hex())),
    ),
)


@given(st.lists(values, max_size=8))
def test_codec__any_values__is_eth_abis(pairs: list[tuple[str, Any]]) -> None:
    types, given_ = tuple(kind for kind, _ in pairs), [value for _, value in pairs]
    encoded = encode(types, given_)
    assert words.encode(types, given_) == encoded
    assert words.decode(types, encoded) == given_


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("uint8", "00" * 30 + "0100"),
        ("int8", "00" * 31 + "80"),
        ("bool", "00" * 31 + "02"),
        ("address", "01" + "00" * 31),
        ("bytes4", "aabbccdd" + "01" + "00" * 27),
    ],
)
def test_decode__word_that_is_no_such_value__is_refused(kind: str, word: str) -> None:
    with pytest.raises(NotWords, match=kind):
        words.decode((kind,), bytes.fromhex(word))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_decode__wrong_length__is_refused(size: int) -> None:
    with pytest.raises(NotWords):
        words.decode(("uint256",), bytes(size))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint8", 256),
        ("uint8", -1),
        ("uint8", True),
        ("uint8", "5"),
        ("int8", 128),
        ("bool", 1),
        ("address", "0x00"),
        ("address", 5),
        ("bytes4", b"abc"),
        ("bytes4", None),
    ],
)
def test_encode__value_that_does_not_fit__is_refused(kind: str, value: Any) -> None:
    with pytest.raises(NotWords, match=kind):
        words.encode((kind,), [value])


def test_encode__too_few_values__is_refused() -> None:
    with pytest.raises(NotWords):
        words.encode(("bool", "bool"), [True])


@pytest.mark.parametrize(
    ("kind", "one"), [("uint40", True), ("bytes32", True), ("bytes", False), ("string", False),
                      ("uint8[]", False), ("(uint8)", False)]
)  # fmt: skip
def test_one_word__only_types_of_fixed_size(kind: str, one: bool) -> None:
    assert words.one_word(kind) is one
