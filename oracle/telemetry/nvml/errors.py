"""What each NVML return code leads to. None of them becomes a number.

- `MetricAbsent`: board, driver or permissions don't offer it. The metric is left out, with the reason.
- `GpuLost`: the GPU or the driver went away. The job that ran is lost with that reason, and NVML is
  initialised anew before the next one.
- `NvmlFailed`: anything else. Fatal for the energy counter; side information is skipped, with the reason.
- `NvmlUnavailable`: NVML doesn't start at all.

Two codes mean different things to different calls and are told apart where they are made (`readings`): 6, not
found (no sample, no record, no such GPU), and 7, a list that outgrew its buffer (asked for again).
"""

from __future__ import annotations

from typing import Final

from oracle.telemetry.base import TelemetryError

# nvml.h, nvmlReturn_t
SUCCESS: Final = 0
NOT_SUPPORTED: Final = 3
NOT_FOUND: Final = 6
INSUFFICIENT_SIZE: Final = 7
NO_SYMBOL: Final = 13

ABSENT: Final = {
    3: "the GPU doesn't support it",
    4: "no permission: run as root or relax the driver's setting",
    NO_SYMBOL: "the driver is too old for it",
}
LOST: Final = {
    1: "NVML was shut down",
    9: "the driver is not loaded",
    12: "libnvidia-ml.so.1 is gone",
    15: "the GPU fell off the bus",
    16: "the GPU needs a reset",
    18: "driver and library versions differ: reboot or reload the driver",
    999: "unknown driver error, as when a container loses its GPUs",
}
BOARD_LOST: Final = frozenset({15, 16})
"""Of those, the ones that concern one board and not the driver."""
NO_NVML: Final = LOST | {
    4: "no permission to talk to the driver",
    12: "libnvidia-ml.so.1 not found: no NVIDIA driver here",
}


class NvmlUnavailable(TelemetryError):
    """NVML can't be used on this machine, or not as asked."""


class NvmlFailed(TelemetryError):
    """An NVML call failed in a way that says nothing about the GPU's health."""

    def __init__(self, symbol: str, gpu: str, code: int, detail: str) -> None:
        self.symbol, self.gpu, self.code, self.detail = symbol, gpu, code, detail
        super().__init__(f"{symbol} on {gpu} failed with NVML code {code} ({detail})")


class GpuLost(NvmlFailed):
    """A GPU, or NVML as a whole, went away. What the job used since the last reading is unknown."""


class MetricAbsent(TelemetryError):
    """The board or driver doesn't offer a metric: leave it out and say why."""

    def __init__(self, symbol: str, gpu: str, reason: str, code: int = NOT_SUPPORTED) -> None:
        self.symbol, self.gpu, self.reason, self.code = symbol, gpu, reason, code
        super().__init__(f"{symbol} on {gpu}: {reason}")


def failure(symbol: str, gpu: str, code: int, words: str = "") -> MetricAbsent | NvmlFailed:
    """The error that a return code stands for. `words` are the library's own, for codes not listed here."""
    if code in ABSENT:
        return MetricAbsent(symbol, gpu, ABSENT[code], code)
    if code in LOST:
        return GpuLost(symbol, gpu, code, LOST[code])
    # nvidia-ml-py (13.615) raises "success" where its sizing call finds nothing.
    detail = "success, wrongly raised" if code == SUCCESS else words
    return NvmlFailed(symbol, gpu, code, detail)
