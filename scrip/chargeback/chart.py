"""Charts of a report, as PNG or SVG by matplotlib (extra `report`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from scrip.chargeback.files import ReportPartMissing
from scrip.errors import BadInput

FORMATS: Final = (".png", ".svg")
MOST: Final = 12
"""Bars of a chart; the smaller ones are summed as one."""


def check(path: Path) -> None:
    """Raise BadInput for a name that is neither PNG nor SVG, ReportPartMissing without matplotlib."""
    from importlib.util import find_spec

    if path.suffix.lower() not in FORMATS:
        raise BadInput("--chart", path.name, "a file name that ends in .png or .svg")
    if find_spec("matplotlib") is None:
        raise ReportPartMissing("a chart", "matplotlib")


def draw(path: Path, titles: Sequence[tuple[str, Mapping[str, float]]], unit: str) -> None:
    """Horizontal bars, a panel for each title, the largest first; `unit` names what they count.

    Raises as `check`, and BadInput where the file can't be written.
    """
    check(path)
    from matplotlib.figure import Figure

    shown = [(title, _largest(values)) for title, values in titles if values]
    rows = sum(len(values) + 2 for _, values in shown) or 2
    figure = Figure(figsize=(9, 0.34 * rows + 0.4), layout="constrained")
    heights = [len(values) + 1 for _, values in shown]
    axes = figure.subplots(len(shown) or 1, 1, squeeze=False, height_ratios=heights or [1])[:, 0]
    for axis, (title, values) in zip(axes, shown, strict=False):
        bars = axis.barh(list(values), list(values.values()), color="#2f6f8f", height=0.7)
        axis.bar_label(bars, fmt="{:,.6g}", padding=3, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.14)
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axis.set_xlabel(unit, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise BadInput("--chart", str(path), f"a file that can be written: {error.strerror}") from error


def _largest(values: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    kept, rest = ordered[:MOST], ordered[MOST:]
    return dict(kept) | ({f"{len(rest)} more": sum(value for _, value in rest)} if rest else {})
