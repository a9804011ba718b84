"""MCP over HTTP: on the loopback, for holders of a token, and closed to web pages.

A page in a browser could reach a server on this machine: with a name that it makes resolve to 127.0.0.1, or
by a plain cross-site request. The SDK refuses hosts that aren't ours and every Origin; the token, which no
page knows, guards what is left.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings

from agents.mcp.agent import Agent
from agents.mcp.server import ScripServer
from scrip.errors import BadInput, KeyProblem

PATH: Final = "/mcp"
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
MOST_BODY: Final = 24 << 20
"""Bytes of a request: a bundle of evidence fits."""
_LEAST_TOKEN: Final = 16
_GRACE_SECONDS: Final = 5


class OneToken:
    """The SDK's verifier for the one token there is."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify_token(self, token: str) -> AccessToken | None:
        """See TokenVerifier."""
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token=token, client_id="owner", scopes=[])


def serve(
    agent: Agent, host: str, port: int, names: Sequence[str], token: str, say: Callable[[str], None]
) -> None:
    """Serve until interrupted. `names` are further hosts that clients call it by. Raises BadInput."""
    if host not in LOOPBACK and not names:
        raise BadInput(
            "--host", host, f"one of {', '.join(LOOPBACK)}, or with --allow-host",
            "Say by which names clients call it, and put TLS in front: the token travels in the clear",
        )  # fmt: skip
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listening.getsockname()[1]}{PATH}"
    server = ScripServer(
        agent,
        token_verifier=OneToken(token),
        # No authorisation server issues our token; the SDK only asks for the name of one.
        auth=AuthSettings(issuer_url=url, resource_server_url=None),
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        host=host,
        transport_security=_security(names),
        max_request_body_size=MOST_BODY,
    )
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS, server_header=False
    )
    say(f"MCP at {url}")
    uvicorn.Server(config).run(sockets=[listening])


def _security(names: Sequence[str]) -> TransportSecuritySettings:
    """Names we are called by, with any port. No Origin is allowed: browsers send one, MCP clients don't."""
    hosts = [*("127.0.0.1", "localhost", "[::1]"), *names]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[],
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise BadInput("--port", port, f"a port that is free on {host} ({error.strerror})") from None
    return made


def read_token(path: Path, say: Callable[[str], None]) -> str:
    """The token in a file that only its owner can read; made if it is missing. Raises KeyProblem."""
    try:
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _read_token(path)
    except OSError as error:
        raise KeyProblem(f"token file {path}: {error.strerror}") from None
    token = secrets.token_urlsafe(32)
    with os.fdopen(made, "w", encoding="ascii") as file:
        file.write(token + "\n")
    say(f"made a token for clients in {path}")
    return token


def _read_token(path: Path) -> str:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyProblem(f"token file {path} can be read by others: chmod 600 it, or make a new one")
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyProblem(f"token file {path} can't be read: {type(error).__name__}") from None
    if len(token) < _LEAST_TOKEN or not token.isprintable() or " " in token:
        raise KeyProblem(f"token file {path}: the token needs at least {_LEAST_TOKEN} characters, no spaces")
    return token
