"""The pages' blocks: named for what they are, and what isn't run is named with a reason and still exists."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from scrip.cli.main import app
from tests.documents import ELSEWHERE, NOT_RUN, PAGES, ROOT, RUN, bare, blocks, shell

LANGUAGES: Final = {"sh", "python", "ts", "toml", "json", "text", "mermaid"}
BROWNIE: Final = "scripts.brownie_local"
"""Replaces the process. `test_deploy_brownie.py` runs its lines."""
TYPED: Final = re.compile(r"(scrip|make|npm|pip|python3? -m) ")


def commands() -> Iterator[list[str]]:
    """Our own commands on pages that aren't run, as words: without pipes, variables and comments."""
    by_stem = {page.stem: page for page in PAGES}
    for stem in NOT_RUN:
        text = "\n".join(shell(by_stem[stem])).replace("\\\n", " ")
        for part in re.split(r"[\n|]", text):
            words = shlex.split(part, comments=True)
            while words and re.match(r"\w+=", words[0]):
                del words[0]
            module = words[2] if words[1:2] == ["-m"] else ""
            ours = module.startswith(("scripts.", "demo.")) and module != BROWNIE
            if words[:1] == ["scrip"] or ours:
                yield words


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_page__every_block__says_its_language(page: Path) -> None:
    found = blocks(page)
    assert [block for block in found if block.language not in LANGUAGES] == []
    fences = page.read_text("utf-8").count("```")
    assert fences == 2 * len(found), "a block that isn't closed, or isn't at the line's start"
    for block in found:
        typed = [line for line in block.text.splitlines() if TYPED.match(line)]
        assert block.language == "sh" or not typed, "commands stand in sh blocks"


@pytest.mark.parametrize("stem", NOT_RUN)
def test_page_that_is_not_run__has_commands_and_a_test_that_does_the_same(stem: str) -> None:
    assert [page.stem for page in PAGES if shell(page) and page.stem == stem] == [stem]
    assert (ROOT / NOT_RUN[stem][1]).is_file()


OURS: Final = [words for words in commands() if words[0] == "scrip"]
SCRIPTS: Final = [words for words in commands() if words[0] != "scrip"]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_command_that_is_not_run__with_its_options__exists(words: list[str]) -> None:
    # Help comes before anything is done, and after options that don't exist were refused.
    done = CliRunner().invoke(app, [*words[1:], "--help"])
    assert (done.exit_code, "Usage:" in done.output) == (0, True), done.output


@pytest.mark.parametrize("words", SCRIPTS, ids=" ".join)
def test_script_that_is_not_run__with_its_options__exists(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, module, *arguments = words
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(module, run_name="__main__")
    shown = capsys.readouterr().out
    missing = [word for word in arguments if word.startswith("--") and word not in shown]
    assert (left.value.code, missing) == (0, [])


@pytest.mark.parametrize("line", ELSEWHERE)
def test_line_run_elsewhere__stands_on_a_page_and_that_file_runs_it(line: str) -> None:
    file, words = ELSEWHERE[line]
    assert any(line == bare(one) for page in RUN for one in shell(page)), "no page has it any more"
    assert words in (ROOT / file).read_text("utf-8")


def test_make_demo__what_its_test_runs__is_what_it_runs() -> None:
    (recipe,) = re.findall(r"^demo:.*\n\t(.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert "-m demo.cli --all " in recipe
