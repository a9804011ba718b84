"""The NVML meter, the recorder and `oracle record` on real hardware. Skipped, with the reason, without any.

Hardware is read in a process of its own, because a process that has loaded the replay library, as the unit
tests do, can't load the driver's any more. `SCRIP_GPU_TESTS_REPLAY=1` lets the replay library stand in for a
driver's, to try these tests themselves: they are then about the replay and prove nothing of hardware.
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
READ_SECONDS = 12.0  # above the 10 s from which the counter is checked against power
MOST_MW = 2_000_000  # above any board's limit
COUNTER_MS = 200  # the counter may be this stale at either edge
REPLAY_COUNTS = bool(os.environ.get("SCRIP_GPU_TESTS_REPLAY"))
BOARD_METRICS = {"energy_mj", "power_mw", "util_pct", "memory_bytes", "process_present"}


def read_gpus(out: Path) -> dict[str, Any]:
    """Record a trace of every GPU here, then meter them for a while; run in the child."""
    from oracle.attribution import attribute
    from oracle.telemetry.base import Lease
    from oracle.telemetry.nvml import Nvml, NvmlMeter, NvmlUnavailable
    from oracle.telemetry.nvml.record import record
    from oracle.telemetry.recorder import Recorder

    try:
        nvml = Nvml.open()
    except NvmlUnavailable as problem:
        return {"skip": str(problem)}
    with nvml:
        gpus = nvml.gpus()
        if not gpus or (nvml.simulated and not REPLAY_COUNTS):
            return {"skip": "NVML lists no GPU" if not gpus else "NVML is the replay library"}
        rounds = record(nvml, out, 2)
        lease = Lease(b"\x11" * 32, os.getpid(), os.getpgid(0), None, tuple(gpu.uuid for gpu in gpus), ROOT)
        recorder = Recorder(lease, [meter := NvmlMeter(nvml)], period_s=0.5)
        begun = time.monotonic_ns()
        recorder.start()
        time.sleep(READ_SECONDS)  # the thing measured is energy over time
        ended = SimpleNamespace(reason="ok", duration_ns=time.monotonic_ns() - begun, rusage=(0, 0, 0))
        samples = recorder.end(ended)  # raises if any reading failed
        usage = attribute(lease.job_id, samples)
        return {
            "driver": nvml.driver,
            "rounds": rounds,
            "gpus": [[gpu.uuid, gpu.name] for gpu in gpus],
            "samples": [sample.to_json() for sample in samples],
            "notes": [[note.device, note.metric, note.reason] for note in meter.notes()],
            "usage": {"gpu_ms": usage.gpu_ms, "mj": usage.gpu_millijoules, "energy": usage.energy},
            "simulated": usage.simulated,
        }


def play(trace: Path) -> list[dict[str, Any]]:
    """What a recorded trace gives; run in another child, which loads the replay library."""
    from oracle.telemetry.nvml import Nvml, Replay

    clock = trace.with_suffix(".now")
    clock.write_text("1000")
    with Nvml.open(Replay(trace, clock)) as nvml:
        return [
            {
                "uuid": gpu.uuid,
                "name": gpu.name,
                "board": {k: str(v) for k, v in nvml.board(gpu.uuid)._asdict().items()},
            }
            for gpu in nvml.gpus()
        ]


def child(*arguments: str) -> Any:
    command = [sys.executable, "-m", "tests.gpu.test_real_gpu", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real") / "real.trace"


@pytest.fixture(scope="module")
def readings(trace: Path) -> dict[str, Any]:
    found: dict[str, Any] = child("read", str(trace))
    if "skip" in found:
        pytest.skip(f"needs a real NVIDIA GPU: {found['skip']}")
    return found


def test_real_gpu__readings__come_from_hardware(readings: dict[str, Any]) -> None:
    assert readings["simulated"] == REPLAY_COUNTS
    assert readings["driver"]
    assert {row["source"] for row in readings["samples"]} == {readings_source(), "lease"}
    assert all(uuid.startswith(("GPU-", "MIG-")) and name for uuid, name in readings["gpus"])


def readings_source() -> str:
    return "nvml-replay" if REPLAY_COUNTS else "nvml"


def test_real_gpu__lease__is_counted_once_per_gpu(readings: dict[str, Any]) -> None:
    expected = len(readings["gpus"]) * READ_SECONDS * 1000
    assert expected <= readings["usage"]["gpu_ms"] <= expected * 1.5


def test_real_gpu__energy_counter__is_read_at_both_edges_and_agrees_with_power(
    readings: dict[str, Any],
) -> None:
    if readings["usage"]["energy"] == "none":
        assert any(metric == "energy_mj" and reason for _, metric, reason in readings["notes"])
        return
    for uuid, _ in readings["gpus"]:
        rows = [row for row in readings["samples"] if row["device"] == uuid]
        counters = [row["value"] for row in rows if row["metric"] == "energy_mj"]
        assert {"start", "end"} <= {row["edge"] for row in rows if row["metric"] == "energy_mj"}
        assert counters == sorted(counters)
        assert 0 < max(row["value"] for row in rows if row["metric"] == "power_mw") < MOST_MW
    powers = [row["value"] for row in readings["samples"] if row["metric"] == "power_mw"]
    shortest_ms = readings["usage"]["gpu_ms"] - 2 * COUNTER_MS * len(readings["gpus"])
    longest_ms = readings["usage"]["gpu_ms"] + 2 * COUNTER_MS * len(readings["gpus"])
    assert min(powers) * shortest_ms // 2000 <= readings["usage"]["mj"] <= max(powers) * longest_ms // 500


def test_real_gpu__every_metric__is_read_or_left_out_for_a_reason_of_the_hardware(
    readings: dict[str, Any],
) -> None:
    for uuid, _ in readings["gpus"]:
        read = {row["metric"] for row in readings["samples"] if row["device"] == uuid}
        notes = {metric: reason for device, metric, reason in readings["notes"] if device == uuid}
        assert read | set(notes) >= BOARD_METRICS
        assert not [reason for reason in notes.values() if "left out once" in reason]


def test_real_gpu__ticks__are_taken_on_time(readings: dict[str, Any]) -> None:
    ticks = {row["mono_ns"] // 500_000_000 for row in readings["samples"] if row["edge"] == "tick"}
    assert len(ticks) >= READ_SECONDS / 0.5 * 0.9


def test_real_gpu__recording__plays_back_as_the_same_gpus(readings: dict[str, Any], trace: Path) -> None:
    assert readings["rounds"] >= 5
    played = child("play", str(trace))
    assert [[gpu["uuid"], gpu["name"]] for gpu in played] == readings["gpus"]
    energies = [int(line.split()[3]) for line in trace.read_text().splitlines() if line.startswith("read ")]
    for gpu in played:
        if gpu["board"]["energy_mj"].isdigit():
            assert min(energies) <= int(gpu["board"]["energy_mj"]) <= max(energies)


if __name__ == "__main__":
    print(json.dumps({"read": read_gpus, "play": play}[sys.argv[1]](Path(sys.argv[2]))))
