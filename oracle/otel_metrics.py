"""Metrics by OpenTelemetry's SDK, sent by OTLP over HTTP. Imported only where they are asked for.

Names, units and buckets are those of the semantic conventions for generative AI and for hardware.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from oracle.otel import SERVICE
from oracle.telemetry.base import TelemetryError

if TYPE_CHECKING:
    from oracle.telemetry.nvml import Nvml

LAST_METRICS_S: Final = 2.0
"""How long a stopping node tries to hand over its last metrics."""

_TOKEN_BUCKETS: Final = [4**power for power in range(14)]
_SECOND_BUCKETS: Final = [0.01 * 2**power for power in range(14)]


class OtlpMeasures:
    """See `oracle.measuring.Measures`. OTEL_* variables say where to, with what headers, and how often."""

    def __init__(self, role: str, reader: MetricReader | None = None) -> None:
        self._provider = MeterProvider(
            [reader or PeriodicExportingMetricReader(OTLPMetricExporter())],
            resource=Resource.create({"service.name": SERVICE, "scrip.role": role}),
            shutdown_on_exit=False,
        )
        self._meter = self._provider.get_meter("scrip.oracle")
        self._tokens = self._meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used",
            explicit_bucket_boundaries_advisory=_TOKEN_BUCKETS,
        )  # fmt: skip
        self._seconds = self._meter.create_histogram(
            "gen_ai.server.request.duration", "s", "Generative AI server request duration",
            explicit_bucket_boundaries_advisory=_SECOND_BUCKETS,
        )  # fmt: skip

    def call(self, model: str, input_tokens: int, output_tokens: int, seconds: float) -> None:
        """Count a charged call."""
        what = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "scrip",
            "gen_ai.request.model": model,
        }
        self._tokens.record(input_tokens, what | {"gen_ai.token.type": "input"})
        self._tokens.record(output_tokens, what | {"gen_ai.token.type": "output"})
        self._seconds.record(seconds, what)

    def gpus(self, nvml: Nvml, names: Sequence[str]) -> None:
        """Read these GPUs whenever metrics are sent. What one can't tell is left out."""
        reads: tuple[tuple[str, str, Callable[[str], float]], ...] = (
            ("hw.gpu.utilization", "1", lambda gpu: nvml.util_pct(gpu) / 100),
            ("hw.gpu.memory.usage", "By", nvml.memory_bytes),
            ("hw.power", "W", lambda gpu: nvml.power_mw(gpu) / 1_000),
        )
        for name, unit, read in reads:
            self._meter.create_observable_gauge(name, [_observer(names, read)], unit)
        energy = _observer(names, lambda gpu: nvml.energy_mj(gpu) / 1_000)
        self._meter.create_observable_counter("hw.energy", [energy], "J")

    def close(self) -> None:
        """Send what is left, for a moment at most: a collector that is away mustn't hold up the node."""
        ending = threading.Thread(target=self._provider.shutdown, name="scrip-measures", daemon=True)
        ending.start()
        ending.join(LAST_METRICS_S)


def _observer(
    names: Sequence[str], read: Callable[[str], float]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for gpu in names:
            try:
                value = read(gpu)
            except TelemetryError:
                continue  # gone, or without such a counter
            attributes: Mapping[str, str] = {"hw.id": gpu, "hw.type": "gpu"}
            yield Observation(value, attributes)

    return observe
