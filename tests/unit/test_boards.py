"""The ledger of a shared board: readings for all its jobs at once, and parts that sum exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attribution import slices
from oracle.sharing import ALL, Account
from oracle.telemetry.base import Lease
from oracle.telemetry.boards import Board, BoardInUse, SharedGpuMeter
from oracle.telemetry.nvml import GpuLost, MetricAbsent
from tests.unit.board_place import MS, C, FakeBoard, Place
from tests.unit.replay_gpu import GPU
from tests.unit.tenant_trace import (
    A,
    B,
    Tenant,
)

# BY HAND


def test_account__alone__is_all_of_it_and_not_shared() -> None:
    account = Account(ALL, idle_mw=50_000)
    account.slice(100, 400, 1_000_000, None)
    account.settle()
    assert (account.used_mj, account.shared, account.resets) == (300, False, 0)


def test_two_jobs__idle_by_share_and_the_rest_by_sm_use() -> None:
    """1 s of A alone at 400 W, then 1 s together at 570 W with 60:40; idle is 70 W, shared equally."""
    place = Place(idle_mw=70_000)
    place.come(A)
    place.fake.pass_ms(1000, 400_000, A=90)
    place.come(B)
    place.fake.pass_ms(1000, 570_000, A=60, B=40)
    place.go(A)
    place.go(B)
    assert place.usage(A).gpu_millijoules == 400_000 + 35_000 + 300_000
    assert place.usage(B).gpu_millijoules == 35_000 + 200_000
    assert (place.usage(A).energy, place.usage(B).energy) == ("shared", "shared")
    assert place.board.unattributed_mj == 0


def test_two_jobs__lease_time_counts_by_place(tmp_path: Path) -> None:
    place = Place(slots=2)
    place.come(A)
    place.fake.pass_ms(3001, 9)
    place.go(A)
    assert place.usage(A).gpu_ms == 1500
    assert place.usage(A).energy == "exclusive"  # nobody else came: its energy is measured, not estimated


def test_nobody_there__is_unattributed() -> None:
    place = Place()
    place.come(A)
    place.fake.pass_ms(1000, 100)
    place.go(A)
    place.fake.pass_ms(5000, 777)
    place.come(B)
    place.fake.pass_ms(1000, 200)
    place.go(B)
    assert place.board.unattributed_mj == 777
    assert [place.usage(tenant).gpu_millijoules for tenant in (A, B)] == [100, 200]


def test_process_of_no_job__bears_its_part_unattributed() -> None:
    place = Place(idle_mw=10_000)
    place.come(A)
    place.fake.pass_ms(1000, 110_000, A=75, X=25)
    place.go(A)
    assert place.usage(A).gpu_millijoules == 10_000 + 75_000
    assert place.usage(A).energy == "shared"
    assert place.board.unattributed_mj == 25_000


def test_energy_before_a_sample__waits_for_it() -> None:
    place = Place()
    place.come(A)
    place.come(B)
    place.fake.pass_ms(100, 50)
    place.tick()
    place.fake.pass_ms(100, 50, A=90, B=10)
    place.tick()
    place.go(A)
    place.go(B)
    assert [place.usage(tenant).gpu_millijoules for tenant in (A, B)] == [90, 10]


def test_energy_after_the_last_sample__is_divided_like_what_came_before() -> None:
    place = Place()
    place.come(A)
    place.come(B)
    place.fake.pass_ms(100, 50, A=90, B=10)
    place.tick()
    place.fake.pass_ms(100, 50)
    place.go(A)
    place.go(B)
    assert [place.usage(tenant).gpu_millijoules for tenant in (A, B)] == [90, 10]


def test_sample_of_a_process_that_is_gone__still_counts_for_its_job() -> None:
    place = Place()
    alive = {A.pid, B.pid}
    place.come(A)
    place.come(B)
    for tenant in place.board._tenants:
        tenant.owns = (lambda mine: lambda pid: pid in alive and pid == mine)(
            A.pid if tenant.job_id == A.job_id else B.pid
        )
    place.fake.pids = frozenset(alive)
    place.tick()
    alive.clear()
    place.fake.pass_ms(100, 100, A=30, B=70)
    place.go(A)
    place.go(B)
    assert [place.usage(tenant).gpu_millijoules for tenant in (A, B)] == [30, 70]


def test_no_samples_offered__divided_by_share_and_noted() -> None:
    place = Place()
    place.fake.fails["utils"] = MetricAbsent("nvmlDeviceGetProcessUtilization", GPU, "no permission")
    place.come(A)
    place.come(B)
    place.fake.pass_ms(1000, 101)
    notes = [note for recorder in place.running.values() for note in recorder.notes()]
    place.go(A)
    place.go(B)
    assert [place.usage(tenant).gpu_millijoules for tenant in (A, B)] == [50, 51]
    assert {note.metric for note in notes} == {"sm_weight"}


def test_counter_reset__shows_in_every_jobs_evidence() -> None:
    place = Place(start_mj=10_000)
    place.come(A)
    place.come(B)
    place.fake.pass_ms(1000, 100, A=50, B=50)
    place.tick()
    place.fake.energy = 40
    place.fake.pass_ms(1000, 0)
    place.tick()
    place.fake.pass_ms(1000, 60)
    place.go(A)
    place.go(B)
    for tenant in (A, B):
        usage = place.usage(tenant)
        assert (usage.gpu_millijoules, usage.energy_resets) == (80, 1)


# THE METER


def test_meter__board_is_full__raises_and_takes_no_place() -> None:
    place = Place(slots=1)
    place.come(A)
    with pytest.raises(BoardInUse, match="1 of 1 places"):
        place.come(B)
    place.go(A)
    place.come(B)


def test_meter__second_board_is_lost__first_is_given_back() -> None:
    one, two = FakeBoard(), FakeBoard(fails={"energy": GpuLost("x", "GPU-2", 15, "gone")})
    boards = {
        "GPU-1": Board("GPU-1", one, slots=1, idle_mw=0),
        "GPU-2": Board("GPU-2", two, slots=1, idle_mw=0),
    }
    lease = Lease(A.job_id, 1, 2**22 + 1, None, ("GPU-1", "GPU-2"), Path("/nonexistent"))
    with pytest.raises(GpuLost):
        SharedGpuMeter(one, boards).start(lease)
    assert boards["GPU-1"].join(B.job_id, lambda _: False)


def test_meter__lost_at_the_end__place_is_free_and_the_job_is_not_billed() -> None:
    place = Place(slots=1)
    place.come(A)
    place.fake.fails["energy"] = GpuLost("x", GPU, 15, "gone")
    with pytest.raises(Exception, match="gone"):
        place.go(A)
    place.fake.fails.clear()
    place.come(B)
    place.fake.pass_ms(1000, 60)
    place.go(B)
    assert place.usage(B).gpu_millijoules == 60


def test_meter__samples_can_not_be_read_once__nothing_is_lost() -> None:
    place = Place()
    place.come(A)
    place.fake.pass_ms(1000, 60, A=50)
    place.fake.fails["utils"] = GpuLost("x", GPU, 15, "gone")
    with pytest.raises(GpuLost):
        place.board.tick(A.job_id)
    place.fake.fails.clear()
    place.fake.pass_ms(1000, 40, A=50)
    place.go(A)
    assert place.usage(A).gpu_millijoules == 100


def test_meter__board_is_divided_by_mig__is_refused() -> None:
    place = Place()
    place.fake.split = True
    with pytest.raises(BoardInUse, match="MIG"):
        place.come(A)


def test_meter__ticks_close_together__share_one_reading() -> None:
    place = Place()
    place.board._fresh_ns = 100 * MS
    place.come(A)
    place.come(B)
    place.fake.pass_ms(1000, 10)
    place.tick()
    told = [sample for sample in place.running[B].samples if sample.metric == "slice_us"]
    assert [sample.value for sample in told] == [1_000_000]


def test_meter__counts_the_jobs_processes() -> None:
    place = Place()
    place.fake.pids = frozenset({A.pid, 1, 2})
    place.come(A)
    place.tick()
    found = [sample.value for sample in place.running[A].samples if sample.metric == "process_present"]
    assert found == [1, 1]


@pytest.mark.parametrize(
    ("power_mw", "kind"), [(100_000, "exclusive"), (200_000, "none"), (None, "exclusive")]
)
def test_meter__power_contradicts_the_counter__the_job_has_no_energy(power_mw: int | None, kind: str) -> None:
    """The counter says 100 W for 20 s."""
    place = Place()
    place.fake.power = power_mw
    place.come(A)
    for _ in range(20):
        place.fake.pass_ms(1000, 100_000, A=50)
        place.tick()
    meter_notes = place.running[A].notes
    place.go(A)
    usage = place.usage(A)
    assert usage.energy == kind
    assert usage.gpu_millijoules == (0 if kind == "none" else 2_000_000)
    assert ("apart" in str(meter_notes())) == (kind == "none")


# EXACTNESS

people = st.sampled_from([A, B, C])
use = st.dictionaries(st.sampled_from(["A", "B", "C", "X"]), st.integers(0, 100), max_size=4)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("move"), people),
        st.tuples(st.just("pass"), st.tuples(st.integers(0, 5_000), st.integers(0, 10**7), use)),
        st.tuples(st.just("reset"), st.integers(0, 10)),
        st.tuples(st.just("noise"), st.integers(1, 20)),
        st.tuples(st.just("tick"), people),
    ),
    max_size=30,
)


@given(moves=moves, idle_mw=st.integers(0, 10**6), start_mj=st.integers(0, 10**12))
def test_board__whatever_happens__jobs_and_nobody_sum_to_what_was_counted(
    moves: list[tuple[str, Any]], idle_mw: int, start_mj: int
) -> None:
    """Jobs come, go and tick at any time; the counter resets and jitters; samples come or don't."""
    place = Place(idle_mw=idle_mw, start_mj=start_mj)
    readings: list[int] = []
    inner = place.fake.board
    place.fake.board = lambda gpu: readings.append(place.fake.energy) or inner(gpu)  # type: ignore
    ended: set[Tenant] = set()
    for what, value in moves:
        if what == "pass":
            place.fake.pass_ms(value[0], value[1], **value[2])
        elif what == "reset":
            place.fake.energy = place.fake.energy * value // 30
        elif what == "noise":
            place.fake.energy -= min(value, place.fake.energy // 3)
        elif what == "tick" and value in place.running:
            place.running[value].tick()
        elif what == "move" and value in place.running:
            place.go(value)
            ended.add(value)
        elif what == "move" and value not in ended:
            place.come(value)
    for tenant in list(place.running):
        place.go(tenant)
    place.board._nobody.settle()
    counted = sum(mj for mj, _ in slices(readings))
    used = sum(place.usage(tenant).gpu_millijoules for tenant in place.samples)
    assert used + place.board.unattributed_mj == counted
    assert all(place.usage(tenant).gpu_millijoules >= 0 for tenant in place.samples)
