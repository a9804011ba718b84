"""A node as its operator uses it: once, check, dry, with traces, and stopped while its collector is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from demo.anvil import NO_TLS
from demo.stack_node import ROOT
from scrip.types import Status
from tests.e2e.site import SHORT, Asked, Site, until
from tests.integration.system import account


class Collector(ThreadingHTTPServer):
    """Takes spans and metrics by OTLP over HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.resources: set[str] = set()
        self.metrics: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def steps(self, asked: Asked) -> dict[str, Span]:
        """Spans of the trace of a job, by name."""
        return {span.name: span for span in self.spans if span.trace_id == asked.id[:16]}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/metrics":
            self._metrics(raw)
        else:
            assert self.path == "/v1/traces"
            self._spans(raw)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _spans(self, raw: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
            self.server.resources |= {item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += scope.spans

    def _metrics(self, raw: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(raw).resource_metrics:
            for scope in resource.scope_metrics:
                self.server.metrics |= {metric.name for metric in scope.metrics}

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def class_id(site: Site) -> int:
    return site.system.create_class(min_assurance=1)


@pytest.fixture
def plant(site: Site, class_id: int) -> Iterator[Site]:
    """The provider is configured and doesn't run; a test starts it as it likes."""
    site.configure_provider({"quorum": {"watchers": []}})
    yield site
    site.provider.stop()


def promised(site: Site, class_id: int) -> Asked:
    """A job with a quote, open, of a node that has ended since."""
    site.start()
    asked = site.ask(class_id)
    assert site.kill(signal.SIGTERM) == 0
    return site.open(asked)


def command(site: Site, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`scrip oracle <name>` of the provider."""
    config = site.lab.folder / "provider.toml"
    argv = [sys.executable, "-m", "scrip.cli.main", "oracle", name, "--config", str(config)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SCRIP_", "OTEL_"))}
    return subprocess.run(argv, cwd=ROOT, env=inherited | env, capture_output=True, text=True, timeout=120)


def test_once__job_waits__settles_it_and_ends(plant: Site, class_id: int) -> None:
    asked = promised(plant, class_id)
    done = command(plant, "once")
    assert done.returncode == 0, done.stderr
    assert plant.state_of(asked.id) == "settled"
    plant.start()
    plant.settled(asked)
    assert command(plant, "check").returncode == 0


def test_once__beside_a_running_node__is_refused(plant: Site, class_id: int) -> None:
    plant.start()
    done = command(plant, "once")
    assert done.returncode == 1
    assert "is in use by another node" in done.stderr


def test_run__settings_wrong__status_2_names_all_of_them(plant: Site, tmp_path: Path) -> None:
    done = command(plant, "run", SCRIP_POLL_MS="1", SCRIP_PROVIDER_SLOTS="0")
    assert done.returncode == 2
    assert "poll_ms" in done.stderr
    assert "provider.slots" in done.stderr


def test_dry__no_key__takes_nothing_and_says_so(plant: Site, class_id: int) -> None:
    tables = plant.provider_tables()
    del tables["key"]
    plant.configure("provider", tables)
    oracle = account("oracle").address
    before = plant.lab.chain.nonce(oracle)
    plant.start()
    plant.lab.put_spec(SHORT)
    asked = plant.open(plant.ask(class_id, quoted=False, accept_by=plant.now() + 60))
    until(lambda: plant.row(asked.id).get("reason", "").startswith("dry run"), "it would accept")
    assert plant.lab.status(asked.id) is Status.OPEN
    assert httpx.get(f"{plant.provider.url}/readyz", trust_env=False, verify=NO_TLS).json()["dryRun"] is True
    assert plant.lab.chain.nonce(oracle) == before
    # Left open, it would be taken by the next test's node.
    cancel = plant.lab.chain.contract("JobMarket").functions.cancel(asked.terms.to_abi())
    plant.buyer(class_id).send(cancel, label="cancel")


def test_traces__endpoint_set__one_trace_per_job_with_every_step(plant: Site, class_id: int) -> None:
    asked = promised(plant, class_id)
    with collecting() as collector:
        done = command(plant, "once", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert done.returncode == 0, done.stderr
        until(lambda: "settle" in collector.steps(asked), "the last span has arrived")
    steps = collector.steps(asked)
    assert {"attempt", "execute", "meter", "sign", "submit", "settle"} <= set(steps)
    attempt, execute = steps["attempt"], steps["execute"]
    assert execute.parent_span_id == attempt.span_id
    assert attempt.end_time_unix_nano - attempt.start_time_unix_nano > 10**8
    jobs = [
        value.string_value
        for item in attempt.attributes
        if item.key == "scrip.job"
        for value in item.value.array_value.values
    ]
    assert jobs == ["0x" + asked.id.hex()]
    assert {"scrip-oracle", "provider"} <= collector.resources


def test_traces__collector_away__node_works_and_stops_in_time(plant: Site, class_id: int) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    plant.configure_provider({"quorum": {"watchers": []}}, env)
    plant.start()
    plant.settled(plant.open(plant.ask(class_id)))
    begun = time.monotonic()
    assert plant.kill(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 10
