"""Run by nvitop's own interpreter: print what it sees as JSON, at the time that the virtual clock shows."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from nvitop import Device

# nvitop asks the driver for the samples of the last second by the wall clock; here that is the virtual one.
time.time_ns = lambda: int(Path(os.environ["SCRIP_NVML_CLOCK"]).read_text()) * 1_000_000

found = [
    {
        "uuid": device.uuid(),
        "name": device.name(),
        "power_mw": device.power_usage(),
        "util_pct": device.gpu_utilization(),
        "memory_bytes": device.memory_used(),
        "pids": sorted(device.processes()),
        "process_sm_pct": {
            str(pid): process.gpu_sm_utilization() for pid, process in device.processes().items()
        },
    }
    for device in Device.all()
]
print(json.dumps(found))
