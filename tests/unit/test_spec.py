"""Job specs and their canonical hash."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from scrip.errors import BadInput
from scrip.spec import JobSpec, canonical_json, spec_hash

INTS = st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | INTS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": 1.0}, "no floats"),
        ({"a": float("nan")}, "no floats"),
        ({"a": b"x"}, "null, a boolean"),
        ({"a": {1, 2}}, "null, a boolean"),
        ({1: "a"}, "keys are strings"),
        ({"a": 2**53}, "integer within"),
        ({"a": "\ud800"}, "valid Unicode"),
        ({"\ud800": 1}, "valid Unicode"),
    ],
)
def test_canonical_json__value_that_is_not_portable__raises(value: Any, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        canonical_json(value)


def test_canonical_json__endless_nesting__raises() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BadInput, match="nested at most"):
        canonical_json(value)


def test_canonical_json__object__is_sorted_compact_ascii() -> None:
    assert canonical_json({"b": [1, None, True], "a": "é"}) == b'{"a":"\\u00e9","b":[1,null,true]}'


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_canonical_json__any_object__reads_back_the_same(value: dict[str, Any]) -> None:
    assert json.loads(canonical_json(value)) == value
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@given(st.lists(st.tuples(TEXT, INTS), max_size=6, unique_by=lambda item: item[0]))
def test_canonical_json__other_key_order__is_the_same(items: list[tuple[str, int]]) -> None:
    assert canonical_json(dict(items)) == canonical_json(dict(reversed(items)))


@pytest.mark.parametrize("template", ["", 5, None])
def test_job_spec__no_template__raises(template: Any) -> None:
    with pytest.raises(BadInput, match=r"spec\.template"):
        JobSpec(template, {})


def test_job_spec__params_not_an_object__raises() -> None:
    with pytest.raises(BadInput, match=r"spec\.params"):
        JobSpec("hash.chain", [1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [None, [], {"template": "x"}, {"template": "x", "params": {}, "command": "rm"}]
)
def test_job_spec__json_with_other_keys__raises(data: Any) -> None:
    with pytest.raises(BadInput, match="exactly the keys"):
        JobSpec.from_json(data)


def test_job_spec__json__reads_back() -> None:
    spec = JobSpec("llm.generate", {"prompt": "hi", "max_tokens": 5})
    assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_spec_hash__known_spec__is_keccak_of_the_canonical_text() -> None:
    spec = JobSpec("hash.chain", MappingProxyType({"seed": "00", "rounds": 10}))
    assert spec_hash(spec) == keccak(b'{"params":{"rounds":10,"seed":"00"},"template":"hash.chain"}')
