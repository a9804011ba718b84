"""Whatever goes wrong is one line on stderr and an exit status."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from scrip.cli import plugins
from scrip.cli.failures import explain, guarded
from scrip.cli.group import hoisted
from scrip.cli.main import app
from scrip.errors import BadInput, NodeUnavailable, Refused, Reverted, ScripError, TxUnknown
from tests.unit.cli_fakes import Cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(tmp_path, monkeypatch)


def raising(error: BaseException) -> Any:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (Refused("no\nway\x1b[31m"), 1, "error: refused: no; way\ufffd[31m"),
        (NodeUnavailable("rpc.example", "Timeout"), 1, "error: node rpc.example: Timeout. Is a node running"),
        (TxUnknown("buy", 3, [bytes(32)]), 1, "The next command that sends finishes it first"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("the job goes on"), 130, "the job goes on"),
        (typer.Abort(), 130, "interrupted"),
        (ZeroDivisionError("boom"), 70, "error: unexpected ZeroDivisionError: boom. Set SCRIP_DEBUG=1"),
        (typer.BadParameter("no such thing"), 2, "no such thing"),
    ],
)
def test_guarded__any_failure__one_line_and_its_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(error), as_json=False) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert line in err


def test_guarded__json_wanted__error_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(raising(BadInput("amount", "x", "a number")), as_json=True)
    out, err = capsys.readouterr()
    message = "amount: given 'x', must be a number"
    assert (out, json.loads(err)) == ("", {"error": {"type": "BadInput", "message": message}})


def test_guarded__debug_wanted__traceback_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCRIP_DEBUG", "1")
    assert guarded(raising(ZeroDivisionError("boom")), as_json=False) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("outcome", "status"), [(lambda: None, 0), (raising(typer.Exit(3)), 3)])
def test_guarded__no_failure__status_and_silence(
    outcome: Any, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(outcome, as_json=False) == status
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "params", "hint"),
    [
        ("JobMarket_WrongStatus", {"given": 5, "limit": 1}, "The job is settled"),
        ("JobMarket_DeadlineNotReached", {"given": 0, "limit": 1_760_000_000}, "2025-10-09 08:53:20 UTC"),
        ("ERC1155InsufficientBalance", {"balance": 1}, "See: scrip balance"),
        ("Nobody_KnowsThis", {"given": 1}, "Nobody_KnowsThis(given=1)"),
    ],
)
def test_explain__revert__says_what_it_means_and_what_to_do(name: str, params: Any, hint: str) -> None:
    assert hint in explain(Reverted(name, params))


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["nope"], "No such command 'nope'. See: scrip --help"),
        (["clas"], "Did you mean 'class'"),
        (["class", "show"], "Missing argument 'ID'. See: scrip class show --help"),
        (["class", "show", "one"], "See: scrip class show --help"),
        (["class", "show", "0"], "See: scrip class show --help"),
        (["class", "list", "--nonsense"], "No such option: --nonsense"),
        (["buy", "1"], "Missing argument 'AMOUNT'"),
    ],
)
def test_usage__wrong__one_line_with_the_help_to_read(cli: Cli, args: list[str], line: str) -> None:
    assert line in cli.fails(*args, status=2)


def test_usage__wrong_with_json__is_json_too(cli: Cli) -> None:
    result = cli.run("buy", "1", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert json.loads(result.stderr)["error"]["type"] == "Usage"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["class", "list", "--json"], ["--json", "class", "list"]),
        (["balance", "--rpc", "http://x", "0x1"], ["--rpc", "http://x", "balance", "0x1"]),
        (["balance", "--rpc=http://x"], ["--rpc=http://x", "balance"]),
        (["agent", "ask", "--", "--json"], ["agent", "ask", "--", "--json"]),
        (["balance", "--rpc"], ["--rpc", "balance"]),
        (["redeem", "--param", "a=--json"], ["redeem", "--param", "a=--json"]),
    ],
)
def test_hoisted__global_option_anywhere__goes_first(given: list[str], wanted: list[str]) -> None:
    assert hoisted(given) == wanted


# Plugins


def announce(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    points = {name: EntryPoint(name, value, plugins.GROUP) for name, value in values.items()}
    monkeypatch.setattr(plugins, "find", lambda: points)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("no_such_package.cli:app", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("json:no_such_name", "AttributeError"),
        ("json:dumps", "json:dumps is function, must be a Typer app"),
    ],
)
def test_plugin__broken__one_line_when_used_and_no_harm_when_listed(
    monkeypatch: pytest.MonkeyPatch, value: str, line: str
) -> None:
    announce(monkeypatch, extra=value)
    used = CliRunner().invoke(app, ["extra", "run"])
    assert (used.exit_code, used.stdout, used.stderr.count("\n")) == (1, "", 1)
    assert line in used.stderr
    listed = CliRunner().invoke(app, ["--help"])
    assert (listed.exit_code, "extra" in listed.stdout) == (0, True)


def test_plugin__needs_a_package_that_is_missing__says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, oracle="no_such_package.cli:app")
    assert "pip install 'scrip[oracle]'" in CliRunner().invoke(app, ["oracle"]).stderr


def test_plugin__named_like_a_command_of_ours__is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, key="no_such_package.cli:app")
    assert CliRunner().invoke(app, ["key", "--help"]).exit_code == 0


def test_plugin__error_in_a_command__one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = typer.Typer()

    @extra.command()
    def fail() -> None:
        raise ScripError("it is broken")

    monkeypatch.setattr(plugins, "_TITLES", {})
    announce(monkeypatch, extra="tests.extra:app")
    monkeypatch.setattr(EntryPoint, "load", lambda point: extra)
    result = CliRunner().invoke(app, ["extra", "fail"])
    assert (result.exit_code, result.stderr) == (1, "error: it is broken\n")


def test_find__checkout_that_was_never_installed__reads_its_project_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: ())
    found = plugins.find()
    assert {name: point.value for name, point in found.items()} == {
        "agent": "agents.cli:app",
        "demo": "demo.cli:app",
        "oracle": "oracle.cli:app",
        "pipeline": "agents.pipeline.cli:app",
    }


def test_find__project_file_of_another_package__is_ignored(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    for text in ("", "[project]\nname = 'other'\n", "[project]\nname = 'scrip'\n", "not toml ["):
        project.write_text(text)
        assert plugins._declared(project) == {}
