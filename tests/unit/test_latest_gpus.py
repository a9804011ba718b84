"""Last readings of GPUs: meters leave them, looks read what is old, and however many look, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oracle.telemetry.base import Reading, TelemetryError
from oracle.telemetry.latest import POWER_S, UTIL_S, LatestGpus
from oracle.telemetry.nvml import NvmlMeter
from oracle.telemetry.nvml.fields import BoardReading
from oracle.telemetry.replay.build import STEADY_TRACE
from tests.unit.replay_gpu import lease, simulated

GPU = "GPU-1"


class Board:
    """A GPU that counts how often it is asked."""

    simulated = True

    def __init__(self) -> None:
        self.asked = 0
        self.values: dict[str, Any] = {"energy_mj": 1_000, "power_mw": 300_000}
        self.lost = False

    def board(self, gpu: str) -> BoardReading:
        self.asked += 1
        if self.lost:
            raise TelemetryError("the GPU fell off the bus")
        return BoardReading(**self.values)

    def util_pct(self, gpu: str) -> int:
        return 50

    def memory_bytes(self, gpu: str) -> int:
        return 7


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def latest(board: Board, clock: Clock) -> LatestGpus:
    return LatestGpus(board, [(GPU, "Test GPU", 80)], clock)


def test_look__a_thousand_times_at_once__reads_once(latest: LatestGpus, board: Board, clock: Clock) -> None:
    for _ in range(1_000):
        (gpu,) = latest.look()
    assert board.asked == 1
    assert (gpu.power_mw, gpu.util_pct, gpu.memory_bytes, gpu.energy_mj) == (300_000, 50, 7, 1_000)
    clock.now = POWER_S + 0.1
    latest.look()
    assert board.asked == 2


def test_look__a_meter_has_just_read__asks_nothing(latest: LatestGpus, board: Board, clock: Clock) -> None:
    latest.look()
    for second in range(1, 20):
        clock.now = float(second)
        metrics = {"power_mw": 500_000 + second, "energy_mj": 2_000 * second}
        if second % 5 == 0:
            metrics["util_pct"] = 90
        latest.note([Reading("nvml-sim", GPU, name, value) for name, value in metrics.items()])
        (gpu,) = latest.look()
        assert (gpu.power_mw, gpu.energy_mj) == (500_000 + second, 2_000 * second)
    assert board.asked == 1
    assert (gpu.util_pct, gpu.first_mj) == (90, 1_000)
    clock.now += UTIL_S + 0.1
    latest.note([Reading("nvml-sim", GPU, "power_mw", 1)])
    latest.look()
    assert board.asked == 2  # a meter that doesn't read utilisation


def test_look__gpu_is_lost__says_so_without_asking_at_every_look(
    latest: LatestGpus, board: Board, clock: Clock
) -> None:
    latest.look()
    board.lost, clock.now = True, 10.0
    for _ in range(5):
        (gpu,) = latest.look()
    assert (board.asked, gpu.problem) == (2, "the GPU fell off the bus")
    board.lost, clock.now = False, 20.0
    assert latest.look()[0].problem == ""


def test_look__metric_is_not_offered__is_left_out(board: Board, clock: Clock) -> None:
    board.values = {"energy_mj": TelemetryError("no counter"), "power_mw": 5}
    (gpu,) = LatestGpus(board, [(GPU, "Test GPU", 80)], clock).look()
    assert (gpu.energy_mj, gpu.first_mj, gpu.power_mw) == (None, None, 5)


def test_note__another_device_or_metric__is_ignored(latest: LatestGpus) -> None:
    latest.note([Reading("nvml", "GPU-2", "power_mw", 1), Reading("nvml", GPU, "gpm_sm_pct", 1)])
    assert [gpu.uuid for gpu in latest.look()] == [GPU]


def test_look__no_gpus__is_empty() -> None:
    assert LatestGpus(None, []).look() == ()


def test_tapped__real_meter_on_a_replayed_gpu__leaves_what_it_reads_and_who_holds_it(tmp_path: Path) -> None:
    with simulated(tmp_path, STEADY_TRACE) as (nvml, hand):
        (served,) = nvml.gpus()
        latest = LatestGpus(nvml, [(served.uuid, served.name, served.memory_bytes)])
        meter = latest.tapped(NvmlMeter(nvml, owns=lambda _: False, clock=hand))
        held = lease(served.uuid)
        given = {one.metric: one.value for one in meter.start(held)}
        (gpu,) = latest.look()
        assert gpu.jobs == {held.job_id}
        assert (gpu.power_mw, gpu.energy_mj, gpu.util_pct) == (
            given["power_mw"], given["energy_mj"], given["util_pct"],
        )  # fmt: skip
        hand.set(2_000)
        ticked = {one.metric: one.value for one in meter.tick()}
        (gpu,) = latest.look()
        assert gpu.energy_mj == ticked["energy_mj"] > given["energy_mj"]
        meter.end(None)  # type: ignore[arg-type]
        assert latest.look()[0].jobs == frozenset()
        assert (meter.name, meter.simulated) == ("nvml", True)
