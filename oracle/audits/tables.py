"""Tables of a watcher's audits. Units are base units of a session's class, times unix milliseconds."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from oracle.models import AsJson, Base, Number, Words
from scrip.types_spending import SessionTerms


class AuditedSessionRow(Base):
    """A session that is audited. `last` is the receipt up to which it was, as JSON ("" before the first),
    `claimed` what was claimed then. `done` sessions can't be punished any more.
    """

    __tablename__ = "audited_sessions"

    session_id: Mapped[bytes] = mapped_column(primary_key=True)
    terms: Mapped[SessionTerms] = mapped_column(AsJson(SessionTerms))
    last: Mapped[str] = mapped_column(Text, default="")
    claimed: Mapped[int] = mapped_column(Number, default=0)
    reason: Mapped[str] = mapped_column(Words, default="")
    done: Mapped[bool] = mapped_column(Boolean, default=False, index=True)


class AuditRow(Base):
    """What the audit of a call came to, and the digest of its receipt; number 0 is of the session's claims as
    a whole.
    """

    __tablename__ = "audits"

    session_id: Mapped[bytes] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    digest: Mapped[bytes]
    check: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(Words)
    units: Mapped[int] = mapped_column(Number)
    at_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_audits_at_ms", "at_ms"),)
