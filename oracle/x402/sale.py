"""Selling credits by the stock scheme `exact`: an ERC-3009 authorisation to us becomes credits of the payer.

The authorisation that an unmodified client signs names us as payee and a nonce of its own, so the reserve
can't take it itself. We take the money (one transaction), and buy the same amount's worth for the payer at
the reserve (another). If the reserve won't sell any more, the money goes back. What was taken is told by the
token's own log, whoever sent the transaction; each of ours is sent under one label, and looked for before it
is sent again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from x402.mechanisms.evm.constants import ERR_INVALID_SIGNATURE, ERR_NONCE_ALREADY_USED
from x402.mechanisms.evm.exact import ExactEvmFacilitatorScheme
from x402.schemas import PaymentPayload, PaymentRequirements, VerifyResponse

from oracle.logging import get
from oracle.models_x402 import PaymentRow
from oracle.outbox import DryRun, Outbox
from oracle.settings_x402 import X402Settings
from oracle.x402 import tokens
from oracle.x402.payments import Payments, Stage
from oracle.x402.reader import Reader
from oracle.x402.settlements import Fate, fate
from oracle.x402.tokens import Authorisation
from scrip.calls import Call, signature
from scrip.chain import Chain
from scrip.errors import BadInput, ChainError, NotFound, Refused, Reverted
from scrip.structs import ZERO_ADDRESS, to_address, to_bytes, to_int
from scrip.types import Funding
from scrip.x402.escrow import BAD_NETWORK, BAD_PAYLOAD, BAD_REQUIREMENTS, PaymentInvalid, network_of

EXACT: Final = "exact"
UNLIMITED: Final = (1 << 256) - 1
SPARE_GAS: Final = 2 * 22_100
"""Other sales fill and empty our balance meanwhile: a slot that was empty costs this much more to write
(https://eips.ethereum.org/EIPS/eip-2929), and a purchase touches two.
"""

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Sale:
    """A purchase: what was authorised, and what it buys: `units` base units of class `class_id`."""

    paid: Authorisation
    class_id: int
    units: int

    @classmethod
    def read(cls, required: Mapping[str, Any], payload: Mapping[str, Any]) -> Sale:
        """From requirements of ours and a payload, both as JSON. Raises PaymentInvalid."""
        given = payload.get("authorization")
        if not isinstance(given, Mapping):
            raise PaymentInvalid(BAD_PAYLOAD, "authorization is missing: only ERC-3009 is taken")
        try:
            paid = Authorisation(
                token=to_address("asset", required["asset"]),
                payer=to_address("authorization.from", given.get("from")),
                to=to_address("authorization.to", given.get("to")),
                value=_number("authorization.value", given.get("value")),
                valid_after=_number("authorization.validAfter", given.get("validAfter")),
                valid_before=_number("authorization.validBefore", given.get("validBefore")),
                nonce=to_bytes("authorization.nonce", given.get("nonce"), 32),
                signature=to_bytes("signature", payload.get("signature")),
            )
        except BadInput as bad:
            raise PaymentInvalid(BAD_PAYLOAD, str(bad)) from None
        if len(paid.signature) != 65:
            raise PaymentInvalid(ERR_INVALID_SIGNATURE, "the signature must have 65 bytes", paid.payer)
        extra = required["extra"]
        try:
            class_id = _number("extra.tokenId", extra.get("tokenId"))
            return cls(paid, class_id, _number("extra.units", extra.get("units")))
        except BadInput as bad:
            raise PaymentInvalid(BAD_REQUIREMENTS, str(bad), paid.payer) from None


class Sales:
    """Offers, checks and steps of purchases. `seller` is our account, which the money passes through."""

    def __init__(
        self, chain: Chain, outbox: Outbox, payments: Payments, seller: str | None, rules: X402Settings
    ) -> None:
        self._chain, self._outbox, self._payments = chain, outbox, payments
        self._seller, self._rules = seller, rules
        self._exact = ExactEvmFacilitatorScheme(Reader(chain, seller))
        self._domains: dict[str, tuple[str, str]] = {}

    # Offering

    def offer(self, class_id: int, units: int) -> PaymentRequirements:
        """What `units` of a class cost now. Raises NotFound, Refused, BadInput, DryRun."""
        if self._seller is None:
            raise DryRun("sell credits")
        if class_id not in self._rules.sell:
            raise NotFound("class for sale", class_id, f"Sold here: {list(self._rules.sell) or 'none'}")
        to_int("units", units, 128)
        view = self._chain.at()
        terms = view.class_terms(class_id)
        if terms.funding is not Funding.SALE or terms.price_feed != ZERO_ADDRESS:
            # Its price may move between the payment and the purchase.
            raise Refused(f"class {class_id} has no fixed price, which `exact` needs", "x402")
        try:
            cost = view.cost(class_id, units)
        except Reverted as reverted:
            raise BadInput("units", units, f"an amount that the reserve sells: {reverted.name}") from None
        if cost < self._rules.least_amount:
            least = f"worth at least {self._rules.least_amount} base units of {terms.payment_token}"
            raise BadInput("units", f"{units}, worth {cost}", least)
        name, version = self._domain(terms.payment_token)
        return PaymentRequirements(
            scheme=EXACT,
            network=network_of(self._chain.chain_id),
            asset=terms.payment_token,
            amount=str(cost),
            pay_to=self._seller,
            max_timeout_seconds=self._rules.timeout_s,
            extra={
                "name": name,
                "version": version,
                "credits": self._chain.address("ComputeCredits"),
                "tokenId": str(class_id),
                "units": str(units),
            },
        )

    def _domain(self, token: str) -> tuple[str, str]:
        if token not in self._domains:
            self._domains[token] = tokens.domain(self._chain, token)
        return self._domains[token]

    # Checking

    def check(self, payload: PaymentPayload, required: PaymentRequirements) -> int:
        """Raise PaymentInvalid unless the payment can be taken and its credits delivered, as things are.
        Returns a block before which it wasn't taken.
        """
        head = self._chain.head()
        sale = Sale.read(required.model_dump(by_alias=True), payload.payload)
        payer = sale.paid.payer
        if required.network != network_of(self._chain.chain_id):
            raise PaymentInvalid(BAD_NETWORK, f"{required.network} isn't the chain of these credits", payer)
        try:
            ours = self.offer(sale.class_id, sale.units)
        except (BadInput, NotFound, Refused) as refused:
            raise PaymentInvalid(BAD_REQUIREMENTS, str(refused), payer) from None
        if ours != required:
            raise PaymentInvalid(BAD_REQUIREMENTS, "not what is sold here at this price", payer)
        if self._was_paid(sale):
            return self._chain.deployment.block  # by somebody else than us: it is owed all the same
        verdict = self._verdict(payload, required)
        if not verdict.is_valid:
            detail = verdict.invalid_message or "refused by the scheme"
            raise PaymentInvalid(verdict.invalid_reason or BAD_PAYLOAD, detail, payer)
        self._check_delivery(sale)
        return head

    def _verdict(self, payload: PaymentPayload, required: PaymentRequirements) -> VerifyResponse:
        try:
            return self._exact.verify(payload, required)
        except RuntimeError as error:
            if isinstance(error.__cause__, ChainError):  # the SDK wraps what its reader raises
                raise error.__cause__ from None
            raise

    def _was_paid(self, sale: Sale) -> bool:
        paid = sale.paid
        if paid.to != self._seller or not tokens.is_used(self._chain, paid):
            return False
        if tokens.moved(self._chain, paid, self._chain.deployment.block) is None:
            raise PaymentInvalid(ERR_NONCE_ALREADY_USED, "used otherwise, or cancelled", paid.payer)
        return True

    def _check_delivery(self, sale: Sale) -> None:
        """The reserve would be let mint: eligibility, caps, and the receiver's own consent are asked now."""
        credits, reserve = self._chain.address("ComputeCredits"), self._chain.address("CreditReserve")
        arguments = (sale.paid.payer, sale.class_id, sale.units)
        try:
            self._chain.call(
                Call(credits, signature("ComputeCredits", "mint").encode(arguments)).params(reserve),
                "pending",
            )
        except Reverted as reverted:
            raise PaymentInvalid(
                "invalid_transaction_state", f"the credits can't be delivered: {reverted}", sale.paid.payer
            ) from None

    # Steps

    def step(self, row: PaymentRow) -> PaymentRow | None:
        """See `settlements.Steps`."""
        sale = sale_of(row)
        steps = {
            Stage.TAKING: self._take,
            Stage.TAKEN: self._deliver,
            Stage.DELIVERED: self._confirm,
            Stage.REFUNDING: self._refund,
        }
        return steps[Stage(row.stage)](row, sale)

    def _take(self, row: PaymentRow, sale: Sale) -> PaymentRow | None:
        label, why = label_of("take", row), "used otherwise, or cancelled"
        paid_tx = tokens.moved(self._chain, sale.paid, row.since)
        if paid_tx is None and self._outbox.outstanding(label):
            return None
        if paid_tx is None:
            try:
                call = replace(sale.paid.call(), spare_gas=SPARE_GAS)
                paid_tx = bytes(self._outbox.send_call(label, call)["transactionHash"])
            except Reverted as reverted:
                # The token's word counts: somebody may have sent the same authorisation first.
                paid_tx, why = tokens.moved(self._chain, sale.paid, row.since), str(reverted)
        if paid_tx is not None:
            return self._payments.advance(row, Stage.TAKEN, paid_tx=paid_tx)
        if self._may_have_moved(sale):
            return None
        return self._payments.advance(row, Stage.FAILED, why)

    def _may_have_moved(self, sale: Sale) -> bool:
        """Whether the authorisation was used, and the log that says how may only not be there yet."""
        used = tokens.is_used(self._chain, sale.paid)
        return used and not tokens.is_used(self._chain, sale.paid, self._chain.finalized())

    def _deliver(self, row: PaymentRow, sale: Sale) -> PaymentRow | None:
        label = label_of("deliver", row)
        outcome, done_tx = fate(self._outbox, label, final=False)
        if outcome is Fate.OPEN:
            return None
        if outcome is Fate.NONE:
            try:
                self._allow(sale)
                receipt = self._outbox.send_call(label, self._purchase(sale))
            except Reverted as reverted:
                return self._payments.advance(row, Stage.REFUNDING, str(reverted))
            outcome, done_tx = Fate.SUCCEEDED, bytes(receipt["transactionHash"])
        if outcome is Fate.REVERTED:
            return self._payments.advance(row, Stage.REFUNDING, "the reserve didn't sell")
        return self._payments.advance(row, Stage.DELIVERED, done_tx=done_tx)

    def _purchase(self, sale: Sale) -> Call:
        arguments = (sale.class_id, sale.units, sale.paid.payer, sale.paid.value)
        data = signature("CreditReserve", "buy").encode(arguments)
        return Call(self._chain.address("CreditReserve"), data, spare_gas=SPARE_GAS)

    def _allow(self, sale: Sale) -> None:
        """Let the reserve take our tokens; it takes them only for what we buy ourselves."""
        token, reserve = sale.paid.token, self._chain.address("CreditReserve")
        if self._chain.at().token_allowance(token, sale.paid.to, reserve) < sale.paid.value:
            call = Call(token, tokens.APPROVE.encode((reserve, UNLIMITED)))
            self._outbox.send_call(f"x402 approve {token}", call)

    def _confirm(self, row: PaymentRow, sale: Sale) -> PaymentRow | None:
        outcome, _ = fate(self._outbox, label_of("deliver", row), final=True)
        if outcome is Fate.REVERTED:
            return self._payments.advance(row, Stage.REFUNDING, "a reorganisation undid the delivery")
        return None if outcome is not Fate.SUCCEEDED else self._payments.advance(row, Stage.DONE)

    def _refund(self, row: PaymentRow, sale: Sale) -> PaymentRow | None:
        delivery, delivered_tx = fate(self._outbox, label_of("deliver", row), final=True)
        if delivery is Fate.OPEN:
            return None  # a reorganisation could still make it succeed
        if delivery is Fate.SUCCEEDED:
            return self._payments.advance(row, Stage.DELIVERED, done_tx=delivered_tx)
        label = label_of("refund", row)
        outcome, done_tx = fate(self._outbox, label, final=True)
        if outcome is Fate.OPEN:
            return None
        if outcome is Fate.SUCCEEDED:
            return self._payments.advance(row, Stage.REFUNDED, row.reason, done_tx=done_tx)
        call = Call(sale.paid.token, tokens.TRANSFER.encode((sale.paid.payer, sale.paid.value)))
        try:
            self._outbox.send_call(label, call)
        except Reverted as reverted:
            # Ours to mend (our balance was spent otherwise): it is owed, and tried again.
            _log.error("refund reverts", payment="0x" + row.payment_id.hex(), reason=str(reverted))
            return None
        return row


def sale_of(row: PaymentRow) -> Sale:
    """The sale that a stored payment is."""
    request = json.loads(row.request)
    return Sale.read(request["requirements"], request["payload"])


def label_of(what: str, row: PaymentRow) -> str:
    """The outbox's name for one intent of a payment."""
    return f"x402 {what} 0x{row.payment_id.hex()}"


def _number(field: str, value: object) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 78:
        raise BadInput(field, value, "a decimal integer as text")
    return to_int(field, int(value))
