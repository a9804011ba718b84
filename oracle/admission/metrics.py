"""Prometheus metrics of admissions (docs/admission.md says what each means; a test compares the two)."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from oracle.admission.book import Book
from oracle.admission.rule import Denied, System

ADMITTED: Final = "admitted"
DENIED: Final = "denied"
DRY: Final = "dry"
"""It would be admitted, and was only asked about."""
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class AdmissionMetrics:
    """What `scrip oracle admit` counts since it began, in a registry of its own."""

    def __init__(self, book: Book) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.decisions = Counter(
            "scrip_admission_decisions", "Workloads decided, by outcome and why it was denied",
            ["system", "outcome", "why"], registry=r,
        )  # fmt: skip
        self.seconds = Histogram(
            "scrip_admission_seconds", "Time of a decision", ["system"], buckets=_SECONDS, registry=r
        )
        self.evicted = Counter(
            "scrip_admission_evicted", "Workloads ended at a comparison", ["system"], registry=r
        )
        self.compared = Gauge(
            "scrip_admission_compared_unix_seconds", "When workloads were last compared with the chain",
            ["system"], registry=r,
        )  # fmt: skip
        r.register(_Held(book))

    @contextmanager
    def decision(self, system: System, *, dry: bool = False) -> Iterator[None]:
        """Time and count a decision, which is denied by raising Denied. A bug that raises is no decision."""
        began = time.perf_counter()
        try:
            yield
        except Denied as denied:
            self._decided(system, DENIED, denied.why.value, began)
            raise
        self._decided(system, DRY if dry else ADMITTED, "", began)

    def _decided(self, system: System, outcome: str, why: str, began: float) -> None:
        self.seconds.labels(system).observe(time.perf_counter() - began)
        self.decisions.labels(system, outcome, why).inc()

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


class _Held:
    """Jobs that workloads hold, as the store says when it is scraped."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def collect(self) -> Iterator[Metric]:
        held = GaugeMetricFamily("scrip_admission_held", "Jobs that a workload holds", labels=["system"])
        for system, count in sorted(Tally(one.system for one in self._book.all().values()).items()):
            held.add_metric([system], count)
        yield held

    def describe(self) -> list[Metric]:
        """Nothing at registration: that would read the store."""
        return []
