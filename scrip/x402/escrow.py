"""The x402 scheme `credit-escrow`: credits (ERC-1155) that one signature locks in a job. Pure.

The payer signs the terms of a job (EIP-712, `JobMarket.openBySig`), so its signature covers who is paid, in
which class, how much at most, for which work and until when. Here those terms are compared with what was
required, strictly: nothing that the requirements say may differ, and nothing they name may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from x402.schemas import PaymentPayload, PaymentRequirements

from scrip.eip712 import MARKET_DOMAIN, VERSION, job_id
from scrip.eip712_sessions import SESSIONS_DOMAIN
from scrip.errors import BadInput, ScripError
from scrip.structs import to_address, to_bytes
from scrip.types import Deployment, JobTerms

SCHEME: Final = "credit-escrow"
TRANSFER_METHOD: Final = "erc1155"
SKEW_S: Final = 60
"""How far a payer's clock may be ahead of the chain's."""

BAD_REQUIREMENTS: Final = "invalid_payment_requirements"
BAD_PAYLOAD: Final = "invalid_payload"
BAD_NETWORK: Final = "invalid_network"
BAD_SCHEME: Final = "unsupported_scheme"
NO_FUNDS: Final = "insufficient_funds"
"""Reasons that the x402 specification names."""
OWN: Final = "invalid_credit_escrow_"
"""How reasons of this scheme's own begin."""


class Kind(StrEnum):
    """What is signed: the terms of one job, or a voucher over what a session has used."""

    JOB = "job"
    VOUCHER = "voucher"


class PaymentInvalid(ScripError):
    """A payment doesn't pay what is required. `reason` is a code for programs; nothing was taken."""

    def __init__(self, reason: str, detail: str, payer: str | None = None) -> None:
        self.reason, self.detail, self.payer = reason, detail, payer
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where credits are spent: a chain and its contracts."""

    chain_id: int
    credits: str
    market: str
    sessions: str

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """From a deployment."""
        names = ("ComputeCredits", "JobMarket", "MeteredSessions")
        return cls(deployment.chain_id, *(deployment.address(name) for name in names))

    @property
    def network(self) -> str:
        """CAIP-2 id of the chain."""
        return network_of(self.chain_id)

    def domain(self, kind: Kind) -> dict[str, str]:
        """The part of `extra` that says where the signature holds."""
        named = {Kind.JOB: (MARKET_DOMAIN, self.market), Kind.VOUCHER: (SESSIONS_DOMAIN, self.sessions)}
        name, escrow = named[kind]
        return {"name": name, "version": VERSION, "escrow": escrow, "kind": kind.value}


def network_of(chain_id: int) -> str:
    """CAIP-2 id of an EVM chain."""
    return f"eip155:{chain_id}"


@dataclass(frozen=True, slots=True)
class JobOffer:
    """What a job costs at most, and what it is: `max_units` base units of class `class_id` for `resources`
    at once. It must open within `accept_s` seconds, and its receipt must come `run_s` seconds after that.
    """

    provider: str
    class_id: int
    max_units: int
    resources: int
    spec_hash: bytes
    accept_s: int
    run_s: int

    def requirements(self, place: Place) -> PaymentRequirements:
        """The requirements that a client pays."""
        return PaymentRequirements(
            scheme=SCHEME,
            network=place.network,
            asset=place.credits,
            amount=str(self.max_units),
            pay_to=self.provider,
            max_timeout_seconds=self.accept_s,
            extra={
                **place.domain(Kind.JOB),
                "tokenId": str(self.class_id),
                "provider": self.provider,
                "resources": self.resources,
                "specHash": "0x" + self.spec_hash.hex(),
                "runSeconds": self.run_s,
            },
        )

    @classmethod
    def read(cls, required: PaymentRequirements, place: Place) -> Self:
        """From requirements, all of which must be understood and be of `place`. Raises PaymentInvalid."""
        extra = required.extra or {}
        try:
            offer = cls(
                provider=to_address("payTo", required.pay_to),
                class_id=decimal("extra.tokenId", extra.get("tokenId")),
                max_units=decimal("amount", required.amount),
                resources=count("extra.resources", extra.get("resources")),
                spec_hash=to_bytes("extra.specHash", extra.get("specHash"), 32),
                accept_s=count("maxTimeoutSeconds", required.max_timeout_seconds),
                run_s=count("extra.runSeconds", extra.get("runSeconds")),
            )
        except BadInput as bad:
            raise PaymentInvalid(BAD_REQUIREMENTS, str(bad)) from None
        check_place(required, offer.requirements(place))
        return offer

    def check(self, terms: JobTerms, now: int) -> None:
        """Raise PaymentInvalid unless the terms are those of this offer. `now` is chain time."""
        same = {
            "recipient_mismatch": ("provider", terms.provider, self.provider),
            "token_id_mismatch": ("classId", terms.class_id, self.class_id),
            "amount_mismatch": ("maxUnits", terms.max_units, self.max_units),
            "resources_mismatch": ("resources", terms.resources, self.resources),
            "spec_mismatch": ("specHash", terms.spec_hash, self.spec_hash),
            "deadline_mismatch": ("submitBy - acceptBy", terms.submit_by - terms.accept_by, self.run_s),
        }
        for reason, (field, given, limit) in same.items():
            if given != limit:
                raise PaymentInvalid(OWN + reason, f"{field} is {given}, required is {limit}", terms.payer)
        if terms.accept_by <= now:
            detail = f"acceptBy is {terms.accept_by}, the chain's time {now}"
            raise PaymentInvalid(OWN + "expired", detail, terms.payer)
        latest = now + self.accept_s + SKEW_S
        if terms.accept_by > latest:
            detail = f"acceptBy is {terms.accept_by}, at most {latest}"
            raise PaymentInvalid(OWN + "deadline_too_far", detail, terms.payer)


@dataclass(frozen=True, slots=True)
class JobPayment:
    """Payload of kind `job`: terms, the payer's (or its budget's spender's) signature over their digest, and
    the provider's quote if the payer has one.
    """

    terms: JobTerms
    signature: bytes
    quote: bytes = b""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From a payload. Raises PaymentInvalid."""
        unknown = sorted(set(data) - {"kind", "terms", "signature", "quote"})
        if unknown or data.get("kind") != Kind.JOB:
            raise PaymentInvalid(BAD_PAYLOAD, f"must be of kind {Kind.JOB}, unknown keys: {unknown}")
        try:
            return cls(
                JobTerms.from_json(data.get("terms")),
                to_bytes("signature", data.get("signature")),
                to_bytes("quote", data.get("quote", "0x")),
            )
        except BadInput as bad:
            raise PaymentInvalid(BAD_PAYLOAD, str(bad)) from None

    def to_json(self) -> dict[str, Any]:
        """The payload."""
        made = {
            "kind": Kind.JOB.value,
            "terms": self.terms.to_json(),
            "signature": "0x" + self.signature.hex(),
        }
        return made | ({"quote": "0x" + self.quote.hex()} if self.quote else {})

    def job_id(self, place: Place) -> bytes:
        """Id of the job, which is what was signed."""
        return job_id(self.terms, place.chain_id, place.market)


