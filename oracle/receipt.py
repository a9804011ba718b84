"""From what a job used to the receipt that says so. Pure: no clock, no I/O, integers only.

Provider and watchers run the same functions, so a watcher re-derives a receipt from the evidence and compares
it exactly. Nothing is assumed: where the metering of the class's resource is missing, there is no receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from oracle.attribution import Usage
from oracle.tdp import tenants_of
from scrip.amounts import GB, HOUR_S
from scrip.eip712 import job_id as job_id_of
from scrip.errors import Refused
from scrip.evidence import Result, Sample, evidence_root, output_hash, sealed_sku
from scrip.samples import leased_gpus as leased_gpus
from scrip.structs import ZERO_BYTES32
from scrip.types import ClassTerms, JobState, JobTerms, Outcome, Receipt, Resource, sku_id

SELF_REPORTED: Final = 0
TELEMETRY: Final = 1
HARDWARE: Final = 3
_NVML_SOURCES: Final = frozenset({"nvml", "nvml-replay"})
TOKEN_RESOURCES: Final = frozenset({Resource.INPUT_TOKEN, Resource.OUTPUT_TOKEN})
ARTEFACT_RESOURCES: Final = frozenset({Resource.GB_HOUR, Resource.GB_TRANSFER})


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the chain says about a job. `local` is whether the chain is a local one, with no value on it."""

    chain_id: int
    market: str
    terms: JobTerms
    class_terms: ClassTerms
    state: JobState
    local: bool

    @property
    def job_id(self) -> bytes:
        """Id of the job, from its terms."""
        return job_id_of(self.terms, self.chain_id, self.market)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run as recorded. `samples` are sealed, times are chain seconds (`anchor_interval`)."""

    samples: Sequence[Sample]
    usage: Usage
    result: Result
    output: bytes
    started_at: int
    ended_at: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A limit that lowered the units: `limit` is "max_units" or "max_rate", values are base units."""

    limit: str
    claimed: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Draft:
    """An unsigned receipt, the units metered before any cut, and the cuts."""

    receipt: Receipt
    metered: int
    cuts: tuple[Cut, ...]


def make_receipt(facts: JobFacts, attempt: Attempt) -> Draft:
    """The receipt of one run, at assurance 1, or 0 if any telemetry is simulated.

    A run that didn't end well gives a Failed receipt of 0 units, whatever was metered. Raises Refused(reason,
    check) when no honest receipt can be made.
    """
    completed = attempt.result.completed
    _check_interval(facts, attempt.started_at, attempt.ended_at)
    _check_simulated(facts, attempt.usage.simulated)
    if completed:
        check_telemetry(facts.class_terms, attempt.samples)
    metered = metered_units(attempt.usage, facts.class_terms) if completed else 0
    units, cuts = cut_units(metered, facts, attempt.started_at, attempt.ended_at)
    assurance = SELF_REPORTED if attempt.usage.simulated else TELEMETRY
    if completed and attempt.usage.simulated and facts.class_terms.min_assurance > SELF_REPORTED:
        need = facts.class_terms.min_assurance
        raise Refused(f"simulated telemetry is assurance 0, the class needs {need}", "simulated.assurance")
    receipt = Receipt(
        job_id=facts.job_id,
        outcome=Outcome.COMPLETED if completed else Outcome.FAILED,
        units=units,
        gpu_millijoules=attempt.usage.gpu_millijoules,
        input_tokens=attempt.usage.input_tokens or 0,
        output_tokens=attempt.usage.output_tokens or 0,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        output_hash=output_hash(attempt.output),
        evidence_root=evidence_root(
            facts.chain_id, facts.market, facts.job_id, facts.state.nonce, attempt.samples
        ),
        assurance=assurance,
    )
    return Draft(receipt, metered, cuts)


def with_assurance(receipt: Receipt, level: int) -> Receipt:
    """The receipt at another level: raised to 2 or 3 for the watchers to sign, or back to 1 if they don't.

    The contract accepts a level above 1 only with the watchers' signatures. Raises Refused for simulated
    telemetry, which stays at 0, and for a level that isn't 1, 2 or 3.
    """
    if level == receipt.assurance:
        return receipt
    if receipt.assurance == SELF_REPORTED or not TELEMETRY <= level <= HARDWARE:
        raise Refused(f"assurance {receipt.assurance} can't become {level}", "receipt.assurance")
    return replace(receipt, assurance=level)


def metered_units(usage: Usage, terms: ClassTerms) -> int:
    """Base units of the class's resource that were metered, rounded down. Raises Refused if it wasn't.

    1 credit = 10**decimals base units = one second of one GPU or CPU, one token, one GB kept for an hour or
    one GB moved. A GB is 10**9 bytes.
    """
    scale = int(10**terms.decimals)
    if terms.resource == Resource.GPU_SECOND:
        return usage.gpu_ms * scale // 1_000
    if terms.resource == Resource.CPU_SECOND:
        return _measured(usage.cpu_us, "cpu_us") * scale // 1_000_000
    if terms.resource == Resource.OUTPUT_TOKEN:
        return _measured(usage.output_tokens, "output_tokens") * scale
    if terms.resource == Resource.INPUT_TOKEN:
        return _measured(usage.input_tokens, "input_tokens") * scale
    if terms.resource == Resource.GB_HOUR:
        return _measured(usage.stored_byte_ns, "stored_bytes") * scale // (GB * HOUR_S * 10**9)
    if terms.resource == Resource.GB_TRANSFER:
        return _measured(usage.moved_bytes, "moved_bytes") * scale // GB
    raise Refused(f"nothing meters the resource {terms.resource.label}", "usage.telemetry")


