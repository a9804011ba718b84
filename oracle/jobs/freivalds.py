"""Checks of a job's output that cost far less than doing the job again. Run by watchers and buyers; no I/O.

`matmul.int8`, last product: Freivalds' check (R. Freivalds, 1977). For a random x, A(Bx) = Cx modulo the
prime 2^31 - 1 takes n^2 steps, and a wrong C passes with probability at most 1/(2^31 - 1) an iteration. Two
conditions make that true: x is drawn only after C was committed to (by outputHash, on chain or in a signed
receipt), and every entry of C is within +-127^2 n, so that no two acceptable entries are equal modulo the
prime. Earlier products and hash-chain segments are known by digest only: a few, picked by the same
challenge, are recomputed.

The `challenge` must be unknown to the provider when it commits: fresh randomness of the verifier.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oracle.jobs import hash_chain, matmul_int8
from oracle.jobs.params import HashParams, MatmulParams, Params
from scrip.errors import BadInput, EvidenceInvalid

PRIME: Final = (1 << 31) - 1
_HALF: Final = 16

Int64 = NDArray[np.int64]


def check_output(params: Params, output: bytes, challenge: bytes, spots: int = 1) -> bool:
    """Checks an output with far less work than the job. False: this template has no such check, run it again.

    `spots` is how many rounds or segments are recomputed. Raises EvidenceInvalid if the output is wrong,
    BadInput for a challenge shorter than 16 bytes.
    """
    if len(challenge) < 16:
        raise BadInput("challenge", challenge, "at least 16 random bytes")
    if isinstance(params, MatmulParams):
        check_matmul(params, output, challenge, spots=spots)
    elif isinstance(params, HashParams):
        check_hash_chain(params, output, challenge, spots=spots)
    else:
        return False
    return True


def check_matmul(
    params: MatmulParams, output: bytes, challenge: bytes, *, iterations: int = 2, spots: int = 1
) -> None:
    """Raises EvidenceInvalid unless the last product is right (error at most (2^31 - 1)^-iterations) and
    `spots` of the earlier ones, picked by the challenge, are too.
    """
    try:
        found = matmul_int8.decode(output, params)
    except ValueError as problem:
        raise EvidenceInvalid("output-shape", str(problem)) from problem
    if hashlib.sha256(found.last.tobytes()).digest() != found.digests[-1]:
        raise EvidenceInvalid(
            "output-digest", f"product of round {params.rounds} isn't the one its digest names"
        )
    states = [matmul_int8.first_state(params)]
    for digest in found.digests[:-1]:
        states.append(matmul_int8.next_state(states[-1], digest))
    _check_product(states[-1], found.last, params.size, challenge, iterations)
    for spot in _picked(challenge, params.rounds - 1, spots):
        again = matmul_int8.product(states[spot], params.size).tobytes()
        if hashlib.sha256(again).digest() != found.digests[spot]:
            raise EvidenceInvalid(
                "output-round", f"digest of round {spot + 1} differs from a recomputed product"
            )


def check_hash_chain(params: HashParams, output: bytes, challenge: bytes, *, spots: int = 1) -> None:
    """Raises EvidenceInvalid unless `spots` segments, picked by the challenge, lead to their checkpoints."""
    try:
        ends = hash_chain.decode(output, params)
    except ValueError as problem:
        raise EvidenceInvalid("output-shape", str(problem)) from problem
    begins = [hash_chain.start(params), *ends]
    for spot in _picked(challenge, params.segments, spots):
        steps = hash_chain.boundary(params, spot + 1) - hash_chain.boundary(params, spot)
        if hash_chain.advance(begins[spot], steps) != ends[spot]:
            raise EvidenceInvalid("output-segment", f"segment {spot + 1} doesn't lead to its checkpoint")


def _check_product(state: bytes, c: matmul_int8.Int32, size: int, challenge: bytes, iterations: int) -> None:
    if iterations < 1:
        raise BadInput("iterations", iterations, "at least 1")
    largest = int(np.abs(c.astype(np.int64)).max())
    if largest > 127 * 127 * size:
        raise EvidenceInvalid(
            "output-range", f"an entry of {largest}, at most {127 * 127 * size} is possible"
        )
    a, b = (matmul_int8.matrix(state, label, size).astype(np.int64) for label in (b"A", b"B"))
    wide = c.astype(np.int64)
    for iteration in range(iterations):
        x = _vector(challenge, iteration, size)
        if not np.array_equal(_times(a, _times(b, x)), _times(wide, x)):
            raise EvidenceInvalid("freivalds", f"A(Bx) differs from Cx in iteration {iteration + 1}")


def _times(matrix: Int64, x: Int64) -> Int64:
    """matrix @ x modulo the prime. x is split in two halves so that sums stay below 2^63 (|entry| < 2^25,
    2^10 rows).
    """
    high, low = x >> _HALF, x & ((1 << _HALF) - 1)
    result: Int64 = (((matrix @ high) % PRIME << _HALF) + matrix @ low) % PRIME
    return result


def _vector(challenge: bytes, iteration: int, size: int) -> Int64:
    """Elements of Z_p; 64 random bits each make the bias towards small ones less than 2^-32."""
    stream = hashlib.shake_256(b"scrip.freivalds/1" + iteration.to_bytes(4, "big") + challenge).digest(
        8 * size
    )
    return (np.frombuffer(stream, dtype="<u8") % np.uint64(PRIME)).astype(np.int64)


def _picked(challenge: bytes, count: int, spots: int) -> list[int]:
    """Up to `spots` different numbers below `count`, from the challenge."""
    if spots >= count:
        return list(range(count))
    picked: list[int] = []
    draw = 0
    while len(picked) < spots:
        digest = hashlib.sha256(b"scrip.spots/1" + draw.to_bytes(4, "big") + challenge).digest()
        number = int.from_bytes(digest, "big") % count
        draw += 1
        if number not in picked:
            picked.append(number)
    return picked
