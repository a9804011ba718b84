"""Zeus and nvitop, in an interpreter of their own, read the same figures as the oracle from one library."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oracle.attribution import attribute
from oracle.telemetry.nvml import NvmlMeter
from oracle.telemetry.recorder import Recorder
from oracle.telemetry.replay.build import STEADY_TRACE, build
from oracle.telemetry.replay.generate import TENANT_A, TENANT_B, TENANT_GPU, two_tenant
from tests.conftest import python_of
from tests.unit.replay_gpu import lease, simulated

TRACE = STEADY_TRACE.with_name("two_tenant.trace")
SCRIPTS = Path(__file__).with_name("nvtools")
OK = SimpleNamespace(reason="ok", duration_ns=10**18, rusage=(0, 0, 0))


def read_by(script: str, tmp_path: Path, *arguments: str, at_ms: int = 0) -> Any:
    """What another tool's program prints, with the replay library where a driver's would be."""
    clock = tmp_path / "peer-now"
    clock.write_text(str(at_ms))
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": str(build().parent),
        "SCRIP_NVML_TRACE": str(TRACE),
        "SCRIP_NVML_CLOCK": str(clock),
        "HOME": str(tmp_path),
    }
    command = [str(python_of("nvtools")), str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("begin_ms", "end_ms"), [(1_000, 9_000), (1_500, 6_300)])
def test_zeus__energy_of_a_window__is_what_the_oracle_signs(
    tmp_path: Path, begin_ms: int, end_ms: int
) -> None:
    zeus = read_by("zeus_reads.py", tmp_path, str(begin_ms), str(end_ms))
    with simulated(tmp_path, TRACE) as (nvml, clock):
        clock.set(begin_ms)
        recorder = Recorder(lease(TENANT_GPU), [NvmlMeter(nvml, clock=clock)], clock, period_s=None)
        recorder.start()
        clock.set(end_ms)
        samples = recorder.end(OK)
        name = nvml.gpus()[0].name
    ours = {sample.metric: sample.value for sample in samples if sample.edge == "end"}
    usage = attribute(b"\x11" * 32, samples)
    assert round(zeus["joules"] * 1000) == usage.gpu_millijoules > 0
    assert (zeus["energy_mj"], zeus["name"]) == (ours["energy_mj"], name)
    assert zeus["power_mw"] == zeus["instant_mw"] == ours["power_mw"]
    if (begin_ms, end_ms) == (TENANT_A.start_ms, TENANT_A.end_ms):
        truth = sum(two_tenant()[1].values())  # shares of each step, rounded down
        assert truth <= usage.gpu_millijoules <= truth + 100


@pytest.mark.parametrize("at_ms", [500, 5_000])
def test_nvitop__power_use_memory_and_processes__are_the_oracles(tmp_path: Path, at_ms: int) -> None:
    seen = read_by("nvitop_reads.py", tmp_path, at_ms=at_ms)
    with simulated(tmp_path, TRACE) as (nvml, clock):
        clock.set(at_ms)
        ours = [
            {
                "uuid": gpu.uuid,
                "name": gpu.name,
                "power_mw": nvml.board(gpu.uuid).power_mw,
                "util_pct": nvml.util_pct(gpu.uuid),
                "memory_bytes": nvml.memory_bytes(gpu.uuid),
                "pids": sorted(nvml.compute_pids(gpu.uuid)),
                "process_sm_pct": {
                    str(util.pid): util.sm_pct
                    for util in nvml.process_utils(gpu.uuid, 0)
                    if util.pid in nvml.compute_pids(gpu.uuid)
                },
            }
            for gpu in nvml.gpus()
        ]
    assert seen == ours
    assert [gpu["pids"] for gpu in ours] == [[TENANT_A.pid, TENANT_B.pid] if at_ms == 5_000 else [], []]
