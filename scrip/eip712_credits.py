"""EIP-712 digests of what holders of credits sign: approvals of operators, and offers. See `scrip.eip712`."""

from __future__ import annotations

from scrip.eip712 import digest, domain_separator, hash_struct
from scrip.errors import BadInput
from scrip.structs import to_address, to_int
from scrip.types_spending import Offer

CREDITS_DOMAIN = "Scrip ComputeCredits"
EXCHANGE_DOMAIN = "Scrip CreditExchange"
APPROVAL_TYPE = "Approval(address owner,address operator,bool approved,uint256 nonce,uint256 deadline)"
OFFER_TYPE = (
    "Offer(address maker,bool selling,uint256 classId,uint128 units,address token,uint128 price,"
    "address taker,uint40 expiry,uint64 epoch,uint256 salt)"
)


def approval_digest(
    owner: str, operator: str, approved: bool, nonce: int, deadline: int, chain_id: int, credits: str
) -> bytes:
    """What the owner signs for `setApprovalForAllBySig`. `deadline` is unix seconds."""
    if not isinstance(approved, bool):
        raise BadInput("approved", approved, "true or false")
    values = [
        to_address("owner", owner),
        to_address("operator", operator),
        approved,
        to_int("nonce", nonce),
        to_int("deadline", deadline),
    ]
    struct = hash_struct(APPROVAL_TYPE, ["address", "address", "bool", "uint256", "uint256"], values)
    return digest(domain_separator(CREDITS_DOMAIN, chain_id, credits), struct)


def offer_digest(offer: Offer, chain_id: int, exchange: str) -> bytes:
    """Hash of an offer at this CreditExchange, which its maker signs."""
    struct = hash_struct(OFFER_TYPE, offer.abi_types(), offer.to_abi())
    return digest(domain_separator(EXCHANGE_DOMAIN, chain_id, exchange), struct)
