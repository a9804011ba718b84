"""HTTP requests signed with an Ethereum key, for what a node shows only to the parties of a job.

    Authorization: Scrip signer=0x...,expires=<unix seconds>,signature=0x...

The signature is EIP-712 over `Request(method, url, bodyHash, expires)` in the domain of the job market: it
can't be used at another node (the URL is the whole one, as the node's registration names it), for another
request, on another chain, or for long.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
from eth_utils.crypto import keccak

from scrip.eip712 import Wallet, digest, domain_separator, hash_struct, sign
from scrip.errors import BadInput
from scrip.structs import to_address, to_bytes

SCHEME: Final = "Scrip"
REQUEST_TYPE: Final = "Request(string method,string url,bytes32 bodyHash,uint256 expires)"
API_DOMAIN: Final = "Scrip API"
LIFETIME_S: Final = 60
"""How long a signature that we make holds: the time a request takes, and clocks that differ a little."""
LONGEST_S: Final = 300
"""How far ahead a node takes an expiry."""

_HEADER = re.compile(
    r"Scrip signer=(0x[0-9a-fA-F]{40}),expires=([0-9]{1,12}),signature=(0x[0-9a-fA-F]{2,8192})\Z"
)


def request_digest(method: str, url: str, body: bytes, expires: int, chain_id: int, market: str) -> bytes:
    """What is signed. `url` is the whole one, query included; `expires` is unix seconds."""
    struct = hash_struct(
        REQUEST_TYPE,
        ["bytes32", "bytes32", "bytes32", "uint256"],
        [keccak(text=method.upper()), keccak(text=url), keccak(body), expires],
    )
    return digest(domain_separator(API_DOMAIN, chain_id, market), struct)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an Authorization header claims. A key signs 65 bytes, a contract takes its own."""

    signer: str
    expires: int
    signature: bytes

    @classmethod
    def parse(cls, header: str) -> Self:
        """From the header's value. Raises BadInput."""
        found = _HEADER.match(header)
        if found is None:
            raise BadInput("Authorization", header, f"{SCHEME} signer=0x...,expires=...,signature=0x...")
        signer, expires, signature = found.groups()
        return cls(to_address("signer", signer), int(expires), to_bytes("signature", signature))

    def __str__(self) -> str:
        return f"{SCHEME} signer={self.signer},expires={self.expires},signature=0x{self.signature.hex()}"


class SignedBy(httpx.Auth):
    """Signs every request of an httpx client with `account`'s key."""

    requires_request_body = True

    def __init__(
        self, account: Wallet, chain_id: int, market: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._account, self._chain_id, self._market, self._clock = account, chain_id, market, clock

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        expires = int(self._clock()) + LIFETIME_S
        message = request_digest(
            request.method, str(request.url), request.content, expires, self._chain_id, self._market
        )
        signature = sign(message, self._account)
        request.headers["Authorization"] = str(Credentials(self._account.address, expires, signature))
        yield request

    def __call__(self, request: Any) -> Any:
        """For clients of a library that is httpx under another name (httpx2), which take a function."""
        request.read()
        return next(self.auth_flow(request))
