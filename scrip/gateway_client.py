"""Pays calls at a provider's gateway by vouchers: an `httpx.Auth` for any client that is built on httpx.

    auth = pay_by_vouchers(chain, endpoint, terms, key, cap=1_000_000, call_cap=20_000, state=path)
    OpenAI(base_url=endpoint + "/v1", api_key="-", http_client=httpx.Client(auth=auth))

(Newer OpenAI clients are built on httpx2: `library=httpx2`, `http_client=httpx2.Client(auth=auth)`.)

Each request gets a voucher of its own. Where the provider asks for more (402) a new one is signed, within the
owner's limits. Every receipt is checked, that of a stream too; after a wrong one no further call is paid.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
from eth_utils.crypto import keccak

from scrip.call_receipts import RECEIPT_HEADER, ReceiptWrong, SignedCallReceipt, model_id
from scrip.eip712 import Wallet
from scrip.eip712_sessions import session_id
from scrip.errors import BadInput, Refused
from scrip.session_api import PAGE, SESSIONS_PATH, SessionApi, path_of, receipts_in
from scrip.session_payer import Pending, SessionPayer, Terms
from scrip.signed_requests import SignedBy
from scrip.types_spending import SessionTerms
from scrip.watched_stream import parted, watched

if TYPE_CHECKING:
    from scrip.chain import Chain

NEEDED_HEADER: Final = "Scrip-Needed"
TRIES: Final = 8
"""Vouchers that are signed for one call."""
FIRST_GUESS: Final = 1
"""Units that the first call is thought to cost at most: the provider says what is really needed."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request to send, and whether its response is read for us."""

    request: httpx.Request
    read: bool = False


_Flow = Generator[_Ask, httpx.Response, None]


class _Paying:
    """What `VoucherAuth` does, whichever library's `Auth` it is one of."""

    requires_request_body = True

    def __init__(self, payer: SessionPayer, terms: SessionTerms, endpoint: str, signed: SignedBy) -> None:
        self.payer, self._terms, self._endpoint, self._signed = payer, terms, endpoint, signed
        self._guess = FIRST_GUESS
        self._ready = False

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """For `httpx.Client`."""
        request.read()
        flow = self._flow(request)
        try:
            ask = next(flow)
            while True:
                response = yield ask.request
                if ask.read:
                    response.read()
                ask = flow.send(response)
        except StopIteration:
            return
        finally:
            flow.close()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """For `httpx.AsyncClient`."""
        await request.aread()
        flow = self._flow(request)
        try:
            ask = next(flow)
            while True:
                response = yield ask.request
                if ask.read:
                    await response.aread()
                ask = flow.send(response)
        except StopIteration:
            return
        finally:
            flow.close()

    def _flow(self, request: httpx.Request) -> _Flow:
        """`httpx.Request` and `Response` stand for those of the library at hand, here and below."""
        self.payer.check()
        if not self._ready:
            yield from self._begin(request)
        elif self.payer.behind and self.payer.idle:
            yield from self._catch_up(request)
        request.headers.pop("Authorization", None)  # a stock client's API key: the voucher pays
        pending, call = self.payer.begin(self._guess), None
        try:
            for _ in range(TRIES):
                request.headers.update(pending.voucher.headers())
                response = yield _Ask(request)
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    yield from self._begin(request)  # it may have lost what it knew of the session
                elif not self._asks_for_more(response):
                    break
                pending = self._again(pending, response)
            call = _Call(self.payer, pending, keccak(request.content))
            call.follow(response)
        finally:
            if call is None:
                # Broken off: the provider may have charged it.
                self.payer.behind = True
                self.payer.end(pending, None)

    def _asks_for_more(self, response: httpx.Response) -> bool:
        return response.status_code == httpx.codes.PAYMENT_REQUIRED and NEEDED_HEADER in response.headers

    def _again(self, pending: Pending, response: httpx.Response) -> Pending:
        text = response.headers.get(NEEDED_HEADER, "")
        if not text:
            self.payer.end(pending, None)
            return self.payer.begin(self._guess)
        if not (text.isascii() and text.isdecimal()) or len(text) > 39:
            raise BadInput(NEEDED_HEADER, text, "a number of units")
        corrected = self.payer.correct(pending, int(text), self._guess)
        self._guess = max(self._guess, corrected.most)
        return corrected

    # The account

    def _begin(self, like: httpx.Request) -> _Flow:
        """Have the session taken in; show our last receipt if the provider knows less, or catch up."""
        body = {"terms": self._terms.to_json()}
        account = yield from self._ask(like, "POST", SESSIONS_PATH, body)
        last, voucher = self.payer.last, self.payer.voucher
        calls = account.get("calls")
        if not isinstance(calls, int):
            raise Refused("its account of the session says no number of calls", self._endpoint)
        if last is not None and voucher is not None and calls < last.receipt.number:
            shown = {"units": str(voucher.units), "signature": "0x" + voucher.signature.hex()}
            path = path_of(self.payer.terms.session, "restore")
            yield from self._ask(like, "POST", path, last.to_json() | {"voucher": shown})
        elif last is None and calls == 0:
            self.payer.start_from(int(account["claimed"]))
        if calls > self.payer.after:
            yield from self._catch_up(like)
        elif self.payer.idle:
            self.payer.behind = False
        self._ready = True

    def _catch_up(self, like: httpx.Request) -> _Flow:
        """Fetch the receipts that we haven't seen."""
        session, more = self.payer.terms.session, True
        while more:
            path = f"{path_of(session, 'calls')}?after={self.payer.after}&limit={PAGE}"
            page = yield from self._ask(like, "GET", path, None)
            before = self.payer.after
            found = receipts_in(page, self._endpoint)
            for signed in found[:1]:
                self.payer.leap(signed)
            for signed in found:
                self.payer.take(signed)
            more = page.get("next") is not None and self.payer.after > before
        self.payer.behind = False

    def _ask(
        self, like: httpx.Request, method: str, path: str, body: dict[str, Any] | None
    ) -> Generator[_Ask, httpx.Response, dict[str, Any]]:
        """A request of our own, as patient as the caller's."""
        request = type(like)(method, self._endpoint + path, json=body, extensions=like.extensions)
        response = yield _Ask(next(self._signed.auth_flow(request)), read=True)
        try:
            data = response.json()
        except ValueError:
            data = {}
        if not response.is_success or not isinstance(data, dict):
            error = data.get("error") if isinstance(data, dict) else None
            said = error.get("message") if isinstance(error, dict) else None
            raise Refused(str(said or f"HTTP {response.status_code}")[:500], f"provider {self._endpoint}")
        return data


