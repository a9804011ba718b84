"""Keystores on the command line: nothing is overwritten, nothing secret is printed or an argument."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from scrip import keys
from scrip.cli.context import Context
from tests.unit.cli_fakes import HOLDER, KEY, PASSWORD, Cli
from tests.unit.evidence_factory import CHAIN_ID


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    for name in ("create", "import_key"):
        # The real work factor takes a second per key.
        light = partial(getattr(keys, name), work=keys.SCRYPT_WORK_LIGHT)
        monkeypatch.setattr(keys, name, light)
    return Cli(tmp_path, monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "new" / "key.json"


def at_terminal(cli: Cli) -> None:
    cli.monkeypatch.setattr(Context, "interactive", property(lambda context: True))


def test_key__no_path__says_what_to_give(cli: Cli) -> None:
    for name in ("create", "import", "show"):
        assert "give --keystore or SCRIP_KEYSTORE" in cli.fails("key", name)


def test_key_create__no_password_and_nobody_to_ask__nothing_is_written(cli: Cli, place: Path) -> None:
    assert "give --password-file, or put it in SCRIP_PASSWORD" in cli.fails("key", "create", str(place))
    assert not place.exists()


def test_key_create__file_exists__kept_and_no_password_asked_for(cli: Cli, place: Path) -> None:
    place.parent.mkdir()
    place.write_text("precious")
    for name in ("create", "import"):
        assert "never overwritten" in cli.fails("key", name, str(place))
    assert place.read_text() == "precious"


def test_key_create__empty_password_file__refused(cli: Cli, place: Path, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("\n")
    assert "empty or missing" in cli.fails(
        "key", "create", str(place), "--password-file", str(tmp_path / "pw")
    )
    assert not place.exists()


def test_key_create__passwords_differ__asked_again(cli: Cli, place: Path) -> None:
    at_terminal(cli)
    result = cli.run("key", "create", str(place), answer=f"{PASSWORD}\nother\n{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0, result.output
    assert PASSWORD not in result.output
    (place.parent / "pw").write_text(PASSWORD)
    keys.load(place, chain_id=CHAIN_ID, password_file=place.parent / "pw")


def test_key_create__interrupted_at_the_prompt__status_130_and_no_file(cli: Cli, place: Path) -> None:
    at_terminal(cli)
    result = cli.run("key", "create", str(place), answer="")
    assert (result.exit_code, place.exists()) == (130, False)
    assert result.stderr.splitlines()[-1] == "interrupted"


def test_key_import__not_a_key__refused_without_showing_it(cli: Cli, place: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("sesame" * 9)
    cli.monkeypatch.setenv("SCRIP_PASSWORD", PASSWORD)
    line = cli.fails("key", "import", str(place), "--key-file", str(tmp_path / "plain"))
    assert "not a private key" in line
    assert "sesame" not in line


def test_key_import__unreadable_key_file__refused(cli: Cli, place: Path, tmp_path: Path) -> None:
    assert "FileNotFoundError" in cli.fails("key", "import", str(place), "--key-file", str(tmp_path / "no"))


def test_key_import__typed_hidden__stored_under_its_address(cli: Cli, place: Path) -> None:
    at_terminal(cli)
    result = cli.run("key", "import", str(place), answer=f"{KEY}\n{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0, result.output
    assert HOLDER in result.stdout
    assert KEY[2:] not in result.output
    assert KEY[2:] not in place.read_text()


def test_key_import__from_file__json_and_then_shown(cli: Cli, place: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text(KEY + "\n")
    cli.monkeypatch.setenv("SCRIP_PASSWORD", PASSWORD)
    wanted = {"address": HOLDER, "keystore": str(place)}
    assert cli.json("key", "import", str(place), "--key-file", str(tmp_path / "plain")) == wanted
    cli.monkeypatch.delenv("SCRIP_PASSWORD")
    assert cli.json("key", "show", str(place)) == wanted
    assert place.stat().st_mode & 0o777 == 0o600


def test_key_show__keystore_without_address__says_so(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text("{}")
    assert "doesn't say its address" in cli.fails("key", "show", str(tmp_path / "k.json"))


def test_key_show__for_people__address_and_next_step_nowhere_on_stdout(cli: Cli, place: Path) -> None:
    cli.monkeypatch.setenv("SCRIP_PASSWORD", PASSWORD)
    made = cli.run("key", "create", str(place))
    assert "Next: send it coin" in made.stderr
    assert "Next" not in made.stdout


# Unlocking


def context(cli: Cli, **changes: object) -> Context:
    path = cli.with_key().folder / "key.json"
    fields = {
        "rpc": "http://x", "deployment": Path("d"), "keystore": path, "password_file": None,
        "password_set": False, "state": cli.folder, "as_json": False,
    }  # fmt: skip
    return Context(**{**fields, **changes})  # type: ignore[arg-type]


def test_account__password_typed__unlocked(cli: Cli) -> None:
    at_terminal(cli)
    cli.monkeypatch.setattr("typer.prompt", lambda *_, **__: PASSWORD)
    assert context(cli).account(CHAIN_ID).address == HOLDER


def test_account__password_file_and_variable__the_file_counts(cli: Cli) -> None:
    made = context(cli, password_set=True, password_file=cli.folder / "pw")
    (cli.folder / "pw").write_text(PASSWORD)
    cli.monkeypatch.setenv("SCRIP_PASSWORD", "wrong")
    assert made.account(CHAIN_ID).address == HOLDER
