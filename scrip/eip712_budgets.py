"""EIP-712 digests of budgets: what owners and controllers sign. See `scrip.eip712`."""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from scrip.eip712 import digest, domain_separator, hash_struct
from scrip.errors import BadInput
from scrip.structs import to_address, to_int
from scrip.types_spending import Limits

BUDGETS_DOMAIN = "Scrip SpendingBudgets"
LIMITS_TYPE = (
    "Limits(address spender,uint96 perAction,uint96 perPeriod,uint96 lifetime,uint32 period,uint40 expiry,"
    "bool listed)"
)
# The type of a nested struct follows that of the one which holds it.
CREATE_BUDGET_TYPE = (
    "CreateBudget(address owner,address token,Limits limits,address[] providers,uint256 nonce,"
    "uint256 deadline)" + LIMITS_TYPE
)
CREATE_CHILD_TYPE = (
    "CreateChild(address controller,uint256 parent,Limits limits,address[] providers,uint256 nonce,"
    "uint256 deadline)" + LIMITS_TYPE
)
SET_BUDGET_TYPE = (
    "SetBudget(address controller,uint256 budgetId,Limits limits,uint256 nonce,uint256 deadline)"
    + LIMITS_TYPE
)
SET_PROVIDERS_TYPE = (
    "SetProviders(address controller,uint256 budgetId,address[] providers,bool listed,uint256 nonce,"
    "uint256 deadline)"
)
REVOKE_TYPE = "Revoke(address controller,uint256 budgetId,uint256 nonce,uint256 deadline)"


def create_budget_digest(
    owner: str,
    token: str,
    limits: Limits,
    providers: Sequence[str],
    nonce: int,
    deadline: int,
    chain_id: int,
    budgets: str,
) -> bytes:
    """What the owner of a new root budget signs for `createBudgetBySig`. `deadline` is unix seconds."""
    values = [
        to_address("owner", owner),
        to_address("token", token),
        limits_struct_hash(limits),
        _hash_of(providers),
        to_int("nonce", nonce),
        to_int("deadline", deadline),
    ]
    types = ["address", "address", "bytes32", "bytes32", "uint256", "uint256"]
    return _digest(hash_struct(CREATE_BUDGET_TYPE, types, values), chain_id, budgets)


def create_child_digest(
    controller: str,
    parent: int,
    limits: Limits,
    providers: Sequence[str],
    nonce: int,
    deadline: int,
    chain_id: int,
    budgets: str,
) -> bytes:
    """What the parent's spender, or the tree's owner, signs for `createChildBySig`."""
    values = [
        to_address("controller", controller),
        to_int("parent", parent),
        limits_struct_hash(limits),
        _hash_of(providers),
        to_int("nonce", nonce),
        to_int("deadline", deadline),
    ]
    types = ["address", "uint256", "bytes32", "bytes32", "uint256", "uint256"]
    return _digest(hash_struct(CREATE_CHILD_TYPE, types, values), chain_id, budgets)


def set_budget_digest(
    controller: str, budget_id: int, limits: Limits, nonce: int, deadline: int, chain_id: int, budgets: str
) -> bytes:
    """What a budget's controller signs for `setBudgetBySig`."""
    values = [
        to_address("controller", controller),
        to_int("budget_id", budget_id),
        limits_struct_hash(limits),
        to_int("nonce", nonce),
        to_int("deadline", deadline),
    ]
    types = ["address", "uint256", "bytes32", "uint256", "uint256"]
    return _digest(hash_struct(SET_BUDGET_TYPE, types, values), chain_id, budgets)


def set_providers_digest(
    controller: str,
    budget_id: int,
    providers: Sequence[str],
    listed: bool,
    nonce: int,
    deadline: int,
    chain_id: int,
    budgets: str,
) -> bytes:
    """What a budget's controller signs for `setProvidersBySig`."""
    if not isinstance(listed, bool):
        raise BadInput("listed", listed, "true or false")
    values = [
        to_address("controller", controller),
        to_int("budget_id", budget_id),
        _hash_of(providers),
        listed,
        to_int("nonce", nonce),
        to_int("deadline", deadline),
    ]
    types = ["address", "uint256", "bytes32", "bool", "uint256", "uint256"]
    return _digest(hash_struct(SET_PROVIDERS_TYPE, types, values), chain_id, budgets)


def revoke_digest(
    controller: str, budget_id: int, nonce: int, deadline: int, chain_id: int, budgets: str
) -> bytes:
    """What a budget's controller, or its spender, signs for `revokeBySig`."""
    values = [
        to_address("controller", controller),
        to_int("budget_id", budget_id),
        to_int("nonce", nonce),
        to_int("deadline", deadline),
    ]
    struct = hash_struct(REVOKE_TYPE, ["address", "uint256", "uint256", "uint256"], values)
    return _digest(struct, chain_id, budgets)


def limits_struct_hash(limits: Limits) -> bytes:
    """hashStruct(Limits), as it stands in the structs above."""
    return hash_struct(LIMITS_TYPE, limits.abi_types(), limits.to_abi())


def _hash_of(providers: Sequence[str]) -> bytes:
    """EIP-712 encodes an array as the hash of its elements' encodings put together."""
    listed = [to_address("providers", provider) for provider in providers]
    return bytes(keccak(b"".join(encode(["address"], [provider]) for provider in listed)))


def _digest(struct_hash: bytes, chain_id: int, budgets: str) -> bytes:
    return digest(domain_separator(BUDGETS_DOMAIN, chain_id, budgets), struct_hash)
