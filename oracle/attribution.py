"""What a job used, from its samples. Pure: integers in, integers out, no clock, no I/O.

GPU time is lease time, never utilisation: the sum over the leased GPUs of each one's lease, times the share
of a GPU that several jobs may hold. Energy is the difference of the board's counter; of a board that others
held too, the part that `oracle.sharing` gives this job. The samples hold all that takes, so a watcher comes
to the very same figure. Of a MIG slice no energy is known: NVML would repeat the whole board's for each.
Bytes kept are integrated over time, at the smaller of two successive readings.

What is missing stays missing: a metric nobody measured is None or "none", never 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from oracle.sharing import Account, Part
from oracle.tdp import MOST_TENANTS
from oracle.telemetry.base import HOST
from scrip.errors import ScripError
from scrip.evidence import Sample, is_simulated

Energy = Literal["exclusive", "shared", "none"]

MIG: Final = "MIG-"
"""How the UUID of a MIG slice begins."""
SLICE_SLACK_US: Final = 1_000_000
"""How much longer than the recording the slices of a board may be: a reading and its clock aren't one."""
_PARTS: Final = ("share", "sm_weight")
_OF_READING: Final = frozenset(
    {
        "slice_us",
        "idle_mw",
        "share_slots",
        *(f"{name}{end}" for name in _PARTS for end in ("", "_before", "_total")),
    }
)


class AttributionError(ScripError):
    """Samples that no usage can be derived from: an edge is missing, or a total went down."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one job used.

    `gpu_ms` is lease time summed over GPUs; `gpu_millijoules` counts the GPU boards only, not CPU or power
    supply, and `energy` says how it is known: "exclusive" measured, "shared" estimated, "none" not at all
    (then it is 0 and means nothing). `stored_byte_ns` is bytes kept times nanoseconds, `moved_bytes` payload.
    None: not measured. `energy_resets` > 0: the counter restarted meanwhile, so energy is a lower bound.
    """

    gpu_ms: int
    gpu_millijoules: int
    cpu_us: int | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    energy: Energy
    simulated: bool
    energy_resets: int = 0
    stored_byte_ns: int | None = None
    moved_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class _Board:
    """Energy of one board: mJ, how often its counter restarted, whether others had a part in it."""

    used_mj: int
    resets: int
    shared: bool


def attribute(job_id: bytes, samples: Sequence[Sample]) -> Usage:
    """Usage of one job from its samples, sealed or not. Raises AttributionError."""
    try:
        return _attribute(samples)
    except AttributionError as problem:
        raise AttributionError(f"job 0x{job_id.hex()}: {problem}") from None


def _attribute(samples: Sequence[Sample]) -> Usage:
    if not samples:
        raise AttributionError("no samples: nothing was recorded for this job")
    leases = _leases(samples)
    gpus = [device for device in leases if device != HOST]
    by_gpu = {gpu: [sample for sample in samples if sample.device == gpu] for gpu in gpus}
    boards = [_energy(gpu, by_gpu[gpu]) for gpu in gpus]
    known = [board for board in boards if board is not None]
    complete = bool(boards) and len(known) == len(boards)
    shared = any(board.shared for board in known)
    return Usage(
        gpu_ms=sum(_leased_ms(by_gpu[gpu], leases[gpu]) for gpu in gpus),
        gpu_millijoules=sum(board.used_mj for board in known) if complete else 0,
        cpu_us=_total(samples, "cpu_us"),
        input_tokens=_total(samples, "input_tokens"),
        cached_tokens=_total(samples, "cached_tokens"),
        output_tokens=_total(samples, "output_tokens"),
        energy=("shared" if shared else "exclusive") if complete else "none",
        simulated=is_simulated(samples),
        energy_resets=sum(board.resets for board in known),
        stored_byte_ns=_stored(samples),
        moved_bytes=_total(samples, "moved_bytes"),
    )


def slices(readings: Iterable[int]) -> list[tuple[int, bool]]:
    """(mJ counted, whether the counter was reset in between) for each pair of successive readings.

    A driver reload restarts the counter near 0, so a fall below half is a reset: what was used across it is
    unknown and counts as 0. A smaller step back is two readings within the same update of the counter; it is
    taken to stand still until it passes its highest value.
    """
    found: list[tuple[int, bool]] = []
    highest: int | None = None
    for reading in readings:
        if highest is None:
            highest = reading
            continue
        was_reset = reading * 2 < highest
        found.append((0 if was_reset else max(0, reading - highest), was_reset))
        highest = reading if was_reset else max(highest, reading)
    return found


# Leases


def _leases(samples: Sequence[Sample]) -> dict[str, int]:
    """Lease time by device, ms."""
    devices = dict.fromkeys(sample.device for sample in samples if sample.metric == "lease_ms")
    if not devices:
        raise AttributionError("no lease_ms sample: the lease has no edges, so its time is unknown")
    leases = {}
    for device in devices:
        start, end = _edges(samples, device)
        if end.value < start.value:
            raise AttributionError(f"lease of {device} runs from {start.value} to {end.value} ms, backwards")
        leases[device] = end.value - start.value
    return leases


