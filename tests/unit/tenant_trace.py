"""Two tenants on one simulated GPU, with the truth: traces of any load, and what the daemon records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from oracle.telemetry.base import Lease
from oracle.telemetry.boards import Board, SharedGpuMeter
from oracle.telemetry.nvml import Nvml
from oracle.telemetry.recorder import Recorder
from scrip.evidence import Sample
from tests.unit.replay_gpu import GPU, HEAD, HandClock

STEP_MS = 100  # the energy counter advances about this often
SAMPLE_MS = 200  # per-process samples come slower
IDLE_MW = 70_000
END_MS = 12_000
MS = 1_000_000


@dataclass(frozen=True)
class Tenant:
    """One job: a process on the GPU in [start_ms, end_ms)."""

    job_id: bytes
    pid: int
    start_ms: int
    end_ms: int

    def there(self, ms: int) -> bool:
        return self.start_ms <= ms < self.end_ms


A = Tenant(b"a" * 32, 4001, 1_000, 9_000)
B = Tenant(b"b" * 32, 4002, 4_100, 7_300)  # between two of the driver's samples, as it comes
Pair = tuple[Tenant, Tenant]
TENANTS: Pair = (A, B)
Load = Callable[[int], tuple[int, int, int, int]]
"""While both run, at a time in ms: SM use of A and of B in percent, and the power each causes, in mW."""


def steady(ms: int) -> tuple[int, int, int, int]:
    """What the first probe played: the same all the time."""
    del ms
    return 60, 35, 316_000, 184_000


def swinging(ms: int) -> tuple[int, int, int, int]:
    """Both swing, against each other and each at its own pace; power goes with SM use,
    the first percents dearer than the last."""
    a = 80 if ms // 700 % 2 else 15
    b = 10 if ms // 700 % 2 else 30 + 35 * (ms // 300 % 2)
    dynamic_mw = 60_000 + 4_400 * (a + b)
    return a, b, dynamic_mw * a // (a + b), dynamic_mw * b // (a + b)


def uneven(ms: int) -> tuple[int, int, int, int]:
    """As `swinging`, but a percent of B takes twice the power of one of A, which no sample shows."""
    a, b, *_ = swinging(ms)
    return a, b, 4_000 * a, 8_000 * b


def trace(load: Load, tenants: Pair = TENANTS) -> tuple[str, dict[bytes, int]]:
    """The trace, and what each job truly used in mJ: idle power by head, the rest what it causes."""
    rows, energy, truth = [HEAD.rstrip("\n")], 1_000_000, {tenant.job_id: 0 for tenant in tenants}
    for ms in range(0, END_MS + 1, STEP_MS):
        used = _at(ms, load, tenants)
        power = IDLE_MW + sum(mw for _, mw in used.values())
        rows.append(f"read {ms} 0 {energy} {power} 90 40")
        if ms % SAMPLE_MS == 0:
            rows += [f"proc {ms} 0 {pid} 1024 {sm} 10" for pid, sm in _sampled(ms, load, tenants).items()]
        rows += [f"exit {ms} 0 {tenant.pid}" for tenant in tenants if tenant.end_ms == ms]
        for tenant, (_, mw) in used.items():
            truth[tenant.job_id] += (IDLE_MW // len(used) + mw) * STEP_MS // 1000
        energy += power * STEP_MS // 1000
    return "\n".join(rows) + "\n", truth


def _at(ms: int, load: Load, tenants: Pair) -> dict[Tenant, tuple[int, int]]:
    """SM use and power of whoever is there."""
    present = [tenant for tenant in tenants if tenant.there(ms)]
    if len(present) == 2:
        a, b, a_mw, b_mw = load(ms)
        return {tenants[0]: (a, a_mw), tenants[1]: (b, b_mw)}
    return dict.fromkeys(present, (95, 330_000))


def _sampled(ms: int, load: Load, tenants: Pair) -> dict[int, int]:
    """The driver's samples: mean SM use over the period that ends here, 0 for a process that is new."""
    steps = [_at(step, load, tenants) for step in range(ms - SAMPLE_MS, ms, STEP_MS)]
    alive = {tenant for step in (*steps, _at(ms, load, tenants)) for tenant in step}
    return {tenant.pid: sum(step.get(tenant, (0, 0))[0] for step in steps) // len(steps) for tenant in alive}


@dataclass
class Recording:
    """What the daemon recorded: each job's evidence, and the board's ledger."""

    samples: dict[bytes, tuple[Sample, ...]]
    board: Board


def record(
    nvml: Nvml, clock: HandClock, tick_ms: int, tenants: Sequence[Tenant] = TENANTS, gpu: str = GPU
) -> Recording:
    """A recorder per job, edges as jobs come and go, ticks at a phase of their own."""
    pids = {tenant.job_id: tenant.pid for tenant in tenants}
    board = Board(gpu, nvml, slots=2, idle_mw=IDLE_MW, clock=clock)
    running: dict[Tenant, Recorder] = {}
    found: dict[bytes, tuple[Sample, ...]] = {}
    edges = {ms for tenant in tenants for ms in (tenant.start_ms, tenant.end_ms)}
    for ms in sorted({*edges, *range(37, END_MS, tick_ms)}):
        clock.set(ms)
        for tenant in [each for each in running if each.end_ms == ms]:
            length = (tenant.end_ms - tenant.start_ms) * MS
            ended = SimpleNamespace(reason="ok", duration_ns=length, rusage=(0, 0, 0))
            found[tenant.job_id] = tuple(running.pop(tenant).end(ended))
        for recorder in running.values():
            recorder.tick()
        for tenant in [each for each in tenants if each.start_ms == ms]:
            lease = Lease(tenant.job_id, tenant.pid, 2**22 + 1, None, (gpu,), Path("/nonexistent"))
            meter = SharedGpuMeter(nvml, {gpu: board}, owns=pids[tenant.job_id].__eq__)
            running[tenant] = Recorder(lease, [meter], clock, period_s=None)
            running[tenant].start()
    return Recording(found, board)
