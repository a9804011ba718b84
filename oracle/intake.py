"""Which jobs a provider takes: one list of rules for quotes and for jobs found on chain. Pure.

`admit` looks at what was asked, what the chain says of the class and how busy we are, and either plans the
job or declines with a typed reason. Its order is fixed: cheap and lasting reasons first, capacity last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from oracle.catalogue import KEEP_SLACK_S, Catalogue, SpecRefused, Template
from oracle.executors.base import LOCAL
from oracle.facts import ClassFacts
from oracle.fetch import origin
from oracle.jobs.artefact import allowed
from oracle.jobs.params import ArtefactParams, Params
from oracle.receipt import ARTEFACT_RESOURCES, HARDWARE, TOKEN_RESOURCES
from oracle.settings import ProviderSettings
from scrip.errors import Refused
from scrip.spec import JobSpec, spec_hash
from scrip.structs import ZERO_BYTES32
from scrip.types import JobTerms, Resource, sku_id

WATCHED: Final = 2
HINT_FACTOR: Final = 2
"""A job gets at least this many times its estimated duration, or it isn't taken: estimates are rough."""


class Why(StrEnum):
    """Why a job isn't taken."""

    PROVIDER = "provider"
    SPEC = "spec"
    CLASS = "class"
    UNPAID = "unpaid"
    SKU = "sku"
    RESOURCE = "resource"
    ASSURANCE = "assurance"
    UNITS = "units"
    BALANCE = "balance"
    DEADLINE = "deadline"
    CAPACITY = "capacity"


class Declined(Refused):
    """A job that isn't taken: `why`, what was given and what the limit is."""

    def __init__(self, why: Why, reason: str, given: object, limit: object) -> None:
        self.why, self.given, self.limit = why, given, limit
        super().__init__(f"{reason}: given {given}, {limit}", why.value)

    @property
    def passing(self) -> bool:
        """Whether the same job might be taken later."""
        return self.why in (Why.CAPACITY, Why.BALANCE)


