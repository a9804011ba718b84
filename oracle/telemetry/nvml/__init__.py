"""GPU readings through NVML, by way of NVIDIA's own binding (PyPI nvidia-ml-py).

What a receipt rests on is lease time, which the recorder measures, and the energy counter, read at each edge
and tick. The counter is the whole board's, in mJ since the driver was loaded; it advances about every 100 ms,
and is checked against power (`crosscheck`). All else is side information for whoever reads the evidence:
utilisation says "at least one kernel ran", never how much work was done, and nothing is billed by it.
"""

from oracle.telemetry.nvml.errors import GpuLost, MetricAbsent, NvmlFailed, NvmlUnavailable
from oracle.telemetry.nvml.library import REPLAY_VERSION, Replay
from oracle.telemetry.nvml.meter import NvmlMeter
from oracle.telemetry.nvml.readings import Accounted, Gpu, Nvml, ProcessUtil

__all__ = [
    "REPLAY_VERSION",
    "Accounted",
    "Gpu",
    "GpuLost",
    "MetricAbsent",
    "Nvml",
    "NvmlFailed",
    "NvmlMeter",
    "NvmlUnavailable",
    "ProcessUtil",
    "Replay",
]
