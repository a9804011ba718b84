"""`keep`: keeps content for a time, and shows at moments it doesn't choose that it is still there.

The time is divided into as many windows as there are proofs. In window i, at a moment drawn from challenge_i,
the whole content is read from disk again: challenge_0 = sha256("scrip.keep/1" || seed), digest_i =
sha256(challenge_i || content), challenge_(i+1) = sha256(challenge_i || digest_i). So neither the next moment
nor the next digest is known before this one was made, and nobody makes any without the content. Content that
is damaged or gone ends the job as failed, and a failed job costs nothing.

What the proofs don't show: that each was made at its moment and not, by a provider who fetched the content
again, at the end. The evidence's size samples say so, which are the provider's word.

Output: 8 bytes magic, u64 size, u32 proofs (little-endian), then for each proof u64 milliseconds since the
content was there and its digest of 32 bytes; then the content.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oracle.jobs.artefact import fetch, intact
from oracle.jobs.common import Result, Unable, main
from oracle.jobs.names import CONTENT
from oracle.jobs.params import ArtefactSettings, KeepParams

MAGIC: Final = b"SCRIPKP1"
LATE_MS: Final = 10_000
"""How long after its moment a proof may be made: a busy machine, a slow disk."""
_HEADER: Final = struct.Struct("<8sQI")
_PROOF: Final = struct.Struct("<Q32s")


@dataclass(frozen=True, slots=True)
class Proof:
    """`at_ms` since the content was there."""

    at_ms: int
    digest: bytes


def due_ms(params: KeepParams, number: int, challenge: bytes) -> int:
    """The moment of a proof: anywhere in its window."""
    begin, end = (params.seconds * 1000 * each // params.proofs for each in (number, number + 1))
    return begin + int.from_bytes(challenge, "big") % (end - begin)


def chain(params: KeepParams, read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """(moment in ms, digest) of each proof. `read` gives the content at a moment."""
    challenge = hashlib.sha256(b"scrip.keep/1" + bytes.fromhex(params.seed[2:])).digest()
    for number in range(params.proofs):
        moment = due_ms(params, number, challenge)
        digest = hashlib.sha256(challenge + read(moment)).digest()
        yield moment, digest
        challenge = hashlib.sha256(challenge + digest).digest()


def keep(params: KeepParams, settings: ArtefactSettings, folder: Path) -> Result:
    """Get it, keep it, show it. Raises Unable if it doesn't last."""
    path = folder / CONTENT
    path.write_bytes(fetch(params, settings, folder))
    began_ns = time.monotonic_ns()

    def now_ms() -> int:
        return (time.monotonic_ns() - began_ns) // 1_000_000

    def read(moment_ms: int) -> bytes:
        while (left := moment_ms - now_ms()) > 0:
            time.sleep(left / 1000)
        return _from_disk(path, params)

    proofs = [Proof(now_ms(), digest) for _, digest in chain(params, read)]
    content = read(params.seconds * 1000)
    return Result(encode(proofs, content), {"bytes": len(content), "seconds": params.seconds})


def encode(proofs: list[Proof], content: bytes) -> bytes:
    """The output."""
    rows = b"".join(_PROOF.pack(proof.at_ms, proof.digest) for proof in proofs)
    return _HEADER.pack(MAGIC, len(content), len(proofs)) + rows + content


def decode(output: bytes, params: KeepParams) -> tuple[list[Proof], bytes]:
    """Proofs and content. Raises ValueError if the output isn't shaped as `params` demand."""
    body = _HEADER.size + _PROOF.size * params.proofs
    if len(output) != body + params.size:
        raise ValueError(f"given {len(output)} bytes, must be {body + params.size}")
    if _HEADER.unpack_from(output) != (MAGIC, params.size, params.proofs):
        raise ValueError("header doesn't match the parameters")
    rows = _PROOF.iter_unpack(output[_HEADER.size : body])
    return [Proof(at_ms, digest) for at_ms, digest in rows], output[body:]


def check(params: KeepParams, output: bytes) -> int:
    """When the last proof was made, ms. Raises ValueError unless content, digests and moments are right."""
    proofs, content = decode(output, params)
    if not intact(content, params):
        raise ValueError(f"the content isn't the one with sha256 {params.sha256}")
    expected = chain(params, lambda _: content)
    for number, (proof, (moment, digest)) in enumerate(zip(proofs, expected, strict=True), 1):
        if proof.digest != digest:
            raise ValueError(f"proof {number} isn't of this content and challenge")
        if not moment <= proof.at_ms <= moment + LATE_MS:
            raise ValueError(f"proof {number} was due at {moment} ms and made at {proof.at_ms} ms")
    return proofs[-1].at_ms


def _from_disk(path: Path, params: KeepParams) -> bytes:
    """The content, not from the page cache where the system obeys."""
    try:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            content = file.read(params.size + 1)
    except OSError as problem:
        raise Unable(f"the content is gone: {problem.strerror}") from problem
    if not intact(content, params):
        raise Unable("the content isn't what it was")
    return content


if __name__ == "__main__":
    sys.exit(main(KeepParams, ArtefactSettings, lambda p, s: keep(p, s, Path(sys.argv[1]))))
