"""A GPU that falls off the bus under a job: that attempt is lost with the reason, the next one runs, in one
process of the daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.states import State
from oracle.telemetry.base import Lease, Reading
from oracle.telemetry.nvml import Nvml, NvmlMeter
from tests.unit.oracle_factory import SPEC, FakeMeter, Lab, Node, terms
from tests.unit.oracle_market import CPU_CLASS, cpu_class
from tests.unit.replay_gpu import GPU, HEAD, HandClock, simulated

TRACE = HEAD + "read 0 0 1000 300000 80 40\nlost 500 0 15\n"
DRIVER_GONE = HEAD + "read 0 0 1000 300000 80 40\nlost 500 * 9\nfail 500 * nvmlInitWithFlags 18\n"


class Leased(NvmlMeter):
    """The fake market sells CPU time; its jobs hold this GPU as well. `begun` is set once one is metered."""

    def __init__(self, nvml: Nvml, clock: HandClock, begun: threading.Event) -> None:
        super().__init__(nvml, clock=clock)
        self._begun = begun

    def start(self, lease: Lease) -> list[Reading]:
        readings = super().start(replace(lease, gpus=(GPU,)))
        self._begun.set()
        return readings


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch)
    made.market.classes[CPU_CLASS] = cpu_class(min_assurance=0)  # what simulated GPUs can give
    yield made
    made.close()


def opened(lab: Lab, node: Node, salt: int) -> bytes:
    asked = terms(lab.market, salt=salt)
    return lab.market.open(asked, node.desk.quote(asked, SPEC).signature)


def metered_by(node: Node, nvml: Nvml, clock: HandClock) -> threading.Event:
    begun = threading.Event()
    node.worker._meters = lambda _: [FakeMeter(), Leased(nvml, clock, begun)]
    return begun


def test_gpu_lost__attempt_is_lost_with_the_reason__next_ones_work(tmp_path: Path, lab: Lab) -> None:
    with simulated(tmp_path, TRACE) as (nvml, clock):
        node = lab.start(held=True)
        begun = metered_by(node, nvml, clock)
        first = opened(lab, node, 1)
        node.until(begun.is_set)
        clock.set(500)
        node.executor.may_end.set()
        node.until_at(first, State.SETTLED)
        reasons = [step.reason for step in node.store.steps(first)]
        assert any("fell off the bus" in (reason or "") for reason in reasons)
        assert node.store.job(first).attempt == 2
        second = opened(lab, node, 2)
        node.until_at(second, State.SETTLED)
        assert node.store.job(second).attempt == 1
        assert nvml.generation == 1
        samples = node.evidence.get(second).samples
        assert [s.value for s in samples if s.metric == "energy_mj"] == [1000, 1000]


def test_driver_gone_for_good__job_is_given_back_with_the_reason(tmp_path: Path, lab: Lab) -> None:
    with simulated(tmp_path, DRIVER_GONE) as (nvml, clock):
        node = lab.start(held=True, max_attempts=2)
        begun = metered_by(node, nvml, clock)
        job = opened(lab, node, 1)
        node.until(begun.is_set)
        clock.set(500)
        node.executor.may_end.set()
        node.until_at(job, State.CANCELLED)
        reasons = " ".join(step.reason or "" for step in node.store.steps(job))
        assert "the driver is not loaded" in reasons
        assert "NVML does not start again: driver and library versions differ" in reasons
        assert job not in lab.market.settled
