"""Dataclasses that mirror the structs of sessions, budgets and offers, field for field as `scrip.types`."""

from __future__ import annotations

from dataclasses import dataclass

from scrip.structs import (
    Address,
    Bool,
    Bytes,
    Bytes32,
    Struct,
    Uint32,
    Uint40,
    Uint64,
    Uint96,
    Uint128,
    Uint256,
)

NO_CAP = 2**96 - 1
"""A cap of `Limits` that doesn't bind."""


@dataclass(frozen=True, slots=True)
class SessionTerms(Struct):
    """Terms of a session (`Types.SessionTerms`). Its EIP-712 digest is the session's id.

    `key` signs vouchers: an account, or a contract (ERC-1271). `expires_at` is unix seconds, after which
    anyone can ask for the session to be closed; `budget_id` 0 is no budget.
    """

    payer: Address
    provider: Address
    class_id: Uint256
    key: Address
    expires_at: Uint40
    budget_id: Uint256
    salt: Uint256


@dataclass(frozen=True, slots=True)
class SessionState(Struct):
    """A session's slot on chain (`IMeteredSessions.Session`).

    `deposit` and `claimed` are base units; from `close_at` (unix seconds, 0 while nobody asked) on anyone can
    close it; once `closed` it stays so, and `close_at` is when that was.
    """

    deposit: Uint96
    claimed: Uint96
    close_at: Uint40
    closed: Bool


@dataclass(frozen=True, slots=True)
class Claim(Struct):
    """What a provider takes of a session (`IMeteredSessions.Claim`), and the voucher that lets it.

    `units` are base units used since the session began, at most `authorised` (those of the voucher) and the
    deposit; `signature` is the session key's over `scrip.eip712_sessions.voucher_digest` of `authorised`.
    """

    terms: SessionTerms
    units: Uint128
    authorised: Uint128
    signature: Bytes


@dataclass(frozen=True, slots=True)
class Overcharge(Struct):
    """What arbiters find: `units` base units claimed in all of the session and not due, found by `reporter`.

    Cumulative: `MeteredSessions.penalise` takes what verdicts before it didn't.
    """

    session_id: Bytes32
    units: Uint256
    reporter: Address


@dataclass(frozen=True, slots=True)
class Limits(Struct):
    """What a budget allows its `spender` (`Types.Limits`): base units of its token at class price.

    A cap of `NO_CAP` doesn't bind. `period` is seconds, 0 for no periods; `expiry` unix seconds, 0 never;
    `listed` limits payments to listed providers.
    """

    spender: Address
    per_action: Uint96
    per_period: Uint96
    lifetime: Uint96
    period: Uint32
    expiry: Uint40
    listed: Bool


@dataclass(frozen=True, slots=True)
class Budget(Struct):
    """What the chain knows of a budget (`ISpendingBudgets.Budget`). `parent` 0 is a root, of depth 1.

    `spent` is what was charged less what was given back, `period_spent` what was charged in `period_index`.
    `revoked` speaks of this very level; one above may be revoked as well.
    """

    owner: Address
    token: Address
    parent: Uint256
    depth: Uint256
    revoked: Bool
    limits: Limits
    spent: Uint256
    period_spent: Uint256
    period_index: Uint256


@dataclass(frozen=True, slots=True)
class Offer(Struct):
    """A maker's signed offer to sell credits for a token, or to buy them (`Types.Offer`).

    `units` are base units in all, `price` token base units for all of them; it may be filled in parts. The
    zero `taker` is anyone; `expiry` is unix seconds; raising the maker's `epoch` cancels older offers.
    """

    maker: Address
    selling: Bool
    class_id: Uint256
    units: Uint128
    token: Address
    price: Uint128
    taker: Address
    expiry: Uint40
    epoch: Uint64
    salt: Uint256
