"""A board and jobs on it, set by hand: ledger, meters and recorders are real, the board is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from oracle.attribution import Usage, attribute
from oracle.telemetry.base import Lease
from oracle.telemetry.boards import Board, SharedGpuMeter
from oracle.telemetry.nvml import MetricAbsent, ProcessUtil
from oracle.telemetry.nvml.fields import BoardReading
from oracle.telemetry.recorder import Recorder
from scrip.evidence import Sample
from tests.unit.replay_gpu import GPU
from tests.unit.tenant_trace import (
    A,
    B,
    Tenant,
)

MS = 1_000_000
C = Tenant(b"c" * 32, 4003, 0, 0)


@dataclass
class FakeBoard:
    """A board and its clock, set by hand. Stands in for NVML, labelled as simulated."""

    energy: int = 0
    power: int | None = None
    ns: int = 0
    utils: list[ProcessUtil] = field(default_factory=list)
    pids: frozenset[int] = frozenset()
    split: bool = False
    fails: dict[str, Exception] = field(default_factory=dict)
    source: str = "nvml-replay"
    simulated: bool = True

    def _check(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]

    def board(self, gpu: str) -> BoardReading:
        self._check("energy")
        no_power = MetricAbsent("nvmlDeviceGetPowerUsage", gpu, "not here")
        return BoardReading(self.energy, no_power if self.power is None else self.power)

    def process_utils(self, gpu: str, since_us: int, until_us: int | None = None) -> tuple[ProcessUtil, ...]:
        self._check("utils")
        return tuple(util for util in self.utils if util.at_us > since_us)

    def revive(self) -> None:
        """Nothing is ever lost for good."""

    def compute_pids(self, gpu: str) -> frozenset[int]:
        self._check("pids")
        return self.pids

    def is_split(self, gpu: str) -> bool:
        return self.split

    def wall_ms(self) -> int:
        return self.ns // MS

    def mono_ns(self) -> int:
        return self.ns

    def pass_ms(self, ms: int, mj: int, **sm: int) -> None:
        """Time passes, energy is used; `sm` is what the driver sampled of A to C or a stranger (X), twice."""
        pids = {"A": A.pid, "B": B.pid, "C": C.pid, "X": 1}
        stamps = [(self.ns + ms * MS // 2) // 1000, (self.ns + ms * MS) // 1000]
        self.utils += [ProcessUtil(pids[name], at, pct) for at in stamps for name, pct in sm.items()]
        self.ns, self.energy = self.ns + ms * MS, self.energy + mj


class Place:
    """Jobs on one fake board, each with a recorder."""

    def __init__(self, slots: int = 3, idle_mw: int = 0, start_mj: int = 5_000) -> None:
        self.fake = FakeBoard(energy=start_mj)
        self.board = Board(GPU, self.fake, slots=slots, idle_mw=idle_mw, clock=self.fake, fresh_ns=1)
        self.running: dict[Tenant, Recorder] = {}
        self.started: dict[Tenant, int] = {}
        self.samples: dict[Tenant, tuple[Sample, ...]] = {}

    def come(self, tenant: Tenant) -> None:
        lease = Lease(tenant.job_id, tenant.pid, 2**22 + 1, None, (GPU,), Path("/nonexistent"))
        meter = SharedGpuMeter(self.fake, {GPU: self.board}, owns=tenant.pid.__eq__)
        recorder = Recorder(lease, [meter], self.fake, period_s=None)
        recorder.start()
        self.running[tenant], self.started[tenant] = recorder, self.fake.ns

    def go(self, tenant: Tenant) -> None:
        length = self.fake.ns - self.started[tenant]
        ended = SimpleNamespace(reason="ok", duration_ns=length, rusage=(0, 0, 0))
        self.samples[tenant] = tuple(self.running.pop(tenant).end(ended))

    def tick(self) -> None:
        for recorder in self.running.values():
            recorder.tick()

    def usage(self, tenant: Tenant) -> Usage:
        return attribute(tenant.job_id, self.samples[tenant])
