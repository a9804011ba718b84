"""Command groups of other packages, from the entry-point group `scrip.commands`. Loaded when first used."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import typer
from typer.main import get_group

from scrip.errors import ScripError

GROUP = "scrip.commands"

_TITLES = {
    "agent": "Have work done by an agent with a spending limit.",
    "demo": "Show Scrip at work on a chain of its own.",
    "oracle": "Run a provider's or a watcher's node.",
    "pipeline": "Buy the stages of a plan, each from whoever serves it best, with one receipt for all.",
}
_INSTALL = {
    "demo": ". The demonstration needs more packages: pip install 'scrip[agents,oracle]'",
    "oracle": ". A node needs more packages: pip install 'scrip[oracle]'",
    "pipeline": ". Pipelines need more packages: pip install 'scrip[agents]'",
}


class PluginBroken(ScripError):
    """A command group is announced but can't be loaded."""


def find() -> dict[str, EntryPoint]:
    """Announced command groups by name: installed ones, and in a checkout those of its pyproject.toml."""
    installed = {point.name: point for point in entry_points(group=GROUP)}
    return {**_declared(Path(__file__).resolve().parents[2] / "pyproject.toml"), **installed}


def title(point: EntryPoint) -> str:
    """One line for the list of commands, known without loading anything."""
    return _TITLES.get(point.name, f"Commands of {point.module.partition('.')[0]}.")


def load(point: EntryPoint) -> Any:
    """The group's commands. Raises PluginBroken, whatever is wrong with it."""
    try:
        found = point.load()
    except Exception as error:
        package = point.module.partition(".")[0]
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = _INSTALL.get(point.name, "") if isinstance(error, ModuleNotFoundError) else ""
        raise PluginBroken(
            f"commands '{point.name}' of package {package} don't load: {what}{hint}"
        ) from error
    if not isinstance(found, typer.Typer):
        raise PluginBroken(
            f"commands '{point.name}': {point.value} is {type(found).__name__}, must be a Typer app"
        )
    group = get_group(found)
    group.name = point.name
    return group


def _declared(project: Path) -> dict[str, EntryPoint]:
    """What the checkout's project file announces, for a checkout that was never installed."""
    try:
        table = tomllib.loads(project.read_text("utf-8"))["project"]
        if table["name"] != "scrip":
            return {}
        values = table["entry-points"][GROUP]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: EntryPoint(name, value, GROUP) for name, value in values.items()}