class VoucherAuth(_Paying, httpx.Auth):
    """Pays every request of an httpx client from one session. `endpoint` is the provider's API; `signed`
    signs requests for the account itself.
    """


@cache
def auth_type(library: ModuleType) -> type[VoucherAuth]:
    """`VoucherAuth` for clients of another library that is httpx under another name (httpx2)."""
    if library is httpx:
        return VoucherAuth
    return cast(type[VoucherAuth], type("VoucherAuth", (_Paying, library.Auth), {}))


class _Call:
    """A call whose response has begun: finds its receipt, in the header or after the stream's end."""

    def __init__(self, payer: SessionPayer, pending: Pending, request_hash: bytes) -> None:
        self._payer, self._pending, self._request_hash = payer, pending, request_hash
        self._ended = False

    def follow(self, response: httpx.Response) -> None:
        header = response.headers.get(RECEIPT_HEADER)
        streams = response.headers.get("content-type", "").startswith("text/event-stream")
        if header is not None:
            signed = self._parsed(header)
            self._end(signed)
            response.stream = watched(
                response.stream, lambda body: self._check_body(signed, body), partial=False
            )
        elif response.is_success and streams:
            response.stream = watched(response.stream, self._stream_ended, partial=True)
        else:
            if response.is_success:
                self._payer.behind = True  # an answer, and no receipt: what was charged is asked for
            self._end(None)

    def _stream_ended(self, body: bytes) -> None:
        answered, receipt = parted(body)
        if receipt is None:
            self._payer.behind = True
            self._end(None)
            return
        signed = self._parsed(receipt)
        self._end(signed)
        self._check_body(signed, answered)

    def _check_body(self, signed: SignedCallReceipt, body: bytes) -> None:
        """Raise ReceiptWrong unless the receipt is for this answer."""
        if keccak(body) != signed.receipt.response_hash:
            number = signed.receipt.number
            self._payer.wrong = ReceiptWrong(f"receipt {number} is for another answer than the one that came")
            raise self._payer.wrong

    def _end(self, signed: SignedCallReceipt | None) -> None:
        if not self._ended:
            self._ended = True
            self._payer.end(self._pending, signed, self._request_hash)

    def _parsed(self, text: str) -> SignedCallReceipt:
        try:
            return SignedCallReceipt.parse(text)
        except BadInput as bad:
            self._payer.end(self._pending, None)
            self._payer.wrong = ReceiptWrong(f"not a call receipt: {bad}")
            raise self._payer.wrong from None


def pay_by_vouchers(
    chain: Chain,
    endpoint: str,
    terms: SessionTerms,
    key: Wallet,
    *,
    cap: int,
    call_cap: int,
    state: Path | None = None,
    library: ModuleType = httpx,
) -> VoucherAuth:
    """An auth that pays from the session with these terms, whose vouchers `key` signs.

    `cap` base units are authorised at most in all, `call_cap` for one call. The oracle key that receipts must
    be signed by is the registry's, the rates are those that the provider offers now. `state` is the file to
    remember by, `library` the one that your client is built on: httpx, or httpx2. Raises
    ProviderUnreachable, BadInput, and ChainError.
    """
    sessions = chain.address("MeteredSessions")
    if key.address != terms.key:
        raise BadInput("key", key.address, f"the session's key {terms.key}")
    with SessionApi(endpoint) as api:
        offered = api.gateway().rates(terms.class_id)
        base = api.endpoint
    known = Terms(
        session=session_id(terms, chain.chain_id, sessions),
        chain_id=chain.chain_id,
        sessions=sessions,
        oracle=chain.at().oracle_of(terms.provider),
        rates={model_id(model): rate for model, rate in offered.items()},
        cap=cap,
        call_cap=call_cap,
    )
    signed = SignedBy(key, chain.chain_id, chain.address("JobMarket"))
    return auth_type(library)(SessionPayer(known, key, state), terms, base, signed)
