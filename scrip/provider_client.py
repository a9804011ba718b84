"""HTTP client of a provider's oracle: registration file, quotes, specs, jobs and evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from scrip.errors import BadInput, NotFound, Refused, ScripError
from scrip.evidence import MAX_BUNDLE_BYTES, Bundle
from scrip.spec import JobSpec, spec_hash
from scrip.structs import to_bytes
from scrip.types import JobTerms, ProviderInfo

SERVICE = "scrip"
"""Name of our service in a registration file (ERC-8004 style)."""

MAX_JSON_BYTES = 1 << 20
TIMEOUT = httpx.Timeout(10.0, connect=3.0)


class ProviderUnreachable(ScripError):
    """A provider didn't answer, or with something that isn't ours. Trying again later may help."""

    def __init__(self, url: str, detail: str) -> None:
        self.url, self.detail = url, detail
        super().__init__(f"provider at {url}: {detail}")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a provider says of itself in its registration file. Claims, not proofs.

    `details` is what it says of each template, by name: the JSON schema of its `params`, its time limit.
    `active` and `x402` (it sells over HTTP) are its own flags, `trust` names what it says backs its work.
    """

    name: str
    endpoint: str
    templates: tuple[str, ...]
    simulated: bool
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    active: bool = True
    x402: bool = False
    trust: tuple[str, ...] = ()


class ProviderClient:
    """One provider's API. Not safe to share between threads; close it, or use it as a context manager."""

    def __init__(
        self, endpoint: str, *, auth: httpx.Auth | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`endpoint` is the base URL of the oracle's API; `auth` signs requests for what isn't public
        (`scrip.signed_requests`); `transport` replaces the network in tests.
        """
        if not endpoint.startswith(("http://", "https://")):
            raise BadInput("endpoint", endpoint, "an http or https URL")
        self.endpoint = endpoint.rstrip("/")
        self._http = httpx.Client(base_url=self.endpoint, timeout=TIMEOUT, transport=transport, auth=auth)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def quote(self, terms: JobTerms, spec: JobSpec) -> bytes:
        """The provider's signature over the acceptance of this job.

        Raises Refused with the provider's reason, ProviderUnreachable.
        """
        body = {"terms": terms.to_json(), "spec": spec.to_json()}
        answer = self._json("POST", "/quotes", json=body).get("quote")
        try:
            return to_bytes("quote", answer)
        except BadInput:
            raise ProviderUnreachable(self.endpoint, "/quotes answered without a quote") from None

    def put_spec(self, spec: JobSpec) -> bytes:
        """Deposit a spec, for a job opened without a quote. Returns its hash."""
        key = spec_hash(spec)
        self._json("PUT", f"/specs/0x{key.hex()}", json=spec.to_json())
        return key

    def job(self, job_id: bytes) -> dict[str, Any]:
        """What the provider says of a job: at least `state` and `reason`. Raises NotFound."""
        return self._json("GET", f"/jobs/0x{job_id.hex()}")

    def bundle(self, job_id: bytes) -> Bundle:
        """Evidence of a job, output included, for its parties: it needs `auth`. Checks its form only: see
        `scrip.evidence.verify_bundle`.

        Raises NotFound, Refused, EvidenceInvalid, ProviderUnreachable.
        """
        return Bundle.decode(self._send("GET", f"/jobs/0x{job_id.hex()}/evidence", MAX_BUNDLE_BYTES))

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            data = json.loads(self._send(method, path, MAX_JSON_BYTES, **request))
        except (ValueError, RecursionError):
            raise ProviderUnreachable(self.endpoint, f"{path} answered without JSON") from None
        if not isinstance(data, dict):
            raise ProviderUnreachable(self.endpoint, f"{path} answered {type(data).__name__}, not an object")
        return data

    def _send(self, method: str, path: str, most: int, **request: Any) -> bytes:
        try:
            with self._http.stream(method, path, **request) as response:
                body = _read_at_most(response, most)
        except httpx.HTTPError as error:
            raise ProviderUnreachable(self.endpoint, f"{path}: {error or type(error).__name__}") from None
        if response.status_code == httpx.codes.NOT_FOUND:
            raise NotFound("resource", path, f"at the provider {self.endpoint}")
        if response.is_client_error:
            raise Refused(_reason(body, response.status_code), f"provider {self.endpoint}")
        if response.is_error:
            raise ProviderUnreachable(self.endpoint, f"{path}: HTTP {response.status_code}")
        return body


def fetch_bundle(
    url: str, *, auth: httpx.Auth | None = None, transport: httpx.BaseTransport | None = None
) -> Bundle:
    """The bundle at a URL, its form checked. Providers show evidence to its job's parties, who need `auth`.

    Raises Refused, EvidenceInvalid, ProviderUnreachable.
    """
    try:
        with (
            httpx.Client(timeout=TIMEOUT, transport=transport, auth=auth) as http,
            http.stream("GET", url) as response,
        ):
            body = _read_at_most(response, MAX_BUNDLE_BYTES)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ProviderUnreachable(url, str(error) or type(error).__name__) from None
    if response.is_client_error:
        raise Refused(_reason(body, response.status_code), url)
    if not response.is_success:
        raise ProviderUnreachable(url, f"HTTP {response.status_code}")
    return Bundle.decode(body)


def discover(provider: ProviderInfo, *, transport: httpx.BaseTransport | None = None) -> Offer:
    """Read the registration file a provider's URI names.

    Raises ProviderUnreachable if it can't be had or names no service of ours.
    """
    try:
        with (
            httpx.Client(timeout=TIMEOUT, transport=transport) as http,
            http.stream("GET", provider.uri) as response,
        ):
            response.raise_for_status()
            data = json.loads(_read_at_most(response, MAX_JSON_BYTES))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
        raise ProviderUnreachable(provider.uri, str(error) or type(error).__name__) from None
    return _offer(provider.uri, data)


def _offer(uri: str, data: object) -> Offer:
    services = data.get("services") if isinstance(data, dict) else None
    found = [
        item
        for item in (services if isinstance(services, list) else [])
        if isinstance(item, dict) and item.get("name") == SERVICE and isinstance(item.get("endpoint"), str)
    ]
    if not isinstance(data, dict) or not found:
        raise ProviderUnreachable(uri, f"its registration file lists no service named {SERVICE!r}")
    if not _is_url(found[0]["endpoint"]):
        raise ProviderUnreachable(uri, "its registration file gives no http or https URL as endpoint")
    own = data.get("scrip")
    own = own if isinstance(own, dict) else {}
    listed = own.get("templates", [])
    templates = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    details = {item["name"]: item for item in templates if isinstance(item.get("name"), str)}
    return Offer(
        name=str(data.get("name", "")),
        endpoint=found[0]["endpoint"],
        templates=tuple(details),
        simulated=own.get("simulated") is True,
        details=details,
        # ERC-8004 makes neither mandatory: a file without `active` is of a provider that is.
        active=data.get("active") is not False,
        x402=data.get("x402Support") is True,
        trust=_texts(data.get("supportedTrust")),
    )


def _is_url(text: str) -> bool:
    try:
        return httpx.URL(text).scheme in ("http", "https") and bool(httpx.URL(text).host)
    except httpx.InvalidURL:
        return False


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _read_at_most(response: httpx.Response, most: int) -> bytes:
    """The body of a streamed response, but never more than `most` bytes."""
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > most:
            raise ProviderUnreachable(str(response.url), f"answers over {most} bytes")
    return bytes(content)


def _reason(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"HTTP {status}"
