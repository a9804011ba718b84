"""What is shown while a command waits: at a terminal only, and never beside JSON."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from scrip.cli import waiting
from scrip.cli.context import Context


def context(*, as_json: bool = False) -> Context:
    return Context("http://x", Path("d"), None, None, False, Path("s"), as_json)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal's contents."""
    shown = io.StringIO()
    made = Console(file=shown, force_terminal=True, width=120)
    monkeypatch.setattr(waiting, "console", lambda *, stderr: made)
    return shown


def test_waiting__no_terminal__shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert waiting.patience(context()) is None
    with waiting.busy(context(), "reading"):
        pass
    assert capsys.readouterr() == ("", "")


def test_waiting__json__shows_nothing_at_a_terminal_either(screen: io.StringIO) -> None:
    assert waiting.patience(context(as_json=True)) is None
    with waiting.busy(context(as_json=True), "reading"):
        pass
    assert screen.getvalue() == ""


def test_waiting__terminal__says_for_what_and_how_long(screen: io.StringIO) -> None:
    with waiting.busy(context(), "reading the chain"):
        pass
    sleep = waiting.patience(context())
    assert sleep is not None
    sleep(0.0)
    assert "reading the chain" in screen.getvalue()
    assert "waiting for the chain, 0 s" in screen.getvalue()
