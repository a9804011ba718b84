"""HTTP to other nodes: bounded in size and time, no redirects, nothing taken from the environment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from scrip.errors import ScripError

CONNECT_S: Final = 5.0


class FetchFailed(ScripError):
    """Another node didn't answer, or not within the limits. Says nothing about what it would have
    answered.
    """

    def __init__(self, url: str, detail: str) -> None:
        self.origin, self.detail = origin(url), detail
        super().__init__(f"{self.origin}: {detail}")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of a response."""

    status: int
    body: bytes


def origin(url: str) -> str:
    """Scheme, host and port of an http or https URL in one spelling; "" for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return ""
    return f"{parts.scheme}://{parts.hostname.lower()}:{port}"


def get(url: str, *, limit: int, timeout_s: float, auth: httpx.Auth | None = None) -> bytes:
    """Body of a GET that was answered with 200, at most `limit` bytes. Raises FetchFailed."""
    answer = _request("GET", url, None, limit, timeout_s, auth)
    if answer.status != 200:
        raise FetchFailed(url, f"HTTP {answer.status}")
    return answer.body


def post(
    url: str, body: Mapping[str, Any], *, limit: int, timeout_s: float, auth: httpx.Auth | None = None
) -> Answer:
    """Answer to a POST of JSON, whatever its status. Raises FetchFailed."""
    return _request("POST", url, body, limit, timeout_s, auth)


def _request(
    method: str,
    url: str,
    body: Mapping[str, Any] | None,
    limit: int,
    timeout_s: float,
    auth: httpx.Auth | None,
) -> Answer:
    if not origin(url):
        raise FetchFailed(url, "not an http or https URL")
    deadline = time.monotonic() + timeout_s
    timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
    try:
        with (
            httpx.Client(trust_env=False, follow_redirects=False, timeout=timeout) as client,
            client.stream(method, url, json=body, auth=auth) as response,
        ):
            found = bytearray()
            for chunk in response.iter_bytes():
                found += chunk
                if len(found) > limit:
                    raise FetchFailed(url, f"more than {limit} bytes")
                if time.monotonic() > deadline:  # httpx's own timeouts are per read
                    raise FetchFailed(url, f"not done in {timeout_s} s")
            return Answer(response.status_code, bytes(found))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchFailed(url, type(error).__name__) from error
