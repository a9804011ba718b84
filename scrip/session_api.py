"""HTTP client of a provider's session accounts: the account, its calls and its API keys."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scrip.call_receipts import SignedCallReceipt
from scrip.errors import ScripError
from scrip.provider_client import ProviderClient, ProviderUnreachable
from scrip.rates import Rate
from scrip.structs import to_address
from scrip.types_spending import SessionTerms
from scrip.vouchers import Voucher

SESSIONS_PATH: Final = "/v1/scrip/sessions"
PAGE: Final = 200
BODY_BYTES: Final = 64 * 2**20
"""Longest answer with the bytes of a call."""


def path_of(session: bytes, *more: str) -> str:
    """Path of a session's account, or of something in it."""
    return "/".join((SESSIONS_PATH, "0x" + session.hex(), *more))


@dataclass(frozen=True, slots=True)
class CallBody:
    """The bytes that a call receipt's hashes are of."""

    request: bytes = field(repr=False)
    response: bytes = field(repr=False)


class SessionApi(ProviderClient):
    """The accounts at one provider. `auth` signs as the session's payer, its key, or its budget's spender."""

    def open_session(self, terms: SessionTerms) -> dict[str, Any]:
        """Have a session that was opened on chain taken in. Raises Refused, ProviderUnreachable."""
        return self._json("POST", SESSIONS_PATH, json={"terms": terms.to_json()})

    def session(self, session: bytes) -> dict[str, Any]:
        """The account. Raises Refused, ProviderUnreachable."""
        return self._json("GET", path_of(session))

    def authorise(self, voucher: Voucher) -> dict[str, Any]:
        """Show a voucher without a call. Returns the account."""
        body = {"units": str(voucher.units), "signature": "0x" + voucher.signature.hex()}
        return self._json("POST", path_of(voucher.session, "vouchers"), json=body)

    def calls(self, session: bytes, after: int = 0) -> Iterator[SignedCallReceipt]:
        """Receipts from the one that follows number `after` on, in order. Not verified."""
        while True:
            page = self._json("GET", path_of(session, "calls"), params={"after": after, "limit": PAGE})
            found = receipts_in(page, self.endpoint)
            yield from found
            if not found or not isinstance(page.get("next"), int):  # pages without calls could go on for ever
                return
            after = page["next"]

    def call_body(self, session: bytes, number: int) -> CallBody:
        """What a deterministic call asked and was answered. Not verified. Raises NotFound once the provider
        keeps it no longer, or never did.
        """
        path = path_of(session, "calls", str(number))
        try:
            found = json.loads(self._send("GET", path, BODY_BYTES))
            return CallBody(*(b64decode(found[name], validate=True) for name in ("request", "response")))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ProviderUnreachable(self.endpoint, f"{path} isn't the bytes of a call") from None

    def make_key(self, session: bytes, limits: Mapping[str, Any]) -> dict[str, Any]:
        """A new API key; its `secret` is in the answer and nowhere else."""
        return self._json("POST", path_of(session, "keys"), json=dict(limits))

    def keys(self, session: bytes) -> list[dict[str, Any]]:
        """The session's API keys."""
        return list(self._json("GET", path_of(session, "keys"))["keys"])

    def revoke(self, session: bytes, key_id: str) -> None:
        """End an API key. Raises NotFound."""
        self._send("DELETE", path_of(session, "keys", key_id), 4_096)

    def gateway(self) -> GatewayOffer:
        """What the provider's registration file says of its gateway. Raises ProviderUnreachable."""
        file = self._json("GET", "/.well-known/agent-registration.json")
        try:
            return GatewayOffer.of(file["scrip"])
        except (KeyError, TypeError, ScripError) as error:
            raise ProviderUnreachable(self.endpoint, f"offers no gateway: {error}") from None


class GatewayOffer:
    """A provider's gateway as it says itself: its oracle key, and rates by class and model."""

    def __init__(self, oracle: str, rates: Mapping[tuple[int, str], Rate]) -> None:
        self.oracle, self._rates = oracle, rates

    @classmethod
    def of(cls, own: Mapping[str, Any]) -> GatewayOffer:
        """From the `scrip` part of a registration file. Raises KeyError, TypeError, BadInput."""
        gateway = own["gateway"]
        rates = {(int(one["classId"]), str(one["model"])): Rate.from_json(one) for one in gateway["rates"]}
        return cls(to_address("gateway.oracle", gateway["oracle"]), rates)

    def rates(self, class_id: int) -> dict[str, Rate]:
        """Rates of a class by model."""
        return {model: rate for (one, model), rate in self._rates.items() if one == class_id}


def receipts_in(page: Mapping[str, Any], endpoint: str) -> list[SignedCallReceipt]:
    """The receipts of a page of calls. Raises ProviderUnreachable if it isn't one."""
    try:
        return [
            SignedCallReceipt.from_json({"receipt": one["receipt"], "signature": one["signature"]})
            for one in page["calls"]
        ]
    except (KeyError, TypeError, ScripError) as error:
        raise ProviderUnreachable(endpoint, f"not a page of calls: {error}") from None
