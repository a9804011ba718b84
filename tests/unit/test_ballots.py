"""Sealed votes: only who sealed one can open it, and only contradictions prove anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from scrip.ballots import Equivocation, SignedCommitment, SignedReveal, findings_hash, opens, seal_of
from scrip.eip712 import sign
from scrip.eip712_watchers import commitment_digest, reveal_digest
from scrip.errors import BadInput
from scrip.types import Commitment, Reveal
from tests.unit.oracle_market import CHAIN_ID, VERIFIER

A, B = (Account.from_key(bytes([number]) * 32) for number in (1, 2))
PLACE = CHAIN_ID, VERIFIER
REVEAL = Reveal(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32)
COMMITMENT = Commitment(REVEAL.subject, REVEAL.evidence, seal_of(REVEAL, A.address))
BYTES32 = st.binary(min_size=32, max_size=32)


def committed(commitment: Commitment = COMMITMENT, key: Any = A) -> SignedCommitment:
    return SignedCommitment(commitment, sign(commitment_digest(commitment, *PLACE), key))


def revealed(reveal: Reveal = REVEAL, key: Any = A) -> SignedReveal:
    return SignedReveal(reveal, sign(reveal_digest(reveal, *PLACE), key))


def test_opens__by_another_watcher__does_not() -> None:
    assert opens(REVEAL, COMMITMENT, A.address)
    assert not opens(REVEAL, COMMITMENT, B.address)


@given(name=st.sampled_from(["subject", "evidence", "findings", "salt"]), value=BYTES32)
def test_opens__anything_changed__does_not(name: str, value: bytes) -> None:
    changed = replace(REVEAL, **{name: value})
    assert opens(changed, COMMITMENT, A.address) == (changed == REVEAL)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (committed(), committed()),
        (committed(), committed(replace(COMMITMENT, seal=bytes(32)), B)),
        (committed(), committed(replace(COMMITMENT, subject=bytes(32), seal=bytes(32)))),
        (committed(), committed(replace(COMMITMENT, evidence=bytes(32), seal=bytes(32)))),
        (committed(), revealed()),
        (committed(), revealed(replace(REVEAL, salt=bytes(32)), B)),
        (committed(), revealed(replace(REVEAL, subject=bytes(32)))),
    ],
    ids=[
        "same",
        "two watchers",
        "other subject",
        "other evidence",
        "opened",
        "opened by another",
        "other vote",
    ],
)
def test_equivocation__no_contradiction_of_one_watcher__is_none(first: Any, second: Any) -> None:
    assert Equivocation.of(first, second, *PLACE) is None


@pytest.mark.parametrize(
    "second",
    [
        committed(replace(COMMITMENT, seal=bytes(32))),
        revealed(replace(REVEAL, salt=bytes(32))),
        revealed(replace(REVEAL, findings=bytes(32))),
    ],
)
def test_equivocation__contradiction__is_proved_and_survives_json(second: Any) -> None:
    proof = Equivocation.of(committed(), second, *PLACE)
    assert proof is not None
    again = Equivocation.from_json(proof.to_json())
    assert again == proof
    assert again.check(*PLACE)
    assert not replace(again, watcher=B.address).check(*PLACE)
    assert not again.check(CHAIN_ID + 1, VERIFIER)


@pytest.mark.parametrize("data", [None, [], {}, {"watcher": A.address, "first": {}, "second": {}}])
def test_from_json__malformed__is_a_typed_error(data: Any) -> None:
    for kind in (Equivocation, SignedCommitment, SignedReveal):
        with pytest.raises(BadInput):
            kind.from_json(data)


@pytest.mark.parametrize("statement", [committed(), revealed()])
def test_statement__through_json__is_the_same(statement: Any) -> None:
    assert type(statement).from_json(statement.to_json()) == statement
    assert statement.signer(*PLACE) == A.address


def test_findings_hash__order_of_members__does_not_matter_but_content_does() -> None:
    assert findings_hash({"a": 1, "b": "é"}) == findings_hash({"b": "é", "a": 1})
    assert findings_hash({"a": 1}) != findings_hash({"a": 2})
