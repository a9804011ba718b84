"""A watcher's checks of one receipt, before it co-signs. Cheap ones first, the first that fails refuses.

Trust: everything in the bundle and the receipt comes from the provider and is taken for false until shown.
What the chain says (`JobFacts`, `now`) is the watcher's own reading. What passing means: the receipt follows
exactly from the samples, the samples belong to this job alone and stay within physical bounds, and the output
of a deterministic job is right. What it can't show: that samples of a consistent forger were measured. At
assurance 3 genuine GPUs answered for this job besides (`scrip.attestation` says what that leaves open).

Pure but for `reexecute`, which the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from oracle.attribution import AttributionError, Usage, attribute
from oracle.catalogue import Catalogue, SpecRefused, Template
from oracle.jobs.freivalds import check_output
from oracle.jobs.params import MatmulParams, Params
from oracle.receipt import (
    HARDWARE,
    TOKEN_RESOURCES,
    JobFacts,
    check_telemetry,
    cut_units,
    leased_gpus,
    metered_units,
    rate_limit,
)
from oracle.tdp import most_millijoules
from oracle.verify_artefacts import check_artefact
from scrip.attestation import check_gpu_reports
from scrip.errors import EvidenceInvalid, Refused, ScripError
from scrip.evidence import CLOCK_TOLERANCE_MS, Bundle, Check, output_hash, sealed_sku, verify_bundle
from scrip.samples import platform_of
from scrip.types import Outcome, Receipt, Status

AHEAD_S: Final = 30
"""How far a receipt may end after `now`: our node may lag the provider's. The contract itself allows nothing.
"""
CLOCK_APART_S: Final = 60
"""How far a host's clock may be from block time: a slot of the slowest chain, and a badly set clock."""
SPOTS: Final = 2
"""Earlier rounds or segments that a cheap check recomputes."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """What a job gave when the watcher ran it. `reason` is the executor's; tokens are None without any;
    `platform` is the watcher's own (`oracle.host`).
    """

    reason: str
    output: bytes
    input_tokens: int | None
    output_tokens: int | None
    platform: str


Reexecute = Callable[[bytes, Template, Params], Rerun | None]
"""Runs a job again, given its id, template and parameters; None if it isn't drawn. What it raises says
nothing about the receipt.
"""


class CannotJudge(ScripError):
    """Another output, on another platform, of a job only reproducible on its own: it proves nothing."""


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """A receipt to check, and all that is needed for it.

    `now` is the timestamp that a block mined now would carry. `reexecute` None: this watcher runs nothing
    again. `challenge` is the watcher's own fresh randomness (16 bytes or more), drawn after it had the
    bundle. `oracle` is the key registered for the provider; needed from assurance 3 on.
    """

    bundle: Bundle
    receipt: Receipt
    facts: JobFacts
    now: int
    catalogue: Catalogue
    reexecute: Reexecute | None
    challenge: bytes
    oracle: str = ""

    @property
    def completed(self) -> bool:
        """Whether the receipt charges for finished work."""
        return self.receipt.outcome == Outcome.COMPLETED


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The checks that passed, in order; a detail that begins with "skipped" says why one wasn't made."""

    job_id: bytes
    checks: tuple[Check, ...]
    usage: Usage

    def to_json(self) -> dict[str, Any]:
        """Plain JSON object."""
        rows = [{"name": check.name, "detail": check.detail} for check in self.checks]
        return {"jobId": "0x" + self.job_id.hex(), "checks": rows}


def verify_request(request: VerifyRequest) -> VerifyReport:
    """Check a receipt against chain, evidence, bounds and output. Raises Refused, CannotJudge."""
    checks = [Check(name, check(request)) for name, check in _CHAIN_CHECKS]
    checks += _check_bundle(request)
    usage = _usage(request)
    checks += [Check(name, check(request, usage)) for name, check in _USAGE_CHECKS]
    template, params = _parsed(request)
    checks += [Check(name, check(request, template, params)) for name, check in _SPEC_CHECKS]
    checks += check_artefact(request.bundle, usage, params) if request.completed else ()
    checks += _check_work(request, template, params)
    return VerifyReport(request.facts.job_id, tuple(checks), usage)


