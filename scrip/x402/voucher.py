"""`credit-escrow` of the kind `voucher`: a flat price, charged to a session at its provider's gateway.

No transaction is needed: the session's credits are deposited, the voucher lets the provider claim them. Each
payment brings a voucher that wasn't shown before.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from x402.schemas import PaymentRequirements

from scrip.eip712 import DigestSigner
from scrip.eip712_sessions import voucher_digest
from scrip.errors import BadInput, Refused
from scrip.structs import to_address, to_bytes
from scrip.vouchers import Voucher, sign_voucher
from scrip.x402.escrow import (
    BAD_PAYLOAD,
    BAD_REQUIREMENTS,
    SCHEME,
    Kind,
    PaymentInvalid,
    Place,
    check_place,
    count,
    decimal,
)

_KEYS = {"kind", "sessionId", "units", "signature"}


@dataclass(frozen=True, slots=True)
class VoucherOffer:
    """What something costs: `units` base units of class `class_id`, charged to a session with `provider`.
    The payment is good for `timeout_s` seconds.
    """

    provider: str
    class_id: int
    units: int
    timeout_s: int = 60

    def requirements(self, place: Place) -> PaymentRequirements:
        """The requirements that a client pays."""
        return PaymentRequirements(
            scheme=SCHEME,
            network=place.network,
            asset=place.credits,
            amount=str(self.units),
            pay_to=self.provider,
            max_timeout_seconds=self.timeout_s,
            extra={
                **place.domain(Kind.VOUCHER),
                "tokenId": str(self.class_id),
                "provider": self.provider,
            },
        )

    @classmethod
    def read(cls, required: PaymentRequirements, place: Place) -> Self:
        """From requirements, all of which must be understood and be of `place`. Raises PaymentInvalid."""
        try:
            offer = cls(
                provider=to_address("payTo", required.pay_to),
                class_id=decimal("extra.tokenId", required.extra.get("tokenId")),
                units=decimal("amount", required.amount),
                timeout_s=count("maxTimeoutSeconds", required.max_timeout_seconds),
            )
        except BadInput as bad:
            raise PaymentInvalid(BAD_REQUIREMENTS, str(bad)) from None
        check_place(required, offer.requirements(place))
        return offer


@dataclass(frozen=True, slots=True)
class VoucherPayment:
    """Payload of kind `voucher`."""

    voucher: Voucher

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From a payload. Raises PaymentInvalid."""
        if set(data) - {"quote"} != _KEYS or data["kind"] != Kind.VOUCHER:
            raise PaymentInvalid(BAD_PAYLOAD, f"must be of kind {Kind.VOUCHER}, with {sorted(_KEYS)}")
        try:
            return cls(
                Voucher(
                    to_bytes("sessionId", data["sessionId"], 32),
                    decimal("units", data["units"]),
                    to_bytes("signature", data["signature"], 65),
                )
            )
        except BadInput as bad:
            raise PaymentInvalid(BAD_PAYLOAD, str(bad)) from None

    def to_json(self) -> dict[str, Any]:
        """The payload."""
        return {"kind": Kind.VOUCHER.value, **self.voucher.to_json()}

    def payment_id(self, place: Place) -> bytes:
        """What was signed, which is charged once."""
        return voucher_digest(self.voucher.session, self.voucher.units, place.chain_id, place.sessions)


class VoucherSigner:
    """Signs vouchers of one session, each over more than the one before. Safe to share between threads.

    `authorised` is what vouchers of the session are over already, `most` the base units that it may ever
    authorise.
    """

    def __init__(
        self, key: DigestSigner, session: bytes, place: Place, *, most: int, authorised: int = 0
    ) -> None:
        self._key, self._session, self._place = key, session, place
        self._most, self._authorised = most, authorised
        self._lock = threading.Lock()

    def pay(self, offer: VoucherOffer) -> VoucherPayment:
        """A voucher that authorises the price on top of what was authorised. Raises Refused."""
        with self._lock:
            units = self._authorised + offer.units
            if units > self._most:
                raise Refused(
                    f"{units} base units in all, of {self._most} that may be authorised", "vouchers"
                )
            self._authorised = units
        where = self._place.chain_id, self._place.sessions
        return VoucherPayment(sign_voucher(self._session, units, self._key, *where))
