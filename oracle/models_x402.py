"""Tables of payments over HTTP."""

from __future__ import annotations

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from oracle.models import Base, Words


class PaymentRow(Base):
    """A payment that was taken on, stored before anything is sent for it (`oracle.x402.payments`).

    `request` is what was required and what was paid with, as JSON; `fingerprint` is its hash. Nothing of it
    happened on chain before block `since`. `paid_tx` is the transaction that took the payment, `done_tx` the
    one that delivered or refunded. `reported` once a caller was told that it is settled.
    """

    __tablename__ = "x402_payments"

    payment_id: Mapped[bytes] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(Words, default="")
    payer: Mapped[str] = mapped_column(String(42))
    fingerprint: Mapped[bytes]
    request: Mapped[str] = mapped_column(Text)
    since: Mapped[int] = mapped_column(BigInteger)
    paid_tx: Mapped[bytes | None]
    done_tx: Mapped[bytes | None]
    reported: Mapped[bool] = mapped_column(default=False)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger)


class PaymentIdentifierRow(Base):
    """A client's own name for a payment (extension `payment-identifier`): it never means another one."""

    __tablename__ = "x402_identifiers"

    identifier: Mapped[str] = mapped_column(String(128), primary_key=True)
    payment_id: Mapped[bytes]
    fingerprint: Mapped[bytes]
    at_ms: Mapped[int] = mapped_column(BigInteger)