# --- what the chain says


def _check_state(request: VerifyRequest) -> str:
    state, terms = request.facts.state, request.facts.terms
    found = "over, or isn't opened" if state.status is Status.NONE else state.status.name
    _require(state.status is Status.RUNNING, "job.state", f"the job is {found}, not RUNNING")
    late = f"its deadline {terms.submit_by} is past, chain time is {request.now}"
    _require(request.now <= terms.submit_by, "job.state", late)
    return f"running since {state.opened_at}"


def _check_job(request: VerifyRequest) -> str:
    expected = request.facts.job_id
    detail = f"the receipt is for job 0x{request.receipt.job_id.hex()}, not 0x{expected.hex()}"
    _require(request.receipt.job_id == expected, "receipt.jobId", detail)
    return f"0x{expected.hex()}"


def _check_time(request: VerifyRequest) -> str:
    opened, latest = request.facts.state.opened_at, request.now + AHEAD_S
    started, ended = request.receipt.started_at, request.receipt.ended_at
    detail = f"opened {opened}, started {started}, ended {ended}, latest {latest}"
    _require(opened <= started <= ended <= latest, "receipt.time", detail)
    return f"{started} to {ended}"


def _check_assurance(request: VerifyRequest) -> str:
    level, least = request.receipt.assurance, request.facts.class_terms.min_assurance
    reported = level < HARDWARE or request.bundle.gpu_reports
    _require(bool(reported), "receipt.assurance", f"level {level} needs a report of each GPU, there is none")
    enough = level >= least or not request.completed
    _require(enough, "receipt.assurance", f"level {level}, the class needs {least}")
    return f"level {level}, class minimum {least}"


def _check_units_bound(request: VerifyRequest) -> str:
    units, most = request.receipt.units, request.facts.terms.max_units
    _require(units <= most, "bounds.units", f"{units} units, the job locked {most}")
    return f"{units} of {most} units"


def _check_rate(request: VerifyRequest) -> str:
    receipt = request.receipt
    most = rate_limit(request.facts, receipt.started_at, receipt.ended_at)
    _require(receipt.units <= most, "bounds.rate", f"{receipt.units} units, the class's rate allows {most}")
    return f"at most {most} units by rate"


# --- the evidence


def _check_bundle(request: VerifyRequest) -> tuple[Check, ...]:
    facts = request.facts
    try:
        passed = verify_bundle(
            request.bundle,
            chain_id=facts.chain_id,
            market=facts.market,
            job_nonce=facts.state.nonce,
            terms=facts.terms,
            receipt=request.receipt,
        )
        if request.completed and request.receipt.assurance >= HARDWARE:
            passed += check_gpu_reports(request.bundle, oracle=request.oracle, now=request.now)
    except EvidenceInvalid as problem:
        raise Refused(problem.detail, problem.check) from problem
    local = facts.local or not request.bundle.simulated
    _require(local, "simulated.chain", f"simulated telemetry on chain {facts.chain_id}, which isn't local")
    return passed


def _usage(request: VerifyRequest) -> Usage:
    if request.completed:
        check_telemetry(request.facts.class_terms, request.bundle.samples)
    try:
        return attribute(request.bundle.job_id, request.bundle.samples)
    except AttributionError as problem:
        raise Refused(str(problem), "usage.samples") from problem


# --- the receipt follows from the samples


def _check_units(request: VerifyRequest, usage: Usage) -> str:
    facts, receipt = request.facts, request.receipt
    metered = metered_units(usage, facts.class_terms) if request.completed else 0
    due, cuts = cut_units(metered, facts, receipt.started_at, receipt.ended_at)
    _require(
        receipt.units == due, "usage.units", f"the receipt charges {receipt.units}, the samples give {due}"
    )
    return f"{due} units" + "".join(f", cut from {cut.claimed} by {cut.limit}" for cut in cuts)


