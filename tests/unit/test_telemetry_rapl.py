"""RAPL on a made-up /sys/class/powercap: there is none on the machines that test this."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from oracle.telemetry.base import Lease, Reading
from oracle.telemetry.rapl import RaplMeter

RANGE_UJ = 262_143_328_850
LEASE = Lease(b"\x11" * 32, 1, 1, None, (), Path("/nonexistent"))
ENDED = SimpleNamespace(reason="ok", duration_ns=1, rusage=(0, 0, 0))


def zone(root: Path, name: str, label: str, energy: object, most: object = RANGE_UJ) -> Path:
    """A zone as the kernel shows it. MADE UP, not a reading of any machine."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in (("name", label), ("energy_uj", energy), ("max_energy_range_uj", most)):
        (folder / file).write_text(f"{value}\n")
    return folder


def values(readings: list[Reading]) -> dict[str, int]:
    return {reading.device: reading.value for reading in readings}


def test_meter__no_powercap__says_so_and_measures_nothing(tmp_path: Path) -> None:
    meter = RaplMeter(tmp_path / "none")
    assert meter.start(LEASE) == meter.tick() == meter.end(ENDED) == []
    (note,) = meter.notes()
    assert "no intel-rapl zone" in note.reason


@pytest.mark.parametrize("energy", ["", "a lot", "-5", "1.5"])
def test_meter__not_a_number__is_left_out(tmp_path: Path, energy: str) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", energy)
    meter = RaplMeter(tmp_path)
    assert meter.start(LEASE) == []
    assert "not a whole number" in meter.notes()[0].reason


def test_meter__not_for_this_user__is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    read = Path.read_text

    def refused(path: Path, *args: str, **kwargs: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refused)
    meter = RaplMeter(tmp_path)
    assert meter.start(LEASE) == []
    assert "Permission denied" in meter.notes()[0].reason


def test_meter__zone_goes_away__ends_there_with_a_note(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    gone = zone(tmp_path, "intel-rapl:1", "package-1", 5)
    meter = RaplMeter(tmp_path)
    meter.start(LEASE)
    (gone / "energy_uj").unlink()
    assert values(meter.tick()) == {"package-0": 0}
    assert [note.device for note in meter.notes()] == ["package-1"]


def test_meter__packages_only__parts_and_platform_are_not_added(tmp_path: Path) -> None:
    for name, label in (
        ("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram"),
        ("intel-rapl:1", "package-1"), ("intel-rapl:2", "psys"), ("intel-rapl-mmio:0", "package-0"),
    ):  # fmt: skip
        zone(tmp_path, name, label, 1_000)
    meter = RaplMeter(tmp_path)
    assert values(meter.start(LEASE)) == {"package-0": 0, "package-1": 0}
    zone(tmp_path, "intel-rapl:0", "package-0", 1_600)
    zone(tmp_path, "intel-rapl:1", "package-1", 1_050)
    assert values(meter.tick()) == {"package-0": 600, "package-1": 50}
    assert meter.notes() == ()


def test_meter__counter_turns__the_range_is_added(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 100)
    meter = RaplMeter(tmp_path)
    meter.start(LEASE)
    zone(tmp_path, "intel-rapl:0", "package-0", 50)
    assert values(meter.tick()) == {"package-0": 150}
    zone(tmp_path, "intel-rapl:0", "package-0", 70)
    assert values(meter.end(ENDED)) == {"package-0": 170}
