"""What floating-point results depend on in this machine: its architecture and vector instructions."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from scrip.evidence import Sample

VECTOR: Final = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8",
    "asimd", "asimddp", "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip
"""Flags by which ggml and BLAS libraries choose their kernels, and with them an order of summation."""
CPUINFO: Final = Path("/proc/cpuinfo")


@cache
def platform_label() -> str:
    """Label of this machine: equal labels choose the same kernels, e.g. "x86_64 avx avx2 fma f16c"."""
    return label_of(platform.machine(), _flags())


def label_of(machine: str, flags: str) -> str:
    """Label of an architecture with these processor flags."""
    present = set(flags.split())
    return " ".join([machine or "unknown", *(flag for flag in VECTOR if flag in present)])


def _flags() -> str:
    try:
        lines = CPUINFO.read_text("ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")


def named_platform(samples: Sequence[Sample], label: str) -> Sequence[Sample]:
    """The samples, if there are any, with one more that says which processor the job ran on."""
    if not samples:
        return samples
    last = samples[-1]
    return (
        *samples,
        replace(last, seq=last.seq + 1, source="lease", device=label, metric="platform", value=1),
    )