def check_place(required: PaymentRequirements, ours: PaymentRequirements) -> None:
    """Raise PaymentInvalid unless the requirements hold all that `ours`, made of them, say."""
    same(BAD_SCHEME, "scheme", required.scheme, ours.scheme)
    same(BAD_NETWORK, "network", required.network, ours.network)
    same(OWN + "asset", "asset", required.asset, ours.asset)
    for name, value in ours.extra.items():
        same(BAD_REQUIREMENTS, f"extra.{name}", required.extra.get(name), value)


def check_accepted(payload: PaymentPayload, required: PaymentRequirements) -> None:
    """Raise PaymentInvalid unless the payer accepted exactly what is required, every field of `extra`
    included.
    """
    if payload.x402_version != 2:
        raise PaymentInvalid("invalid_x402_version", f"x402Version is {payload.x402_version}, must be 2")
    same(BAD_SCHEME, "scheme", payload.accepted.scheme, required.scheme)
    same(BAD_NETWORK, "network", payload.accepted.network, required.network)
    accepted, wanted = (_flat(one) for one in (payload.accepted, required))
    for name in sorted(accepted.keys() | wanted.keys()):
        same(BAD_REQUIREMENTS, name, accepted.get(name), wanted.get(name))


def _flat(required: PaymentRequirements) -> dict[str, object]:
    fields = required.model_dump(by_alias=True)
    extra = fields.pop("extra") or {}
    return fields | {f"extra.{name}": value for name, value in extra.items()}


def same(reason: str, field: str, given: object, limit: object) -> None:
    """Raise PaymentInvalid unless both are equal, and of one type."""
    if type(given) is not type(limit) or given != limit:
        raise PaymentInvalid(reason, f"{field} is {given!r}, required is {limit!r}")


def decimal(field: str, value: object) -> int:
    """A number that travels as decimal text. Raises BadInput."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 78:
        raise BadInput(field, value, "a decimal integer as text")
    return int(value)


def count(field: str, value: object) -> int:
    """A positive integer. Raises BadInput."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(field, value, "a positive integer")
    return value
