"""A node without the x402 SDK: it runs, unless its settings ask for what needs the SDK."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from oracle import node
from oracle.node import NodeProblem
from oracle.settings import Settings
from tests.unit.test_settings import PROVIDER, write


def settings(tmp_path: Path, text: str = "") -> Settings:
    return Settings.load(write(tmp_path, PROVIDER + text), {})


def open_shop(given: Settings) -> object:
    base = type("Base", (), {"settings": given, "account": None})
    nothing = cast(Any, None)
    return node._open_shop(cast(Any, base), nothing, nothing, nothing, None, threading.Event())


def test_shop__without_its_section__is_none(tmp_path: Path) -> None:
    assert open_shop(settings(tmp_path)) is None


def test_shop__without_the_sdk__is_a_clear_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NodeProblem, match=r"Install scrip\[oracle,x402\]"):
        open_shop(settings(tmp_path, "[x402]\nsell = [1]\n"))


def test_daemon__without_the_sdk__is_importable() -> None:
    hide = (
        "import sys; sys.modules['x402'] = None; import oracle.daemon, oracle.api, oracle.cli, scrip.cli.main"
    )
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
