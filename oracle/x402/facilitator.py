"""The facilitator: schemes for the SDK's `x402FacilitatorSync`, settled through the node's own store and
sender.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, Protocol

from x402 import x402FacilitatorSync
from x402.extensions.payment_identifier import (
    PAYMENT_IDENTIFIER,
    extract_and_validate_payment_identifier,
)
from x402.interfaces import FacilitatorContext, FacilitatorExtension
from x402.mechanisms.evm.constants import ERR_NONCE_ALREADY_USED
from x402.pending_settlement_store import ERR_SETTLEMENT_PENDING
from x402.schemas import PaymentPayload, PaymentRequirements, SettleResponse, VerifyResponse

from oracle.models_x402 import PaymentRow
from oracle.outbox import Outbox
from oracle.x402.job import OPENED, REASONS, JobPayments
from oracle.x402.payments import Kind, Order, Stage
from oracle.x402.sale import EXACT, Sale, Sales, label_of
from oracle.x402.settlements import Settlements
from oracle.x402.voucher import VoucherPayments
from scrip.x402.escrow import BAD_PAYLOAD, SCHEME, JobPayment, PaymentInvalid, check_accepted
from scrip.x402.escrow import Kind as PayloadKind
from scrip.x402.voucher import VoucherPayment

FAMILY: Final = "eip155:*"
REFUNDED: Final = "sale_refunded"
"""The money was taken and given back: the reserve would no longer sell."""


class Till(Protocol):
    """What a scheme needs of a kind of payment."""

    def check(self, payload: PaymentPayload, required: PaymentRequirements) -> int:
        """Raise PaymentInvalid, or return a block before which the payment wasn't taken."""


class Scheme(ABC):
    """A scheme of the SDK's facilitator. Nothing invalid raises, everything else does."""

    caip_family = FAMILY
    used: str
    """Reason for refusing a payment that was settled before."""

    def __init__(
        self, scheme: str, till: Till, settlements: Settlements, outbox: Outbox, signer: str | None
    ) -> None:
        self.scheme = scheme
        self.till, self._settlements, self._outbox, self._signer = till, settlements, outbox, signer

    def get_extra(self, network: str) -> dict[str, Any] | None:
        """What a server needs to know to require this scheme."""
        return None

    def get_signers(self, network: str) -> list[str]:
        """The account that sends."""
        return [] if self._signer is None else [self._signer]

    @abstractmethod
    def order(self, payload: PaymentPayload, required: PaymentRequirements) -> Order:
        """What is to be settled. Raises PaymentInvalid for what isn't a payment at all."""

    def verify(
        self,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        context: FacilitatorContext | None = None,
    ) -> VerifyResponse:
        """Whether the payment could be settled now. Raises PaymentConflict for a reused identifier."""
        try:
            order = self.order(payload, requirements)
            known = self._settlements.payments.known(order)
            if known is None:
                self.till.check(payload, requirements)
            elif Stage(known.stage).decided and order.identifier is None:
                raise self._used(order)
        except PaymentInvalid as bad:
            return VerifyResponse(
                is_valid=False, invalid_reason=bad.reason, invalid_message=bad.detail, payer=bad.payer
            )
        return VerifyResponse(is_valid=True, payer=order.payer)

    def settle(
        self,
        payload: PaymentPayload,
        requirements: PaymentRequirements,
        context: FacilitatorContext | None = None,
    ) -> SettleResponse:
        """Settle, or say that the outcome is still open.

        One caller alone is told of a success, so that nobody serves twice for one payment; with a payment
        identifier the same payment gets the same answer again. Raises PaymentConflict for one that was used
        otherwise.
        """
        try:
            order = self.order(payload, requirements)
            row = self._settlements.settle(order, lambda: self.till.check(payload, requirements))
            if (
                Stage(row.stage).settled
                and not self._settlements.payments.report(row)
                and not order.identifier
            ):
                raise self._used(order)
        except PaymentInvalid as bad:
            return SettleResponse(
                success=False, error_reason=bad.reason, error_message=bad.detail, payer=bad.payer,
                transaction="", network=requirements.network,
            )  # fmt: skip
        return self.response(row, requirements)

    def _used(self, order: Order) -> PaymentInvalid:
        detail = f"payment 0x{order.payment_id.hex()} was settled before"
        return PaymentInvalid(self.used, detail, order.payer)

    def response(self, row: PaymentRow, required: PaymentRequirements) -> SettleResponse:
        """A payment as the wire shows it."""
        stage = Stage(row.stage)
        if stage.settled:
            return SettleResponse(
                success=True, payer=row.payer, transaction=_hex(row.paid_tx), network=required.network,
                amount=required.amount,
            )  # fmt: skip
        reason, sent = ERR_SETTLEMENT_PENDING, self._sent(row)
        if stage is Stage.REFUNDED:
            reason, sent = REFUNDED, ""
        elif stage is Stage.FAILED:
            reason, sent = "invalid_transaction_state", ""
        return SettleResponse(
            success=False, error_reason=reason, error_message=row.reason or None, payer=row.payer,
            transaction=sent, network=required.network,
        )  # fmt: skip

    def _sent(self, row: PaymentRow) -> str:
        """The transaction to ask the chain about while the outcome is unknown."""
        return _hex(row.paid_tx or self._outbox.newest(self._label(row)))

    def _label(self, row: PaymentRow) -> str:
        return label_of("take" if row.kind == Kind.SALE else "open", row)  # a voucher has no transaction


