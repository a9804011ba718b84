"""Whether a GPU is what a SKU label says, as far as it names itself. Pure."""

from __future__ import annotations

import re
from typing import Final

from oracle.telemetry.nvml.readings import Gpu

_GIB: Final = 1 << 30
_MEMORY_PCT: Final = 10  # boards keep some memory to themselves, and a data sheet's GB isn't always a GiB


def fits(label: str, gpu: Gpu) -> bool:
    """Whether every part of a label like `nvidia-h100-80gb` is in the GPU's name, or is its memory.

    What NVML lists is NVIDIA's, even where the name only says "Tesla".
    """
    words = {"nvidia", *re.findall(r"[a-z0-9]+", gpu.name.lower())}
    return all(part in words or _is_memory(part, gpu) for part in label.lower().split("-"))


def _is_memory(part: str, gpu: Gpu) -> bool:
    stated = re.fullmatch(r"(\d+)gb", part)
    if stated is None:
        return False
    wanted = int(stated[1]) * _GIB
    return abs(gpu.memory_bytes - wanted) * 100 <= wanted * _MEMORY_PCT
