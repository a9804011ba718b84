"""EIP-712 digests of metered sessions: what payers, session keys and arbiters sign. See `scrip.eip712`."""

from __future__ import annotations

from scrip.eip712 import digest, domain_separator, hash_struct
from scrip.structs import to_bytes, to_int
from scrip.types_spending import Overcharge, SessionTerms

SESSIONS_DOMAIN = "Scrip MeteredSessions"
SESSION_TERMS_TYPE = (
    "SessionTerms(address payer,address provider,uint256 classId,address key,uint40 expiresAt,"
    "uint256 budgetId,uint256 salt)"
)
OPEN_SESSION_TYPE = "OpenSession(bytes32 sessionId,uint256 units,uint256 deadline)"
VOUCHER_TYPE = "Voucher(bytes32 sessionId,uint256 units)"
OVERCHARGE_TYPE = "Overcharge(bytes32 sessionId,uint256 units,address reporter)"


def session_id(terms: SessionTerms, chain_id: int, sessions: str) -> bytes:
    """Id of the session these terms describe at this MeteredSessions."""
    struct = hash_struct(SESSION_TERMS_TYPE, terms.abi_types(), terms.to_abi())
    return digest(domain_separator(SESSIONS_DOMAIN, chain_id, sessions), struct)


def open_session_digest(session: bytes, units: int, deadline: int, chain_id: int, sessions: str) -> bytes:
    """What a payer, or its budget's spender, signs for `openSessionBySig`: `units` base units to deposit."""
    values = [to_bytes("session_id", session, 32), to_int("units", units), to_int("deadline", deadline)]
    struct = hash_struct(OPEN_SESSION_TYPE, ["bytes32", "uint256", "uint256"], values)
    return digest(domain_separator(SESSIONS_DOMAIN, chain_id, sessions), struct)


def voucher_digest(session: bytes, units: int, chain_id: int, sessions: str) -> bytes:
    """What the session's key signs: it authorises `units` base units since the session began."""
    values = [to_bytes("session_id", session, 32), to_int("units", units)]
    struct = hash_struct(VOUCHER_TYPE, ["bytes32", "uint256"], values)
    return digest(domain_separator(SESSIONS_DOMAIN, chain_id, sessions), struct)


def overcharge_digest(found: Overcharge, chain_id: int, sessions: str) -> bytes:
    """What a threshold of the class's arbiters signs for `MeteredSessions.penalise`."""
    struct = hash_struct(OVERCHARGE_TYPE, found.abi_types(), found.to_abi())
    return digest(domain_separator(SESSIONS_DOMAIN, chain_id, sessions), struct)
