"""`scrip oracle`: run a node, run it once, or check that it could run."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from oracle import daemon, preflight
from oracle import migrate_state as moving
from oracle.admission import serve as admission
from oracle.findings import Finding, Mark
from oracle.gateway.book import Book
from oracle.gateway.service import log_of
from oracle.logging import clean, configure
from oracle.settings import Settings
from oracle.state_folder import node_name, open_state
from oracle.store import Store
from oracle.telemetry.nvml import Nvml
from oracle.telemetry.nvml.record import PERIOD_MS
from oracle.telemetry.nvml.record import record as record_trace
from scrip.cli.group import command, sub_app
from scrip.errors import ScripError

EXIT_FAILED: Final = 1
EXIT_SETTINGS: Final = 2

app = sub_app("Run a provider's or a watcher's node.", example="scrip oracle check --config node.toml")

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="SCRIP_CONFIG", help="TOML file; SCRIP_* variables replace its values."
    ),
]

_STYLES: Final = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red"}


@command(app, "run", example="scrip oracle run --config node.toml")
def run(config: Config = None) -> None:
    """Run the node until SIGTERM. A second one ends it at once."""
    settings = _load(config)
    raise typer.Exit(_guarded(lambda: daemon.build(settings).run()))


@command(app, "once", example="scrip oracle once --config node.toml")
def once(config: Config = None) -> None:
    """Work until there is nothing left to do now, then end."""
    settings = _load(config)
    raise typer.Exit(_guarded(lambda: daemon.build(settings).once()))


@command(app, "check", example="scrip oracle check --config node.toml")
def check(config: Config = None) -> None:
    """Check settings, key, chain, registration, catalogue, confinement, metering, disk and clock; admission
    where it is set. Sends nothing.
    """
    settings = _load(config)
    findings = preflight.check(settings)
    Console().print(_table(findings))
    raise typer.Exit(EXIT_FAILED if any(item.mark is Mark.FAIL for item in findings) else 0)


@command(
    app, "migrate-state", example="scrip oracle migrate-state --config node.toml --to sqlite:///new.sqlite3"
)
def migrate_state(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            envvar="SCRIP_MIGRATE_TO",
            help="URL of a new, empty database; the variable keeps its password out of the process list.",
        ),
    ],
    config: Config = None,
) -> None:
    """Move the node's state into another database, e.g. PostgreSQL. The node must not run."""
    settings = _load(config)

    def move() -> int:
        with ExitStack() as opened:
            opened.enter_context(open_state(settings.state_dir))
            old, new = Store.open(settings.database_url), Store.open(to)
            opened.callback(old.close)
            opened.callback(new.close)
            moved = moving.move(old, new, node_name(settings.state_dir), Book(old, log_of(settings)).take_up)
        print(
            f"moved {sum(moved.values())} rows. Set database.url to the new database before starting the node"
        )
        return 0

    raise typer.Exit(_guarded(move))


@command(app, "record", example="scrip oracle record --seconds 10 --out trace.jsonl")
def record(
    seconds: Annotated[float, typer.Option(help="How long.")],
    out: Annotated[Path, typer.Option(help="New file to write.")],
    period_ms: Annotated[int, typer.Option(help="Milliseconds from one reading to the next.")] = PERIOD_MS,
) -> None:
    """Record what NVML says of this machine's GPUs, as a trace that the simulated GPU can play."""

    def work() -> int:
        with Nvml.open() as nvml:
            rounds = record_trace(nvml, out, seconds, period_ms=period_ms)
            label = "a replay" if nvml.simulated else f"driver {nvml.driver}"
            print(f"{out}: {len(nvml.boards())} GPU(s), {rounds} readings, from {label}")
        return 0

    raise typer.Exit(_guarded(work))


@command(app, "admit", example="scrip oracle admit --config node.toml")
def admit(config: Config = None) -> None:
    """Answer Slurm's submit filter and Kubernetes' webhook: what runs has a funded, accepted job."""
    settings = _load(config)

    raise typer.Exit(_guarded(lambda: admission.Admitting(settings).run()))


@command(app, "evictions", example="scrip oracle evictions --config node.toml < pods.json")
def evictions(config: Config = None) -> None:
    """Read `kubectl get pods,jobs -A -o json`, release what has ended, and print what `kubectl delete` is to
    end: workloads whose job isn't running.
    """
    settings = _load(config)

    def work() -> int:
        print(*admission.evictions(settings, sys.stdin.read()), sep="", end="")
        return 0

    raise typer.Exit(_guarded(work))


def _load(config: Path | None) -> Settings:
    try:
        settings = Settings.load(config)
    except ScripError as error:
        _say(str(error))
        raise typer.Exit(EXIT_SETTINGS) from None
    configure(settings.log_level)
    return settings


def _guarded(work: daemon.Work) -> int:
    """Run and turn a failure into one line on stderr and a status. The log has the traceback of a bug."""
    try:
        return work()
    except ScripError as error:
        _say(f"{type(error).__name__}: {error}")
    except Exception as error:
        daemon.log_crash(error)
        _say(f"unexpected {type(error).__name__}: {error}. This is a bug; the log above has the details")
    return EXIT_FAILED


def _say(text: str) -> None:
    print(f"scrip oracle: {clean(text)}", file=sys.stderr)


def _table(findings: list[Finding]) -> Table:
    table = Table(title="Preflight", show_lines=False)
    for heading in ("check", "result", "detail"):
        table.add_column(heading, overflow="fold")
    for item in findings:
        table.add_row(item.what, f"[{_STYLES[item.mark]}]{item.mark.value}[/]", clean(item.detail))
    return table
