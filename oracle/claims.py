"""One GPU, one job at a time: what co-signed evidence claims of each board, and whether a new claim fits.
Pure.

A watcher keeps every claim it has co-signed, of all providers. A board's time is that of the evidence's wall
clock, which on a public chain is tied to block time (`oracle.verify`, "bounds.clock"), so nobody can claim
more of a board than there was time. Its energy counter goes on from job to job; only a driver reload starts
it at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from oracle.receipt import leased_gpus
from oracle.tdp import COUNTER_UPDATE_MS, most_millijoules
from scrip.errors import Refused
from scrip.evidence import Sample

WHOLE_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class GpuClaim:
    """A job's hold on a board: unix ms, its share, the counter's first and last reading in mJ."""

    gpu: str
    start_ms: int
    end_ms: int
    share_ppm: int
    first_mj: int | None
    last_mj: int | None

    def to_json(self) -> dict[str, Any]:
        """JSON object, the argument names of the class."""
        return asdict(self)


def claims_of(samples: Sequence[Sample], gpu_ms: int) -> tuple[GpuClaim, ...]:
    """What evidence that passed claims. `gpu_ms` is the usage charged, which tells a shared board's share."""
    leases = [sample for sample in samples if sample.metric == "lease_ms"]
    starts = {sample.device: sample.at_ms for sample in leases if sample.edge == "start"}
    lengths = {sample.device: sample.value for sample in leases if sample.edge == "end"}
    gpus = leased_gpus(samples)
    leased_ms = sum(lengths[gpu] for gpu in gpus)
    share_ppm = min(WHOLE_PPM, -(-gpu_ms * WHOLE_PPM // leased_ms)) if leased_ms else WHOLE_PPM
    found = []
    for gpu in gpus:
        counter = [sample.value for sample in samples if (sample.device, sample.metric) == (gpu, "energy_mj")]
        first, last = (counter[0], counter[-1]) if counter else (None, None)
        found.append(GpuClaim(gpu, starts[gpu], starts[gpu] + lengths[gpu], share_ppm, first, last))
    return tuple(found)


def check_claim(claim: GpuClaim, others: Iterable[GpuClaim], tolerance_ms: int, sku: bytes) -> None:
    """Refuse a claim that doesn't fit those of other jobs on the same board.

    Raises Refused("gpu.overlap") if more of it is taken than is free, "gpu.counter" if the energy counter
    doesn't go on from the job before, or to the job after. `tolerance_ms` is for the clocks of two hosts, and
    never more than a quarter of the claim.
    """
    known = sorted(others, key=lambda other: other.end_ms)
    taken_ms = sum(_overlap_ms(claim, other) * other.share_ppm for other in known) // WHOLE_PPM
    length_ms = claim.end_ms - claim.start_ms
    free_ms = length_ms * (WHOLE_PPM - claim.share_ppm) // WHOLE_PPM + min(tolerance_ms, length_ms // 4)
    if taken_ms > free_ms:
        reason = f"{claim.gpu} worked {taken_ms} ms of this time for other jobs, {free_ms} are free"
        raise Refused(reason, "gpu.overlap")
    before = [other for other in known if other.end_ms <= claim.start_ms + tolerance_ms]
    after = [
        other for other in known if other.start_ms >= claim.end_ms - tolerance_ms and other not in before
    ]
    pairs = [(other, claim) for other in before[-1:]] + [(claim, other) for other in after[:1]]
    for earlier, later in pairs:
        _check_counter(earlier, later, tolerance_ms, sku)


def _overlap_ms(one: GpuClaim, other: GpuClaim) -> int:
    return max(0, min(one.end_ms, other.end_ms) - max(one.start_ms, other.start_ms))


def _check_counter(earlier: GpuClaim, later: GpuClaim, tolerance_ms: int, sku: bytes) -> None:
    if earlier.last_mj is None or later.first_mj is None:
        return
    gap_ms = max(0, later.start_ms - earlier.end_ms) + 2 * tolerance_ms
    most_mj, slack_mj = (most_millijoules(sku, 1, span) for span in (gap_ms, COUNTER_UPDATE_MS))
    used_mj = later.first_mj - earlier.last_mj
    reloaded = later.first_mj <= most_mj
    if not -slack_mj <= used_mj <= most_mj and not reloaded:
        reason = (
            f"{later.gpu} read {earlier.last_mj} mJ and {gap_ms} ms later {later.first_mj}: neither what it "
            f"can have used, at most {most_mj}, nor a counter that started anew"
        )
        raise Refused(reason, "gpu.counter")
