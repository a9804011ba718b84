"""What the APIs take and give, as types: FastAPI checks requests against them and documents them in OpenAPI.

Integers that the chain knows travel as decimal text, because JavaScript would round them; bytes as 0x hex.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from scrip.spec import JobSpec
from scrip.types import JobTerms, Receipt

Hash = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$")]
Hex = Annotated[str, Field(pattern=r"^0x([0-9a-fA-F]{2})*$")]
Decimal = Annotated[str, Field(pattern=r"^[0-9]{1,78}$")]

SPEC_SCHEMA: Final = {
    "title": "JobSpec",
    "type": "object",
    "properties": {"template": {"type": "string", "minLength": 1}, "params": {"type": "object"}},
    "required": ["template", "params"],
    "additionalProperties": False,
}
TermsField = Annotated[
    JobTerms,
    PlainValidator(JobTerms.from_json),
    PlainSerializer(JobTerms.to_json, return_type=dict[str, Any]),
    WithJsonSchema(JobTerms.json_schema()),
]
SpecField = Annotated[
    JobSpec,
    PlainValidator(JobSpec.from_json),
    PlainSerializer(JobSpec.to_json, return_type=dict[str, Any]),
    WithJsonSchema(SPEC_SCHEMA),
]
ReceiptField = Annotated[
    Receipt,
    PlainValidator(lambda value: value if isinstance(value, Receipt) else Receipt.from_json(value)),
    PlainSerializer(Receipt.to_json, return_type=dict[str, Any]),
    WithJsonSchema(Receipt.json_schema()),
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorDetail(_Shape):
    """What was wrong: a code for programs, a sentence for people, what was given and what is allowed."""

    code: str
    message: str
    given: str | None
    limit: str | None


class Error(BaseModel):
    """Every error of this API."""

    error: ErrorDetail


class QuoteRequest(_Shape):
    """A job somebody wants to open."""

    terms: TermsField
    spec: SpecField


class Quote(_Shape):
    """The provider's signature over the job's acceptance. `seconds` is the job's time limit."""

    jobId: Hash
    quote: Hex
    seconds: int
    simulated: bool


class SpecKept(_Shape):
    """The hash that a job names."""

    specHash: Hash


class Step(_Shape):
    """A state the job was in, since when (unix milliseconds), and why."""

    state: str
    atMs: int
    reason: str


class Refusal(_Shape):
    """A watcher that would not sign, the check that failed, and its signed statement (`scrip.ballots`)."""

    watcher: str
    check: str
    reason: str
    atMs: int
    statement: dict[str, Any] | None


class Equivocation(_Shape):
    """Two signed statements of a watcher that contradict each other (`scrip.ballots.Equivocation`)."""

    watcher: str
    first: dict[str, Any]
    second: dict[str, Any]
    atMs: int


class Equivocations(_Shape):
    """The latest proofs, newest first."""

    equivocations: list[Equivocation]


class JobSummary(_Shape):
    """A job in a list."""

    jobId: Hash
    state: str
    final: bool
    reason: str
    attempt: int
    simulated: bool
    classId: Decimal
    createdMs: int


class Job(JobSummary):
    """A job, with its receipt once there is one, and the transaction that settled it."""

    receipt: ReceiptField | None
    tx: Hash | None
    refusals: list[Refusal]
    steps: list[Step]


class JobPage(_Shape):
    """Jobs, newest first; `next` is the cursor of the page after this one, null on the last."""

    jobs: list[JobSummary]
    next: str | None


class Proof(_Shape):
    """That one sample is in the receipt's evidence root: `docs/evidence.md` says how to check it."""

    jobId: Hash
    attempt: int
    index: int
    count: int
    sample: dict[str, Any]
    previousLink: Hash | None
    link: Hash
    proof: list[Hash]
    root: Hash
    simulated: bool


class Health(BaseModel):
    """Whether the main loop makes progress."""

    ok: bool
    lastCycleSecondsAgo: float
    role: str


class Readiness(BaseModel):
    """Whether the node can work now, and what each part says."""

    ok: bool
    dryRun: bool
    checks: dict[str, Any]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these error statuses. 429 is anywhere."""
    return {status: {"model": Error} for status in sorted({*statuses, 429})}
