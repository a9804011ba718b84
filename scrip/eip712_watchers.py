"""EIP-712 digests of what watchers sign besides receipts: sealed votes, verdicts, capacity, prices.

See `scrip.eip712`.
"""

from __future__ import annotations

from scrip.eip712 import MARKET_DOMAIN, VERIFIER_DOMAIN, digest, domain_separator, hash_struct
from scrip.errors import BadInput
from scrip.structs import to_int
from scrip.types import Capacity, Commitment, Reveal, Verdict

REGISTRY_DOMAIN = "Scrip ProviderRegistry"
FEED_DOMAIN = "Scrip PriceFeed"
VERDICT_TYPE = "Verdict(bytes32 jobId,uint128 units,uint8 fault)"
CAPACITY_TYPE = (
    "Capacity(address provider,bytes32 sku,uint256 watcherSet,uint32 count,uint40 until,uint40 observedAt)"
)
COMMITMENT_TYPE = "Commitment(bytes32 subject,bytes32 evidence,bytes32 seal)"
REVEAL_TYPE = "Reveal(bytes32 subject,bytes32 evidence,bytes32 findings,bytes32 salt)"
ANSWER_TYPE = "Answer(uint80 roundId,int256 answer,uint40 observedAt)"


def verdict_digest(verdict: Verdict, chain_id: int, market: str) -> bytes:
    """What a threshold of a class's arbiters signs to end a dispute."""
    struct = hash_struct(VERDICT_TYPE, verdict.abi_types(), verdict.to_abi())
    return digest(domain_separator(MARKET_DOMAIN, chain_id, market), struct)


def capacity_digest(capacity: Capacity, chain_id: int, registry: str) -> bytes:
    """What a threshold of the statement's watcher set signs for `attestCapacity`."""
    struct = hash_struct(CAPACITY_TYPE, capacity.abi_types(), capacity.to_abi())
    return digest(domain_separator(REGISTRY_DOMAIN, chain_id, registry), struct)


def answer_digest(round_id: int, answer: int, observed_at: int, chain_id: int, feed: str) -> bytes:
    """What a feed's watchers sign: the price of 1,000,000 credits, scaled by the feed's decimals."""
    if isinstance(answer, bool) or not isinstance(answer, int) or not -(1 << 255) <= answer < 1 << 255:
        raise BadInput("answer", answer, "a signed integer of 256 bits")
    values = [to_int("round_id", round_id, 80), answer, to_int("observed_at", observed_at, 40)]
    struct = hash_struct(ANSWER_TYPE, ["uint80", "int256", "uint40"], values)
    return digest(domain_separator(FEED_DOMAIN, chain_id, feed), struct)


def commitment_digest(commitment: Commitment, chain_id: int, verifier: str) -> bytes:
    """What a watcher signs before it knows what others found. No contract reads it."""
    struct = hash_struct(COMMITMENT_TYPE, commitment.abi_types(), commitment.to_abi())
    return digest(domain_separator(VERIFIER_DOMAIN, chain_id, verifier), struct)


def reveal_digest(reveal: Reveal, chain_id: int, verifier: str) -> bytes:
    """What a watcher signs to open its commitment. No contract reads it."""
    struct = hash_struct(REVEAL_TYPE, reveal.abi_types(), reveal.to_abi())
    return digest(domain_separator(VERIFIER_DOMAIN, chain_id, verifier), struct)
