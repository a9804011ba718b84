"""The NVML meter on real hardware. Skipped, with the reason, where there is none.

The readings are taken in a process of their own, because a process that has loaded the replay library, as the
unit tests do, can't load the driver's any more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
READ_SECONDS = 3.0
MOST_MW = 2_000_000  # above any board's limit
COUNTER_MS = 200  # the counter may be this stale at either edge


def read_gpus() -> dict[str, Any]:
    """Meter every GPU here for a few seconds; run in the child."""
    from oracle.attribution import attribute
    from oracle.telemetry.base import Lease
    from oracle.telemetry.nvml import Nvml, NvmlMeter, NvmlUnavailable
    from oracle.telemetry.recorder import Recorder

    try:
        nvml = Nvml.open()
    except NvmlUnavailable as problem:
        return {"skip": str(problem)}
    with nvml:
        gpus = nvml.gpus()
        if nvml.simulated or not gpus:
            return {"skip": "NVML is the replay library" if nvml.simulated else "NVML lists no GPU"}
        lease = Lease(b"\x11" * 32, os.getpid(), os.getpgid(0), None, tuple(gpu.uuid for gpu in gpus), ROOT)
        recorder = Recorder(lease, [meter := NvmlMeter(nvml)], period_s=0.5)
        begun = time.monotonic_ns()
        recorder.start()
        time.sleep(READ_SECONDS)  # the thing measured is energy over time
        ended = SimpleNamespace(reason="ok", duration_ns=time.monotonic_ns() - begun, rusage=(0, 0, 0))
        samples = recorder.end(ended)
        usage = attribute(lease.job_id, samples)
        return {
            "driver": nvml.driver,
            "gpus": [[gpu.uuid, gpu.name] for gpu in gpus],
            "samples": [sample.to_json() for sample in samples],
            "notes": [f"{note.device} {note.metric}: {note.reason}" for note in meter.notes()],
            "usage": {"gpu_ms": usage.gpu_ms, "mj": usage.gpu_millijoules, "energy": usage.energy},
            "simulated": usage.simulated,
        }


@pytest.fixture(scope="module")
def readings() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.test_real_gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    if "skip" in found:
        pytest.skip(f"needs a real NVIDIA GPU: {found['skip']}")
    return found


def test_real_gpu__readings__come_from_hardware(readings: dict[str, Any]) -> None:
    assert not readings["simulated"]
    assert {row["source"] for row in readings["samples"]} == {"nvml", "lease"}
    assert all(uuid.startswith("GPU-") and name for uuid, name in readings["gpus"])


def test_real_gpu__lease__is_counted_once_per_gpu(readings: dict[str, Any]) -> None:
    expected = len(readings["gpus"]) * READ_SECONDS * 1000
    assert expected <= readings["usage"]["gpu_ms"] <= expected * 1.5


def test_real_gpu__energy_counter__agrees_with_power_or_is_left_out_with_a_reason(
    readings: dict[str, Any],
) -> None:
    if readings["usage"]["energy"] == "none":
        assert any("energy_mj" in note for note in readings["notes"])
        return
    powers = [row["value"] for row in readings["samples"] if row["metric"] == "power_mw"]
    assert 0 < max(powers) < MOST_MW
    shortest_ms = readings["usage"]["gpu_ms"] - 2 * COUNTER_MS * len(readings["gpus"])
    longest_ms = readings["usage"]["gpu_ms"] + 2 * COUNTER_MS * len(readings["gpus"])
    assert min(powers) * shortest_ms // 2000 <= readings["usage"]["mj"] <= max(powers) * longest_ms // 500


if __name__ == "__main__":
    print(json.dumps(read_gpus()))
