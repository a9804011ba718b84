"""What the driver says of a job's processes on one GPU: which are there, what they use, what they used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from oracle.telemetry.clock import Clock
from oracle.telemetry.nvml.errors import MetricAbsent
from oracle.telemetry.nvml.readings import Nvml

ACCOUNTING: Final = "nvmlDeviceGetAccountingStats"
START_SLACK_US: Final = 1_000_000
"""How much earlier than the lease a process may have started by the driver's clock."""


class Processes:
    """One job's processes on one GPU. `owns` tells whether a living pid is the job's; it then stays so."""

    def __init__(self, nvml: Nvml, gpu: str, owns: Callable[[int], bool], clock: Clock) -> None:
        self._nvml, self._gpu, self._owns, self._clock = nvml, gpu, owns, clock
        self._seen: set[int] = set()
        self._started_us = self._since_us = clock.wall_ms() * 1_000

    def present(self) -> Mapping[str, int]:
        """How many of the job's processes have a context on the GPU."""
        here = {pid for pid in self._nvml.compute_pids(self._gpu) if pid in self._seen or self._owns(pid)}
        self._seen |= here
        return {"process_present": len(here)}

    def in_use(self) -> Mapping[str, int]:
        """SM use of the job's processes since the last call, percent; nothing if nobody was sampled."""
        now_us = self._clock.wall_ms() * 1_000
        by_pid: dict[int, list[int]] = defaultdict(list)
        utils = self._nvml.process_utils(self._gpu, self._since_us, now_us)
        for util in utils:
            self._since_us = max(self._since_us, util.at_us)
            if util.pid in self._seen:
                by_pid[util.pid].append(util.sm_pct)
        total = sum(sum(values) // len(values) for values in by_pid.values())
        return {"process_sm_pct": min(total, 100)} if utils else {}

    def check_accounting(self) -> Mapping[str, int]:
        """Raises MetricAbsent unless the driver will keep a record of the processes."""
        if not self._nvml.accounting_on(self._gpu):
            reason = "accounting mode is off: nvidia-smi -am 1 (as root) turns it on until the driver unloads"
            raise MetricAbsent(ACCOUNTING, self._gpu, reason)
        return {}

    def accounted(self) -> Mapping[str, int]:
        """What the driver recorded of the job's processes, all of which have ended.

        A record from before the lease is of an earlier process with the same pid. Raises MetricAbsent when a
        process that was seen has no record that is closed.
        """
        records = [self._nvml.accounted(self._gpu, pid) for pid in sorted(self._seen)]
        if not records:
            return {}
        oldest_us = self._started_us - START_SLACK_US
        good = [found for found in records if found and found.ended and found.started_us >= oldest_us]
        if len(good) < len(records):
            reason = f"the driver closed the record of {len(good)} of {len(records)} processes"
            raise MetricAbsent(ACCOUNTING, self._gpu, reason)
        return {
            "accounted_ms": sum(found.time_ms for found in good),
            "accounted_peak_bytes": max(found.peak_bytes for found in good),
        }
