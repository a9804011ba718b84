"""A provider's admissions on real contracts: jobs opened and accepted on Anvil, the process in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from oracle.admission.serve import Admitting
from oracle.settings import Settings
from scrip.sender import Sender
from scrip.types import JobTerms, Resource, sku_id
from tests.integration.oracle_lab import OracleLab

GPU = "nvidia-h100-80gb"
UNITS = 100_000_000
HOUR_UNITS = 3_600_000
"""One GPU for an hour, in a class of three decimals."""


@dataclass
class Place:
    """A lab with classes of GPU- and CPU-seconds, whose buyer has credits of both. No daemon runs."""

    lab: OracleLab
    buyer: Sender = field(init=False)
    gpu_class: int = field(init=False)
    cpu_class: int = field(init=False)

    def __post_init__(self) -> None:
        self.gpu_class = self.lab.system.create_class(resource=Resource.GPU_SECOND, sku=sku_id(GPU))
        self.cpu_class = self.lab.system.create_class()
        self.buyer = self.lab.buy(self.gpu_class, UNITS)
        self.lab.buy(self.cpu_class, UNITS)
        self.lab.serve(GPU)

    def settings(self, **admission: Any) -> Settings:
        """A provider's settings with these admissions."""
        return self.lab.provider_settings(provider={"gpu_sku": GPU}, admission=admission)

    def terms(self, class_id: int | None = None, **changes: Any) -> JobTerms:
        """Terms for one GPU for an hour."""
        now = self.lab.chain.at().time()
        given = {"max_units": HOUR_UNITS, "submit_by": now + 7_200} | changes
        return self.lab.terms(self.buyer, self.gpu_class if class_id is None else class_id, **given)

    def opened(self, terms: JobTerms | None = None) -> bytes:
        """A job that is open, not accepted."""
        return self.lab.open(self.buyer, terms or self.terms())

    def paid(self, terms: JobTerms | None = None) -> bytes:
        """A job that the provider has accepted."""
        chosen = terms or self.terms()
        job = self.opened(chosen)
        self.lab.system.send("JobMarket", "accept", chosen.to_abi(), sender=self.lab.provider)
        return job

    def cancel(self, terms: JobTerms) -> None:
        """The provider gives a job back."""
        self.lab.system.send("JobMarket", "cancel", terms.to_abi(), sender=self.lab.provider)


@contextmanager
def admitting(settings: Settings) -> Iterator[Admitting]:
    """The process that orchestrators ask, in a thread."""
    made, failure = Admitting(settings), []

    def work() -> None:
        try:
            made.run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="admitting", daemon=True)
    thread.start()
    try:
        made.office.facts.now()
        while not all(server.alive for server in made.servers):
            assert not failure, failure
            thread.join(0.02)
        yield made
    finally:
        made.stop()
        thread.join(30)
    assert not failure, failure
