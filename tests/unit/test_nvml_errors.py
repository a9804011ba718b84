"""Every NVML error code in every call of the meter leads to a stated outcome, never to a number.

One table: call by code. The errors are injected into the replay library, from 500 ms on, and reach the meter
through nvidia-ml-py; NVML is read at 0, 1000 and 2000 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from oracle.telemetry.base import Note, Reading
from oracle.telemetry.nvml import GpuLost, NvmlFailed, NvmlMeter, NvmlUnavailable
from tests.unit.replay_gpu import GPU, HEAD, lease, simulated

OK = SimpleNamespace(reason="ok", duration_ns=1, rusage=(0, 0, 0))
TRACE = HEAD + (
    "acct 0 0 1\nread 0 0 1000 300000 80 40\nread 900 0 301000 300000 80 40\ngpm 0 0 - 50 20 30\n"
    "proc 0 0 41 1024 80 40\nproc 600 0 41 1024 80 40\nproc 1600 0 41 1024 80 40\nexit 1700 0 41\n"
)
FIELDS = "nvmlDeviceGetFieldValues"
ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
POWER = "nvmlDeviceGetPowerUsage"
# What follows from a code wherever nothing else is said below. 2, 10 and 17 stand for the codes not named.
ABSENT, LOST, OTHER = (3, 4, 13), (1, 9, 12, 15, 16, 18, 999), (2, 10, 17)


@dataclass(frozen=True)
class Row:
    """A call: the symbols to break, the metrics it gives, what 6 and 7 and a code not named lead to."""

    symbols: tuple[str, ...]
    metrics: tuple[str, ...]
    note: str
    not_found: str
    too_small: str
    other: str
    absent: str = "left out"


TABLE = {
    # Field values: a field that fails is asked for by its own call.
    "fields": Row((FIELDS,), ("energy_mj", "power_mw"), "", "read", "read", "read", absent="read"),
    "field energy": Row((f"{FIELDS}:83",), ("energy_mj",), "", "read", "read", "read", absent="read"),
    "field power": Row((f"{FIELDS}:185",), ("power_mw",), "", "read", "read", "read", absent="read"),
    "energy": Row((f"{FIELDS}:83", ENERGY), ("energy_mj",), "energy_mj", "fails", "fails", "fails"),
    "power": Row(
        (f"{FIELDS}:185", f"{FIELDS}:186", POWER), ("power_mw",), "power_mw", "skipped", "skipped", "skipped"
    ),
    "util": Row(
        ("nvmlDeviceGetUtilizationRates",), ("util_pct",), "util_pct", "skipped", "skipped", "skipped"
    ),
    "memory": Row(
        ("nvmlDeviceGetMemoryInfo",), ("memory_bytes",), "memory_bytes", "skipped", "skipped", "skipped"
    ),
    "presence": Row(
        ("nvmlDeviceGetComputeRunningProcesses_v3",),
        ("process_present",),
        "process_present",
        "skipped",
        "skipped",
        "skipped",
    ),
    # An idle GPU answers "not found".
    "process use": Row(
        ("nvmlDeviceGetProcessUtilization",),
        ("process_sm_pct",),
        "process_sm_pct",
        "nothing",
        "skipped",
        "skipped",
    ),
    # The driver keeps a ring of records: an old one is gone.
    "accounting": Row(
        ("nvmlDeviceGetAccountingStats",),
        ("accounted_ms", "accounted_peak_bytes"),
        "accounting",
        "left out",
        "skipped",
        "skipped",
    ),
    "GPM sample": Row(
        ("nvmlGpmSampleGet",),
        ("gpm_sm_pct", "gpm_tensor_pct", "gpm_dram_pct"),
        "gpm",
        "skipped",
        "skipped",
        "skipped",
    ),
    "GPM": Row(
        ("nvmlGpmMetricsGet",),
        ("gpm_sm_pct", "gpm_tensor_pct", "gpm_dram_pct"),
        "gpm",
        "skipped",
        "skipped",
        "skipped",
    ),
    # One metric that a GPU lacks takes no other with it.
    "GPM metric": Row(
        ("nvmlGpmMetricsGet:5",), ("gpm_tensor_pct",), "", "nothing", "nothing", "nothing", absent="nothing"
    ),
}


def cases() -> Iterator[tuple[str, int, str]]:
    for name, row in TABLE.items():
        for code in ABSENT:
            yield name, code, row.absent
        for code in LOST:
            yield name, code, "lost"
        yield name, 6, row.not_found
        yield name, 7, row.too_small
        for code in OTHER:
            yield name, code, row.other


def metered(tmp_path: Path, row: Row, code: int) -> tuple[list[Reading], tuple[Note, ...]]:
    """What the tick and the end edge give while the calls fail, and the notes."""
    fails = "".join(f"fail 500 {'*' if 'MetricsGet' in s else 0} {s} {code}\n" for s in row.symbols)
    with simulated(tmp_path, TRACE + fails) as (nvml, clock):
        meter = NvmlMeter(nvml, owns={41}.__contains__, clock=clock)
        meter.start(lease(GPU))
        clock.set(1000)
        readings = meter.tick()
        clock.set(2000)
        return readings + meter.end(OK), meter.notes()


@pytest.mark.parametrize(("name", "code", "outcome"), list(cases()))
def test_meter__nvml_error__leads_to_the_stated_outcome(
    tmp_path: Path, name: str, code: int, outcome: str
) -> None:
    row = TABLE[name]
    if outcome in ("lost", "fails"):
        with pytest.raises(NvmlFailed) as caught:
            metered(tmp_path, row, code)
        assert caught.value.code == code
        assert isinstance(caught.value, GpuLost) == (outcome == "lost")
        assert caught.value.detail
        return
    readings, notes = metered(tmp_path, row, code)
    read = {reading.metric for reading in readings}
    about = [note for note in notes if note.metric == row.note and "too short" not in note.reason]
    assert read.isdisjoint(row.metrics) == (outcome != "read")
    assert read >= {
        metric for other in TABLE.values() for metric in other.metrics if metric not in row.metrics
    }
    assert len(about) == (outcome in ("left out", "skipped"))
    assert all(note.device == GPU and note.reason for note in about)
    assert all(("left out once" in note.reason) == (outcome == "skipped") for note in about)


def test_meter__no_error__reads_everything_the_table_names(tmp_path: Path) -> None:
    readings, notes = metered(tmp_path, TABLE["fields"], 0)
    assert {reading.metric for reading in readings} == {m for row in TABLE.values() for m in row.metrics}
    assert [note.reason for note in notes if "too short" not in note.reason] == []


@pytest.mark.parametrize("symbol", ["nvmlInitWithFlags", "nvmlSystemGetDriverVersion"])
@pytest.mark.parametrize("code", [*ABSENT, *LOST, 6, 7, *OTHER])
def test_open__nvml_error__is_unavailable_with_the_code(tmp_path: Path, symbol: str, code: int) -> None:
    text = HEAD + f"fail 0 * {symbol} {code}\n"
    with pytest.raises(NvmlUnavailable, match=rf"code {code}\): \w+"), simulated(tmp_path, text):
        pass


@pytest.mark.parametrize("code", [*ABSENT, *LOST, 6, 7, *OTHER])
def test_start__nvml_error_for_the_handle__no_lease_begins(tmp_path: Path, code: int) -> None:
    """Or one without any metric, which can't be billed: that takes a reading at both edges."""
    text = TRACE + f"fail 0 * nvmlDeviceGetHandleByUUID {code}\n"
    with simulated(tmp_path, text) as (nvml, clock):
        meter = NvmlMeter(nvml, clock=clock)
        if code in ABSENT:
            assert meter.start(lease(GPU)) == []
            assert meter.notes()
            return
        with pytest.raises(NvmlFailed) as caught:
            meter.start(lease(GPU))
        assert isinstance(caught.value, GpuLost) == (code in (*LOST, 6))
