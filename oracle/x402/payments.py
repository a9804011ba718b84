"""What is known of every payment, stored before anything is sent for it.

A payment's id is what the chain takes only once: the nonce of an authorisation, or a job's id. So the same
payment is the same row, however often and by whichever way it comes, and no row is ever paid twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from eth_utils.crypto import keccak
from sqlalchemy import select
from sqlalchemy.orm import Session

from oracle.models_x402 import PaymentIdentifierRow, PaymentRow
from oracle.store import REASON_CHARS, StateConflict, Store
from scrip.errors import NotFound, ScripError


class Kind(StrEnum):
    """What a payment is for: credits sold for tokens, a job that credits are locked in, or a charge to a
    session.
    """

    SALE = "sale"
    JOB = "job"
    VOUCHER = "voucher"


class Stage(StrEnum):
    """How far a payment is. TAKING is left only once the chain has said whether it was taken."""

    TAKING = "taking"
    TAKEN = "taken"
    DELIVERED = "delivered"
    DONE = "done"
    """Delivered, and final on chain."""
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    FAILED = "failed"
    """Nothing was taken."""

    @property
    def settled(self) -> bool:
        """Whether the payer has what it paid for."""
        return self in (Stage.DELIVERED, Stage.DONE)

    @property
    def decided(self) -> bool:
        """Whether the payer's outcome is known."""
        return self.settled or self in (Stage.REFUNDED, Stage.FAILED)


ENDED: Final = (Stage.DONE, Stage.REFUNDED, Stage.FAILED)


class PaymentConflict(ScripError):
    """The same authorisation, or the same payment identifier, was used for something else before."""


@dataclass(frozen=True, slots=True)
class Order:
    """A payment that somebody wants settled. `request` is all that its steps need, as JSON."""

    payment_id: bytes
    kind: Kind
    payer: str
    request: Mapping[str, Any]
    identifier: str | None = None

    @property
    def text(self) -> str:
        """`request` in its one form."""
        return _text(self.request)

    @property
    def fingerprint(self) -> bytes:
        """Hash of all that was asked, but for a quote: others than the payer may add that."""
        asked = {**self.request, "payload": {**self.request["payload"], "quote": None}}
        return bytes(keccak(text=_text(asked)))


class Payments:
    """The table of payments. Safe to share between threads; only the node that leads can write."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, payment_id: bytes) -> PaymentRow:
        """The payment. Raises NotFound."""
        with self._store.reading() as session:
            row = session.get(PaymentRow, payment_id)
        if row is None:
            raise NotFound("payment", payment_id, "This node doesn't know it")
        return row

    def known(self, order: Order) -> PaymentRow | None:
        """The payment, if it is on its way or settled already; one that failed may be tried anew. Raises
        PaymentConflict.
        """
        with self._store.reading() as session:
            self._check_identifier(session, order)
            row = session.get(PaymentRow, order.payment_id)
        if row is None or row.stage == Stage.FAILED:
            return None
        _check_same(row, order)
        return row

    def begin(self, order: Order, since: int) -> PaymentRow:
        """Store the intent to take a payment, which survives a crash once this returns; of several who ask
        at once one is first. Nothing of it happened before block `since`. Raises PaymentConflict, LeadLost.
        """
        with self._store.writing() as session:
            self._check_identifier(session, order)
            row, now = session.get(PaymentRow, order.payment_id), self._store.now_ms()
            if row is not None and row.stage != Stage.FAILED:
                _check_same(row, order)
            elif row is None:
                row = PaymentRow(payment_id=order.payment_id, since=since, created_ms=now)
                session.add(row)
            if row.stage in (None, Stage.FAILED):
                row.since = min(row.since, since)
                row.kind, row.stage, row.reason = order.kind.value, Stage.TAKING.value, ""
                row.payer, row.fingerprint, row.request = order.payer, order.fingerprint, order.text
                row.updated_ms = now
            if order.identifier and session.get(PaymentIdentifierRow, order.identifier) is None:
                session.add(
                    PaymentIdentifierRow(
                        identifier=order.identifier, payment_id=order.payment_id,
                        fingerprint=order.fingerprint, at_ms=now,
                    )
                )  # fmt: skip
            return row

    def advance(
        self,
        row: PaymentRow,
        stage: Stage,
        reason: str = "",
        *,
        paid_tx: bytes | None = None,
        done_tx: bytes | None = None,
    ) -> PaymentRow:
        """Take a payment one step on. Raises StateConflict if somebody else has, LeadLost."""
        with self._store.writing() as session:
            fresh = session.get_one(PaymentRow, row.payment_id)
            if fresh.stage != row.stage:
                raise StateConflict(row.payment_id, fresh.stage, stage)
            fresh.stage, fresh.reason = stage.value, reason[:REASON_CHARS]
            fresh.paid_tx, fresh.done_tx = paid_tx or fresh.paid_tx, done_tx or fresh.done_tx
            fresh.updated_ms = self._store.now_ms()
            return fresh

    def report(self, row: PaymentRow) -> bool:
        """Note that a caller is told of a settled payment. True for the first: only that one may serve
        something for it.
        """
        with self._store.writing() as session:
            fresh = session.get_one(PaymentRow, row.payment_id)
            first, fresh.reported = not fresh.reported, True
            return first

    def unfinished(self) -> Sequence[bytes]:
        """Payments that need another step, oldest first."""
        ended = [stage.value for stage in ENDED]
        query = (
            select(PaymentRow.payment_id)
            .where(PaymentRow.stage.not_in(ended))
            .order_by(PaymentRow.created_ms, PaymentRow.payment_id)
        )
        with self._store.reading() as session:
            return session.scalars(query).all()

    def _check_identifier(self, session: Session, order: Order) -> None:
        named = session.get(PaymentIdentifierRow, order.identifier) if order.identifier else None
        if named is not None and named.fingerprint != order.fingerprint:
            raise PaymentConflict(
                f"the payment identifier {order.identifier} was used for another payment. Choose a new one"
            )


def _text(request: Mapping[str, Any]) -> str:
    return json.dumps(request, sort_keys=True, separators=(",", ":"))


def _check_same(row: PaymentRow, order: Order) -> None:
    if row.fingerprint != order.fingerprint:
        raise PaymentConflict(
            f"this authorisation pays for something else already: payment 0x{row.payment_id.hex()}. "
            "Sign a new one"
        )
