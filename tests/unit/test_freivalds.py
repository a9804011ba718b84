"""Cheap checks of outputs: what is wrong is found, what is right passes, the arithmetic is exact."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.jobs import freivalds, hash_chain, matmul_int8
from oracle.jobs.params import HashParams, LlmParams, MatmulParams
from scrip.errors import BadInput, EvidenceInvalid

SEED = "0x" + "c4" * 32
PARAMS = MatmulParams(seed=SEED, size=64, rounds=4)
CHAIN = HashParams(seed=SEED, steps=1000, segments=10)
CHALLENGE = b"drawn after the commitment"


@pytest.fixture(scope="module")
def output() -> bytes:
    return matmul_int8.compute(PARAMS).output


def with_last(output: bytes, last: matmul_int8.Int32) -> bytes:
    """The output with another last product, its digest made to agree."""
    head = output[: 16 + 32 * (PARAMS.rounds - 1)]
    return head + hashlib.sha256(last.tobytes()).digest() + last.tobytes()


def problem(
    params: MatmulParams | HashParams, output: bytes, challenge: bytes = CHALLENGE, spots: int = 1
) -> str:
    with pytest.raises(EvidenceInvalid) as caught:
        freivalds.check_output(params, output, challenge, spots)
    return caught.value.check


# ---- what is wrong is found


@settings(max_examples=25, deadline=None)
@given(
    row=st.integers(0, 63),
    column=st.integers(0, 63),
    off=st.sampled_from([-1000, -1, 1, 1000]),
    salt=st.binary(),
)
def test_matmul__one_entry_off__found(row: int, column: int, off: int, salt: bytes) -> None:
    right = matmul_int8.compute(PARAMS).output
    last = matmul_int8.decode(right, PARAMS).last.copy()
    last[row, column] += off
    assert problem(PARAMS, with_last(right, last), CHALLENGE + salt) in ("freivalds", "output-range")


def test_matmul__entry_off_by_the_prime__found(output: bytes) -> None:
    # Equal modulo 2^31 - 1, so only the range check can see it.
    last = matmul_int8.decode(output, PARAMS).last.copy()
    row, column = np.unravel_index(int(last.argmax()), last.shape)
    last[row, column] -= freivalds.PRIME
    assert problem(PARAMS, with_last(output, last)) == "output-range"


def test_matmul__lowest_int32__found(output: bytes) -> None:
    last = matmul_int8.decode(output, PARAMS).last.copy()
    last[0, 0] = np.iinfo(np.int32).min
    assert problem(PARAMS, with_last(output, last)) == "output-range"


def test_matmul__product_of_another_seed__found(output: bytes) -> None:
    assert problem(replace_seed(PARAMS), output) == "freivalds"


def replace_seed(params: MatmulParams) -> MatmulParams:
    return params.model_copy(update={"seed": "0x" + "c5" * 32})


def test_matmul__last_product_not_the_digested_one__found(output: bytes) -> None:
    changed = bytearray(output)
    changed[-1] ^= 1
    assert problem(PARAMS, bytes(changed)) == "output-digest"


def test_matmul__earlier_round_made_up__found_by_a_spot_check() -> None:
    # The cheat skips round 0 and goes on honestly from a digest it invented.
    made_up = hashlib.sha256(b"no work").digest()
    state, digests = matmul_int8.next_state(matmul_int8.first_state(PARAMS), made_up), [made_up]
    for _ in range(PARAMS.rounds - 1):
        last = matmul_int8.product(state, PARAMS.size)
        digests.append(hashlib.sha256(last.tobytes()).digest())
        state = matmul_int8.next_state(state, digests[-1])
    forged = matmul_int8.compute(PARAMS).output[:16] + b"".join(digests) + last.tobytes()
    assert problem(PARAMS, forged, spots=3) == "output-round"
    outcomes = set()
    for number in range(30):
        try:
            freivalds.check_matmul(PARAMS, forged, CHALLENGE + bytes([number]), spots=1)
            outcomes.add("passed")
        except EvidenceInvalid as found:
            outcomes.add(found.check)
    assert outcomes == {"passed", "output-round"}  # one spot of three: found sometimes, and not predictably


@pytest.mark.parametrize(
    "change", [lambda o: o[:-1], lambda o: o + b"\0", lambda o: b"X" + o[1:], lambda _: b""]
)
def test_matmul__not_an_output__shape(output: bytes, change: object) -> None:
    assert callable(change)
    assert problem(PARAMS, change(output)) == "output-shape"


def test_matmul__output_for_other_params__shape(output: bytes) -> None:
    assert problem(MatmulParams(seed=SEED, size=64, rounds=3), output) == "output-shape"


def test_chain__one_checkpoint_wrong__two_segments_fail() -> None:
    right = hash_chain.compute(CHAIN).output
    changed = bytearray(right)
    changed[20 + 4 * 32] ^= 1
    assert problem(CHAIN, bytes(changed), spots=10) == "output-segment"
    found = 0
    for number in range(50):
        try:
            freivalds.check_hash_chain(CHAIN, bytes(changed), CHALLENGE + bytes([number]), spots=1)
        except EvidenceInvalid:
            found += 1
    assert 1 <= found <= 30  # two of ten segments: ten of fifty expected


def test_chain__other_seed_or_shape__found() -> None:
    right = hash_chain.compute(CHAIN).output
    assert problem(CHAIN.model_copy(update={"seed": "0x" + "00" * 32}), right, spots=10) == "output-segment"
    assert problem(CHAIN.model_copy(update={"steps": 1001}), right) == "output-shape"
    assert problem(CHAIN, right[:-1]) == "output-shape"


@pytest.mark.parametrize("challenge", [b"", b"short"])
def test_check__guessable_challenge__bad_input(output: bytes, challenge: bytes) -> None:
    with pytest.raises(BadInput, match="challenge"):
        freivalds.check_output(PARAMS, output, challenge)


def test_check__no_iteration__bad_input(output: bytes) -> None:
    with pytest.raises(BadInput, match="iterations"):
        freivalds.check_matmul(PARAMS, output, CHALLENGE, iterations=0)


# ---- what is right passes


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("size", [64, 256])
def test_matmul__right__passes(size: int, rounds: int) -> None:
    params = MatmulParams(seed=SEED, size=size, rounds=rounds)
    assert freivalds.check_output(params, matmul_int8.compute(params).output, CHALLENGE, spots=2)


def test_chain__right__passes() -> None:
    assert freivalds.check_output(CHAIN, hash_chain.compute(CHAIN).output, CHALLENGE, spots=10)


def test_check__template_without_a_cheap_check__says_so() -> None:
    assert not freivalds.check_output(LlmParams(question="Who?"), b"answer", CHALLENGE)


def test_product__largest_entries__exact() -> None:
    # Every entry at its bound, the largest size: the double arithmetic must not round.
    ones = np.full((1024, 1024), 127.0)
    assert int((ones @ ones)[0, 0]) == 127 * 127 * 1024


def test_product__against_python_integers__exact() -> None:
    state = matmul_int8.first_state(PARAMS)
    a, b = (matmul_int8.matrix(state, label, 64).tolist() for label in (b"A", b"B"))
    exact = [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a
    ]
    assert matmul_int8.product(state, 64).tolist() == exact


def test_times__extreme_values__no_overflow() -> None:
    largest = 127 * 127 * 1024
    matrix = np.full((4, 1024), largest, dtype=np.int64)
    x = np.full(1024, freivalds.PRIME - 1, dtype=np.int64)
    wanted = largest * (freivalds.PRIME - 1) * 1024 % freivalds.PRIME
    assert freivalds._times(matrix, x).tolist() == [wanted] * 4
    assert freivalds._times(-matrix, x).tolist() == [-wanted % freivalds.PRIME] * 4


def test_matrix__entries_within_bounds_and_labels_differ() -> None:
    a, b = (matmul_int8.matrix(b"s" * 32, label, 512) for label in (b"A", b"B"))
    assert a.min() == b.min() == -127
    assert a.max() == b.max() == 127
    assert not np.array_equal(a, b)
