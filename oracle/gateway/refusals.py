"""Why a call or a session is refused: each reason a type, with its HTTP status and OpenAI's error shape."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from scrip.errors import ScripError

NEEDED_HEADER: Final = "Scrip-Needed"
AUTHORISED_HEADER: Final = "Scrip-Authorised"
CHARGED_HEADER: Final = "Scrip-Charged"


class NotAtHand(ScripError):
    """It can't be done from memory, or somebody else is at it. Ask again from a thread that waits."""


class GatewayRefused(ScripError):
    """A call isn't served. `code` is for programs; `given` and `limit` as everywhere."""

    status: ClassVar[int]
    code: ClassVar[str]
    kind: ClassVar[str] = "invalid_request_error"
    """OpenAI's `type`, which its clients choose their exception and retries by, with the status."""

    def __init__(
        self, message: str, given: object = None, limit: object = None, param: str | None = None
    ) -> None:
        self.given, self.limit, self.param = given, limit, param
        super().__init__(message)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {}

    def body(self) -> dict[str, Any]:
        """JSON of the answer: OpenAI's error object, with what was given and the limit beside it."""
        return {
            "error": {
                "message": str(self),
                "type": self.kind,
                "code": self.code,
                "param": self.param,
                "given": None if self.given is None else str(self.given),
                "limit": None if self.limit is None else str(self.limit),
                **self.details(),
            }
        }

    def details(self) -> dict[str, str]:
        """More for programs."""
        return {}


class BadCredential(GatewayRefused):
    """No credential, a malformed one, or one that proves nothing."""

    status, code, kind = 401, "invalid_api_key", "authentication_error"


class UnknownSession(BadCredential):
    """The session isn't known here: it was never shown to us, or we lost it. Opening it again helps."""

    code = "unknown_session"


class PaymentNeeded(GatewayRefused):
    """The session hasn't authorised, or deposited, enough. All numbers are base units of its class.

    `needed` is what the next voucher must be over, at least; above `deposit` a top-up comes first.
    """

    status, code, kind = 402, "payment_needed", "insufficient_quota"

    def __init__(self, message: str, *, needed: int, authorised: int, charged: int, deposit: int) -> None:
        self.needed, self.authorised, self.charged, self.deposit = needed, authorised, charged, deposit
        super().__init__(message, authorised, needed)

    @property
    def headers(self) -> dict[str, str]:
        """What a client needs to sign the right voucher."""
        return {
            NEEDED_HEADER: str(self.needed),
            AUTHORISED_HEADER: str(self.authorised),
            CHARGED_HEADER: str(self.charged),
        }

    def details(self) -> dict[str, str]:
        """The same as in the headers, and the deposit."""
        return {
            "needed": str(self.needed),
            "authorised": str(self.authorised),
            "charged": str(self.charged),
            "deposit": str(self.deposit),
        }


class VoucherUsed(PaymentNeeded):
    """The voucher was shown before, or is too old to tell. `needed` and any unused number above will do."""

    code = "voucher_used"


class KeySpent(GatewayRefused):
    """An API key has reached its cap."""

    status, code, kind = 402, "key_spent", "insufficient_quota"


class ModelRefused(GatewayRefused):
    """The model isn't offered for the session's class, or not to this key."""

    status, code, kind = 403, "model_not_allowed", "permission_error"


class SessionRefused(GatewayRefused):
    """The session can't be served here for good, or not any more. Its charges stay claimable."""

    status, code = 409, "session_refused"


class SessionClosing(SessionRefused):
    """A close is pending, or done."""

    code = "session_closing"


class TooManyCalls(GatewayRefused):
    """An API key has called too often. `retry_after_s` is in whole seconds."""

    status, code, kind = 429, "rate_limit_exceeded", "rate_limit_error"

    def __init__(self, message: str, given: object, limit: object, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, given, limit)

    @property
    def headers(self) -> dict[str, str]:
        """When to try again."""
        return {"Retry-After": str(self.retry_after_s)}


class NotServing(GatewayRefused):
    """This node doesn't serve now: another one leads, it hasn't compared its sessions with the chain or lacks
    stored charges, or it stops.
    """

    status, code, kind = 503, "not_serving", "server_error"


REFUSALS: Final = (
    BadCredential, UnknownSession, PaymentNeeded, VoucherUsed, KeySpent, ModelRefused,
    SessionRefused, SessionClosing, TooManyCalls, NotServing,
)  # fmt: skip
"""All of them, for metrics and documents."""
