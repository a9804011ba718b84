"""The Merkle tree: proofs prove their leaf and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrip.errors import BadInput
from scrip.merkle import merkle_proof, merkle_root, verify_proof


def test_merkle__no_leaf__refused() -> None:
    with pytest.raises(BadInput, match="at least one"):
        merkle_root([])


def test_merkle__short_link_or_index_beyond__refused() -> None:
    with pytest.raises(BadInput, match="32 bytes"):
        merkle_root([b"short"])
    with pytest.raises(BadInput, match=r"0\.\.0"):
        merkle_proof([bytes(32)], 1)


LINKS = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


@given(links=LINKS, data=st.data())
def test_merkle_proof__every_leaf__proves_itself_only(links: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(links) - 1))
    root, proof = merkle_root(links), merkle_proof(links, index)
    assert verify_proof(root, links[index], index, len(links), proof)
    assert not verify_proof(root, bytes(byte ^ 1 for byte in links[index]), index, len(links), proof)
    assert not verify_proof(bytes(32), links[index], index, len(links), proof)
    assert not verify_proof(root, links[index], index, len(links), (*proof, bytes(32)))
    assert not verify_proof(root, links[index], len(links), len(links), proof)
    if proof:
        assert not verify_proof(root, links[index], index, len(links), proof[:-1])
        assert not verify_proof(root, links[index], index, len(links), (b"", *proof[1:]))


@given(links=LINKS)
def test_merkle_root__a_leaf_repeated_at_the_end__another_root(links: list[bytes]) -> None:
    assert merkle_root(links) != merkle_root([*links, links[-1]])
