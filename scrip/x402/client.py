"""The buyer's side of `credit-escrow`: register it with an `x402Client` of the SDK."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from x402.schemas import PaymentRequirements

from scrip.eip712 import Wallet, sign
from scrip.types import Deployment, JobTerms
from scrip.x402.escrow import SCHEME, JobOffer, JobPayment, Kind, Place
from scrip.x402.voucher import VoucherOffer, VoucherSigner

SALT_BITS = 64


class CreditEscrowClient:
    """Signs the terms of the job that a server requires, in `deployment` only.

    `account` pays from its own credits, or, as the spender of `budget_id`, from those of `payer`. What a
    payment may cost at most is for the SDK's spend controls: `allowed_assets` with the ERC-1155's address.
    `vouchers` pays what is asked for by voucher, from a session.
    """

    scheme = SCHEME

    def __init__(
        self,
        account: Wallet,
        deployment: Deployment,
        *,
        budget_id: int = 0,
        payer: str | None = None,
        vouchers: VoucherSigner | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._account, self._place = account, Place.of(deployment)
        self._budget_id, self._payer, self._clock = budget_id, payer or str(account.address), clock
        self._vouchers = vouchers

    def create_payment_payload(self, requirements: PaymentRequirements) -> dict[str, Any]:
        """The signed payload. Raises PaymentInvalid for requirements of other contracts or of other forms,
        Refused for what the session can't pay.
        """
        if requirements.extra.get("kind") == Kind.VOUCHER and self._vouchers is not None:
            return self._vouchers.pay(VoucherOffer.read(requirements, self._place)).to_json()
        offer = JobOffer.read(requirements, self._place)
        accept_by = int(self._clock()) + offer.accept_s
        terms = JobTerms(
            payer=self._payer,
            provider=offer.provider,
            class_id=offer.class_id,
            max_units=offer.max_units,
            resources=offer.resources,
            accept_by=accept_by,
            submit_by=accept_by + offer.run_s,
            spec_hash=offer.spec_hash,
            budget_id=self._budget_id,
            salt=secrets.randbits(SALT_BITS),
        )
        unsigned = JobPayment(terms, b"")
        return JobPayment(terms, sign(unsigned.job_id(self._place), self._account)).to_json()
