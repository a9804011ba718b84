"""Whether an issuer took a credential back: Bitstring Status List, and StatusList2021 before it.

https://www.w3.org/TR/vc-bitstring-status-list/: the list is a credential of the same issuer, its bits are
gzipped, the first bit is the most significant one of the first byte.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import jwt

from scrip.errors import ScripError
from scrip.identity.credentials import Credential, CredentialInvalid, read

ENTRIES: Final = {"BitstringStatusListEntry": "BitstringStatusList", "StatusList2021Entry": "StatusList2021"}
MAX_LIST_JWT: Final = 4 * 2**20
MAX_LIST: Final = 16 * 2**20
"""Bytes of an unpacked list: 128 million credentials."""
TIMEOUT_S: Final = 20.0


class StatusUnavailable(ScripError):
    """A status list can't be had, so whether a credential was taken back isn't known."""


@dataclass(slots=True)
class StatusLists:
    """Lists by URL: `known` ones, from files, and those that are fetched, each once."""

    known: dict[str, str] = field(default_factory=dict)
    transport: httpx.BaseTransport | None = None

    def check(self, found: Credential, now: int) -> None:
        """Raise CredentialInvalid if its issuer took it back, StatusUnavailable if that can't be told."""
        for entry in found.status:
            kind = ENTRIES.get(str(entry.get("type")))
            if kind is None:
                raise CredentialInvalid(
                    "status", f"a status of type {entry.get('type')!r:.60} can't be checked"
                )
            if _bit(self._list(found, entry, kind, now), entry):
                raise CredentialInvalid("status", f"its issuer set its {entry.get('statusPurpose')} bit")

    def _list(self, found: Credential, entry: Mapping[str, Any], kind: str, now: int) -> bytes:
        url = str(entry.get("statusListCredential"))
        made = read_list(self._token(url))
        body = made.body
        subject = body["credentialSubject"]
        if made.issuer != found.issuer:
            raise CredentialInvalid("status", f"the list {url} is by {made.issuer}, another issuer")
        stated = {str(body.get("id", "")), made.subject, made.subject.split("#")[0]}
        if url not in stated or subject.get("type") != kind:
            raise CredentialInvalid("status", f"{url} answers with another list or kind of list")
        if subject.get("statusPurpose") != entry.get("statusPurpose"):
            raise CredentialInvalid("status", f"the list {url} is for another purpose")
        if made.expires and now >= made.expires:
            raise StatusUnavailable(f"the status list {url} expired at {made.expires}: get a newer one")
        return _unpack(str(subject.get("encodedList")), url)

    def _token(self, url: str) -> str:
        if url not in self.known:
            self.known[url] = self._fetch(url)
        return self.known[url]

    def _fetch(self, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise StatusUnavailable(f"the status list {url!r:.80} is no URL: give it with --status-list")
        try:
            with (
                httpx.Client(timeout=TIMEOUT_S, transport=self.transport) as http,
                http.stream("GET", url) as got,
            ):
                got.raise_for_status()
                body = b""
                for part in got.iter_bytes():
                    body += part
                    if len(body) > MAX_LIST_JWT:
                        raise StatusUnavailable(f"the status list {url} has more than {MAX_LIST_JWT} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StatusUnavailable(
                f"the status list {url} can't be had: {error or type(error).__name__}"
            ) from None
        return body.decode("ascii", errors="replace").strip()


def read_list(token: str) -> Credential:
    """A list's own credential, its signature checked. Raises CredentialInvalid."""
    return read(token, most=MAX_LIST_JWT)


def _bit(bits: bytes, entry: Mapping[str, Any]) -> bool:
    text = str(entry.get("statusListIndex"))
    index = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not 0 <= index < 8 * len(bits):
        raise CredentialInvalid("status", f"its place {text[:20]!r} isn't in a list of {8 * len(bits)}")
    return bool(bits[index // 8] >> (7 - index % 8) & 1)


def _unpack(encoded: str, url: str) -> bytes:
    """The bits of a list; a multibase prefix `u` says base64url, which StatusList2021 left out."""
    try:
        packed = jwt.utils.base64url_decode(encoded.removeprefix("u") if encoded[:1] == "u" else encoded)
        unpacking = zlib.decompressobj(wbits=31)
        bits = unpacking.decompress(packed, MAX_LIST)
    except (ValueError, zlib.error) as error:
        raise CredentialInvalid("status", f"the list {url} can't be unpacked: {error}") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise CredentialInvalid("status", f"the list {url} is cut off, or larger than {MAX_LIST} bytes")
    return bits
