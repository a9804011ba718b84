"""The endpoints of x402: credits, jobs, and the facilitator (docs/x402.md)."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from x402 import x402FacilitatorSync
from x402.http.constants import PAYMENT_REQUIRED_HEADER, PAYMENT_RESPONSE_HEADER, PAYMENT_SIGNATURE_HEADER
from x402.schemas import SchemeNotFoundError, SettleResponse, VerifyRequest, VerifyResponse

from oracle import api_errors
from oracle import api_models as models
from oracle.api_auth import Gate, SignedRequest
from oracle.api_models import errors
from oracle.evidence import EvidenceStore
from oracle.models import JobRow
from oracle.models_x402 import PaymentRow
from oracle.store import Store
from oracle.x402.payments import Kind, PaymentConflict, Stage
from oracle.x402.sale import sale_of
from oracle.x402.shop import Answer, Malformed, Resource, Shop, check_amount
from scrip.errors import NotFound
from scrip.structs import to_bytes

FACILITATOR: Final = "/x402/facilitator"
MOST_UNITS: Final = (1 << 96) - 1
EXPOSED: Final = {
    "Access-Control-Expose-Headers": f"{PAYMENT_REQUIRED_HEADER}, {PAYMENT_RESPONSE_HEADER}, Location"
}

Id = Annotated[str, Path(pattern=r"^0x[0-9a-fA-F]{64}$")]
ClassId = Annotated[int, Query(ge=1, lt=1 << 63)]
Units = Annotated[int, Query(ge=1, le=MOST_UNITS)]


class Purchase(BaseModel):
    """A purchase of credits: `units` base units for `amount` base units of `asset`."""

    paymentId: models.Hash
    stage: str
    settled: bool
    reason: str
    payer: str
    classId: models.Decimal
    units: models.Decimal
    asset: str
    amount: models.Decimal
    paymentTx: models.Hash | None
    deliveryTx: models.Hash | None


class PaidJob(BaseModel):
    """A job that was paid for. `payment` is how far the payment is; ask at `Location` for the rest."""

    jobId: models.Hash
    payment: str
    state: str


class PolledJob(models.Job):
    """A job, and for its parties its output once there is a receipt."""

    output: str | None
    """Base64."""


async def _asker(request: Request) -> str | None:
    """Who signed the request, if it is signed at all. Raises Unauthorised."""
    return await SignedRequest()(request) if request.headers.get("Authorization") else None


def _payment(
    signature: Annotated[str | None, Header(alias=PAYMENT_SIGNATURE_HEADER)] = None,
    legacy: Annotated[str | None, Header(alias="X-PAYMENT")] = None,
) -> str | None:
    return signature or legacy


Payment = Annotated[str | None, Depends(_payment)]
Asker = Annotated[str | None, Depends(_asker)]


def install(app: FastAPI) -> None:
    """Errors of payments."""

    @app.exception_handler(PaymentConflict)
    async def conflict(_: Request, error: PaymentConflict) -> JSONResponse:
        return api_errors.answer(409, "payment_conflict", str(error))

    @app.exception_handler(Malformed)
    async def malformed(_: Request, error: Malformed) -> JSONResponse:
        return api_errors.answer(400, "invalid_payload", str(error))


def add_shop(app: FastAPI, shop: Shop, store: Store, evidence: EvidenceStore) -> None:
    """Credits and jobs for payments, and the facilitator beside them."""
    install(app)
    app.include_router(facilitator_routes(shop.facilitator), prefix=FACILITATOR)
    _add_credits(app, shop)
    _add_jobs(app, shop, store, evidence)


def facilitator_app(facilitator: x402FacilitatorSync) -> FastAPI:
    """A facilitator by itself."""
    app = FastAPI(title="Scrip facilitator", version="2", docs_url=None, redoc_url=None)
    api_errors.install(app, 256 * 1_024)
    install(app)
    app.include_router(facilitator_routes(facilitator))
    return app


def facilitator_routes(facilitator: x402FacilitatorSync) -> APIRouter:
    """`/verify`, `/settle` and `/supported`, as the x402 specification has them."""
    router = APIRouter()

    @router.get("/supported", responses=errors())
    def supported() -> dict[str, Any]:
        """Schemes, networks, extensions and the account that sends."""
        return facilitator.get_supported().model_dump(by_alias=True, exclude_none=True)

    @router.post("/verify", responses=errors(400, 409, 413, 422, 503))
    def verify(asked: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Whether a payment could be settled now."""
        request = _read(asked)
        try:
            found = facilitator.verify(request.payment_payload, request.payment_requirements)
        except SchemeNotFoundError:
            found = VerifyResponse(is_valid=False, invalid_reason=_unsupported(facilitator, request))
        return found.model_dump(by_alias=True, exclude_none=True)

    @router.post("/settle", responses=errors(400, 409, 413, 422, 503))
    def settle(asked: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Settle a payment, or say that its outcome is open (`settlement_pending`): then ask again."""
        request = _read(asked)
        try:
            found = facilitator.settle(request.payment_payload, request.payment_requirements)
        except SchemeNotFoundError:
            found = SettleResponse(
                success=False, error_reason=_unsupported(facilitator, request), transaction="",
                network=request.payment_requirements.network,
            )  # fmt: skip
        return found.model_dump(by_alias=True, exclude_none=True)

    return router


def _read(asked: dict[str, Any]) -> VerifyRequest:
    try:
        request = VerifyRequest.model_validate(asked)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"{where}: {first['msg']}") from None
    if request.x402_version != 2:
        raise Malformed(f"x402Version is {request.x402_version}, must be 2")
    return request


def _unsupported(facilitator: x402FacilitatorSync, request: VerifyRequest) -> str:
    networks = {kind.network for kind in facilitator.get_supported().kinds}
    known = request.payment_payload.accepted.network in networks
    return "unsupported_scheme" if known else "invalid_network"


def _add_credits(app: FastAPI, shop: Shop) -> None:
    @app.post("/x402/credits/{class_id}", responses=_paid(200, 202, 400, 402, 404, 409, 422, 503))
    def buy(class_id: Annotated[int, Path(ge=1, lt=1 << 63)], units: Units, payment: Payment) -> Response:
        """Buy credits by the scheme `exact`. The same payment again gets the same answer."""
        check_amount("units", units, MOST_UNITS)
        asked = {"tokenId": str(class_id), "units": str(units)}
        answer = shop.sell(payment, lambda: shop.credits(class_id, units), asked)
        if answer.row is None or answer.error is not None:
            return _refused(answer)
        where = {"Location": f"/x402/purchases/0x{answer.row.payment_id.hex()}"}
        return _answer(answer, _purchase(answer.row).model_dump(), where)

    @app.get("/x402/purchases/{payment_id}", responses=errors(404, 422))
    def purchase(payment_id: Id) -> Purchase:
        """How far a purchase is. Free."""
        row = shop.settlements.payments.get(_id(payment_id))
        if row.kind != Kind.SALE:
            raise NotFound("purchase", row.payment_id, "It is the payment of a job: ask at /x402/jobs")
        return _purchase(row)


def _add_jobs(app: FastAPI, shop: Shop, store: Store, evidence: EvidenceStore) -> None:
    @app.post("/x402/jobs", responses=_paid(202, 400, 402, 404, 409, 413, 422, 503))
    def take(
        spec: models.SpecField,
        class_id: ClassId,
        max_units: Units,
        payment: Payment,
        resources: Annotated[int, Query(ge=1, lt=1 << 32)] = 1,
    ) -> Response:
        """Pay for a job by the scheme `credit-escrow`. The same payment again is the same job."""

        def offered() -> Resource:
            return shop.job(spec, class_id, max_units, resources)

        asked = {"tokenId": str(class_id), "specHash": shop.hash_of(spec)}
        answer = shop.take_job(payment, offered, asked, spec)
        if answer.row is None or answer.error is not None:
            return _refused(answer)
        job_id, found = answer.row.payment_id, store.find(answer.row.payment_id)
        content = PaidJob(
            jobId="0x" + job_id.hex(), payment=answer.row.stage, state=found.state if found else "opening"
        )
        return _answer(answer, content.model_dump(), {"Location": f"/x402/jobs/0x{job_id.hex()}"}, status=202)

    @app.get("/x402/jobs/{job_id}", responses=errors(401, 403, 404, 422, 503))
    def poll(request: Request, job_id: Id, asker: Asker) -> PolledJob:
        """State of a job, and its receipt once there is one. Free. A party that signs the request gets the
        output as well.
        """
        from oracle.api import job_json

        row = store.job(_id(job_id))
        if asker is not None:
            gate: Gate = request.app.state.gate
            gate.check_party(asker, row.terms)
        shown = job_json(row, store)
        return PolledJob(**shown, output=None if asker is None else _output(row, evidence))


def _output(row: JobRow, evidence: EvidenceStore) -> str | None:
    if row.receipt is None:
        return None
    return base64.b64encode(evidence.get(row.job_id, row.attempt).output).decode()


def _purchase(row: PaymentRow) -> Purchase:
    sale, stage = sale_of(row), Stage(row.stage)
    return Purchase(
        paymentId="0x" + row.payment_id.hex(), stage=stage.value, settled=stage.settled, reason=row.reason,
        payer=row.payer, classId=str(sale.class_id), units=str(sale.units), asset=sale.paid.token,
        amount=str(sale.paid.value), paymentTx=_hex(row.paid_tx), deliveryTx=_hex(row.done_tx),
    )  # fmt: skip


def _answer(
    answer: Answer, content: dict[str, Any], headers: dict[str, str], status: int | None = None
) -> Response:
    shown = {**EXPOSED, **answer.headers, **headers, "Cache-Control": "no-store"}
    return JSONResponse(content, status or answer.status, headers=shown)


def _refused(answer: Answer) -> Response:
    code, message = answer.error or ("refused", "not paid")
    refused = api_errors.answer(answer.status, code, message)
    refused.headers.update({**EXPOSED, **answer.headers, "Cache-Control": "no-store"})
    return refused


def _paid(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return errors(*(status for status in statuses if status >= 400))


def _id(text: str) -> bytes:
    return to_bytes("id", text.lower(), 32)


def _hex(raw: bytes | None) -> str | None:
    return None if raw is None else "0x" + raw.hex()