class ExactScheme(Scheme):
    """`exact` for the credits that we sell: settling delivers them."""

    used = ERR_NONCE_ALREADY_USED

    def __init__(self, sales: Sales, *args: Any) -> None:
        super().__init__(EXACT, sales, *args)

    def order(self, payload: PaymentPayload, required: PaymentRequirements) -> Order:
        """See Scheme.order."""
        check_accepted(payload, required)
        request = _request(payload, required)
        sale = Sale.read(request["requirements"], request["payload"])
        return Order(sale.paid.payment_id, Kind.SALE, sale.paid.payer, request, _identifier(payload))


class CreditEscrowScheme(Scheme):
    """`credit-escrow` for our provider: jobs, and, where there is a gateway, vouchers of its sessions."""

    used = REASONS[OPENED]

    def __init__(self, jobs: JobPayments, vouchers: VoucherPayments | None, *args: Any) -> None:
        super().__init__(SCHEME, self, *args)
        self._jobs, self._vouchers, self._place = jobs, vouchers, jobs.place

    def check(self, payload: PaymentPayload, required: PaymentRequirements) -> int:
        """See Till.check."""
        vouchers = self._vouchers
        if vouchers is not None and payload.payload.get("kind") == PayloadKind.VOUCHER:
            return vouchers.check(payload, required)
        return self._jobs.check(payload, required)

    def get_extra(self, network: str) -> dict[str, Any] | None:
        """The contracts that signatures are for, by kind."""
        kinds = [PayloadKind.JOB] if self._vouchers is None else list(PayloadKind)
        return {kind.value: self._place.domain(kind) for kind in kinds}

    def order(self, payload: PaymentPayload, required: PaymentRequirements) -> Order:
        """See Scheme.order. A quote, which others than the payer may add, doesn't make another payment."""
        check_accepted(payload, required)
        request, identifier = _request(payload, required), _identifier(payload)
        if self._vouchers is not None and payload.payload.get("kind") == PayloadKind.VOUCHER:
            paid = VoucherPayment.from_json(payload.payload)
            payer = self._vouchers.payer(paid.voucher)
            return Order(paid.payment_id(self._place), Kind.VOUCHER, payer, request, identifier)
        payment = JobPayment.from_json(payload.payload)
        return Order(payment.job_id(self._place), Kind.JOB, payment.terms.payer, request, identifier)

    def response(self, row: PaymentRow, required: PaymentRequirements) -> SettleResponse:
        """See Scheme.response. A voucher's has the gateway's receipt in place of a transaction."""
        told = super().response(row, required)
        if row.kind != Kind.VOUCHER or self._vouchers is None or not told.success:
            return told
        receipt = self._vouchers.receipt(row)
        return told.model_copy(update={"extra": None if receipt is None else {"receipt": receipt.to_json()}})


def facilitator(network: str, *schemes: Scheme) -> x402FacilitatorSync:
    """The SDK's facilitator with these schemes."""
    made = x402FacilitatorSync()
    for scheme in schemes:
        made.register([network], scheme)
    made.register_extension(FacilitatorExtension(PAYMENT_IDENTIFIER))
    return made


def _request(payload: PaymentPayload, required: PaymentRequirements) -> dict[str, Any]:
    return {"requirements": required.model_dump(by_alias=True), "payload": payload.payload}


def _identifier(payload: PaymentPayload) -> str | None:
    found, verdict = extract_and_validate_payment_identifier(payload)
    if not verdict.valid:
        raise PaymentInvalid(BAD_PAYLOAD, f"payment-identifier: {'; '.join(verdict.errors)}")
    return found


def _hex(tx_hash: bytes | None) -> str:
    return "" if tx_hash is None else "0x" + tx_hash.hex()