def cut_units(metered: int, facts: JobFacts, started_at: int, ended_at: int) -> tuple[int, tuple[Cut, ...]]:
    """Units to charge: what was metered, at most the job's `max_units` and what its class's rate allows."""
    limits = (("max_units", facts.terms.max_units), ("max_rate", rate_limit(facts, started_at, ended_at)))
    units, cuts = metered, []
    for name, allowed in limits:
        if units > allowed:
            cuts.append(Cut(name, units, allowed))
            units = allowed
    return units, tuple(cuts)


def rate_limit(facts: JobFacts, started_at: int, ended_at: int) -> int:
    """The contract's bound: (endedAt - startedAt + 1) * resources * maxRate base units."""
    return (ended_at - started_at + 1) * facts.terms.resources * facts.class_terms.max_rate


def check_telemetry(terms: ClassTerms, samples: Sequence[Sample]) -> None:
    """Refuse samples that can't support the class: wrong SKU or model, or a GPU that nothing was read from.

    A SKU label is the provider's word, bound into the evidence; only assurance 3 proves the hardware. Raises
    Refused("class.sku" or "usage.telemetry"), EvidenceInvalid("evidence.seal").
    """
    label = sealed_sku(samples)
    if terms.sku not in (ZERO_BYTES32, sku_id(label)):
        raise Refused(f"the evidence is of {label!r}, the class sells another SKU or model", "class.sku")
    models = {sample.device for sample in samples if sample.source == "tokens"}
    if terms.resource in TOKEN_RESOURCES and models - {label}:
        raise Refused(f"tokens of {sorted(models)} were counted, the SKU is {label!r}", "class.sku")
    gpus = leased_gpus(samples)
    if terms.resource == Resource.GPU_SECOND and not gpus:
        raise Refused("no GPU was leased, and the class sells GPU-seconds", "usage.telemetry")
    for gpu in gpus:
        _check_shared(label, gpu, samples)
        edges = {sample.edge for sample in samples if sample.device == gpu and sample.source in _NVML_SOURCES}
        if not {"start", "end"} <= edges:
            raise Refused(
                f"no NVML reading of {gpu} at both edges: nothing shows it was there", "usage.telemetry"
            )


def _check_shared(label: str, gpu: str, samples: Iterable[Sample]) -> None:
    """A share of a GPU is another good than a GPU: SKU and evidence say alike how many jobs share one."""
    sold = tenants_of(label)
    slots = {sample.value for sample in samples if (sample.device, sample.metric) == (gpu, "share_slots")}
    if (slots or {1}) != {sold}:
        held = f"{gpu} takes {sorted(slots) or 1} jobs at once by its evidence"
        raise Refused(f"{held}, {sold} by the SKU {label!r}", "class.sku")


def anchor_interval(
    opened_at: int, chain_now: int, wall_start_ms: int, wall_end_ms: int, wall_now_ms: int
) -> tuple[int, int]:
    """(started, ended) in chain seconds of a run that took place between two wall-clock times.

    The contract compares receipts with block timestamps, and a chain's clock need not be ours: Anvil's runs
    ahead when blocks are mined faster than one a second, and it stands still while nothing is mined. So the
    run is moved by the two clocks' difference now, `chain_now - wall_now`, and further if it would otherwise
    begin before the job was opened, which can't be. The result keeps the run's length, except that it never
    ends after `chain_now`; a shorter interval only lowers the rate limit.

    `chain_now` must be the timestamp that a block mined now would carry (the pending block's), not that of a
    latest block which may be old. A wall clock set forward or back after the run changes nothing beyond these
    bounds; take `wall_end_ms` as the start plus the monotonic time passed, so that one set during the run
    doesn't either. Raises Refused if the run ends before it starts or the job is opened in the future.
    """
    if wall_end_ms < wall_start_ms:
        raise Refused(
            f"the run ends at {wall_end_ms} ms, before its start at {wall_start_ms}", "receipt.time"
        )
    if chain_now < opened_at:
        raise Refused(f"chain time {chain_now} is before the job was opened, {opened_at}", "receipt.time")
    wall_now_ms = max(wall_now_ms, wall_end_ms)  # a clock set back since then
    offset_ms = max(chain_now * 1000 - wall_now_ms, opened_at * 1000 - wall_start_ms)
    started = (wall_start_ms + offset_ms) // 1000
    ended = (wall_end_ms + offset_ms) // 1000
    return min(started, chain_now), min(ended, chain_now)


def _measured(value: int | None, metric: str) -> int:
    if value is None:
        raise Refused(f"{metric} wasn't metered, and the class is charged by it", "usage.telemetry")
    return value


def _check_interval(facts: JobFacts, started_at: int, ended_at: int) -> None:
    opened_at = facts.state.opened_at
    if not opened_at <= started_at <= ended_at:
        times = f"opened {opened_at}, started {started_at}, ended {ended_at}"
        raise Refused(f"times out of order: {times}", "receipt.time")


def _check_simulated(facts: JobFacts, simulated: bool) -> None:
    if simulated and not facts.local:
        raise Refused(f"simulated telemetry on chain {facts.chain_id}, which isn't local", "simulated.chain")
