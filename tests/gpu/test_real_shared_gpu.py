"""A real board shared by two leases: what both and nobody used is what its counter counted. Skipped, with the
reason, where there is no GPU.

Without CUDA programs both leases are idle here, so this shows the ledger and the driver's answers, not how
well SM use divides energy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HALF_S = 1.5


def share(nvml: Any, gpu: str) -> dict[str, Any]:
    """Two leases that overlap for a while."""
    from oracle.attribution import attribute
    from oracle.telemetry.base import Lease
    from oracle.telemetry.boards import Board, SharedGpuMeter
    from oracle.telemetry.recorder import Recorder

    board = Board(gpu, nvml, slots=2, idle_mw=50_000)
    recorders, begun, found, notes = {}, {}, {}, []

    def come(job: bytes) -> None:
        lease = Lease(job, 2**22 + 1, 2**22 + 1, None, (gpu,), ROOT)
        recorders[job] = Recorder(lease, [SharedGpuMeter(nvml, {gpu: board})], period_s=0.25)
        recorders[job].start()
        begun[job] = time.monotonic_ns()

    def go(job: bytes) -> None:
        spent = time.monotonic_ns() - begun[job]
        found[job] = recorders[job].end(SimpleNamespace(reason="ok", duration_ns=spent, rusage=(0, 0, 0)))
        notes.extend(f"{note.metric}: {note.reason}" for note in recorders[job].notes())

    one, two = b"\x01" * 32, b"\x02" * 32
    come(one)
    time.sleep(HALF_S)  # energy over time is what is measured
    come(two)
    time.sleep(HALF_S)
    go(one)
    time.sleep(HALF_S)
    go(two)
    reads = [s.value for rows in found.values() for s in rows if s.metric == "energy_mj"]
    usages = [attribute(job, rows) for job, rows in found.items()]
    return {
        "used": [usage.gpu_millijoules for usage in usages],
        "kinds": [usage.energy for usage in usages],
        "unattributed": board.unattributed_mj,
        "counted": max(reads) - min(reads),
        "notes": notes,
    }


def read() -> dict[str, Any]:
    """Run in the child: a process that has loaded the replay library can't load the driver's any more."""
    from oracle.telemetry.nvml import Nvml, NvmlUnavailable

    try:
        nvml = Nvml.open()
    except NvmlUnavailable as problem:
        return {"skip": str(problem)}
    with nvml:
        whole = [gpu.uuid for gpu in nvml.gpus() if not nvml.is_split(gpu.uuid)]
        if nvml.simulated or not whole:
            return {"skip": "NVML is the replay library" if nvml.simulated else "no GPU that isn't split"}
        return share(nvml, whole[0])


def test_shared_board__both_leases_and_nobody__sum_to_the_counter() -> None:
    code = f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); import runpy; print(json.dumps("
    code += f"runpy.run_path({str(Path(__file__).resolve())!r})['read']()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    if "skip" in found:
        pytest.skip(found["skip"])
    assert sum(found["used"]) + found["unattributed"] == found["counted"], found
    assert found["kinds"] == ["shared", "shared"]
    assert all(mj > 0 for mj in found["used"]), found
