"""Asks GPUs in confidential-computing mode for the report that assurance 3 rests on, through NVML.

Needs a data-centre GPU since Hopper with the mode on; every other one says NotSupported. What can't be had is
left out with the reason, and the receipt then claims less. Never tested on hardware: see `docs/evidence.md`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from oracle.telemetry.base import Note, TelemetryError
from oracle.telemetry.nvml import MetricAbsent, NvmlFailed
from scrip.attestation import GpuReport, verify_report
from scrip.errors import ScripError

METRIC: Final = "gpu_report"
_SOURCE: Final = "nvml"
_ALL: Final = "all GPUs"
_FEATURE_ENABLED: Final = 1
"""nvml.h: NVML_CC_SYSTEM_FEATURE_ENABLED and NVML_CC_SYSTEM_DEVTOOLS_MODE_ON."""


class NvmlCalls(Protocol):
    """What is used of `oracle.telemetry.nvml.Nvml`."""

    @property
    def simulated(self) -> bool:
        """Whether the library is our replay library."""

    def ask(self, symbol: str, gpu: str, *arguments: object) -> Any:
        """Call a symbol that takes no device. Raises as `call`."""

    def call(self, symbol: str, gpu: str, *arguments: object) -> Any:
        """Call a symbol that takes a device first. Raises MetricAbsent, GpuLost, NvmlFailed."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Reports of all GPUs that were asked, or none of them and why."""

    reports: tuple[GpuReport, ...]
    notes: tuple[Note, ...] = ()


class ConfidentialGpus:
    """Collects reports. `verify` checks each one before it is believed; `clock` gives unix seconds."""

    def __init__(
        self,
        nvml: NvmlCalls,
        *,
        verify: Callable[..., object] = verify_report,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nvml, self._verify, self._clock = nvml, verify, clock

    def unready(self) -> str:
        """Why no report can be had on this machine; "" if the mode is on and its debugging mode off."""
        if self._nvml.simulated:
            return "the GPU is simulated"
        try:
            state = self._nvml.ask("nvmlSystemGetConfComputeState", _ALL)
        except (MetricAbsent, NvmlFailed) as problem:
            return str(problem)
        if int(state.ccFeature) != _FEATURE_ENABLED:
            return "confidential computing is off"
        if int(state.devToolsMode) == _FEATURE_ENABLED:
            return "confidential computing is in its debugging mode, which protects nothing"
        return ""

    def collect(self, gpus: Sequence[str], nonce: bytes) -> Collected:
        """Ask each GPU for a report over `nonce` (32 bytes). One that fails leaves none: a receipt needs all.

        A report that wouldn't pass the watchers' checks is left out here already. Raises nothing of its own.
        """
        if why := self.unready():
            return Collected((), (_note(_ALL, why),))
        reports = []
        for gpu in gpus:
            try:
                reports.append(self._ask(gpu, nonce))
            except ScripError as problem:
                return Collected((), (_note(gpu, str(problem)),))
        return Collected(tuple(reports))

    def _ask(self, gpu: str, nonce: bytes) -> GpuReport:
        chain = self._nvml.call("nvmlDeviceGetConfComputeGpuCertificate", gpu)
        answer = self._nvml.call("nvmlDeviceGetConfComputeGpuAttestationReport", gpu, nonce)
        report = GpuReport(
            gpu,
            _taken(answer.attestationReport, answer.attestationReportSize),
            # NVML pads with zeros and may count them.
            _taken(chain.attestationCertChain, chain.attestationCertChainSize).rstrip(b"\0"),
        )
        self._verify(report, nonce=nonce, now=int(self._clock()))
        return report


def _taken(field: Any, size: int) -> bytes:
    if not 0 < size <= len(field):
        raise TelemetryError(f"NVML says {size} bytes of a field that holds {len(field)}")
    return bytes(field[:size])


def _note(gpu: str, reason: str) -> Note:
    return Note(_SOURCE, gpu, METRIC, reason)