def _check_tokens(request: VerifyRequest, usage: Usage) -> str:
    given = (request.receipt.input_tokens, request.receipt.output_tokens)
    found = (usage.input_tokens or 0, usage.output_tokens or 0)
    _require(
        given == found, "usage.tokens", f"the receipt has {given} tokens in and out, the samples {found}"
    )
    return f"{found[0]} in, {found[1]} out"


def _check_energy(request: VerifyRequest, usage: Usage) -> str:
    given, found = request.receipt.gpu_millijoules, usage.gpu_millijoules
    _require(given == found, "usage.energy", f"the receipt has {given} mJ, the samples {found}")
    return f"{found} mJ, {usage.energy}"


def _check_seconds(request: VerifyRequest, usage: Usage) -> str:
    gpus, resources = len(leased_gpus(request.bundle.samples)), request.facts.terms.resources
    span_ms = _span_ms(request.bundle)
    open_ms = (request.now + AHEAD_S - request.facts.state.opened_at) * 1000 + CLOCK_TOLERANCE_MS
    _require(span_ms <= open_ms, "bounds.time", f"evidence of {span_ms} ms, the job is open for {open_ms} ms")
    _require(gpus <= resources, "bounds.time", f"{gpus} GPUs leased, the job allows {resources}")
    most = gpus * span_ms
    _require(usage.gpu_ms <= most, "bounds.time", f"{usage.gpu_ms} GPU ms in {span_ms} ms with {gpus} GPUs")
    claimed = (request.receipt.ended_at - request.receipt.started_at) * 1000
    allowed = span_ms + 1000 + CLOCK_TOLERANCE_MS  # both ends are rounded down to seconds
    _require(claimed <= allowed, "bounds.time", f"the receipt spans {claimed} ms, the evidence {span_ms} ms")
    return f"{usage.gpu_ms} GPU ms within {most}, {claimed} ms within {allowed}"


def _check_clock(request: VerifyRequest, _: Usage) -> str:
    """Wall clocks of public chains and hosts agree, so evidence can't be dated to when its GPU was free."""
    apart_ms = abs(request.receipt.ended_at * 1000 - request.bundle.samples[-1].at_ms)
    near = request.facts.local or apart_ms <= CLOCK_APART_S * 1000
    limit = f"{CLOCK_APART_S} s are allowed"
    _require(near, "bounds.clock", f"receipt and evidence end {apart_ms} ms apart, {limit}")
    return f"{apart_ms} ms apart" + (", not compared on a local chain" if request.facts.local else "")


def _check_power(request: VerifyRequest, usage: Usage) -> str:
    gpus = len(leased_gpus(request.bundle.samples))
    most = most_millijoules(request.facts.class_terms.sku, gpus, _span_ms(request.bundle))
    _require(usage.gpu_millijoules <= most, "bounds.power", f"{usage.gpu_millijoules} mJ, at most {most} fit")
    return f"{usage.gpu_millijoules} of at most {most} mJ"


# --- the work


def _parsed(request: VerifyRequest) -> tuple[Template, Params]:
    spec = request.bundle.spec
    try:
        return request.catalogue.template(spec.template), request.catalogue.parse(spec)
    except SpecRefused as problem:
        raise Refused(problem.reason, "spec.params") from problem


def _check_template(request: VerifyRequest, template: Template, _: Params) -> str:
    resource, label = request.facts.class_terms.resource, sealed_sku(request.bundle.samples)
    _require(resource in template.metered, "spec.resource", f"{template.name} isn't paid by {resource.label}")
    same = resource not in TOKEN_RESOURCES or not request.completed or template.sku in ("", label)
    _require(
        same, "spec.resource", f"{template.name} is served by {template.sku}, the evidence is of {label}"
    )
    return f"{template.name} paid by {resource.label}"


def _check_sizes(request: VerifyRequest, template: Template, params: Params) -> str:
    size, most = len(request.bundle.output), template.limits.output_bytes
    _require(size <= most, "bounds.output", f"an output of {size} bytes, the template's limit is {most}")
    tokens, given = params.most_tokens(), (request.receipt.input_tokens, request.receipt.output_tokens)
    fits = tokens is None or (given[0] <= tokens[0] and given[1] <= tokens[1])
    _require(fits, "bounds.output", f"{given} tokens in and out, the parameters allow {tokens}")
    return f"{size} of {most} bytes"


