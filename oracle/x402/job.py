"""Jobs paid in credits by `credit-escrow`: the payer's signature over the terms opens the job."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from x402.schemas import PaymentPayload, PaymentRequirements

from oracle.facts import Facts
from oracle.models_x402 import PaymentRow
from oracle.outbox import DryRun, Outbox
from oracle.x402.payments import Payments, Stage
from scrip import jobs
from scrip.calls import Call, signature
from scrip.errors import NotFound, Reverted
from scrip.view import ChainView
from scrip.x402.escrow import NO_FUNDS, JobOffer, JobPayment, PaymentInvalid, Place

OPENED: Final = "JobMarket_WrongStatus"
"""What opening a job reverts with that was opened before."""
REASONS: Final[Mapping[str, str]] = {
    "JobMarket_BadSignature": "invalid_credit_escrow_signature",
    "JobMarket_DeadlinePassed": "invalid_credit_escrow_expired",
    OPENED: "invalid_credit_escrow_already_used",
    "JobMarket_CannotServe": "invalid_credit_escrow_recipient_mismatch",
    "ERC1155InsufficientBalance": NO_FUNDS,
}
OTHERWISE: Final = "invalid_transaction_state"

Quoted = Callable[[bytes], bytes]
"""Our own quote for the job with an id, empty if there is none."""


class JobPayments:
    """Checks and steps of jobs. `sender` is our account, None in a dry run; jobs of `provider` alone are paid
    for: we bear the gas.
    """

    def __init__(
        self,
        facts: Facts,
        outbox: Outbox,
        payments: Payments,
        provider: str,
        sender: str | None,
        quoted: Quoted,
    ) -> None:
        self._facts, self._outbox, self._payments = facts, outbox, payments
        self._provider, self._sender, self._quoted = provider, sender, quoted
        self.place = Place.of(facts.chain.deployment)

    def check(self, payload: PaymentPayload, required: PaymentRequirements) -> int:
        """Raise PaymentInvalid unless the job would open as required, DryRun without a key. Returns a block
        before which it didn't.
        """
        if self._sender is None:
            raise DryRun("open a job that was paid for")
        chain = self._facts.chain
        head, offer = chain.head(), JobOffer.read(required, self.place)
        payment = JobPayment.from_json(payload.payload)
        payer = payment.terms.payer
        if offer.provider != self._provider:
            detail = f"payTo is {offer.provider}, jobs are settled for {self._provider}"
            raise PaymentInvalid("invalid_credit_escrow_recipient_mismatch", detail, payer)
        offer.check(payment.terms, self._facts.now())
        try:
            chain.call(self._call(payment).params(self._sender), "pending")
        except Reverted as reverted:
            raise PaymentInvalid(REASONS.get(reverted.name, OTHERWISE), str(reverted), payer) from None
        return head

    def step(self, row: PaymentRow) -> PaymentRow | None:
        """See `settlements.Steps`."""
        return self._open(row) if row.stage == Stage.TAKING else self._confirm(row)

    def label(self, row: PaymentRow) -> str:
        """The outbox's name for the opening."""
        return f"x402 open 0x{row.payment_id.hex()}"

    def _open(self, row: PaymentRow) -> PaymentRow | None:
        chain, why = self._facts.chain, ""
        opened = _opened(chain.at(), row)
        if opened is None and self._outbox.outstanding(self.label(row)):
            return None
        if opened is None:
            try:
                receipt = self._outbox.send_call(self.label(row), self._call(payment_of(row)))
                opened = bytes(receipt["transactionHash"])
            except Reverted as reverted:
                # The chain's word counts: anybody may have sent the same signature first.
                opened, why = _opened(chain.at(), row), str(reverted)
                if opened is None and reverted.name == OPENED:
                    return None  # it is open, and the log that says how isn't there yet
        if opened is None:
            return self._payments.advance(row, Stage.FAILED, why)
        return self._payments.advance(row, Stage.DELIVERED, paid_tx=opened)

    def _confirm(self, row: PaymentRow) -> PaymentRow | None:
        if _opened(self._facts.finalized(), row) is not None:
            return self._payments.advance(row, Stage.DONE)
        if self._outbox.outstanding(self.label(row)) or _opened(self._facts.chain.at(), row) is not None:
            return None
        return self._payments.advance(row, Stage.TAKING, "a reorganisation took the opening")

    def _call(self, payment: JobPayment) -> Call:
        quote = payment.quote or self._quoted(payment.job_id(self.place))
        arguments = payment.terms.to_abi(), payment.signature, quote
        return Call(self._facts.market, signature("JobMarket", "openBySig").encode(arguments))


def payment_of(row: PaymentRow) -> JobPayment:
    """The payment that a stored one is."""
    request: dict[str, Any] = json.loads(row.request)
    return JobPayment.from_json(request["payload"])


def _opened(view: ChainView, row: PaymentRow) -> bytes | None:
    """The transaction that opened the job, whoever sent it; None if it isn't open by the view's block."""
    if view.block < row.since:
        return None
    try:
        return jobs.opening(view, row.payment_id, since=row.since).tx_hash
    except NotFound:
        return None
