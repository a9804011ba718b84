"""Metrics by OpenTelemetry's conventions: their names and figures, and nothing at all unless asked for."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from oracle import measuring
from oracle.otel_metrics import OtlpMeasures
from oracle.otlp import ExportProblem
from oracle.telemetry.base import TelemetryError

SDK = "opentelemetry.sdk"


class TwoGpus:
    """One GPU that works, and one that is lost."""

    def util_pct(self, gpu: str) -> int:
        return self._of(gpu, 37)

    def memory_bytes(self, gpu: str) -> int:
        return self._of(gpu, 1 << 30)

    def power_mw(self, gpu: str) -> int:
        return self._of(gpu, 412_500)

    def energy_mj(self, gpu: str) -> int:
        return self._of(gpu, 9_876_543)

    @staticmethod
    def _of(gpu: str, value: int) -> int:
        if gpu != "GPU-0":
            raise TelemetryError("it is lost")
        return value


def collected(reader: InMemoryMetricReader) -> dict[str, tuple[str, list[Any]]]:
    """Unit and data points by metric."""
    data = reader.get_metrics_data()
    assert data is not None
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    return {one.name: (one.unit or "", list(one.data.data_points)) for one in scope.metrics}


def test_gpus__one_is_lost__the_other_is_told_by_the_conventions_names() -> None:
    reader = InMemoryMetricReader()
    OtlpMeasures("provider", reader).gpus(TwoGpus(), ["GPU-0", "GPU-1"])  # type: ignore[arg-type]
    found = collected(reader)
    values = {name: (unit, [point.value for point in points]) for name, (unit, points) in found.items()}
    assert values == {
        "hw.gpu.utilization": ("1", [0.37]),
        "hw.gpu.memory.usage": ("By", [1 << 30]),
        "hw.power": ("W", [412.5]),
        "hw.energy": ("J", [9_876.543]),
    }
    (point,) = found["hw.power"][1]
    assert dict(point.attributes) == {"hw.id": "GPU-0", "hw.type": "gpu"}


def test_call__charged__tokens_by_type_and_duration() -> None:
    reader = InMemoryMetricReader()
    measures = OtlpMeasures("provider", reader)
    measures.call("a-model", 120, 30, 2.5)
    measures.call("a-model", 80, 20, 1.5)
    found = collected(reader)
    unit, points = found["gen_ai.client.token.usage"]
    sums = {point.attributes["gen_ai.token.type"]: (point.sum, point.count) for point in points}
    assert (unit, sums) == ("{token}", {"input": (200, 2), "output": (50, 2)})
    assert all(point.attributes["gen_ai.request.model"] == "a-model" for point in points)
    unit, (seconds,) = found["gen_ai.server.request.duration"]
    assert (unit, seconds.sum) == ("s", 4.0)


def test_configure__no_endpoint__imports_and_does_nothing() -> None:
    code = (
        "import sys; from oracle import measuring\n"
        "end = measuring.configure('provider', {'OTEL_EXPORTER_OTLP_ENDPOINT': ''})\n"
        "measuring.call('m', 1, 2, 0.5); measuring.gpus(None, [])\n"
        f"end(); sys.exit(any(name.startswith({SDK!r}) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("name", measuring.ENDPOINTS)
def test_configure__extra_not_installed__says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == "oracle.otel_metrics":
            raise ModuleNotFoundError("no", name="opentelemetry.sdk")
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExportProblem, match=rf"^{name} .* scrip\[oracle,otel\]"):
        measuring.configure("provider", {name: "http://127.0.0.1:9"})
