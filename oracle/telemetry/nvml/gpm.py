"""GPM activity of one GPU or MIG device: what its counters say between two readings (Hopper and newer).

The only activity NVML knows under MIG. Evidence, never billed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from oracle.telemetry.clock import Clock
from oracle.telemetry.nvml.errors import MetricAbsent, NvmlFailed
from oracle.telemetry.nvml.readings import Nvml

METRICS: Final = {2: "gpm_sm_pct", 5: "gpm_tensor_pct", 10: "gpm_dram_pct"}  # nvml.h, NVML_GPM_METRIC_*
LEAST_NS: Final = 100_000_000
"""Samples that are closer than the counters are refreshed say nothing (nvml.h)."""


class Activity:
    """Holds the last sample and a spare one. `close` frees them."""

    def __init__(self, nvml: Nvml, gpu: str, clock: Clock) -> None:
        self._nvml, self._gpu, self._clock = nvml, gpu, clock
        self._buffers: list[Any] = []
        self._generation = nvml.generation
        self._sampled_ns: int | None = None
        self._request = nvml.gpm_request(tuple(METRICS))

    def start(self) -> Mapping[str, int]:
        """Take the first sample. Raises MetricAbsent if the GPU has no such counters."""
        if not self._nvml.has_gpm(self._gpu):
            raise MetricAbsent("nvmlGpmQueryDeviceSupport", self._gpu, "the GPU has no GPM counters")
        self._sample()
        return {}

    def read(self) -> Mapping[str, int]:
        """Mean activity since the last sample, percent; nothing if that was just now."""
        now, last = self._clock.mono_ns(), self._sampled_ns
        if last is not None and now - last < LEAST_NS:
            return {}
        fresh = last is not None and self._generation == self._nvml.generation
        self._sample()
        if not fresh:
            return {}
        after, before = self._buffers
        found = self._nvml.gpm_metrics(self._gpu, self._request, before, after)
        return {METRICS[metric]: min(max(round(value), 0), 100) for metric, value in found.items()}

    def _sample(self) -> None:
        """A new sample first, the one before it second."""
        if self._generation != self._nvml.generation:
            self.close()
            self._generation = self._nvml.generation
        while len(self._buffers) < 2:
            self._buffers.append(self._nvml.gpm_buffer())
        self._nvml.gpm_sample(self._gpu, self._buffers[1])
        self._buffers.reverse()
        self._sampled_ns = self._clock.mono_ns()

    def close(self) -> None:
        """Free the samples. Safe to call again, and after NVML was lost."""
        for buffer in self._buffers:
            with suppress(MetricAbsent, NvmlFailed):
                self._nvml.free_gpm(buffer)
        self._buffers.clear()
        self._sampled_ns = None
