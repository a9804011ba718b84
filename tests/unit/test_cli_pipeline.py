"""`scrip pipeline` says what is wrong before it asks a node, a provider or for a password."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from scrip.cli.main import app
from tests.unit.pipeline_factory import write
from tests.unit.test_pipeline_tree import FILE, TREE

NOWHERE = "http://127.0.0.1:1"
GOOD = '[[stage]]\nname = "a"\ntemplate = "t"\nresource = "CPU_SECOND"\nmax_units = 1\n'


def scrip(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["--json", "--rpc", NOWHERE, "pipeline", *arguments])


def message(result: Result) -> str:
    assert result.exit_code != 0
    found: str = json.loads(result.stderr.splitlines()[-1])["error"]["message"]
    return found


def test_quote__plan_with_several_mistakes__all_told(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "Bad"\n' + GOOD.replace("= 1", "= 0"))
    told = message(scrip("quote", str(path)))
    assert "name: format" in told
    assert "stage.0.max_units: format" in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--text", "novalue"], "NAME=VALUE"),
        (["--text", "x=1", "--text", "x=2"], "each name once"),
        (["--file", "x=/nowhere"], "--file"),
        (["--text", "y=1"], "y: unknown input"),
        ([], "x: unknown input: the plan needs it"),
    ],
)
def test_quote__texts_that_do_not_fit__named(tmp_path: Path, given: list[str], said: str) -> None:
    path = write(tmp_path, 'name = "good"\ninputs = ["x"]\n' + GOOD)
    assert said in message(scrip("quote", str(path), *given))


@pytest.mark.parametrize("given", [[], ["--limit", "1", "--budget", "1"]])
def test_run__no_money_or_two_sources__refused(tmp_path: Path, given: list[str]) -> None:
    path = write(tmp_path, 'name = "good"\n' + GOOD)
    assert "one of them" in message(scrip("run", str(path), *given))


def test_verify__tampered__exit_1_and_the_check_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps({**FILE, "root": "0x" + "00" * 32}))
    result = scrip("verify", str(path))
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert (shown["ok"], shown["failed"]["name"]) == (False, "tree.proof")


def test_verify__sound_file_but_no_node__says_so(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(TREE.encode())
    assert "127.0.0.1" in message(scrip("verify", str(path)))


def test_verify__no_file__bad_input(tmp_path: Path) -> None:
    assert "can be read" in message(scrip("verify", str(tmp_path / "none.json")))


def test_resume__no_run__says_how_to_start_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pipeline", "resume", "--help"])
    assert "No stage that settled is paid again" in result.stdout
