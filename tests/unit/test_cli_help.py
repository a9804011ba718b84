"""What `scrip --help` promises: an example everywhere, a fast start, no option with two meanings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from agents.cli import app as agent_app
from agents.pipeline.cli import app as pipeline_app
from scrip.cli.group import GLOBAL_FLAGS, GLOBAL_VALUES
from scrip.cli.main import app

HEAVY = (
    "web3",
    "eth_account",
    "eth_utils",
    "httpx",
    "pydantic_core.core_schema",
    "oracle",
    "agents",
    "requests",
)


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *path, name)


OURS = [
    *commands(get_command(app)),
    *commands(get_command(agent_app), "agent"),
    *commands(get_command(pipeline_app), "pipeline"),
]
NAMES = [" ".join(path) for path, _ in OURS]


@pytest.mark.parametrize(("path", "command"), OURS, ids=NAMES)
def test_help__every_command__says_what_it_does_and_ends_with_an_example(
    path: tuple[str, ...], command: Any
) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert (result.exit_code, result.stderr) == (0, "")
    first = (command.help or "").splitlines()[0]
    assert first.endswith(".")
    assert first in result.stdout
    assert "Example: scrip " in result.stdout
    shown = result.stdout.split("Example: ", 1)[1]
    assert all(word in shown for word in path)


@pytest.mark.parametrize(("path", "command"), OURS[1:], ids=NAMES[1:])
def test_options__of_a_command__never_named_like_a_global_one(path: tuple[str, ...], command: Any) -> None:
    mine = {name for parameter in command.params for name in parameter.opts}
    assert not mine & (GLOBAL_FLAGS | GLOBAL_VALUES)


def test_options__global__are_those_that_may_stand_anywhere() -> None:
    declared = {name for parameter in get_command(app).params for name in parameter.opts}
    standing_first = {"--version", "--help", "--install-completion", "--show-completion"}
    assert declared - standing_first == GLOBAL_FLAGS | GLOBAL_VALUES


def test_help__starting__imports_nothing_heavy() -> None:
    program = (
        "import sys; from scrip.cli.main import app; app(['--help'], standalone_mode=False);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "oracle" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "path", [(), ("class",), ("job",), ("key",), ("provider",), ("session",), ("agent",)]
)
def test_group__called_bare__shows_its_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, list(path))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage: scrip" in result.stdout


def test_version__asked__printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.split()[0]) == (0, "scrip")
