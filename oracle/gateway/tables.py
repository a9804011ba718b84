"""Tables of the gateway. Units are base units of a session's class, times unix milliseconds."""

from __future__ import annotations

import json

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from oracle.models import AsJson, Base, Number, Word, Words
from scrip.types_spending import SessionTerms


class SessionRow(Base):
    """A session account. The first part is the chain's, then the client's, then ours.

    `numbers_to` is the highest number that a receipt may have: those up to it may be out already.
    `close_at` and `urgent_at` are unix seconds of the chain; `signature` is the voucher's over `authorised`.
    `owed_ms` says since when charges wait to be claimed (0: none do), `owed_units` how many, cut off at 63
    bits so that it can be compared; `claim_id` is the claim they are in.
    """

    __tablename__ = "gateway_sessions"

    session_id: Mapped[bytes] = mapped_column(primary_key=True)
    terms: Mapped[SessionTerms] = mapped_column(AsJson(SessionTerms))
    class_id: Mapped[int] = mapped_column(Number)
    deposit: Mapped[int] = mapped_column(Number)
    claimed: Mapped[int] = mapped_column(Number)
    close_at: Mapped[int] = mapped_column(BigInteger)
    closed: Mapped[bool]

    authorised: Mapped[int] = mapped_column(Number)
    signature: Mapped[bytes]

    charged: Mapped[int] = mapped_column(Number)
    calls: Mapped[int] = mapped_column(BigInteger)
    numbers_to: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    last: Mapped[bytes]
    owed_ms: Mapped[int] = mapped_column(BigInteger)
    owed_units: Mapped[int] = mapped_column(BigInteger)
    urgent_at: Mapped[int] = mapped_column(BigInteger)
    opened_ms: Mapped[int] = mapped_column(BigInteger)

    claim_id: Mapped[int | None] = mapped_column(ForeignKey("gateway_claims.id"), index=True)
    claim_tries: Mapped[int] = mapped_column(Integer, default=0)
    claim_after_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    claim_reason: Mapped[str] = mapped_column(Words, default="")

    __table_args__ = (
        Index("ix_gateway_sessions_owed", "claim_id", "owed_ms"),
        Index("ix_gateway_sessions_closed", "closed"),
    )


class CallRow(Base):
    """A call that was charged: its receipt, and what paid for it (a voucher's number, or an API key)."""

    __tablename__ = "gateway_calls"

    session_id: Mapped[bytes] = mapped_column(ForeignKey("gateway_sessions.session_id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    call_id: Mapped[str] = mapped_column(String(32), unique=True)
    model: Mapped[str] = mapped_column(Word(200))
    voucher: Mapped[int | None] = mapped_column(Number)
    key_id: Mapped[str] = mapped_column(String(32), default="")
    receipt: Mapped[str] = mapped_column(Text)
    """The signed receipt as JSON."""
    digest: Mapped[bytes]
    at_ms: Mapped[int] = mapped_column(BigInteger, index=True)


class CallBodyRow(Base):
    """What was asked and answered in a deterministic call, for the time in which it may be audited."""

    __tablename__ = "gateway_call_bodies"

    session_id: Mapped[bytes] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    request: Mapped[bytes] = mapped_column(LargeBinary)
    response: Mapped[bytes] = mapped_column(LargeBinary)
    at_ms: Mapped[int] = mapped_column(BigInteger, index=True)


class KeyRow(Base):
    """An API key: its secret's SHA-256, its limits and what it has spent. `models_json` empty is any model.

    `cap` is base units in all; 0 is never (`expires_ms`), without limit (`per_minute`), valid (`revoked_ms`).
    """

    __tablename__ = "gateway_keys"

    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[bytes] = mapped_column(ForeignKey("gateway_sessions.session_id"), index=True)
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(Word(64))
    cap: Mapped[int] = mapped_column(Number)
    spent: Mapped[int] = mapped_column(Number)
    models_json: Mapped[str] = mapped_column(Text)
    expires_ms: Mapped[int] = mapped_column(BigInteger)
    per_minute: Mapped[int] = mapped_column(Integer)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    revoked_ms: Mapped[int] = mapped_column(BigInteger, default=0)

    @property
    def models(self) -> tuple[str, ...]:
        """Models the key may use; empty is any."""
        return tuple(json.loads(self.models_json))


class ClaimRow(Base):
    """One `claimBatch`, written before anything is sent. `rows_json` are its claims in order."""

    __tablename__ = "gateway_claims"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    stage: Mapped[str] = mapped_column(String(16), index=True)
    rows_json: Mapped[str] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    after_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    reason: Mapped[str] = mapped_column(Words, default="")
    tx_hash: Mapped[bytes | None]
    created_ms: Mapped[int] = mapped_column(BigInteger)
