"""Prometheus metrics of a node, in a registry of their own so that several nodes can live in one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from oracle.states import State
from oracle.store import NOBODY, Store

_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)


class Metrics:
    """What the node counts. Names end in their unit."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.cycles = Counter("scrip_cycles", "Passes of the main loop", ["result"], registry=r)
        self.cycle_seconds = Histogram(
            "scrip_cycle_seconds", "Time of a pass of the main loop", buckets=_SECONDS, registry=r
        )
        self.last_cycle = Gauge("scrip_last_cycle_unix_seconds", "When the last pass ended well", registry=r)
        self.head = Gauge("scrip_chain_block", "Newest block acted on", registry=r)
        self.retries = Counter("scrip_retries", "Transient failures retried", ["step"], registry=r)
        self.quotes = Counter("scrip_quotes", "Quotes asked for", ["result"], registry=r)
        self.runs = Counter(
            "scrip_runs", "Attempts at jobs by how they ended", ["template", "reason"], registry=r
        )
        self.settled = Counter("scrip_jobs_ended", "Jobs by how they ended", ["state"], registry=r)
        self.exit_to_settled = Histogram(
            "scrip_exit_to_settled_seconds",
            "From process exit to the end on chain",
            buckets=_SECONDS,
            registry=r,
        )
        self.cosigned = Counter("scrip_cosigned", "Co-sign requests answered", ["result"], registry=r)
        self.simulated = Gauge("scrip_simulated_gpu", "1 if GPU metering is simulated", registry=r)
        self.unattributed = Gauge(
            "scrip_gpu_unattributed_millijoules", "What a shared GPU used for no job", ["gpu"], registry=r
        )
        self.dry = Gauge("scrip_dry_run", "1 if the node has no key and sends nothing", registry=r)
        leads = Gauge("scrip_leads", "1 if this node acts, 0 if another one on its database does", registry=r)
        leads.set_function(lambda: int(store.epoch != NOBODY))
        self.evidence_bytes = Gauge("scrip_evidence_bytes", "Evidence on disk", registry=r)
        self.evidence_quota = Gauge("scrip_evidence_quota_bytes", "Most evidence to take jobs at", registry=r)
        self.evidence_pruned = Counter("scrip_evidence_pruned", "Jobs whose evidence was deleted", registry=r)
        r.register(_JobStates(store))

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


class _JobStates:
    """Jobs by state, counted when scraped: always what the store says."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("scrip_jobs", "Jobs in each state", labels=["state"])
        counts = self._store.counts()
        for state in State:
            family.add_metric([state.value], counts[state])
        yield family

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing at registration: that would read the store."""
        return []
