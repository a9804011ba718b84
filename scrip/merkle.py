"""Merkle tree over the links of an evidence chain. Pure.

A leaf is keccak(0x00 || link), a node keccak(0x01 || left || right), so neither can be passed off as the
other (RFC 6962, section 2.1). The last node of an odd level moves up unchanged: nothing is duplicated, so two
lists of different length never share a root.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.crypto import keccak

from scrip.errors import BadInput


def merkle_root(links: Sequence[bytes]) -> bytes:
    """Root of a non-empty list of 32-byte links. Raises BadInput on an empty list or a wrong length."""
    level = _leaves(links)
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def merkle_proof(links: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Siblings from leaf `index` up to the root; a level where the node has none adds nothing."""
    level = _leaves(links)
    if not 0 <= index < len(level):
        raise BadInput("leaf index", index, f"0..{len(level) - 1}")
    proof: list[bytes] = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level, index = _parents(level), index // 2
    return tuple(proof)


def verify_proof(root: bytes, link: bytes, index: int, count: int, proof: Sequence[bytes]) -> bool:
    """Whether `link` is leaf `index` of the `count` leaves under `root`. False on anything malformed."""
    if not 0 <= index < count or len(link) != 32 or any(len(node) != 32 for node in proof):
        return False
    node, siblings = keccak(b"\x00" + link), list(proof)
    while count > 1:
        if index ^ 1 < count:
            if not siblings:
                return False
            sibling = siblings.pop(0)
            node = keccak(b"\x01" + (sibling + node if index % 2 else node + sibling))
        index, count = index // 2, (count + 1) // 2
    return not siblings and node == root


def _leaves(links: Sequence[bytes]) -> list[bytes]:
    if not links:
        raise BadInput("samples", 0, "at least one", "record a sample at each edge of the lease")
    for index, link in enumerate(links):
        if len(link) != 32:
            raise BadInput(f"link {index}", link, "32 bytes")
    return [keccak(b"\x00" + link) for link in links]


def _parents(level: list[bytes]) -> list[bytes]:
    pairs = [keccak(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs
