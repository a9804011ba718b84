"""Flat prices paid by voucher: charged to a session's account at the gateway, as a call of the model `x402`.

The gateway's rate card must price that model at one unit for a token of input: then a call of so many tokens
is a charge of so many units, with a receipt like any other, claimed with the session's other charges.
"""

from __future__ import annotations

import json
from typing import Final

from eth_utils.crypto import keccak
from sqlalchemy import select
from x402.schemas import PaymentPayload, PaymentRequirements

from oracle.gateway.accounts import Accounts, AccountView
from oracle.gateway.refusals import GatewayRefused, NotServing, UnknownSession
from oracle.gateway.tables import CallRow
from oracle.gateway.usage import CallUsage, TokenBounds
from oracle.models_x402 import PaymentRow
from oracle.x402.payments import Payments, Stage
from scrip.call_receipts import SignedCallReceipt
from scrip.errors import BadSignature
from scrip.vouchers import Voucher, VoucherChecker
from scrip.x402.escrow import BAD_REQUIREMENTS, NO_FUNDS, OWN, PaymentInvalid, Place
from scrip.x402.voucher import VoucherOffer, VoucherPayment

MODEL: Final = "x402"


class VoucherPayments:
    """Checks and steps of payments by voucher, for sessions with `provider`."""

    def __init__(self, accounts: Accounts, payments: Payments, place: Place, provider: str) -> None:
        self._accounts, self._payments, self._place, self._provider = accounts, payments, place, provider

    def check(self, payload: PaymentPayload, required: PaymentRequirements) -> int:
        """Raise PaymentInvalid unless the voucher would be charged as required, NotServing if none would.
        Nothing of it is on chain: returns 0.
        """
        offer = VoucherOffer.read(required, self._place)
        voucher = VoucherPayment.from_json(payload.payload).voucher
        self._accounts.check_leads()
        account = self._accounts.view(voucher.session)
        try:
            rate = self._accounts.rates.rate(offer.class_id, MODEL)
        except GatewayRefused as refused:
            raise PaymentInvalid(BAD_REQUIREMENTS, str(refused)) from None
        if rate.most(offer.units, 0) != offer.units:
            raise PaymentInvalid(BAD_REQUIREMENTS, f"the rate card doesn't price {MODEL} at a unit a token")
        self._check_account(offer, voucher, account)
        return 0

    def payer(self, voucher: Voucher) -> str:
        """Who pays for a voucher's session. Raises PaymentInvalid for one that isn't known here."""
        try:
            return self._accounts.view(voucher.session).terms.payer
        except UnknownSession as unknown:
            raise PaymentInvalid(OWN + "session_unknown", str(unknown)) from None

    def _check_account(self, offer: VoucherOffer, voucher: Voucher, account: AccountView) -> None:
        terms, payer = account.terms, account.terms.payer
        if offer.provider != self._provider or terms.provider != self._provider:
            raise PaymentInvalid(OWN + "recipient_mismatch", f"the session is with {terms.provider}", payer)
        if offer.class_id != terms.class_id:
            raise PaymentInvalid(
                OWN + "token_id_mismatch", f"the session holds class {terms.class_id}", payer
            )
        checker = VoucherChecker(voucher.session, terms.key, self._place.chain_id, self._place.sessions)
        try:
            checker.check(voucher.units, voucher.signature)
        except BadSignature as bad:
            raise PaymentInvalid(OWN + "signature", str(bad), payer) from None
        if account.closed or account.close_at:
            raise PaymentInvalid(OWN + "session_closing", "a close is pending, or done", payer)
        needed = account.charged + account.reserved + offer.units
        ceiling = min(max(account.authorised, voucher.units), account.deposit)
        if needed > ceiling:
            detail = f"a voucher over {needed} is needed, of {account.deposit} deposited"
            raise PaymentInvalid(NO_FUNDS, detail, payer)
        if self._receipt(voucher) is not None:
            raise PaymentInvalid(OWN + "already_used", f"a voucher over {voucher.units} was charged", payer)

    def step(self, row: PaymentRow) -> PaymentRow | None:
        """See `settlements.Steps`. The charge is durable before the payment is: after a kill in between it
        is found by the voucher's number, and by what it was charged for.
        """
        voucher, units = voucher_of(row), int(json.loads(row.request)["requirements"]["amount"])
        charged = self._receipt(voucher)
        if charged is None:
            try:
                self._charge(voucher, units, row.fingerprint)
            except NotServing:
                return None
            except GatewayRefused as refused:
                return self._payments.advance(row, Stage.FAILED, str(refused))
        elif charged.receipt.request_hash != row.fingerprint:
            return self._payments.advance(row, Stage.FAILED, "the voucher was charged for something else")
        return self._payments.advance(row, Stage.DONE)

    def receipt(self, row: PaymentRow) -> SignedCallReceipt | None:
        """The gateway's receipt of a payment."""
        return self._receipt(voucher_of(row))

    def _charge(self, voucher: Voucher, units: int, fingerprint: bytes) -> None:
        held = self._accounts.reserve(voucher, MODEL, TokenBounds(units, 0))
        now_ms = self._accounts.book.store.now_ms()
        used = CallUsage(units, 0, 0, fingerprint, bytes(keccak(b"")), now_ms, now_ms)
        try:
            self._accounts.charge(held, used)
        except BaseException:
            self._accounts.release(held)
            raise

    def _receipt(self, voucher: Voucher) -> SignedCallReceipt | None:
        query = select(CallRow.receipt).where(
            CallRow.session_id == voucher.session, CallRow.voucher == voucher.units
        )
        with self._accounts.book.store.reading() as db:
            found = db.scalar(query)
        return None if found is None else SignedCallReceipt.parse(found)


def voucher_of(row: PaymentRow) -> Voucher:
    """The voucher that a stored payment is."""
    return VoucherPayment.from_json(json.loads(row.request)["payload"]).voucher
