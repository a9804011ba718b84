"""Every command of `scrip` has an example in its help, and each of them runs here as it is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from agents.cli import app as agent_app
from agents.pipeline.cli import app as pipeline_app
from demo.cli import app as demo_app
from oracle.cli import app as oracle_app
from scrip.cli.main import app
from tests.integration.cli_stage import WINDOW, Stage, enter
from tests.integration.scene import Scene

PREFIX = "Example: "


def _nothing(stage: Stage) -> None:
    """It needs nothing but the chain."""


def _then(make: Callable[[Stage], object], *steps: Callable[[Stage], object]) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        for step in (make, *steps):
            step(stage)

    return prepare


STAGES: dict[str, Callable[[Stage], object]] = {
    "buy": Stage.buyer,
    "send": Stage.buyer,
    "balance": Stage.buyer,
    "report": _nothing,
    "class list": _nothing,
    "class show": _nothing,
    "class create": Stage.admin,
    "class price": _nothing,
    "class close": Stage.admin,
    "class grant": Stage.granted,
    "class pause": Stage.pausing,
    "class reclaim": Stage.closed,
    "class sweep": Stage.swept,
    "offer create": Stage.buyer,
    "offer show": Stage.offer,
    "offer fill": Stage.offered,
    "offer cancel": Stage.offer,
    "budget create": Stage.buyer,
    "budget child": Stage.budgets,
    "budget set": Stage.budgets,
    "budget providers": Stage.budgets,
    "budget revoke": Stage.budgets,
    "budget show": Stage.budgets,
    "budget list": Stage.budgets,
    "job list": _then(Stage.buyer, Stage.opened),
    "job cancel": _then(Stage.buyer, Stage.opened),
    "job expire": _then(Stage.buyer, Stage.opened, lambda stage: stage.past(601)),
    "job finalize": _then(Stage.submitted, lambda stage: stage.past(WINDOW + 1)),
    "job watch": Stage.settled,
    "session open": Stage.buyer,
    "session list": Stage.session,
    "session show": Stage.session,
    "session topup": Stage.session,
    "session close": Stage.session,
    "dispute open": Stage.submitted,
    "dispute show": Stage.disputed,
    "dispute verdict sign": _then(Stage.disputed, lambda stage: stage.by("watcher 0")),
    "dispute verdict submit": Stage.judged,
    "provider list": _nothing,
    "provider show": _nothing,
    "provider register": lambda stage: stage.by("newcomer"),
    "provider update": lambda stage: stage.by("provider"),
    "provider serve": lambda stage: stage.by("provider"),
    "provider stake": Stage.staked,
    "provider unstake": Stage.staked,
    "provider withdraw-stake": Stage.unstaked,
    "provider withdraw-award": Stage.won,
    "provider earnings": lambda stage: stage.by("provider"),
    "provider withdraw": _then(Stage.settled, lambda stage: stage.by("provider")),
    "watcher list": _nothing,
    "watcher show": _nothing,
    "watcher propose": Stage.admin,
    "watcher activate": Stage.proposed,
    "watcher capacity": _nothing,
    "watcher sign-capacity": lambda stage: stage.by("watcher 0"),
    "watcher attest-capacity": Stage.attested,
    "watcher sign-price": lambda stage: stage.by("watcher 0"),
    "watcher post-price": Stage.priced,
    "key create": _nothing,
    "key import": lambda stage: (stage.folder / "plain.txt").write_text("0x" + "4c" * 32),
    "key show": Stage.buyer,
    "profile list": _nothing,
    "profile add": _nothing,
    "profile use": Stage.profiled,
    "profile remove": Stage.profiled,
    "audit export": Stage.settled,
    "audit verify": _then(Stage.settled, lambda stage: stage.done("scrip audit export audit.jsonl")),
    "agent spend": lambda stage: stage.budgets(3),
}
"""What has to be there before the example of a command can run."""

ELSEWHERE = {
    "redeem": "a node",
    "verify": "a node",
    "job show": "a node",
    "session key create": "a node",
    "session key list": "a node",
    "session key revoke": "a node",
    "agent ask": "a node",
    "agent market": "a node",
    "agent mcp": "a node",
    "pipeline quote": "nodes",
    "pipeline run": "nodes",
    "pipeline resume": "nodes",
    "pipeline verify": "nodes",
    "oracle run": "a node",
    "oracle once": "a node",
    "oracle check": "a node",
    "oracle migrate-state": "a node",
    "oracle record": "a GPU",
    "eligibility check": "an attester",
    "eligibility list": "an attester",
    "eligibility issue": "an attester",
    "eligibility revoke": "an attester",
    "eligibility prove": "an issuer",
    "eligibility accept-credential": "an issuer",
    "eligibility recheck": "an issuer",
    "demo": "a chain of its own",
    "oracle admit": "an orchestrator",
    "oracle evictions": "an orchestrator",
}
"""Examples that need something besides a chain, and what that is: `test_cli_examples_nodes.py` runs them."""


def walk(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command with its path, groups left out."""
    inner = getattr(command, "commands", {})
    for name, one in inner.items():
        yield from walk(one, *path, name)
    if not inner:
        yield " ".join(path), command


