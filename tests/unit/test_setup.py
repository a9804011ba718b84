"""The set-up's own parts: what it says about missing tools, and when a step is due."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from scripts.setup import progress, stamps, tools

ROOT = Path(__file__).resolve().parents[2]


def program(folder: Path, name: str, script: str) -> None:
    """Put an executable shell script on the path folder."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path of one folder in which every tool is new enough."""
    program(tmp_path, "node", "echo v20.1.0")
    program(tmp_path, "npm", "echo 11.0.0")
    program(tmp_path, "gcc", "echo 'gcc (Debian 12.2.0-14) 12.2.0'")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["node", "npm", "gcc"])
def test_problems__tool_missing__names_it_and_what_to_install(path: Path, name: str) -> None:
    (path / name).unlink()
    (problem,) = tools.problems()
    assert problem.startswith(f"{name} is missing: install ")
    assert "\n" not in problem


def test_problems__node_too_old__names_the_version_found(path: Path) -> None:
    program(path, "node", "echo v18.19.1")
    assert tools.problems() == [
        "node is too old (v18.19.1): install Node.js 20 or newer (Debian: apt-get install nodejs)"
    ]


def test_problems__tool_does_not_run__says_so(path: Path) -> None:
    program(path, "gcc", "exit 3")
    (problem,) = tools.problems()
    assert problem.startswith("gcc does not run")


def test_problems__all_new_enough__is_empty(path: Path) -> None:
    assert tools.problems() == []


def test_entry__syntax__is_readable_by_an_old_python() -> None:
    source = (ROOT / "scripts" / "setup" / "__main__.py").read_text()
    tree = ast.parse(source, feature_version=(3, 7))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.AnnAssign)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert all(function.returns is None for function in functions)
    assert "__future__" not in source


def test_stamp__input_changes__makes_the_step_due(tmp_path: Path) -> None:
    source, stamp = tmp_path / "in" / "a.txt", tmp_path / "out" / "stamp"
    source.parent.mkdir()
    source.write_text("one")
    before = stamps.digest(tmp_path, [source.parent], ["fact"])
    stamps.write(stamp, before)
    assert stamps.is_current(stamp, before)
    source.write_text("two")
    assert not stamps.is_current(stamp, stamps.digest(tmp_path, [source.parent], ["fact"]))


def test_stamp__only_the_time_changes__leaves_the_step_done(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("one")
    before = stamps.digest(tmp_path, [source])
    os.utime(source, (1, 1))
    assert stamps.digest(tmp_path, [source]) == before


def test_stamp__file_renamed_or_fact_changed__makes_the_step_due(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("one")
    before = stamps.digest(tmp_path, [tmp_path], ["fact"])
    assert stamps.digest(tmp_path, [tmp_path], ["other"]) != before
    source.rename(tmp_path / "b.txt")
    assert stamps.digest(tmp_path, [tmp_path], ["fact"]) != before


def test_step__command_fails__shows_the_end_of_its_output(tmp_path: Path) -> None:
    with (
        pytest.raises(progress.StepFailed, match=r"(?s)thing: `sh -c.*exited with 7.*the reason"),
        progress.step("thing", tmp_path / "log", tmp_path) as step,
    ):
        step.run(["sh", "-c", "echo the reason >&2; exit 7"])


def test_step__command_hangs__ends_at_its_time_limit(tmp_path: Path) -> None:
    with (
        pytest.raises(progress.StepFailed, match="did not end within"),
        progress.step("thing", tmp_path / "log", tmp_path) as step,
    ):
        step.run(["sleep", "30"], timeout=0.1)


def test_step__command_succeeds__prints_the_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.step("thing", tmp_path / "log", tmp_path) as step:
        step.run(["true"])
    assert re.fullmatch(r"\[setup\] thing \.\.\.\n\[setup\] thing \.\.\. \d+ s\n", capsys.readouterr().out)
