"""OpenTelemetry metrics by its semantic conventions (`gen_ai.*`, `hw.gpu.*`), if the environment names a
collector; see `oracle.otlp`.

What the node counts for its operator is in Prometheus' format at `/metrics`; these are for the tools of
those who watch models and machines of every kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from oracle.otlp import Export

if TYPE_CHECKING:
    from oracle.telemetry.nvml import Nvml


class Measures(Protocol):
    """What records; `oracle.otel_metrics.OtlpMeasures` does."""

    def call(self, model: str, input_tokens: int, output_tokens: int, seconds: float) -> None:
        """See `call` below."""

    def gpus(self, nvml: Nvml, names: Sequence[str]) -> None:
        """See `gpus` below."""

    def close(self) -> None:
        """Send what is left."""


def _otlp(role: str) -> Measures:
    from oracle.otel_metrics import OtlpMeasures

    return OtlpMeasures(role)


_export = Export("METRICS", _otlp)
ENDPOINTS = _export.endpoints
configure = _export.configure


def call(model: str, input_tokens: int, output_tokens: int, seconds: float) -> None:
    """A call of a model that was charged: the billed tokens, cached ones among the input, and how long it
    took.
    """
    if (measures := _export.now) is not None:
        measures.call(model, input_tokens, output_tokens, seconds)


def gpus(nvml: Nvml | None, names: Sequence[str]) -> None:
    """Read these GPUs whenever metrics are sent."""
    if (measures := _export.now) is not None and nvml is not None:
        measures.gpus(nvml, names)