def _edges(samples: Sequence[Sample], device: str) -> tuple[Sample, Sample]:
    by_edge: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.device == device and sample.metric == "lease_ms":
            by_edge[sample.edge].append(sample)
    if len(by_edge["start"]) != 1 or len(by_edge["end"]) != 1:
        counts = {edge: len(by_edge[edge]) for edge in ("start", "end")}
        raise AttributionError(f"lease of {device} has {counts} edges, must have one of each")
    return by_edge["start"][0], by_edge["end"][0]


def _leased_ms(of_gpu: Sequence[Sample], lease_ms: int) -> int:
    """Time that the lease counts for: a job with 1 of 2 places on a GPU has leased half a GPU."""
    slots = [sample.value for sample in of_gpu if sample.metric == "share_slots"]
    if not slots:
        return lease_ms
    own = next((sample.value for sample in of_gpu if sample.metric == "share"), 0)
    if len(slots) != 1 or not 1 <= own <= slots[0] <= MOST_TENANTS:
        raise AttributionError(f"{own} of {slots} places on {of_gpu[0].device}, must be within one number")
    return lease_ms * own // slots[0]


# Energy


def _energy(gpu: str, of_gpu: Sequence[Sample]) -> _Board | None:
    """Energy of one board, None unless its counter was read at both edges."""
    reads = [sample for sample in of_gpu if sample.metric == "energy_mj"]
    if gpu.startswith(MIG) or not {"start", "end"} <= {sample.edge for sample in reads}:
        return None
    if any(sample.metric == "share_slots" for sample in of_gpu):
        return _shared_energy(gpu, of_gpu)
    counted = slices(sample.value for sample in reads)
    return _Board(sum(mj for mj, _ in counted), sum(was_reset for _, was_reset in counted), shared=False)


def _shared_energy(gpu: str, of_gpu: Sequence[Sample]) -> _Board:
    """This job's part of a board: the slices between readings, as `oracle.telemetry.boards` records them."""
    readings = list(_readings(gpu, of_gpu))
    first = readings[0]
    shares = _part(gpu, first, "share")
    if shares is None or "idle_mw" not in first:
        raise AttributionError(f"the first reading of {gpu} doesn't say its share and idle power")
    account, slots, length_us = Account(shares, first["idle_mw"]), first.get("share_slots", 0), 0
    for before, after in pairwise(readings):
        if "slice_us" not in after:
            raise AttributionError(f"a reading of {gpu} doesn't say how long its slice was")
        length_us += after["slice_us"]
        weights = _part(gpu, after, "sm_weight")
        account.slice(before["energy_mj"], after["energy_mj"], after["slice_us"], weights)
        moved = _part(gpu, after, "share")
        if moved is not None:
            account.place(moved)
            shares = moved if moved.total > shares.total else shares
    account.settle()
    most_us = (of_gpu[-1].mono_ns - of_gpu[0].mono_ns) // 1_000 + SLICE_SLACK_US
    if shares.total > slots or length_us > most_us:
        detail = f"{shares.total} of {slots} places, slices of {length_us} µs in {most_us}"
        raise AttributionError(f"{gpu} was shared beyond its limits: {detail}")
    return _Board(account.used_mj, account.resets, account.shared)


def _readings(gpu: str, of_gpu: Sequence[Sample]) -> Iterator[dict[str, int]]:
    """Metrics by name, one dict for each reading of the counter, which comes first."""
    reading: dict[str, int] = {}
    for sample in of_gpu:
        if sample.metric == "energy_mj":
            if reading:
                yield reading
            reading = {}
        elif sample.metric not in _OF_READING or not reading:
            continue
        elif sample.metric in reading:
            raise AttributionError(f"{sample.metric} of {gpu} is there twice in one reading")
        reading[sample.metric] = sample.value
    yield reading


def _part(gpu: str, reading: Mapping[str, int], name: str) -> Part | None:
    names = (name, f"{name}_before", f"{name}_total")
    given = [reading[each] for each in names if each in reading]
    if not given:
        return None
    part = Part(*given) if len(given) == len(names) else None
    if part is None or not part.sound:
        raise AttributionError(f"{name} of {gpu} is {given}: must be own, before and total, and add up")
    return part


# Totals and what is kept


def _total(samples: Sequence[Sample], metric: str) -> int | None:
    """The end-edge value of a running total, summed over devices; None if it was never measured."""
    by_device = _by_device(samples, metric)
    for device, found in by_device.items():
        if found[-1].edge != "end":
            raise AttributionError(f"{metric} of {device} was not read at the end edge")
        if any(after.value < before.value for before, after in pairwise(found)):
            raise AttributionError(f"{metric} of {device} went down, but it is a running total")
    return sum(found[-1].value for found in by_device.values()) if by_device else None


def _stored(samples: Sequence[Sample]) -> int | None:
    """Bytes times nanoseconds; None if it was never measured."""
    by_device = _by_device(samples, "stored_bytes")
    for device, found in by_device.items():
        if (found[0].edge, found[-1].edge) != ("start", "end"):
            raise AttributionError(f"stored_bytes of {device} was not read at both edges")
    return (
        sum(
            min(before.value, after.value) * (after.mono_ns - before.mono_ns)
            for found in by_device.values()
            for before, after in pairwise(found)
        )
        if by_device
        else None
    )


def _by_device(samples: Sequence[Sample], metric: str) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.metric == metric:
            found[sample.device].append(sample)
    return found
