"""Which meters a job gets, and the ledgers of boards that jobs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oracle.executors.base import LOCAL
from oracle.intake import Plan
from oracle.metrics import Metrics
from oracle.settings import ProviderSettings
from oracle.telemetry.base import Meter
from oracle.telemetry.boards import Board, SharedGpuMeter
from oracle.telemetry.cpu import CpuMeter
from oracle.telemetry.latest import LatestGpus
from oracle.telemetry.network import NetworkMeter
from oracle.telemetry.nvml import MetricAbsent, Nvml, NvmlMeter
from oracle.telemetry.rapl import RaplMeter
from oracle.telemetry.remote import RemoteMeter
from oracle.telemetry.storage import StorageMeter
from oracle.telemetry.timed import TimedMeter
from oracle.telemetry.tokens import UsageFileMeter
from scrip.errors import ScripError


class CannotShare(ScripError):
    """The GPUs can't be shared as the settings ask."""


def boards_of(nvml: Nvml | None, provider: ProviderSettings) -> dict[str, Board]:
    """Ledgers of the GPUs that jobs share; empty where each job has its GPUs to itself. Raises
    CannotShare.
    """
    if nvml is None or provider.gpu_tenants == 1:
        return {}
    split = [gpu for gpu in provider.gpus if nvml.is_split(gpu)]
    if split:
        raise CannotShare(f"provider.gpu_tenants: {', '.join(split)} divided by MIG can't be shared as well")
    try:
        for gpu in provider.gpus:
            nvml.energy_mj(gpu)
    except MetricAbsent as problem:
        raise CannotShare(f"provider.gpu_tenants: sharing needs an energy counter. {problem}") from problem
    slots, idle_mw = provider.gpu_tenants, provider.gpu_idle_mw
    return {gpu: Board(gpu, nvml, slots=slots, idle_mw=idle_mw) for gpu in provider.gpus}


def latest_of(nvml: Nvml | None, provider: ProviderSettings) -> LatestGpus:
    """Where the last readings of the GPUs that are served will be."""
    served = [] if nvml is None else [gpu for gpu in nvml.gpus() if gpu.uuid in provider.gpus]
    return LatestGpus(nvml, [(gpu.uuid, gpu.name, gpu.memory_bytes) for gpu in served])


def meters_of(
    nvml: Nvml | None, boards: dict[str, Board], metrics: Metrics, latest: LatestGpus
) -> Callable[[Plan], Sequence[Meter]]:
    """What meters a job: CPU always, the rest where the job has it: tokens, content, GPUs. On a cluster the
    node meters. The time each reading takes is counted, and what GPUs say is left with `latest`.
    """

    def meters(planned: Plan) -> Sequence[Meter]:
        here = planned.template.engine == LOCAL
        found: list[Meter] = [CpuMeter(), RaplMeter()] if here else [RemoteMeter()]
        if planned.params.most_tokens() is not None:
            found.append(UsageFileMeter(planned.template.sku))
        if planned.params.stored() is not None:
            found.append(StorageMeter())
        if planned.params.moved_bytes() is not None:
            found.append(NetworkMeter())
        if here and planned.gpus and nvml is not None:
            found.append(latest.tapped(SharedGpuMeter(nvml, boards) if boards else NvmlMeter(nvml)))
        return [TimedMeter(meter, metrics) for meter in found]

    return meters
