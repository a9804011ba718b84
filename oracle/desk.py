"""The provider's front desk: takes specs, plans jobs and signs quotes.

A quote binds us: whoever has it can start the job. So a place is reserved in the store before the signature
is made, under one lock, and it is given back only when the job's acceptBy has passed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from oracle import intake
from oracle.facts import Facts
from oracle.intake import Declined, Load, Plan, Policy, Why
from oracle.logging import get
from oracle.metrics import Metrics
from oracle.outbox import DryRun
from oracle.states import BUSY, State
from oracle.store import Store
from oracle.tracing import span
from scrip.eip712 import DigestSigner, acceptance_digest, sign
from scrip.errors import BadInput
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Quote:
    """A signed offer. `seconds` is the job's time limit; `simulated` says that its metering will be."""

    job_id: bytes
    signature: bytes
    seconds: int
    simulated: bool


class Desk:
    """Specs and quotes. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        facts: Facts,
        policy: Policy,
        signer: DigestSigner | None,
        metrics: Metrics,
        room: Callable[[int], None],
    ) -> None:
        """`room` raises Declined where the evidence of one more job, beside so many, has no room."""
        self.policy, self._store, self._facts = policy, store, facts
        self._signer, self._metrics, self._room = signer, metrics, room
        self._lock = threading.Lock()

    def keep_spec(self, key: bytes, spec: JobSpec) -> None:
        """Keep a spec that a job on chain may name. Raises BadInput if it has another hash, SpecRefused."""
        found = spec_hash(spec)
        if found != key:
            raise BadInput("spec", "0x" + found.hex(), f"the spec with hash 0x{key.hex()}")
        self.policy.catalogue.parse(spec)  # what we would never run isn't worth disk
        self._store.put_spec(spec, self.policy.provider.max_specs)

    def plan(self, terms: JobTerms, spec: JobSpec, *, taken: bool = False) -> Plan:
        """How the job runs here. Raises Declined for lasting reasons, NotFound for an unknown class."""
        intake.check_asked(terms, spec, self.policy)
        facts = self._facts.class_facts(terms.class_id, self.policy.provider.address)
        return intake.plan(terms, spec, facts, self.policy, taken=taken)

    def load(self) -> Load:
        """How many places are taken."""
        return Load(self._store.count(BUSY))

    def check_load(self, load: Load) -> None:
        """Raise Declined unless there is a place and room for evidence."""
        intake.check_load(load, self.policy)
        self._room(load.taken)

    def quote(self, terms: JobTerms, spec: JobSpec) -> Quote:
        """Reserve a place and sign. The same question gets the same answer. Raises Declined, DryRun,
        NotFound.
        """
        try:
            with span("quote", self._facts.job_id(terms)):
                made = self._quote(terms, spec)
        except Declined as declined:
            self._metrics.quotes.labels(declined.why.value).inc()
            raise
        self._metrics.quotes.labels("signed").inc()
        return made

    def _quote(self, terms: JobTerms, spec: JobSpec) -> Quote:
        planned, job_id = self.plan(terms, spec), self._facts.job_id(terms)
        if self._signer is None:
            raise DryRun(f"sign a quote for job 0x{job_id.hex()}")
        now = self._facts.now()
        intake.check_time(terms, planned, self.policy, now, to_accept=True)
        available = self._facts.available(terms.payer, terms.class_id)
        with self._lock:
            self._reserve(job_id, terms, spec, now, available)
        signature = sign(
            acceptance_digest(job_id, self._facts.chain.chain_id, self._facts.market), self._signer
        )
        self._store.note(job_id, quote=signature)
        simulated = self.policy.simulated and planned.gpus > 0
        _log.info("quoted", job="0x" + job_id.hex(), template=planned.template.name, simulated=simulated)
        return Quote(job_id, signature, planned.seconds, simulated)

    def _reserve(self, job_id: bytes, terms: JobTerms, spec: JobSpec, now: int, available: int) -> None:
        known = self._store.find(job_id)
        if known is not None and known.at is State.QUOTED:
            return
        if known is not None:
            raise Declined(
                Why.DEADLINE, "the job is on chain already", known.state, "quotes come before that"
            )
        quoted = sum(
            row.terms.max_units
            for row in self._store.oldest([State.QUOTED])
            if (row.terms.payer, row.terms.class_id) == (terms.payer, terms.class_id)
        )
        load = Load(self._store.count(BUSY), quoted)
        intake.check_quote(terms, self.policy, now, available, load)
        self.check_load(load)
        self._store.put_spec(spec, self.policy.provider.max_specs)
        self._store.add_job(job_id, terms, State.QUOTED)
