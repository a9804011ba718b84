"""OpenTelemetry metrics by its semantic conventions (`gen_ai.*`, `hw.gpu.*`), if the environment names a
collector. Without one, nothing is imported and nothing is done: the counterpart of `oracle.tracing`.

What the node counts for its operator is in Prometheus' format at `/metrics`; these are for the tools of
those who watch models and machines of every kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from oracle.tracing import TracingProblem

if TYPE_CHECKING:
    from oracle.telemetry.nvml import Nvml

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")


class Measures(Protocol):
    """What records; `oracle.otel_metrics.OtlpMeasures` does."""

    def call(self, model: str, input_tokens: int, output_tokens: int, seconds: float) -> None:
        """See `call` below."""

    def gpus(self, nvml: Nvml, names: Sequence[str]) -> None:
        """See `gpus` below."""

    def close(self) -> None:
        """Send what is left."""


_measures: Measures | None = None


def configure(role: str, env: Mapping[str, str] | None = None) -> Callable[[], None]:
    """Begin to measure if the environment asks for it. Returns what ends it. Raises TracingProblem."""
    global _measures
    if not any((os.environ if env is None else env).get(name) for name in ENDPOINTS):
        return lambda: None
    try:
        from oracle.otel_metrics import OtlpMeasures
    except ImportError as missing:
        raise TracingProblem(
            f"{ENDPOINTS[0]} is set, but {missing.name} isn't installed. Install scrip[oracle,otel], or "
            "unset it"
        ) from missing
    made = _measures = OtlpMeasures(role)

    def end() -> None:
        global _measures
        _measures = None
        made.close()

    return end


def call(model: str, input_tokens: int, output_tokens: int, seconds: float) -> None:
    """A call of a model that was charged: the billed tokens, cached ones among the input, and how long it
    took.
    """
    if _measures is not None:
        _measures.call(model, input_tokens, output_tokens, seconds)


def gpus(nvml: Nvml | None, names: Sequence[str]) -> None:
    """Read these GPUs whenever metrics are sent."""
    if _measures is not None and nvml is not None:
        _measures.gpus(nvml, names)
