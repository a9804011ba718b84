"""Claims on GPUs: what may stand beside what, whichever was co-signed first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.claims import WHOLE_PPM, GpuClaim, check_claim, claims_of
from scrip.errors import Refused
from scrip.types import sku_id
from tests.unit.evidence_factory import GPU, STARTED_AT
from tests.unit.verify_factory import matmul, tokens

SKU = sku_id("nvidia-h100-80gb")
HOUR_MS = 3_600_000


def claim(
    start_s: int, end_s: int, first: int | None = None, last: int | None = None, **changes: Any
) -> GpuClaim:
    values: dict[str, Any] = {"share_ppm": WHOLE_PPM, **changes}
    return GpuClaim(GPU, start_s * 1000, end_s * 1000, first_mj=first, last_mj=last, **values)


def refusal(new: GpuClaim, *others: GpuClaim, tolerance_ms: int = 2_000) -> str:
    """The check that refuses, "" if none does."""
    try:
        check_claim(new, others, tolerance_ms, SKU)
    except Refused as refused:
        return refused.check
    return ""


# Time


@pytest.mark.parametrize(
    ("new", "others"),
    [
        (claim(0, 100), [claim(0, 100)]),
        (claim(50, 60), [claim(0, 100)]),
        (claim(0, 100), [claim(50, 60)]),
        (claim(0, 103), [claim(100, 200)]),
        (claim(10, 12), [claim(10, 12), claim(10, 12)]),
        (claim(0, 100, share_ppm=600_000), [claim(0, 100, share_ppm=600_000)]),
        (claim(0, 10), [claim(0, 2), claim(4, 6), claim(8, 10)]),
        (claim(100, 102), [claim(101, 110)]),
    ],
    ids=[
        "same",
        "inside",
        "around",
        "beyond tolerance",
        "short ones pile up",
        "shares too large",
        "in pieces",
        "half of a short one",
    ],
)
def test_claim__more_than_is_free__is_refused(new: GpuClaim, others: list[GpuClaim]) -> None:
    assert refusal(new, *others) == "gpu.overlap"


@pytest.mark.parametrize(
    ("new", "others"),
    [
        (claim(0, 100), []),
        (claim(100, 200), [claim(0, 100), claim(200, 300)]),
        (claim(0, 102), [claim(100, 200)]),
        (claim(100, 104), [claim(98, 101)]),
        (claim(0, 100, share_ppm=500_000), [claim(0, 100, share_ppm=500_000)]),
    ],
    ids=["alone", "one after another", "within tolerance", "within a quarter", "halves"],
)
def test_claim__fits__is_taken(new: GpuClaim, others: list[GpuClaim]) -> None:
    assert refusal(new, *others) == ""


@given(length=st.integers(1, 10_000), moved=st.integers(-20_000, 20_000), tolerance_ms=st.integers(0, 5_000))
def test_claim__two_whole_boards__never_overlap_by_more_than_the_tolerance(
    length: int, moved: int, tolerance_ms: int
) -> None:
    new, other = claim(20_000, 20_000 + length), claim(20_000 + moved, 20_000 + moved + length)
    overlap_ms, most_ms = max(0, length - abs(moved)) * 1000, min(tolerance_ms, length * 250)
    assert (refusal(new, other, tolerance_ms=tolerance_ms) == "gpu.overlap") == (overlap_ms > most_ms)


# The energy counter


@pytest.mark.parametrize(
    ("new", "others"),
    [
        (claim(20, 30, 500_000_000, 503_000_000), [claim(0, 10, 500_000_000, 503_000_000)]),
        (claim(0, 10, 500_000_000, 503_000_000), [claim(20, 30, 500_000_000, 503_000_000)]),
        (claim(20, 30, 900_000_000, 900_100_000), [claim(0, 10, 500_000_000, 503_000_000)]),
    ],
    ids=[
        "starts where the last one did",
        "the same, co-signed in the other order",
        "more than the board can use",
    ],
)
def test_counter__does_not_go_on__is_refused(new: GpuClaim, others: list[GpuClaim]) -> None:
    assert refusal(new, *others) == "gpu.counter"


@pytest.mark.parametrize(
    ("new", "others"),
    [
        (claim(20, 30, 501_000_000, 502_000_000), [claim(0, 10, 500_000_000, 500_500_000)]),
        (claim(20, 30, 1_000_000, 2_000_000), [claim(0, 10, 500_000_000, 500_500_000)]),
        (claim(10, 20, 500_490_000, 501_000_000), [claim(0, 10, 500_000_000, 500_500_000)]),
        (claim(20, 30, None, None), [claim(0, 10, 500_000_000, 500_500_000)]),
        (claim(20, 30, 1, 2), [claim(0, 10, None, None)]),
    ],
    ids=["goes on", "driver reloaded", "read within one update", "not read", "not read before"],
)
def test_counter__can_be_so__is_taken(new: GpuClaim, others: list[GpuClaim]) -> None:
    assert refusal(new, *others) == ""


# From evidence


def test_claims__of_a_gpu_job__are_its_lease_with_both_readings() -> None:
    job = matmul("nvml")
    [found] = claims_of(job.bundle.samples, 2_900)
    start_ms = STARTED_AT * 1000
    assert found == GpuClaim(GPU, start_ms, start_ms + 2_900, WHOLE_PPM, 5_000_000, 5_870_000)


def test_claims__half_the_time_charged__is_half_a_board() -> None:
    job = matmul("nvml")
    assert claims_of(job.bundle.samples, 1_450)[0].share_ppm == WHOLE_PPM // 2


def test_claims__no_gpu__are_none() -> None:
    assert claims_of(tokens().bundle.samples, 0) == ()
