"""Prometheus metrics of a node, in a registry of their own so that several nodes can live in one process.

docs/operations.md says what each means to an operator; a test compares the two.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from oracle.states import State
from oracle.store import NOBODY, Store

_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_READ_SECONDS: Final = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1)


class Metrics:
    """What the node counts. Names end in their unit. `state_dir` is the folder whose disk is looked
    at; without it the disk is left out.
    """

    def __init__(self, store: Store, state_dir: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.cycles = Counter("scrip_cycles", "Passes of the main loop", ["result"], registry=r)
        self.cycle_seconds = Histogram(
            "scrip_cycle_seconds", "Time of a pass of the main loop", buckets=_SECONDS, registry=r
        )
        self.last_cycle = Gauge("scrip_last_cycle_unix_seconds", "When the last pass ended well", registry=r)
        self.head = Gauge("scrip_chain_block", "Newest block acted on", registry=r)
        self.rpc_errors = Counter(
            "scrip_rpc_errors", "Requests to the chain's node that failed", ["method", "reason"], registry=r
        )
        self.retries = Counter("scrip_retries", "Transient failures retried", ["step"], registry=r)
        self.quotes = Counter("scrip_quotes", "Quotes asked for", ["result"], registry=r)
        self.runs = Counter(
            "scrip_runs", "Attempts at jobs by how they ended", ["template", "reason"], registry=r
        )
        self.sampler_seconds = Histogram(
            "scrip_sampler_seconds",
            "Time of one reading of a meter",
            ["meter"],
            buckets=_READ_SECONDS,
            registry=r,
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
        r.register(_Stored(store))
        if state_dir is not None:
            r.register(_Disk(state_dir))

    def rpc_failed(self, method: str, reason: str) -> None:
        """Count a request to the chain's node that failed."""
        self.rpc_errors.labels(method, reason).inc()

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


class _Stored:
    """What the store says when it is scraped, so that it survives a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("scrip_jobs", "Jobs in each state", labels=["state"])
        counts = self._store.counts()
        for state in State:
            jobs.add_metric([state.value], counts[state])
        yield jobs
        refused = CounterMetricFamily(
            "scrip_watcher_refusals", "Receipts that a watcher refused to sign", labels=["check"]
        )
        for check, count in sorted(self._store.refusal_counts().items()):
            refused.add_metric([check], count)
        yield refused

    def describe(self) -> list[Metric]:
        """Nothing at registration: that would read the store."""
        return []


class _Disk:
    """Room on the disk of the state folder, looked at when it is scraped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(self._folder)
        yield GaugeMetricFamily("scrip_disk_free_bytes", "Free room for state and evidence", usage.free)
        yield GaugeMetricFamily("scrip_disk_size_bytes", "Size of the disk of the state folder", usage.total)

    def describe(self) -> list[Metric]:
        """Nothing at registration."""
        return []
