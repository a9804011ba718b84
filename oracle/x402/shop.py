"""What is for sale over HTTP, and how a request with a payment becomes an answer. Knows no web framework."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError
from x402 import x402FacilitatorSync
from x402.extensions.payment_identifier import PAYMENT_IDENTIFIER, declare_payment_identifier_extension
from x402.http.constants import PAYMENT_REQUIRED_HEADER, PAYMENT_RESPONSE_HEADER
from x402.http.utils import (
    decode_payment_signature_header,
    encode_payment_required_header,
    encode_payment_response_header,
)
from x402.schemas import PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo

from oracle.desk import Desk
from oracle.facts import Facts
from oracle.models_x402 import PaymentRow
from oracle.settings import ApiSettings, ProviderSettings
from oracle.settings_x402 import X402Settings
from oracle.x402.facilitator import CreditEscrowScheme, ExactScheme, Scheme
from oracle.x402.job import JobPayments
from oracle.x402.payments import Stage
from oracle.x402.sale import Sales
from oracle.x402.settlements import Settlements
from scrip.errors import BadInput, ScripError
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms
from scrip.x402.escrow import JobOffer, JobPayment, PaymentInvalid

ACCEPT_MARGIN_S: Final = 30
"""What is left of the time for a quote when a payer signs at once."""


class Malformed(ScripError):
    """The payment header isn't one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status with protocol headers; `error` is a code and a sentence, `row` the payment if there is one."""

    status: int
    headers: Mapping[str, str]
    error: tuple[str, str] | None = None
    row: PaymentRow | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that is paid for: where, what, and what is required now."""

    url: str
    description: str
    required: PaymentRequirements
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shop:
    """The parts behind the endpoints of `oracle.x402.api`."""

    rules: X402Settings
    provider: ProviderSettings
    api: ApiSettings
    facts: Facts
    desk: Desk
    sales: Sales
    jobs: JobPayments
    settlements: Settlements
    exact: ExactScheme
    escrow: CreditEscrowScheme
    facilitator: x402FacilitatorSync

    # What is for sale

    def credits(self, class_id: int, units: int) -> Resource:
        """`units` base units of a class. Raises as `Sales.offer`."""
        url = self._url(f"/x402/credits/{class_id}?units={units}")
        required = self.sales.offer(class_id, units)
        return Resource(url, f"{units} base units of credit class {class_id}", required)

    def job(self, spec: JobSpec, class_id: int, max_units: int, resources: int) -> Resource:
        """A job, if we would take it. Raises Declined, NotFound, SpecRefused."""
        rules, provider = self.rules, self.provider
        offer = JobOffer(
            provider=provider.address, class_id=class_id, max_units=max_units, resources=resources,
            spec_hash=spec_hash(spec), run_s=rules.run_s,
            accept_s=max(1, min(rules.timeout_s, provider.max_quote_s - ACCEPT_MARGIN_S)),
        )  # fmt: skip
        self.desk.plan(self._likely(offer), spec)
        url = self._url(f"/x402/jobs?class_id={class_id}&max_units={max_units}&resources={resources}")
        buy = self._url(f"/x402/credits/{class_id}?units={max_units}")
        sold = class_id in rules.sell
        return Resource(
            url, f"one job of template {spec.template}", offer.requirements(self.jobs.place),
            {"scrip-credits": {"info": {"buy": buy, "classId": str(class_id)}}} if sold else {},
        )  # fmt: skip

    def hash_of(self, spec: JobSpec) -> str:
        """The spec's hash as `extra.specHash` has it."""
        return "0x" + spec_hash(spec).hex()

    def _likely(self, offer: JobOffer) -> JobTerms:
        """The terms that a payer will sign, but for who and exactly when."""
        accept_by = self.facts.now() + offer.accept_s
        return JobTerms(
            payer=offer.provider, provider=offer.provider, class_id=offer.class_id, max_units=offer.max_units,
            resources=offer.resources, accept_by=accept_by, submit_by=accept_by + offer.run_s,
            spec_hash=offer.spec_hash, budget_id=0, salt=0,
        )  # fmt: skip

    def _url(self, target: str) -> str:
        return self.api.public_url + target

    # Paying

    def sell(self, header: str | None, resource: Callable[[], Resource], asked: Mapping[str, str]) -> Answer:
        """Credits for a payment. `asked` is what `extra` must say for this URL."""
        return self._paid(self.exact, header, resource, asked, lambda payload: None)

    def take_job(
        self, header: str | None, resource: Callable[[], Resource], asked: Mapping[str, str], spec: JobSpec
    ) -> Answer:
        """A job for a payment: it gets a place first, which is refused before anything is paid."""

        def reserve(payload: PaymentPayload) -> None:
            self.desk.quote(JobPayment.from_json(payload.payload).terms, spec)

        return self._paid(self.escrow, header, resource, asked, reserve)

    def _paid(
        self,
        scheme: Scheme,
        header: str | None,
        resource: Callable[[], Resource],
        asked: Mapping[str, str],
        reserve: Callable[[PaymentPayload], None],
    ) -> Answer:
        if header is None:
            return self._unpaid(resource(), "payment_required", "pay as one of `accepts` says")
        payload = read_header(header)
        wrong = [name for name, value in asked.items() if payload.accepted.extra.get(name) != value]
        try:
            if wrong:
                raise PaymentInvalid("invalid_payment_requirements", f"{', '.join(wrong)} isn't this URL's")
            order = scheme.order(payload, payload.accepted)
            if (row := self.settlements.payments.known(order)) is None:
                required = resource().required

                def check() -> int:
                    scheme.order(payload, required)  # what was accepted is what is required here and now
                    since = scheme.till.check(payload, required)
                    reserve(payload)
                    return since

                row = self.settlements.settle(order, check)
            elif not Stage(row.stage).decided:
                row = self.settlements.follow(row.payment_id)
        except PaymentInvalid as bad:
            return self._unpaid(resource(), bad.reason, bad.detail)
        answer = self._answer(scheme, row, payload.accepted)
        if answer.status != 402 or answer.error is None:
            return answer
        again = self._unpaid(resource(), *answer.error)
        return replace(answer, headers={**again.headers, **answer.headers})

    def _answer(self, scheme: Scheme, row: PaymentRow, required: PaymentRequirements) -> Answer:
        stage = Stage(row.stage)
        if stage.settled:
            self.settlements.payments.report(row)
        told = scheme.response(row, required)
        headers = {PAYMENT_RESPONSE_HEADER: encode_payment_response_header(told)}
        if stage is Stage.FAILED:
            return Answer(402, headers, (told.error_reason or "failed", row.reason), row)
        if stage is Stage.REFUNDED:
            return Answer(409, headers, (told.error_reason or "refunded", row.reason), row)
        # Not 402 while the outcome is open: a client would pay again.
        return Answer(200 if stage.settled else 202, headers, None, row)

    def _unpaid(self, resource: Resource, reason: str, detail: str) -> Answer:
        extensions = {PAYMENT_IDENTIFIER: declare_payment_identifier_extension(), **resource.extensions}
        told = PaymentRequired(
            error=reason,
            resource=ResourceInfo(
                url=resource.url, description=resource.description, mime_type="application/json"
            ),
            accepts=[resource.required],
            extensions=extensions,
        )
        return Answer(402, {PAYMENT_REQUIRED_HEADER: encode_payment_required_header(told)}, (reason, detail))


def read_header(header: str) -> PaymentPayload:
    """The payment in a PAYMENT-SIGNATURE header. Raises Malformed."""
    try:
        found = decode_payment_signature_header(header)
    except (ValidationError, ValueError, binascii.Error, AttributeError, RecursionError):
        raise Malformed("PAYMENT-SIGNATURE: not base64 of a PaymentPayload of x402 version 2") from None
    if not isinstance(found, PaymentPayload):
        raise Malformed("PAYMENT-SIGNATURE: x402Version must be 2")
    return found


def check_amount(field: str, value: int, most: int) -> int:
    """`value`, if it is from 1 to `most`. Raises BadInput."""
    if not 1 <= value <= most:
        raise BadInput(field, value, f"between 1 and {most}")
    return value
