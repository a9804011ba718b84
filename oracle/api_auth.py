"""Who asks: requests signed by a key (`scrip.signed_requests`), and who may see what is not public.

A job's state, receipt and Merkle proofs are public. Its output, and its evidence, which holds what was asked
and what came out, are for the parties: who pays, who works, and who has to judge.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase

from scrip.errors import BadInput, ScripError
from scrip.signed_requests import LONGEST_S, SCHEME, Credentials, request_digest
from scrip.types import JobTerms


class Unauthorised(ScripError):
    """Nobody, or nobody we could make out, signed the request."""


class Forbidden(ScripError):
    """The signer isn't one of those who may."""

    def __init__(self, signer: str, allowed: str) -> None:
        self.signer, self.allowed = signer, allowed
        super().__init__(f"{signer} may not see this: it is for {allowed}")


class Parties(Protocol):
    """What is asked of the chain about signers (`oracle.facts.Facts` fits)."""

    def has_signed(self, account: str, message: bytes, signature: bytes) -> bool:
        """Whether `account` signed a digest: by its key, or as a contract (ERC-1271)."""

    def is_party(self, account: str, terms: JobTerms) -> bool:
        """Whether `account` pays, works or judges in the job with these terms."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Checks signatures. `base_url` is what others reach this node by; `operators` may see everything."""

    parties: Parties
    base_url: str
    chain_id: int
    market: str
    operators: frozenset[str]
    clock: Callable[[], float] = time.time

    def signer(self, method: str, target: str, body: bytes, header: str | None) -> str:
        """Who signed a request for `target` (path and query). Raises Unauthorised."""
        if not header:
            raise Unauthorised(
                f"sign the request: Authorization: {SCHEME} signer=...,expires=...,signature=..."
            )
        try:
            given = Credentials.parse(header)
        except BadInput as bad:
            raise Unauthorised(str(bad)) from None
        self._check_time(given.expires)
        url = self.base_url + target
        message = request_digest(method, url, body, given.expires, self.chain_id, self.market)
        if not self.parties.has_signed(given.signer, message, given.signature):
            raise Unauthorised(
                f"not {given.signer}'s signature over {method} {url} with this body and expiry"
            )
        return given.signer

    def check_party(self, signer: str, terms: JobTerms) -> None:
        """Raises Forbidden unless `signer` has to do with the job."""
        if signer not in self.operators and not self.parties.is_party(signer, terms):
            raise Forbidden(
                signer, "the job's payer, its provider, and the watchers and arbiters of its class"
            )

    def check_operator(self, signer: str) -> None:
        """Raises Forbidden unless `signer` runs this node."""
        if signer not in self.operators:
            raise Forbidden(signer, "the provider's own account and its oracle key")

    def _check_time(self, expires: int) -> None:
        now = int(self.clock())
        if not now <= expires <= now + LONGEST_S:
            raise Unauthorised(f"the signature expires at {expires}, taken is {now} to {now + LONGEST_S}")


class SignedRequest(SecurityBase):
    """FastAPI dependency: the address that signed the request. Raises Unauthorised."""

    def __init__(self) -> None:
        self.model = HTTPBase(scheme=SCHEME, description="EIP-712 signature of the request: docs/api.md")
        self.scheme_name = "SignedRequest"

    async def __call__(self, request: Request) -> str:
        """The signer."""
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        body = await request.body()
        gate: Gate = request.app.state.gate
        return gate.signer(request.method, target, body, request.headers.get("Authorization"))


Signer = Annotated[str, Depends(SignedRequest())]
"""Parameter of an endpoint: who signed the request. The app's `state.gate` says how that is known."""
