"""SKU labels against what a GPU says of itself."""

from __future__ import annotations

import pytest

from oracle.telemetry.nvml import Gpu
from oracle.telemetry.nvml.sku import fits

MIB = 1 << 20


@pytest.mark.parametrize(
    ("label", "name", "mib"),
    [
        ("nvidia-h100-80gb", "NVIDIA H100 80GB HBM3", 81_559),
        ("nvidia-a100-40gb", "NVIDIA A100-SXM4-40GB", 40_960),
        ("nvidia-rtx-4090-24gb", "NVIDIA GeForce RTX 4090", 24_564),
        ("nvidia-l40s-48gb", "NVIDIA L40S", 46_068),
        ("nvidia-t4-16gb", "Tesla T4", 15_360),
        ("nvidia-h100-80gb", "NVIDIA H100 80GB HBM3 (simulated)", 81_920),
        ("nvidia-h100-mig-1g-10gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9_984),
    ],
)
def test_fits__a_label_of_that_gpu__does(label: str, name: str, mib: int) -> None:
    assert fits(label, Gpu("GPU-x", name, mib * MIB))


@pytest.mark.parametrize(
    ("label", "name", "mib"),
    [
        ("nvidia-h100-80gb", "NVIDIA GeForce RTX 4090", 24_564),
        ("nvidia-h100-94gb", "NVIDIA H100", 81_559),
        ("nvidia-a10-24gb", "NVIDIA A100-PCIE-40GB", 40_960),
        ("nvidia-l40-48gb", "NVIDIA L40S", 46_068),
        ("", "NVIDIA H100 80GB HBM3", 81_559),
    ],
)
def test_fits__another_gpu__does_not(label: str, name: str, mib: int) -> None:
    assert not fits(label, Gpu("GPU-x", name, mib * MIB))