COMMANDS = {
    name: command
    for root, path in (
        (app, ()),
        (agent_app, ("agent",)),
        (pipeline_app, ("pipeline",)),
        (oracle_app, ("oracle",)),
        (demo_app, ("demo",)),
    )
    for name, command in walk(get_command(root), *path)
}
SENDING = [name for name, one in COMMANDS.items() if "dry_run" in {item.name for item in one.params}]


def example_of(name: str) -> str:
    """What the help of a command ends with."""
    epilog = COMMANDS[name].epilog or ""
    assert epilog.startswith(PREFIX + "scrip "), f"scrip {name} has no example"
    return str(epilog.removeprefix(PREFIX))


@pytest.fixture
def stage(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return enter(scene, tmp_path, monkeypatch)


def test_commands__all__have_an_example_and_a_place_where_it_runs() -> None:
    assert set(STAGES) | set(ELSEWHERE) == set(COMMANDS)
    assert not set(STAGES) & set(ELSEWHERE)
    for name in COMMANDS:
        assert f" {name}" in example_of(name), name


def test_sending__every_command_that_does__has_a_dry_run() -> None:
    """Those that call `sending`, found in their source."""
    import inspect

    for name in STAGES:
        source = inspect.getsource(inspect.unwrap(COMMANDS[name].callback))
        if "send(context" in source or "sending(context" in source or "_end(" in source:
            assert name in SENDING, name


@pytest.mark.parametrize("name", [name for name in STAGES if name in SENDING])
def test_dry_run__example__shows_the_transaction_and_sends_nothing(name: str, stage: Stage) -> None:
    STAGES[name](stage)
    before = stage.blocks()
    shown = stage.done(example_of(name), "--dry-run")
    assert shown["dryRun"] is True
    assert stage.blocks() == before
    for row in shown["transactions"]:
        assert (row["contract"], row["function"]) != (None, None)
        assert int(row["gas"]) >= 21_000
        assert int(row["cost"]["now"]) <= int(row["cost"]["most"])
    text = stage.run(example_of(name), "--dry-run")
    assert (text.exit_code, text.stdout.startswith("Dry run: nothing was sent.")) == (0, True), text.output
    assert stage.blocks() == before
    # What it rehearsed is what happens.
    stage.done(example_of(name))
    assert stage.blocks() == before + len(shown["transactions"])


@pytest.mark.parametrize("name", STAGES)
def test_example__as_printed__runs(name: str, stage: Stage) -> None:
    STAGES[name](stage)
    if name == "key import":
        (stage.folder / "key.json").unlink(missing_ok=True)
    result = stage.run(example_of(name))
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
