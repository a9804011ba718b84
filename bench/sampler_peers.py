"""Run by the interpreter that has Zeus and nvitop: `sampler_peers.py zeus|nvitop TICKS`, prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def zeus() -> Callable[[], list[float]]:
    """Energy and power of every GPU."""
    from zeus.device import get_gpus

    gpus = get_gpus()

    def read() -> list[float]:
        watts = []
        for index in range(len(gpus)):
            gpus.get_total_energy_consumption(index)
            watts.append(gpus.get_average_power_usage(index) / 1000)
        return watts

    return read


def nvitop() -> Callable[[], list[float]]:
    """Power, utilisation, memory and processes of every GPU. It has no energy."""
    from nvitop import Device

    devices = Device.all()

    def read() -> list[float]:
        watts = []
        for device in devices:
            watts.append(device.power_usage() / 1000)
            device.gpu_utilization()
            device.memory_used()
            for process in device.processes().values():
                process.gpu_sm_utilization()
        return watts

    return read


def main() -> None:
    """Read once a second, and say what that took of a core."""
    read = {"zeus": zeus, "nvitop": nvitop}[sys.argv[1]]()
    ticks = int(sys.argv[2])
    begun, used = time.monotonic(), time.process_time()
    for tick in range(1, ticks + 1):
        time.sleep(max(0.0, begun + tick - time.monotonic()))
        watts = read()
    used, passed = time.process_time() - used, time.monotonic() - begun
    print(json.dumps({"core_pct": 100 * used / passed, "gpus": len(watts), "watts": sum(watts)}))


if __name__ == "__main__":
    main()
