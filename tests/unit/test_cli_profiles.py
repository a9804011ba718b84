"""Profiles: refused ones first, then which value wins, and that no secret is kept."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scrip.cli import main, profiles
from scrip.cli.context import Context

NAMES = ("RPC", "DEPLOYMENT", "KEYSTORE", "PASSWORD", "PASSWORD_FILE", "STATE", "PROFILE", "DEBUG")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in NAMES:
        monkeypatch.delenv(f"SCRIP_{name}", raising=False)
    return tmp_path / "scrip" / "profiles.toml"


def run(*args: str) -> Any:
    return CliRunner().invoke(main.app, list(args))


def fails(*args: str) -> str:
    result = run(*args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    return str(result.stderr)


def written(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profiles.a]\nprivate_key = '0x12'", "one of rpc, deployment, keystore, state"),
        ("[profiles.a]\nrpc = 8545", "a table of texts"),
        ("[profiles.A]\nrpc = 'http://x'", "lower-case letters"),
        ("current = 'b'\n[profiles.a]\nrpc = 'http://x'", "one of ['a']"),
        ("[other]", "current = NAME"),
        ("current = ", "a TOML file"),
    ],
)
def test_profiles__file_is_wrong__refused_in_one_line(file: Path, text: str, said: str) -> None:
    written(file, text)
    for args in (("profile", "list"), ("class", "list")):
        assert said in fails(*args)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@node.example",
        "https://node.example/v3/0123456789abcdef0123456789abcdef",
        "https://node.example/?key=0123456789abcdef0123456789abcdef",
    ],
)
def test_add__url_with_a_secret__refused_and_not_repeated(file: Path, url: str) -> None:
    line = fails("profile", "add", "a", "--node", url)
    assert "${NAME}" in line
    assert "hunter2" not in line
    assert "0123456789abcdef" not in line
    assert not file.exists()


def test_add__nothing_or_not_a_url__refused(file: Path) -> None:
    assert "at least one of --node" in fails("profile", "add", "a")
    assert "an http or https URL" in fails("profile", "add", "a", "--node", "ftp://x")
    assert not file.exists()


def test_use__unknown__says_where_to_look(file: Path) -> None:
    for args in (("use", "a"), ("remove", "a")):
        assert "See: scrip profile list" in fails("profile", *args)
    assert "profile a not found" in fails("--profile", "a", "class", "list")


def test_chosen__variable_not_set__named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("profile", "add", "a", "--node", "https://node.example/v3/${NODE_KEY}").exit_code == 0
    assert "NODE_KEY" in fails("class", "list")
    monkeypatch.setenv("NODE_KEY", "s3cret")
    assert profiles.chosen(None) == {"rpc": "https://node.example/v3/s3cret"}
    assert "s3cret" not in file.read_text()


def test_add__read_back__whole_paths_and_private(file: Path, tmp_path: Path) -> None:
    quoted = tmp_path / 'od"d\\.json'
    assert run("profile", "add", "a", "--node", "http://127.0.0.1:1", "--key", str(quoted)).exit_code == 0
    assert run("profile", "add", "b", "--folder", "here").exit_code == 0
    data = tomllib.loads(file.read_text())
    assert data["profiles"]["a"] == {"rpc": "http://127.0.0.1:1", "keystore": str(quoted)}
    assert data["profiles"]["b"] == {"state": str(Path("here").absolute())}
    assert (data["current"], file.stat().st_mode & 0o777) == ("a", 0o600)
    assert run("profile", "remove", "a").exit_code == 0
    assert profiles.Profiles.load().current == ""


def test_context__option_beats_variable_beats_profile(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def node_url(context: Context) -> str:
        seen.append(f"{context.rpc} {context.keystore}")
        raise SystemExit(0)

    monkeypatch.setattr(Context, "node_url", node_url)
    assert run("profile", "add", "a", "--node", "http://profile", "--key", "/k").exit_code == 0
    assert run("profile", "add", "b", "--node", "http://other").exit_code == 0
    run("class", "list")
    run("class", "list", "--profile", "b")
    monkeypatch.setenv("SCRIP_RPC", "http://variable")
    run("class", "list")
    run("class", "list", "--rpc", "http://option")
    assert seen == ["http://profile /k", "http://other None", "http://variable /k", "http://option /k"]
