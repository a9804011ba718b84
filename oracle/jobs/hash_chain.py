"""`hash.chain`: SHA-256 applied to itself N times. Work that can't be shortened or shared out.

h_0 = sha256("scrip.hash.chain/1" || seed), h_i = sha256(h_(i-1)). The output holds h_i at the end of each
of k segments, so a verifier recomputes a few segments it picks afterwards instead of the whole chain: a
provider that cheated in m of k segments passes one spot check with probability 1 - m/k.

Output: 8 bytes magic, u64 steps, u32 segments (little-endian), then the checkpoints of 32 bytes each; the
last is h_N.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from typing import Final

from oracle.jobs.common import Result, main
from oracle.jobs.params import HashParams, NoSettings

MAGIC: Final = b"SCRIPHC1"
_HEADER: Final = struct.Struct("<8sQI")


def start(params: HashParams) -> bytes:
    """h_0."""
    return hashlib.sha256(b"scrip.hash.chain/1" + bytes.fromhex(params.seed[2:])).digest()


def boundary(params: HashParams, segment: int) -> int:
    """Steps done at the end of segment number `segment` (0 is the start)."""
    return params.steps * segment // params.segments


def advance(digest: bytes, steps: int) -> bytes:
    """The digest `steps` steps on."""
    sha256 = hashlib.sha256
    for _ in range(steps):
        digest = sha256(digest).digest()
    return digest


def compute(params: HashParams) -> Result:
    """The whole chain."""
    digest, checkpoints = start(params), []
    for segment in range(params.segments):
        digest = advance(digest, boundary(params, segment + 1) - boundary(params, segment))
        checkpoints.append(digest)
    header = _HEADER.pack(MAGIC, params.steps, params.segments)
    return Result(header + b"".join(checkpoints), {"steps": params.steps, "segments": params.segments})


def decode(output: bytes, params: HashParams) -> list[bytes]:
    """The checkpoints. Raises ValueError if the output isn't shaped as `params` demand."""
    expected = _HEADER.size + 32 * params.segments
    if len(output) != expected:
        raise ValueError(f"given {len(output)} bytes, must be {expected}")
    if _HEADER.unpack_from(output) != (MAGIC, params.steps, params.segments):
        raise ValueError("header doesn't match the parameters")
    return [output[at : at + 32] for at in range(_HEADER.size, expected, 32)]


if __name__ == "__main__":
    sys.exit(main(HashParams, NoSettings, lambda params, _: compute(params)))
