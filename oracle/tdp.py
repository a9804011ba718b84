"""Board power limits by SKU label: the most energy that evidence may claim for a time. Data, no I/O.

Watts are the maximum of NVIDIA's data sheets; a label without form factor has its hungriest one. A board's
limit is on its average power, so it bounds energy over seconds, not one reading.
"""

from __future__ import annotations

import re
from typing import Final

from scrip.types import sku_id

TDP_WATTS: Final = {
    "nvidia-a10-24gb": 150,
    "nvidia-a30-24gb": 165,
    "nvidia-a40-48gb": 300,
    "nvidia-a100-40gb": 400,
    "nvidia-a100-80gb": 400,
    "nvidia-b200-180gb": 1000,
    "nvidia-h100-80gb": 700,
    "nvidia-h100-94gb": 400,
    "nvidia-h200-141gb": 700,
    "nvidia-l4-24gb": 72,
    "nvidia-l40-48gb": 300,
    "nvidia-l40s-48gb": 350,
    "nvidia-rtx-3090-24gb": 350,
    "nvidia-rtx-4090-24gb": 450,
    "nvidia-rtx-5090-32gb": 575,
    "nvidia-t4-16gb": 70,
    "nvidia-v100-32gb": 300,
}
DEFAULT_WATTS: Final = 1_400
"""For a label that isn't listed: the hungriest single board sold (B300), so an unknown one is never refused.
"""

COUNTER_UPDATE_MS: Final = 100
"""How often the energy counter advances; a difference of two readings is off by at most one update at each
end.
"""

MOST_TENANTS: Final = 64


def shared_suffix(tenants: object) -> str:
    """How the SKU label of a GPU ends that so many jobs share: a buyer must see it in the class."""
    return f"-shared-{tenants}"


def tenants_of(label: str) -> int:
    """How many jobs share a GPU of that SKU label; 1 where it says nothing."""
    found = _SHARED.search(label)
    return 1 if found is None else int(found.group(1))


_SHARED: Final = re.compile(r"-shared-([2-9]|[1-9][0-9])\Z")
_SUFFIXES: Final = ("", *(shared_suffix(tenants) for tenants in range(2, MOST_TENANTS + 1)))
_BY_ID: Final = {sku_id(label + end): watts for label, watts in TDP_WATTS.items() for end in _SUFFIXES}


def most_millijoules(sku: bytes, gpus: int, span_ms: int) -> int:
    """The most millijoules that `gpus` boards of a SKU can use in `span_ms` (1 mJ = 1 W ms).

    Allows 10 % for boards set above the data sheet.
    """
    watts = _BY_ID.get(sku, DEFAULT_WATTS)
    return watts * gpus * (span_ms + 2 * COUNTER_UPDATE_MS) * 11 // 10
