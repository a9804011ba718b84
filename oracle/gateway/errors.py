"""What is wrong with a request, or with the inference server, beside the refusals of accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oracle.gateway import fast_json
from oracle.gateway.refusals import GatewayRefused
from oracle.logging import clean

SHOWN: Final = 500


class BadRequest(GatewayRefused):
    """The request can't be served as it is. `param` names the field."""

    status, code = 400, "invalid_value"


class NotOffered(BadRequest):
    """A parameter that would change what a call costs, or that we don't know."""

    code = "unsupported_parameter"


class OverContext(BadRequest):
    """Prompt and answer don't fit into the model's context."""

    code = "context_length_exceeded"


class UnknownModel(GatewayRefused):
    """A model that isn't sold here, or not for this kind of call."""

    status, code = 404, "model_not_found"


class UnknownPath(GatewayRefused):
    """Nothing is served at this path."""

    status, code = 404, "unknown_url"


class BadMethod(GatewayRefused):
    """The path takes another method: `limit`."""

    status, code = 405, "method_not_allowed"

    @property
    def headers(self) -> dict[str, str]:
        """What is allowed."""
        return {"Allow": str(self.limit)}


class TooLarge(GatewayRefused):
    """The body is larger than allowed."""

    status, code = 413, "request_too_large"


class Busy(GatewayRefused):
    """As many calls as may run at once are running. Nothing was charged; trying again later helps."""

    status, code, kind = 429, "busy", "rate_limit_error"

    @property
    def headers(self) -> dict[str, str]:
        """When to try again."""
        return {"Retry-After": "1"}


class UpstreamFailed(GatewayRefused):
    """The inference server can't be reached, failed, or broke off."""

    status, code, kind = 502, "upstream_failed", "server_error"


class UpstreamSlow(GatewayRefused):
    """The inference server took too long."""

    status, code, kind = 504, "upstream_timeout", "server_error"


class Failed(GatewayRefused):
    """Something of ours went wrong. The log has it."""

    status, code, kind = 500, "internal", "server_error"


class ClientGone(GatewayRefused):
    """The client hung up, or took nothing for too long. Nobody reads this: it is for log and metrics."""

    status, code, kind = 499, "client_gone", "server_error"


def body(problem: GatewayRefused, more: Mapping[str, Any] | None = None) -> bytes:
    """The error as JSON, with further fields beside it. URLs in its message are cut down to their origin."""
    content = problem.body()
    content["error"]["message"] = clean(content["error"]["message"])[:SHOWN]
    return fast_json.dumps(content | dict(more or {}))