@dataclass(frozen=True, slots=True)
class Policy:
    """What this node offers. `key` is its oracle key, None in a dry run; `watchers` how many it can ask;
    `simulated` whether its GPU metering is; `attests` whether its GPUs sign reports (assurance 3);
    `cluster_gpus` how many GPUs a job can have, by engine.
    """

    provider: ProviderSettings
    catalogue: Catalogue
    key: str | None
    watchers: int
    simulated: bool
    attests: bool = False
    cluster_gpus: Mapping[str, int] = field(default_factory=dict)

    def gpus_of(self, engine: str) -> int:
        """GPUs that one job on this engine can have."""
        return len(self.provider.gpus) if engine == LOCAL else self.cluster_gpus.get(engine, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job will run: `seconds` is its time limit, `sku` the label its evidence is sealed with,
    `content` the output of an earlier job that it works on.
    """

    template: Template
    params: Params
    resource: Resource
    sku: str
    gpus: int
    seconds: int
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the node is: jobs that hold a place, and units this payer has quotes for in this class
    already.
    """

    taken: int
    quoted_units: int = 0


def check_asked(terms: JobTerms, spec: JobSpec, policy: Policy) -> None:
    """Raise Declined unless the job is for us and `spec` is the one its terms name."""
    ours = policy.provider.address
    if terms.provider != ours:
        raise Declined(Why.PROVIDER, "the job is for another provider", terms.provider, f"this is {ours}")
    found = spec_hash(spec)
    if found != terms.spec_hash:
        raise Declined(
            Why.SPEC, "the spec isn't the one in the terms", "0x" + found.hex(), "0x" + terms.spec_hash.hex()
        )


def plan(terms: JobTerms, spec: JobSpec, facts: ClassFacts, policy: Policy, *, taken: bool = False) -> Plan:
    """How to run the job. Raises Declined for what is wrong with it whatever the time and the load.

    `taken` jobs are ours already: then only what makes it impossible to run counts.
    """
    check_asked(terms, spec, policy)
    template, params = _parse(policy.catalogue, spec)
    if not taken:
        _check_class(terms, facts, policy)
    resource = facts.terms.resource
    sku = _label(template, resource, facts, policy)
    gpus = template.needs_gpus(resource)
    _check_gpus(terms, gpus, policy.gpus_of(template.engine))
    _check_assurance(facts, gpus, policy)
    seconds = _seconds(terms, template, params, facts)
    return Plan(template, params, resource, sku, gpus, seconds)


def check_time(terms: JobTerms, planned: Plan, policy: Policy, now: int, *, to_accept: bool) -> None:
    """Raise Declined unless the deadlines leave time. `now` is chain time; `to_accept` False once it is
    ours.
    """
    margin = policy.provider
    if to_accept and terms.accept_by - now < margin.accept_margin_s:
        raise Declined(
            Why.DEADLINE,
            "acceptBy is too close",
            f"{terms.accept_by - now} s",
            f"at least {margin.accept_margin_s} s",
        )
    needed = run_seconds(planned) + margin.submit_margin_s
    if terms.submit_by - now < needed:
        raise Declined(
            Why.DEADLINE, "submitBy is too close", f"{terms.submit_by - now} s", f"at least {needed} s"
        )


def check_quote(terms: JobTerms, policy: Policy, now: int, available: int, load: Load) -> None:
    """Raise Declined unless a place may be held for this payer, who has `available` units that no job locks:
    a quote costs it nothing until the job opens.
    """
    ahead, most = terms.accept_by - now, policy.provider.max_quote_s
    if ahead > most:
        raise Declined(
            Why.DEADLINE, "a quote must be used sooner", f"acceptBy in {ahead} s", f"at most {most} s ahead"
        )
    asked = load.quoted_units + terms.max_units
    if asked > available:
        raise Declined(Why.BALANCE, "the payer doesn't have the units", asked, f"has {available} free")


def check_load(load: Load, policy: Policy) -> None:
    """Raise Declined unless a place is free."""
    places = policy.provider.slots + policy.provider.queue
    if load.taken >= places:
        raise Declined(Why.CAPACITY, "no place is free", f"{load.taken} taken", f"{places} places")


def run_seconds(planned: Plan) -> int:
    """Seconds a run may be expected to take, with room for a rough estimate, within its limit."""
    hint_ms = planned.template.cost_hint_ms(planned.params)
    return min(planned.seconds, 1 + HINT_FACTOR * hint_ms // 1000)


def _parse(catalogue: Catalogue, spec: JobSpec) -> tuple[Template, Params]:
    try:
        template = catalogue.template(spec.template)
        params = template.parse(spec.params)
        _check_origin(template, params)
        return template, params
    except SpecRefused as refused:
        raise Declined(
            Why.SPEC, f"{refused.template}: {refused.field}", refused.given, f"must be {refused.limit}"
        ) from refused


def _check_origin(template: Template, params: Params) -> None:
    """Where content comes from is this node's matter: another provider, or a watcher, may allow others."""
    if isinstance(params, ArtefactParams) and not allowed(params, template.origins):
        origins = ", ".join(template.origins) or "none here"
        raise SpecRefused(template.name, "url", origin(params.url or ""), f"at an allowed origin: {origins}")


def _check_class(terms: JobTerms, facts: ClassFacts, policy: Policy) -> None:
    listed = policy.provider.classes
    if listed and facts.class_id not in listed:
        raise Declined(Why.CLASS, "the class isn't served here", facts.class_id, f"serves {list(listed)}")
    if facts.wound_down:
        raise Declined(Why.CLASS, "the class is closed or expired", facts.class_id, "an open class is needed")
    if facts.oracle is None:
        raise Declined(
            Why.CLASS,
            "the registry doesn't let this provider serve the class",
            facts.class_id,
            "its SKU, region and provider list must fit",
        )
    if policy.key is not None and facts.oracle != policy.key:
        raise Declined(
            Why.PROVIDER, "the registry names another oracle key", policy.key, f"registered {facts.oracle}"
        )
    # Rounded down like the reserve's own pay-out.
    if not listed and facts.supply and terms.max_units * facts.backing // facts.supply == 0:
        raise Declined(
            Why.UNPAID, "the class has no backing for this job", facts.backing, "list the class to serve it"
        )
    if not listed and not facts.supply:
        raise Declined(Why.UNPAID, "nobody holds the class", 0, "units must exist")


def _label(template: Template, resource: Resource, facts: ClassFacts, policy: Policy) -> str:
    """The SKU label that the evidence names: the model for tokens, otherwise the hardware."""
    if resource not in template.metered:
        metered = ", ".join(sorted(item.label for item in template.metered))
        raise Declined(
            Why.RESOURCE, f"{template.name} isn't paid in this", resource.label, f"paid in {metered}"
        )
    if resource in TOKEN_RESOURCES:
        label = template.sku
    else:
        label = {
            Resource.GPU_SECOND: policy.provider.gpu_sku,
            Resource.GB_HOUR: policy.provider.storage_sku,
            Resource.GB_TRANSFER: policy.provider.network_sku,
        }.get(resource, policy.provider.cpu_sku)
    wanted = facts.terms.sku
    if not label or wanted not in (ZERO_BYTES32, sku_id(label)):
        raise Declined(
            Why.SKU, "the class sells another SKU", "0x" + wanted.hex(), f"serves {label or 'none'}"
        )
    return label


def _check_gpus(terms: JobTerms, gpus: int, present: int) -> None:
    if gpus > present:
        raise Declined(Why.CAPACITY, "too few GPUs here", gpus, f"has {present}")
    if terms.resources < gpus:
        raise Declined(Why.RESOURCE, "the job allows too few resources", terms.resources, f"needs {gpus}")


def _check_assurance(facts: ClassFacts, gpus: int, policy: Policy) -> None:
    if gpus and policy.simulated:
        most = 0
    elif 0 < facts.threshold <= policy.watchers:
        most = HARDWARE if gpus and policy.attests else WATCHED
    else:
        most = 1
    if facts.terms.min_assurance > most:
        raise Declined(
            Why.ASSURANCE, "the class needs more assurance", facts.terms.min_assurance, f"reaches {most}"
        )


def _seconds(terms: JobTerms, template: Template, params: Params, facts: ClassFacts) -> int:
    """The time limit of the job: the template's, or less if the payer locked units for less."""
    resource, scale = facts.terms.resource, 10**facts.terms.decimals
    if resource in TOKEN_RESOURCES | ARTEFACT_RESOURCES:  # paid by what comes of it, however long it takes
        most = template.estimate_units(params, resource, facts.terms.decimals) or 0
        if terms.max_units < most:
            raise Declined(Why.UNITS, "maxUnits doesn't cover the job", terms.max_units, f"needs {most}")
        stored = params.stored()
        return template.limits.seconds if stored is None else stored[1] + KEEP_SLACK_S
    width = max(1, template.gpus) if resource is Resource.GPU_SECOND else template.limits.cores
    bought = int(terms.max_units // (scale * width))
    needed = 1 + HINT_FACTOR * template.cost_hint_ms(params) // 1000
    if bought < min(needed, template.limits.seconds):
        raise Declined(
            Why.UNITS, "maxUnits doesn't cover the job", terms.max_units, f"needs {needed * width * scale}"
        )
    return min(bought, template.limits.seconds)
