"""What a job used, from its samples. Pure: integers in, integers out, no clock, no I/O.

GPU time is lease time, never utilisation: the sum over the leased GPUs of each one's lease. Energy is the
difference of the board's counter. Where jobs share a board, each slice between two readings is divided: idle
power by share, the rest by what the driver's per-process samples say of SM use (the way Kepler divides it),
and what was spent while nobody held the board stays unattributed. Parts always sum to the whole, exactly:
largest-remainder rounding.

What is missing stays missing: a metric nobody measured is None or "none", never 0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from oracle.telemetry.base import HOST
from scrip.errors import ScripError
from scrip.evidence import Sample, is_simulated

Energy = Literal["exclusive", "shared", "none"]


class AttributionError(ScripError):
    """Samples that no usage can be derived from: an edge is missing, or a total went down."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one job used.

    `gpu_ms` is lease time summed over GPUs; `gpu_millijoules` counts the GPU boards only, not CPU or power
    supply, and `energy` says how it is known: "exclusive" measured, "shared" estimated, "none" not at all
    (then it is 0 and means nothing). `unattributed_mj` is what shared boards used while nobody held them,
    each whole: it is one figure per board, not per job, and 0 otherwise. None: not measured. `energy_resets`
    > 0: the counter restarted meanwhile, so energy is a lower bound.
    """

    gpu_ms: int
    gpu_millijoules: int
    cpu_us: int | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    unattributed_mj: int
    energy: Energy
    simulated: bool
    energy_resets: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """A board's energy counter at a monotonic time shared by all jobs."""

    at_ns: int
    energy_mj: int


@dataclass(frozen=True, slots=True)
class Span:
    """One job's hold on a board. `share` weighs the idle power it bears against the others present."""

    job_id: bytes
    start_ns: int
    end_ns: int
    share: int = 1


@dataclass(frozen=True, slots=True)
class Weight:
    """SM use of one job at a time, percent: the sum over its processes of one round of driver samples."""

    at_ns: int
    job_id: bytes
    sm_pct: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """One job on shared boards: its samples, and the monotonic time at which its recording started."""

    job_id: bytes
    started_mono_ns: int
    samples: tuple[Sample, ...]
    share: int = 1


@dataclass(frozen=True, slots=True)
class Split:
    """A board's energy divided: sum(by_job.values()) + unattributed_mj is all it counted between first and
    last read.
    """

    gpu: str
    by_job: Mapping[bytes, int]
    unattributed_mj: int
    resets: int
    shared: bool


def attribute(job_id: bytes, samples: Sequence[Sample], splits: Sequence[Split] = ()) -> Usage:
    """Usage of one job from its samples. Raises AttributionError.

    `splits` are the divided boards (`split_board`) among those it leased; any other was its own.
    """
    if not samples:
        raise AttributionError("no samples: nothing was recorded for this job")
    leases = _leases(samples)
    by_gpu = {split.gpu: split for split in splits if split.gpu in leases}
    energies = [_energy(job_id, gpu, samples, by_gpu.get(gpu)) for gpu in leases if gpu != HOST]
    known = [energy for energy in energies if energy is not None]
    complete = bool(energies) and len(known) == len(energies)
    shared = any(split.shared for split in by_gpu.values())
    return Usage(
        gpu_ms=sum(lease_ms for gpu, lease_ms in leases.items() if gpu != HOST),
        gpu_millijoules=sum(mj for mj, _ in known) if complete else 0,
        cpu_us=_total(samples, "cpu_us"),
        input_tokens=_total(samples, "input_tokens"),
        cached_tokens=_total(samples, "cached_tokens"),
        output_tokens=_total(samples, "output_tokens"),
        unattributed_mj=sum(split.unattributed_mj for split in by_gpu.values()),
        energy=("shared" if shared else "exclusive") if complete else "none",
        simulated=is_simulated(samples),
        energy_resets=sum(resets for _, resets in known),
    )


def split_board(
    gpu: str, tenants: Sequence[Tenant], weights: Sequence[Weight] = (), *, idle_mw: int = 0
) -> Split:
    """Divide one board's energy among the jobs that held it, from the readings that any of them took.

    Raises AttributionError when a tenant has no lease of that board with both edges.
    """
    reads: list[Read] = []
    spans: list[Span] = []
    for tenant in tenants:
        start, end = _edges(tenant.samples, gpu)
        at = tenant.started_mono_ns
        spans.append(Span(tenant.job_id, at + start.mono_ns, at + end.mono_ns, tenant.share))
        reads += [Read(at + s.mono_ns, s.value) for s in tenant.samples if _is(s, gpu, "energy_mj")]
    return split_energy(gpu, reads, spans, weights, idle_mw=idle_mw)


def split_energy(
    gpu: str,
    reads: Iterable[Read],
    spans: Sequence[Span],
    weights: Iterable[Weight] = (),
    *,
    idle_mw: int = 0,
) -> Split:
    """Divide what the counter counted between its first and last reading.

    Slice by slice between two readings: cut where a job comes or goes, energy spread evenly over the slice;
    in each piece `idle_mw` is borne by share, the rest by the SM use sampled in the slice, or last known.
    """
    by_job = dict.fromkeys((span.job_id for span in spans), 0)
    unattributed, resets, shared = 0, 0, False
    samples = _Samples(weights)
    used: dict[bytes, int] = {}
    for before, after, counted_mj, was_reset in slices(reads):
        resets += was_reset
        used = samples.between(before, after) or used
        for begin, end, piece_mj in _pieces(before, after, counted_mj, spans):
            present = [span for span in spans if span.start_ns <= begin and end <= span.end_ns]
            parts = _divide(piece_mj, end - begin, present, used, idle_mw)
            unattributed += piece_mj - sum(parts)
            shared = shared or len(present) > 1
            for span, part in zip(present, parts, strict=True):
                by_job[span.job_id] += part
    return Split(gpu, by_job, unattributed, resets, shared)