def _check_work(request: VerifyRequest, template: Template, params: Params) -> tuple[Check, ...]:
    if not request.completed:
        return (Check("output.recompute", "skipped: a failed job charges nothing"),)
    if not template.deterministic:
        return (
            Check("output.recompute", "skipped: the template isn't deterministic, its output isn't checked"),
        )
    spot = _check_spots(request, params)
    if isinstance(params, MatmulParams):
        return spot
    return (*spot, _check_rerun(request, template, params))


def _check_spots(request: VerifyRequest, params: Params) -> tuple[Check, ...]:
    name = "output.freivalds" if isinstance(params, MatmulParams) else "output.spots"
    try:
        found = check_output(params, request.bundle.output, request.challenge, spots=SPOTS)
    except EvidenceInvalid as problem:
        raise Refused(f"{problem.check}: {problem.detail}", name) from problem
    return (Check(name, "consistent with a random challenge"),) if found else ()


def _check_rerun(request: VerifyRequest, template: Template, params: Params) -> Check:
    name, receipt = "output.recompute", request.receipt
    if request.reexecute is None:
        return Check(name, "skipped: this watcher runs nothing again")
    again = request.reexecute(request.bundle.job_id, template, params)
    if again is None:
        return Check(name, "skipped: not in the sample that is run again")
    given = (receipt.input_tokens, receipt.output_tokens)
    found = (again.input_tokens or 0, again.output_tokens or 0)
    if (again.reason, again.output, found) != ("ok", request.bundle.output, given):
        _check_platform(request, template, again)
    _require(again.reason == "ok", name, f"run again, the job doesn't complete: {again.reason}")
    digest = "0x" + output_hash(again.output).hex()
    other = f"run again, the job gives another output, of hash {digest}"
    _require(again.output == request.bundle.output, name, other)
    _require(
        given == found, name, f"run again, the job takes {found} tokens in and out, the receipt has {given}"
    )
    tokens = f"tokens {found[0]} in and {found[1]} out"
    return Check(name, f"same {len(again.output)} bytes of hash {digest}, {tokens}, on {again.platform}")


def _check_platform(request: VerifyRequest, template: Template, again: Rerun) -> None:
    """Raise CannotJudge if the difference may come from the processor."""
    theirs = platform_of(request.bundle.samples)
    if template.same_on == "platform" and theirs not in ("", again.platform):
        raise CannotJudge(
            f"run again on {again.platform}, {template.name} gives another output; it ran on {theirs} and is "
            "only reproducible there. Ask a watcher on that platform"
        )


def _span_ms(bundle: Bundle) -> int:
    return (bundle.samples[-1].mono_ns - bundle.samples[0].mono_ns) // 1_000_000


def _require(ok: bool, check: str, reason: str) -> None:
    if not ok:
        raise Refused(reason, check)


_CHAIN_CHECKS: Final[tuple[tuple[str, Callable[[VerifyRequest], str]], ...]] = (
    ("job.state", _check_state),
    ("receipt.jobId", _check_job),
    ("receipt.time", _check_time),
    ("receipt.assurance", _check_assurance),
    ("bounds.units", _check_units_bound),
    ("bounds.rate", _check_rate),
)
_USAGE_CHECKS: Final[tuple[tuple[str, Callable[[VerifyRequest, Usage], str]], ...]] = (
    ("usage.units", _check_units),
    ("usage.tokens", _check_tokens),
    ("usage.energy", _check_energy),
    ("bounds.time", _check_seconds),
    ("bounds.clock", _check_clock),
    ("bounds.power", _check_power),
)
_SPEC_CHECKS: Final[tuple[tuple[str, Callable[[VerifyRequest, Template, Params], str]], ...]] = (
    ("spec.resource", _check_template),
    ("bounds.output", _check_sizes),
)
