"""A call that its buyer brings to a watcher, because the provider doesn't show it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scrip.call_receipts import SignedCallReceipt
from scrip.errors import BadInput
from scrip.session_api import CallBody
from scrip.types_spending import SessionTerms

BRING_PATH = "/audits/calls"
_NAMES = ("terms", "receipt", "signature", "request", "response")


@dataclass(frozen=True, slots=True)
class Brought:
    """A session's terms, the signed receipt of one of its calls, and what was asked and answered in it."""

    terms: SessionTerms
    signed: SignedCallReceipt
    body: CallBody

    def to_json(self) -> dict[str, Any]:
        """As it is sent; bytes in base64."""
        return {
            "terms": self.terms.to_json(),
            **self.signed.to_json(),
            "request": b64encode(self.body.request).decode(),
            "response": b64encode(self.body.response).decode(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Brought:
        """Inverse of `to_json`. Raises BadInput."""
        if set(data) != set(_NAMES):
            raise BadInput("request", sorted(data), f"an object with exactly {', '.join(_NAMES)}")
        signed = {"receipt": data["receipt"], "signature": data["signature"]}
        return cls(
            SessionTerms.from_json(data["terms"]),
            SignedCallReceipt.from_json(signed),
            CallBody(_bytes("request", data["request"]), _bytes("response", data["response"])),
        )


def _bytes(field: str, value: object) -> bytes:
    try:
        return b64decode(value, validate=True)  # type: ignore[arg-type]  # anything else is a TypeError
    except (ValueError, TypeError):
        raise BadInput(field, value, "bytes in base64") from None
