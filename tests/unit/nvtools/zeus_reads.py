"""Run by Zeus' own interpreter: measure a window, print JSON. Times come from the virtual clock's file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from zeus.device import get_gpus
from zeus.monitor import ZeusMonitor

begin_ms, end_ms = sys.argv[1:]
clock = Path(os.environ["SCRIP_NVML_CLOCK"])
monitor = ZeusMonitor(gpu_indices=[0], cpu_indices=[])
clock.write_text(begin_ms)
monitor.begin_window("job", sync_execution=False)
clock.write_text(end_ms)
window = monitor.end_window("job", sync_execution=False)
gpus = get_gpus()
print(
    json.dumps(
        {
            "joules": window.gpu_energy[0],
            "name": gpus.get_name(0),
            "energy_mj": gpus.get_total_energy_consumption(0),
            "power_mw": gpus.get_average_power_usage(0),
            "instant_mw": gpus.get_instant_power_usage(0),
        }
    )
)
