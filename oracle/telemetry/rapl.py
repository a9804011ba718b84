"""Energy of the CPU packages through RAPL, where the kernel lets this user read it. Whole µJ.

Linux shows each package as /sys/class/powercap/intel-rapl:<n>, on AMD too (its Documentation/power/powercap).
Zones below a package (cores, memory) are parts of it, and "psys" is the whole platform, so only packages are
read. A package is the whole machine's: what is recorded is context for a receipt, and attributed to nobody.

The counter starts again from 0 at `max_energy_range_uj`, after a quarter of an hour or more at full load; one
turn between two readings is made good, more can't be told. Since 2020 only root may read it (CVE-2020-8694).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oracle.telemetry.base import Finished, Lease, Note, Reading

POWERCAP: Final = Path("/sys/class/powercap")
_SOURCE: Final = "rapl"


@dataclass(slots=True)
class _Package:
    """One package: its last reading, and what was used since the start edge."""

    name: str
    path: Path
    range_uj: int
    last_uj: int
    used_uj: int = 0

    def advance(self) -> None:
        """Read again. Raises OSError, ValueError."""
        now_uj = _number(self.path / "energy_uj")
        turned = self.range_uj if now_uj < self.last_uj else 0
        self.used_uj += now_uj - self.last_uj + turned
        self.last_uj = now_uj


class RaplMeter:
    """`package_uj` of each CPU package since the start edge. What can't be read is left out, with a note."""

    name = "rapl"
    simulated = False

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._powercap = powercap
        self._packages: list[_Package] = []
        self._notes: list[Note] = []

    def start(self, lease: Lease) -> list[Reading]:
        """Finds the packages; zeros by definition."""
        del lease  # a package belongs to the machine
        zones = sorted(self._powercap.glob("intel-rapl:*"))
        for zone in (each for each in zones if each.name.count(":") == 1):
            self._open(zone)
        if not zones:
            self._leave_out("packages", f"no intel-rapl zone in {self._powercap}")
        return self._readings()

    def tick(self) -> list[Reading]:
        """µJ since the start edge."""
        for package in list(self._packages):
            try:
                package.advance()
            except (OSError, ValueError) as problem:
                self._packages.remove(package)
                self._leave_out(package.name, str(problem))
        return self._readings()

    def end(self, finished: Finished) -> list[Reading]:
        """The last reading."""
        del finished
        return self.tick()

    def notes(self) -> tuple[Note, ...]:
        """What can't be read, and why."""
        return tuple(self._notes)

    def _open(self, zone: Path) -> None:
        try:
            name = (zone / "name").read_text(encoding="ascii").strip()
            if not name.startswith("package-"):
                return
            made = _Package(name, zone, _number(zone / "max_energy_range_uj"), _number(zone / "energy_uj"))
            self._packages.append(made)
        except (OSError, ValueError) as problem:
            self._leave_out(zone.name, str(problem))

    def _readings(self) -> list[Reading]:
        return [Reading(_SOURCE, each.name, "package_uj", each.used_uj) for each in self._packages]

    def _leave_out(self, device: str, reason: str) -> None:
        self._notes.append(Note(_SOURCE, device, "package_uj", reason))


def _number(path: Path) -> int:
    """A file of the kernel's that holds one whole number. Raises OSError, ValueError."""
    text = path.read_text(encoding="ascii").strip()
    if not text.isdigit():
        raise ValueError(f"{path.name}: {text[:40]!r} is not a whole number")
    return int(text)
