"""keccak256 by a library itself. eth_utils finds out what it was given and which library hashes it each time,
which takes three times as long as hashing a few words.

By the reference code in C (safe-pysha3) where it is installed, which extras for nodes and reports bring on
Linux; else by pycryptodome, three times slower, which web3 brings anyhow. The results are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from Crypto.Hash import keccak as _keccak

try:
    from sha3 import keccak_256
except ImportError:
    keccak_256 = None


def by_pycryptodome(data: bytes) -> bytes:
    """keccak256, wherever web3 runs."""
    return _keccak.new(data=data, digest_bits=256).digest()


def by_pysha3(data: bytes) -> bytes:
    """keccak256, where safe-pysha3 is installed."""
    found: bytes = keccak_256(data).digest()
    return found


keccak: Final[Callable[[bytes], bytes]] = by_pycryptodome if keccak_256 is None else by_pysha3
"""The 32 bytes of keccak256, Ethereum's hash."""
