"""`matmul.int8`: exact products of seeded int8 matrices, a stand-in for GPU work.

Runs on the CPU with numpy, since no CUDA is among the dependencies. On a GPU node the provider swaps the
template's module for one that multiplies on the device; the output is defined exactly, so verifiers need
not know.

state_0 = seed. Round i: A, B = matrix(state_i, "A"), matrix(state_i, "B"); C = A B over the integers;
digest_i = sha256(C as little-endian int32, row by row); state_(i+1) = sha256(state_i || digest_i).
matrix(state, label) = SHAKE-256("scrip.matmul.int8/1" || label || state) as signed bytes, row by row, -128
read as 0. (SHAKE and not numpy's generators: the same bytes from any language and any numpy.) An entry of C
is within +-127^2 * size, so a product fits int32, and a double holds every partial sum exactly in whatever
order it is added (127^2 * 1024 < 2^53).

Output: 8 bytes magic, u32 size, u32 rounds (little-endian), the digests (32 bytes a round), then the last C
as int32.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oracle.jobs.common import Result, main
from oracle.jobs.params import MatmulParams, NoSettings

MAGIC: Final = b"SCRIPMM1"
_HEADER: Final = struct.Struct("<8sII")

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Product:
    """A decoded output: the digest of every round's product, and the last product itself."""

    digests: tuple[bytes, ...]
    last: Int32


def first_state(params: MatmulParams) -> bytes:
    """state_0."""
    return bytes.fromhex(params.seed[2:])


def next_state(state: bytes, digest: bytes) -> bytes:
    """state_(i+1)."""
    return hashlib.sha256(state + digest).digest()


def matrix(state: bytes, label: bytes, size: int) -> Int8:
    """One input matrix, entries in -127..127."""
    stream = hashlib.shake_256(b"scrip.matmul.int8/1" + label + state).digest(size * size)
    found = np.frombuffer(stream, dtype=np.int8).reshape(size, size)
    return np.where(found == -128, np.int8(0), found)


def product(state: bytes, size: int) -> Int32:
    """The exact product of one round."""
    a, b = (matrix(state, label, size).astype(np.float64) for label in (b"A", b"B"))
    return (a @ b).astype("<i4")


def compute(params: MatmulParams) -> Result:
    """All rounds."""
    state, digests = first_state(params), []
    for _ in range(params.rounds):
        last = product(state, params.size)
        digests.append(hashlib.sha256(last.tobytes()).digest())
        state = next_state(state, digests[-1])
    output = _HEADER.pack(MAGIC, params.size, params.rounds) + b"".join(digests) + last.tobytes()
    return Result(output, {"size": params.size, "rounds": params.rounds})


def decode(output: bytes, params: MatmulParams) -> Product:
    """The parts of an output. Raises ValueError if it isn't shaped as `params` demand."""
    body = _HEADER.size + 32 * params.rounds
    expected = body + 4 * params.size**2
    if len(output) != expected:
        raise ValueError(f"given {len(output)} bytes, must be {expected}")
    if _HEADER.unpack_from(output) != (MAGIC, params.size, params.rounds):
        raise ValueError("header doesn't match the parameters")
    digests = tuple(output[at : at + 32] for at in range(_HEADER.size, body, 32))
    last = np.frombuffer(output, dtype="<i4", offset=body).reshape(params.size, params.size)
    return Product(digests, last)


if __name__ == "__main__":
    sys.exit(main(MatmulParams, NoSettings, lambda params, _: compute(params)))
