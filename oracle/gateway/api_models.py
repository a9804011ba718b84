"""What the endpoints of session accounts take and give. Numbers of units travel as decimal text."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from oracle.api_models import Decimal, Hash, Hex
from oracle.gateway.tables import CallBodyRow, CallRow, KeyRow
from scrip.call_receipts import CallReceipt
from scrip.types_spending import SessionTerms

MOST_UNITS = Annotated[str, Field(pattern=r"^[0-9]{1,39}$")]
Signature = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{130}$")]
TermsField = Annotated[
    SessionTerms,
    PlainValidator(lambda value: value if isinstance(value, SessionTerms) else SessionTerms.from_json(value)),
    PlainSerializer(SessionTerms.to_json, return_type=dict[str, Any]),
    WithJsonSchema(SessionTerms.json_schema()),
]
ReceiptField = Annotated[
    CallReceipt,
    PlainValidator(lambda value: value if isinstance(value, CallReceipt) else CallReceipt.from_json(value)),
    PlainSerializer(CallReceipt.to_json, return_type=dict[str, Any]),
    WithJsonSchema(CallReceipt.json_schema()),
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RefusalDetail(BaseModel):
    """Why the gateway refuses: OpenAI's fields, ours beside them. More may follow, by code."""

    message: str
    type: str
    code: str
    param: str | None
    given: str | None
    limit: str | None


class Refusal(BaseModel):
    """Every refusal of the gateway."""

    error: RefusalDetail


class OpenRequest(_Shape):
    """A session that was opened on chain."""

    terms: TermsField


class Account(_Shape):
    """A session account. Units are base units of the session's class; see docs/gateway.md."""

    sessionId: Hash
    terms: TermsField
    deposit: Decimal
    claimed: Decimal
    authorised: Decimal
    charged: Decimal
    reserved: Decimal
    available: Decimal
    calls: int
    last: Hash
    closeAt: int
    closed: bool


class VoucherBody(_Shape):
    """A voucher of the session in the path."""

    units: MOST_UNITS
    signature: Signature


class SignedReceipt(_Shape):
    """A call's receipt with the provider's signature."""

    receipt: ReceiptField
    signature: Hex


class RestoreRequest(_Shape):
    """The last receipt that a client has, and a voucher that covers it."""

    receipt: ReceiptField
    signature: Signature
    voucher: VoucherBody


class Call(_Shape):
    """A charged call: its receipt, its model's name, and what paid (a voucher, or an API key)."""

    receipt: ReceiptField
    signature: Hex
    model: str
    voucher: Decimal | None
    keyId: str | None
    atMs: int

    @classmethod
    def of(cls, row: CallRow) -> Call:
        """From its row."""
        from scrip.call_receipts import SignedCallReceipt

        signed = SignedCallReceipt.parse(row.receipt)
        return cls(
            receipt=signed.receipt,
            signature="0x" + signed.signature.hex(),
            model=row.model,
            voucher=None if row.voucher is None else str(row.voucher),
            keyId=row.key_id or None,
            atMs=row.at_ms,
        )


class CallPage(_Shape):
    """Calls in order; `next` is the `after` of the page that follows, null on the last."""

    calls: list[Call]
    next: int | None


class CallBody(_Shape):
    """The bytes that a call's hashes are of, in base64."""

    request: str
    response: str

    @classmethod
    def of(cls, row: CallBodyRow) -> CallBody:
        """From its row."""
        return cls(request=b64encode(row.request).decode(), response=b64encode(row.response).decode())


class KeyRequest(_Shape):
    """A new API key. `capUnits` is base units in all; 0 is never (`expiresAt`, unix seconds) and without
    limit (`callsPerMinute`); no `models` is any.
    """

    name: Annotated[str, Field(max_length=64)] = ""
    capUnits: MOST_UNITS
    models: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)] = []
    expiresAt: Annotated[int, Field(ge=0, lt=1 << 40)] = 0
    callsPerMinute: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class Key(_Shape):
    """An API key, without its secret. Times are unix seconds, `createdMs` and `revokedMs` milliseconds."""

    keyId: str
    name: str
    capUnits: Decimal
    spentUnits: Decimal
    models: list[str]
    expiresAt: int
    callsPerMinute: int
    createdMs: int
    revokedMs: int

    @classmethod
    def of(cls, row: KeyRow) -> Key:
        """From its row."""
        return cls(**_of_key(row))


class NewKey(Key):
    """A key just made, with its secret: shown this once."""

    secret: str

    @classmethod
    def made(cls, row: KeyRow, secret: str) -> NewKey:
        """From its row."""
        return cls(**_of_key(row), secret=secret)


class KeyList(_Shape):
    """The session's keys, oldest first, revoked ones too."""

    keys: list[Key]


def _of_key(row: KeyRow) -> dict[str, Any]:
    return {
        "keyId": row.key_id,
        "name": row.name,
        "capUnits": str(row.cap),
        "spentUnits": str(row.spent),
        "models": list(row.models),
        "expiresAt": row.expires_ms // 1000,
        "callsPerMinute": row.per_minute,
        "createdMs": row.created_ms,
        "revokedMs": row.revoked_ms,
    }
