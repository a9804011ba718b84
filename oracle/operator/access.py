"""Who may see the operator's page: whoever holds the token, in a browser that asks for this node by its name.

The token is typed in once and exchanged for a cookie that scripts can't read and other sites can't send. The
cookie is the time it ends and a keyed hash of that, so nothing is kept of it and a new token ends them all.
Names are checked because a page of a stranger may resolve its own name to this machine (DNS rebinding). Away
from this machine the token and the cookie only travel over https.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from oracle.api_auth import Unauthorised
from scrip.errors import ScripError

COOKIE: Final = "scrip_operator"
PATH: Final = "/operator"
SIGNED_IN_S: Final = 12 * 3_600


class WrongHost(ScripError):
    """The request is for another host than this node, or would carry a secret in the clear."""


@dataclass(frozen=True, slots=True)
class Access:
    """Checks requests. `token` is the secret, `public_url` what others reach this node by, `clock` unix
    seconds.
    """

    token: bytes
    public_url: str
    clock: Callable[[], float] = time.time

    def check_host(self, scheme: str, host: str) -> None:
        """Raise WrongHost unless the request, to `host` (its header) by `scheme`, is for this node."""
        name = urlsplit(f"//{host}").hostname or ""
        if is_loopback(name):
            return
        if name != urlsplit(self.public_url).hostname:
            limit = "a name of this machine, or that of api.public_url"
            raise WrongHost(f"this node isn't {name or 'without a name'}: use {limit}")
        if scheme != "https":
            raise WrongHost(
                "away from this machine the page needs https: put a TLS proxy in front that sends "
                "X-Forwarded-Proto, or tunnel the port over SSH"
            )

    def sign_in(self, given: str) -> str:
        """The cookie for who knows the token. Raises Unauthorised."""
        if not hmac.compare_digest(given.strip().lower().encode(), self.token.hex().encode()):
            raise Unauthorised("that isn't this node's operator token: see operator.token_file")
        return self._cookie(int(self.clock()) + SIGNED_IN_S)

    def check(self, cookies: Mapping[str, str]) -> None:
        """Raise Unauthorised unless a cookie of ours is among them that hasn't ended."""
        given = cookies.get(COOKIE, "")
        ends = given.partition(".")[0]
        known = ends.isascii() and ends.isdecimal() and len(ends) <= 12
        if not known or not hmac.compare_digest(given.encode(), self._cookie(int(ends)).encode()):
            raise Unauthorised(f"sign in at {PATH} with the operator token")
        if int(ends) < self.clock():
            hours = SIGNED_IN_S // 3_600
            raise Unauthorised(f"you were signed in for {hours} hours: sign in again at {PATH}")

    def _cookie(self, ends: int) -> str:
        mark = hmac.new(self.token, f"{COOKIE}.{ends}".encode(), hashlib.sha256).hexdigest()
        return f"{ends}.{mark}"


def is_loopback(name: str) -> bool:
    """Whether a host's name is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
