"""JSON of calls: what orjson reads and writes, and what it leaves to Python."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.gateway import fast_json


def values(integers: int) -> st.SearchStrategy[Any]:
    """Any JSON, halves of surrogate pairs too, with integers of so many bits."""
    texts = st.text(st.characters(blacklist_categories=()), max_size=5)
    plain = (
        st.none()
        | st.booleans()
        | st.integers(-(1 << integers - 1), (1 << integers) - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts
    )
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    )


@given(values(80))
def test_written__any_value__python_reads_the_same(value: Any) -> None:
    assert json.loads(fast_json.dumps(value)) == value


@given(values(64))
def test_read__any_text__is_as_python_reads_it(value: Any) -> None:
    assert fast_json.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"nope", b'{"a": 1,}'])
def test_read__not_json__raises(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of either library)
        fast_json.loads(text)


def test_read__half_a_character_in_raw_bytes__is_kept() -> None:
    assert fast_json.loads(b'"\xed\xa0\xbd"') == "\ud83d"
