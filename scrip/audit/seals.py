"""What a seal's signature is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from scrip.eip712 import digest, domain_separator, hash_struct
from scrip.structs import to_bytes

DOMAIN: Final = "Scrip Audit"
SEAL_TYPE: Final = "AuditSeal(bytes32 head,uint256 toBlock,bytes32 toBlockHash,uint256 settlements)"


def seal_digest(seal: Mapping[str, Any], chain_id: int, market: str) -> bytes:
    """EIP-712 digest of a seal line; its head is the hash of the line before it, so all lines are signed."""
    values = [
        to_bytes("previous", seal["previous"], 32), int(seal["toBlock"]),
        to_bytes("toBlockHash", seal["toBlockHash"], 32), int(seal["settlements"]),
    ]  # fmt: skip
    struct = hash_struct(SEAL_TYPE, ["bytes32", "uint256", "bytes32", "uint256"], values)
    return digest(domain_separator(DOMAIN, chain_id, market), struct)