def slices(reads: Iterable[Read]) -> list[tuple[int, int, int, bool]]:
    """(from ns, to ns, mJ counted, whether the counter was reset in between) for each pair of successive
    readings.

    A driver reload restarts the counter near 0, so a fall below half is a reset: what was used across it is
    unknown and counts as 0. A smaller step back is two jobs' recorders reading within the same counter
    update, in the other order than their clocks; the counter is taken to stand still until it passes its
    highest value.
    """
    ordered = sorted(reads, key=lambda read: read.at_ns)
    found: list[tuple[int, int, int, bool]] = []
    highest = ordered[0].energy_mj if ordered else 0
    for before, after in pairwise(ordered):
        was_reset = after.energy_mj * 2 < highest
        counted = 0 if was_reset else max(0, after.energy_mj - highest)
        highest = after.energy_mj if was_reset else max(highest, after.energy_mj)
        found.append((before.at_ns, after.at_ns, counted, was_reset))
    return found


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` >= 0 in proportion to `weights` >= 0 into integers that sum to it exactly; evenly if all
    are 0.

    Hamilton's method: round down, then one more for the largest remainders, earlier entries first.
    """
    if not weights:
        return []
    shares = weights if any(weights) else [1] * len(weights)
    whole = sum(shares)
    parts = [total * share // whole for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (-(total * shares[i] % whole), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


_NS_MW_PER_MJ: Final = 1_000_000_000  # mW times ns gives picojoules; 1 mJ is 10**9 pJ


def _divide(
    piece_mj: int, length_ns: int, present: Sequence[Span], weights: Mapping[bytes, int], idle_mw: int
) -> list[int]:
    """Each present job's part of a piece; nothing when nobody is there."""
    idle_mj = min(piece_mj, idle_mw * length_ns // _NS_MW_PER_MJ)
    shares = [span.share for span in present]
    used = [weights.get(span.job_id, 0) for span in present]
    idle = apportion(idle_mj, shares)
    dynamic = apportion(piece_mj - idle_mj, used if any(used) else shares)
    return [a + b for a, b in zip(idle, dynamic, strict=True)]


class _Samples:
    """SM use by time. A sample speaks of the period that ends with it."""

    def __init__(self, weights: Iterable[Weight]) -> None:
        self._rows = sorted(weights, key=lambda weight: weight.at_ns)
        self._times = [weight.at_ns for weight in self._rows]

    def between(self, after_ns: int, until_ns: int) -> dict[bytes, int]:
        """SM use by job over (after, until], summed over samples: only the proportions matter.

        A process that the driver leaves out of a round used nothing in it.
        """
        sums: dict[bytes, int] = defaultdict(int)
        first, last = bisect_right(self._times, after_ns), bisect_right(self._times, until_ns)
        for weight in self._rows[first:last]:
            sums[weight.job_id] += weight.sm_pct
        return dict(sums)


def _pieces(begin_ns: int, end_ns: int, mj: int, spans: Sequence[Span]) -> Iterator[tuple[int, int, int]]:
    """The slice cut at the edges of leases, its energy spread evenly: (from ns, to ns, mJ)."""
    inside = {edge for span in spans for edge in (span.start_ns, span.end_ns) if begin_ns < edge < end_ns}
    pieces = list(pairwise(sorted({begin_ns, *inside, end_ns}))) or [(begin_ns, end_ns)]
    parts = apportion(mj, [end - begin for begin, end in pieces])
    for (begin, end), part in zip(pieces, parts, strict=True):
        yield begin, end, part


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
        if _is(sample, device, "lease_ms"):
            by_edge[sample.edge].append(sample)
    if len(by_edge["start"]) != 1 or len(by_edge["end"]) != 1:
        counts = {edge: len(by_edge[edge]) for edge in ("start", "end")}
        raise AttributionError(f"lease of {device} has {counts} edges, must have one of each")
    return by_edge["start"][0], by_edge["end"][0]


def _energy(
    job_id: bytes, gpu: str, samples: Sequence[Sample], split: Split | None
) -> tuple[int, int] | None:
    """(mJ, counter resets) of one board, None unless its counter was read at both edges."""
    reads = [sample for sample in samples if _is(sample, gpu, "energy_mj")]
    if not {"start", "end"} <= {sample.edge for sample in reads}:
        return None
    if split is not None:
        if job_id not in split.by_job:
            raise AttributionError(f"the energy of {gpu} was divided without this job")
        return split.by_job[job_id], split.resets
    counted = slices(Read(sample.mono_ns, sample.value) for sample in reads)
    return sum(mj for _, _, mj, _ in counted), sum(was_reset for *_, was_reset in counted)


def _total(samples: Sequence[Sample], metric: str) -> int | None:
    """The end-edge value of a running total, summed over devices; None if it was never measured."""
    by_device: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.metric == metric:
            by_device[sample.device].append(sample)
    for device, found in by_device.items():
        if found[-1].edge != "end":
            raise AttributionError(f"{metric} of {device} was not read at the end edge")
        if any(after.value < before.value for before, after in pairwise(found)):
            raise AttributionError(f"{metric} of {device} went down, but it is a running total")
    return sum(found[-1].value for found in by_device.values()) if by_device else None


def _is(sample: Sample, device: str, metric: str) -> bool:
    return sample.device == device and sample.metric == metric
