"""Endpoints of session accounts, on the provider's API. Docs: docs/gateway.md.

Whoever has a session's terms may have it taken in: they are public on chain. Everything else is for the
session's payer, its key and its budget's spender, by signed request (`scrip.signed_requests`). Watchers and
arbiters of the session's class see its calls too, so that they can run some of them again (`oracle.audits`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse

from oracle.api_auth import Forbidden, Signer
from oracle.api_models import errors
from oracle.gateway import api_models as models
from oracle.gateway.accounts import Accounts, AccountView
from oracle.gateway.keys import KeyLimits
from oracle.gateway.refusals import GatewayRefused
from oracle.gateway.service import Gateway
from scrip.call_receipts import SignedCallReceipt
from scrip.structs import to_bytes
from scrip.vouchers import Voucher

PREFIX: Final = "/v1/scrip/sessions"
MOST_LISTED: Final = 200

Session = Annotated[str, Path(pattern=r"^(0x)?[0-9a-fA-F]{64}$")]
_PARTY: Final = (401, 403, 404, 409, 422, 503)


def install_refusals(app: FastAPI) -> None:
    """Give `app` the gateway's refusals, in OpenAI's shape."""

    async def refused(_: Request, error: GatewayRefused) -> JSONResponse:
        return JSONResponse(error.body(), error.status, error.headers)

    app.add_exception_handler(GatewayRefused, refused)  # type: ignore[arg-type]


def add_sessions(app: FastAPI, gateway: Gateway) -> None:
    """The endpoints of session accounts."""
    install_refusals(app)
    parties = _Parties(gateway.accounts)
    _add_accounts(app, gateway.accounts, parties)
    _add_keys(app, gateway.accounts, parties)


def _add_accounts(app: FastAPI, accounts: Accounts, parties: _Parties) -> None:
    @app.post(PREFIX, responses=_answers(400, 409, 413, 422, 503))
    def open_session(asked: models.OpenRequest) -> models.Account:
        """Take in a session that was opened on chain, or read it again. Its deposit counts once it is
        final.
        """
        return _shown(accounts.open(asked.terms))

    @app.get(PREFIX + "/{session}", responses=_answers(*_PARTY))
    def show_session(session: Session, signer: Signer) -> models.Account:
        """The account as it is now."""
        return _shown(accounts.view(parties.check(session, signer, closed=True)))

    @app.post(PREFIX + "/{session}/vouchers", responses=_answers(400, 402, 413, *_PARTY))
    def take_voucher(session: Session, voucher: models.VoucherBody, signer: Signer) -> models.Account:
        """Authorise more without a call, e.g. for API keys to spend."""
        found = parties.check(session, signer)
        accounts.authorise(found, _voucher(found, voucher))
        return _shown(accounts.view(found))

    @app.post(PREFIX + "/{session}/restore", responses=_answers(400, 402, 413, *_PARTY))
    def restore(session: Session, asked: models.RestoreRequest, signer: Signer) -> models.Account:
        """Go on from the client's last receipt, if this provider has lost what it knew of the session."""
        found = parties.check(session, signer)
        shown = SignedCallReceipt(asked.receipt, to_bytes("signature", asked.signature, 65))
        return _shown(accounts.restore(found, shown, _voucher(found, asked.voucher)))

    @app.get(PREFIX + "/{session}/calls", responses=_answers(*_PARTY))
    def calls(
        session: Session,
        signer: Signer,
        after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
    ) -> models.CallPage:
        """Receipts of charged calls, in order, from the one that follows number `after` on."""
        found = parties.check(session, signer, closed=True, judges=True)
        accounts.settled(found)
        rows = accounts.book.calls(found, after, limit + 1)
        more = len(rows) > limit
        return models.CallPage(
            calls=[models.Call.of(row) for row in rows[:limit]], next=rows[limit - 1].number if more else None
        )

    @app.get(PREFIX + "/{session}/calls/{number}", responses=_answers(*_PARTY))
    def call(
        session: Session, number: Annotated[int, Path(ge=1, lt=1 << 63)], signer: Signer
    ) -> models.CallBody:
        """What a deterministic call asked and was answered, in base64, while it is kept."""
        found = parties.check(session, signer, closed=True, judges=True)
        accounts.settled(found)
        return models.CallBody.of(accounts.book.body(found, number))


def _add_keys(app: FastAPI, accounts: Accounts, parties: _Parties) -> None:
    @app.post(PREFIX + "/{session}/keys", responses=_answers(400, 413, *_PARTY))
    def make_key(session: Session, asked: models.KeyRequest, signer: Signer) -> models.NewKey:
        """Make an API key that spends what the session's vouchers have authorised, within limits."""
        accounts.check_leads()
        limits = KeyLimits(
            cap=int(asked.capUnits),
            models=tuple(asked.models),
            expires_at=asked.expiresAt,
            per_minute=asked.callsPerMinute,
            name=asked.name,
        )
        return models.NewKey.made(*accounts.keys.create(parties.check(session, signer), limits))

    @app.get(PREFIX + "/{session}/keys", responses=_answers(*_PARTY))
    def list_keys(session: Session, signer: Signer) -> models.KeyList:
        """The session's API keys, without their secrets."""
        found = parties.check(session, signer)
        accounts.settled(found)
        rows = accounts.keys.list(found)
        return models.KeyList(keys=[models.Key.of(row) for row in rows])

    @app.delete(PREFIX + "/{session}/keys/{key}", status_code=204, responses=_answers(*_PARTY))
    def revoke_key(
        session: Session, key: Annotated[str, Path(pattern=r"^key_[0-9a-f]{16}$")], signer: Signer
    ) -> None:
        """End an API key, from now on."""
        accounts.check_leads()
        accounts.keys.revoke(parties.check(session, signer), key)


class _Parties:
    """Whose session it is."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def check(self, session: str, signer: str, *, closed: bool = False, judges: bool = False) -> bytes:
        """The session's id. Raises Forbidden unless `signer` pays, signs vouchers or spends its budget, or is
        a watcher or arbiter of its class where `judges` may see it; UnknownSession; SessionClosing if it is
        closed, unless closed ones will do.
        """
        found = to_bytes("session", "0x" + session.removeprefix("0x").lower(), 32)
        terms = self._accounts.roster.account(found, closed=closed).terms
        if signer in (terms.payer, terms.key):
            return found
        if terms.budget_id and signer == self._accounts.chain.spender_of(terms.budget_id):
            return found
        if judges and self._accounts.chain.facts.judges(signer, terms.class_id):
            return found
        also = ", and the watchers and arbiters of its class" if judges else ""
        raise Forbidden(signer, f"the session's payer, its key, and its budget's spender{also}")


def _shown(view: AccountView) -> models.Account:
    return models.Account(**{**view.to_json(), "terms": view.terms})


def _voucher(session: bytes, body: models.VoucherBody) -> Voucher:
    return Voucher(session, int(body.units), to_bytes("signature", body.signature, 65))


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors of the API and refusals of the gateway share statuses: either shape may come."""
    known = errors(*statuses)
    return {status: {"model": entry["model"] | models.Refusal} for status, entry in known.items()}
