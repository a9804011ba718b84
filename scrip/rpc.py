"""The HTTP connection to a node: retries of what is transient, and errors that never show the node's URL."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests import Response
from requests.utils import get_netrc_auth
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random
from web3 import HTTPProvider, Web3
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import RPCEndpoint, RPCResponse

from scrip.errors import NodeUnavailable

TRANSIENT_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    ValueError,  # an answer cut off or in HTML: it isn't JSON
)
"""Failures of the connection after which the same request may succeed."""

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""HTTP statuses of the same kind (52x are Cloudflare's for an origin that didn't answer)."""

RATE_MESSAGE = re.compile(
    r"rate.?limit|request rate|too many requests|throughput|compute units per second", re.IGNORECASE
)
"""JSON-RPC error messages of a node that wants us to go slower."""

TRANSIENT_MESSAGE = re.compile(
    RATE_MESSAGE.pattern + r"|try again|temporarily|timed? ?out|header not found|service unavailable",
    re.IGNORECASE,
)
"""These, and others after which the same request may succeed."""

TOO_SLOW_STATUS = frozenset({408, 413, 504, 524})
"""HTTP statuses after which a smaller request may succeed."""

UNRETRIED = frozenset({"eth_sendRawTransaction", "eth_getLogs"})
"""A send that fails may have arrived: the sender finds out. A log query is made smaller by `logs.scan`."""

POST_ATTEMPTS = 4


OnFailure = Callable[[str, str], None]
"""Told of each request that failed: the method, and why in a word ("429", "Timeout", "error")."""


class NodeProvider(HTTPProvider):
    """web3's HTTP provider with our retries in place of its own."""

    def __init__(
        self, url: str, timeout: float, attempts: int = POST_ATTEMPTS, on_failure: OnFailure | None = None
    ) -> None:
        super().__init__(url, request_kwargs={"timeout": timeout}, exception_retry_configuration=None)
        self.host = urlsplit(url).hostname or "?"
        # A contract can revert with an OffchainLookup that names a URL; web3 would fetch it by default.
        self.global_ccip_read_enabled = False
        self._attempts = attempts
        self._on_failure = on_failure or (lambda method, why: None)
        self._local = threading.local()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One JSON-RPC request. Raises NodeUnavailable; errors of the RPC itself are in the response."""
        body = self.encode_rpc_request(method, params)
        if method in UNRETRIED:
            return self._watched(method, lambda: self._post(method, body))
        once = lambda: _without_transient(self.host, self._post(method, body))  # noqa: E731
        return retrying(self._attempts)(lambda: self._watched(method, once))

    def _watched(self, method: str, request: Callable[[], RPCResponse]) -> RPCResponse:
        try:
            return request()
        except NodeUnavailable as failed:
            self._on_failure(method, str(failed.status or failed.kind))
            raise

    def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        answer = self._session().post(str(self.endpoint_uri), request_data, **self.get_request_kwargs())
        answer.raise_for_status()
        return answer.content

    def _session(self) -> requests.Session:
        """This thread's connections. requests would look through the whole environment for each request."""
        made: requests.Session | None = getattr(self._local, "session", None)
        if made is None:
            made, url = requests.Session(), str(self.endpoint_uri)
            found = made.merge_environment_settings(url, {}, None, None, None)
            made.proxies, made.verify, made.cert = found["proxies"], found["verify"], found["cert"]
            made.auth = get_netrc_auth(url)
            made.trust_env = False
            self._local.session = made
        return made

    def _post(self, method: RPCEndpoint, body: bytes) -> RPCResponse:
        try:
            answer = self.decode_rpc_response(self._make_request(method, body))
        except requests.HTTPError as error:
            return _from_http_error(self.host, error.response)
        except TRANSIENT_ERRORS as error:
            # The cause is dropped: requests puts the whole URL, key included, in its messages.
            slow = isinstance(error, requests.Timeout)
            kind = type(error).__name__
            raise NodeUnavailable(self.host, kind, kind=kind, too_slow=slow) from None
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise NodeUnavailable(self.host, "the answer is not JSON-RPC")
        return answer


def make_web3(
    url: str, timeout: float = 30.0, attempts: int = POST_ATTEMPTS, on_failure: OnFailure | None = None
) -> Web3:
    """A Web3 on `url` with our provider. `timeout` is seconds per request, `attempts` how many there are."""
    w3 = Web3(NodeProvider(url, timeout, attempts, on_failure))
    # Proof-of-authority chains put more than 32 bytes in extraData; without this web3 refuses their blocks.
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return w3


def host_of(w3: Web3) -> str:
    """The node's host, for messages."""
    return str(getattr(w3.provider, "host", "?"))


def is_transient(error: BaseException) -> bool:
    """True if the same request may succeed later. The one predicate of this project."""
    return isinstance(error, NodeUnavailable) and error.transient


def retrying(attempts: int) -> Retrying:
    """Retries of what `is_transient`, with growing, jittered pauses; the last error is raised as it is."""
    return Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=0.1, max=5) + wait_random(0, 0.1),
        reraise=True,
    )


def error_of(response: RPCResponse) -> str | None:
    """Code and message of a JSON-RPC error as one text, None if there is none."""
    error = response.get("error")
    if error is None:
        return None
    if isinstance(error, str):
        return error
    return f"{error.get('code')} {error.get('message')}"


def _without_transient(host: str, response: RPCResponse) -> RPCResponse:
    text = error_of(response)
    reverted = text is not None and "revert" in text.lower()
    if text is not None and not reverted and TRANSIENT_MESSAGE.search(text):
        raise NodeUnavailable(host, text)
    return response


def _from_http_error(host: str, response: Response | None) -> RPCResponse:
    """The JSON-RPC error that some nodes send with a 4xx status, otherwise NodeUnavailable."""
    status = response.status_code if response is not None else None
    if response is not None and status not in TRANSIENT_STATUS:
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if isinstance(answer, dict) and "error" in answer:
            return cast(RPCResponse, answer)
    transient = status in TRANSIENT_STATUS
    hint = "" if transient else ". Check the node's URL and its key"
    raise NodeUnavailable(
        host, f"HTTP {status}{hint}", status=status, too_slow=status in TOO_SLOW_STATUS, transient=transient
    ) from None
