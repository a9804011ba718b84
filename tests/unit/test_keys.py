"""Keystores, passwords and the refusal of development keys."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from scrip import keys
from scrip.errors import KeyProblem

SECRET = b"\x42" * 32
ADDRESS = Account.from_key(SECRET).address
PASSWORD = "correct horse"  # noqa: S105
MNEMONIC = "test test test test test test test test test test test junk"


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "provider.json"
    keys.import_key(path, SECRET, PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
    return path


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


def dev_account(index: int) -> Any:
    Account.enable_unaudited_hdwallet_features()
    return Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")


def test_load__wrong_password__raises_without_naming_it(keystore: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("hunter2-very-secret")
    with pytest.raises(KeyProblem, match="wrong password") as caught:
        keys.load(keystore, chain_id=1, password_file=wrong)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "content", ["not json", "[]", "{}", '{"version": 1}', '{"version": 3, "crypto": {}}']
)
def test_load__not_a_keystore__raises(tmp_path: Path, password_file: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(KeyProblem, match=r"bad\.json"):
        keys.load(path, chain_id=1, password_file=password_file)


def test_load__missing_keystore__raises(tmp_path: Path, password_file: Path) -> None:
    with pytest.raises(KeyProblem, match="FileNotFoundError"):
        keys.load(tmp_path / "none.json", chain_id=1, password_file=password_file)


@pytest.mark.parametrize("sources", [{}, {"password_file": "a", "password_env": "B"}])
def test_load__none_or_two_password_sources__raises(keystore: Path, sources: dict[str, str]) -> None:
    with pytest.raises(KeyProblem, match="exactly one"):
        keys.load(keystore, chain_id=1, **sources)  # type: ignore[arg-type]


def test_load__missing_password_file__raises(keystore: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="password file"):
        keys.load(keystore, chain_id=1, password_file=tmp_path / "none")


def test_load__empty_password__raises(
    keystore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    monkeypatch.delenv("SCRIP_TEST_PASSWORD", raising=False)
    with pytest.raises(KeyProblem, match="empty or missing"):
        keys.load(keystore, chain_id=1, password_file=empty)
    with pytest.raises(KeyProblem, match="SCRIP_TEST_PASSWORD is empty or missing"):
        keys.load(keystore, chain_id=1, password_env="SCRIP_TEST_PASSWORD")  # noqa: S106


def test_load__password_file__opens(keystore: Path, password_file: Path) -> None:
    assert keys.load(keystore, chain_id=1, password_file=password_file).address == ADDRESS


def test_load__password_from_environment__opens(keystore: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIP_TEST_PASSWORD", PASSWORD)
    assert keys.load(keystore, chain_id=1, password_env="SCRIP_TEST_PASSWORD").key == SECRET  # noqa: S106


def test_load__whole_use__logs_nothing(
    keystore: Path, password_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys.load(keystore, chain_id=1, password_file=password_file)
    assert caplog.records == []


def test_dev_addresses__mnemonic__are_its_first_twenty() -> None:
    assert {dev_account(index).address for index in range(20)} == keys.DEV_ADDRESSES


def test_load__development_key_off_local_chains__raises(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "dev.json"
    keys.import_key(path, dev_account(3).key, PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
    with pytest.raises(KeyProblem, match="well-known development account, refused on chain 11155111"):
        keys.load(path, chain_id=11155111, password_file=password_file)
    assert keys.load(path, chain_id=31337, password_file=password_file).address in keys.DEV_ADDRESSES
    assert keys.load(path, chain_id=5, password_file=password_file, local_chains={5}).address


def test_create__existing_file__is_never_overwritten(keystore: Path) -> None:
    before = keystore.read_bytes()
    with pytest.raises(KeyProblem, match="never overwritten"):
        keys.create(keystore, PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
    assert keystore.read_bytes() == before


def test_create__empty_password__raises(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="empty"):
        keys.create(tmp_path / "k.json", "")


@pytest.mark.parametrize("key", ["", "0x12", b"\x01" * 31, "zz" * 32, None])
def test_import_key__not_a_key__raises_without_showing_it(tmp_path: Path, key: Any) -> None:
    with pytest.raises(KeyProblem, match="not a private key") as caught:
        keys.import_key(tmp_path / "k.json", key, PASSWORD)
    assert "zz" not in str(caught.value)


def test_create__new_key__is_private_and_opens(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "k.json"
    address = keys.create(path, PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load(path, chain_id=1, password_file=password_file).address == address


def test_create__default__uses_geths_scrypt_work() -> None:
    assert keys.SCRYPT_WORK == 262_144


def test_address_of__keystore__is_read_without_the_password(keystore: Path) -> None:
    assert keys.address_of(keystore).lower() == ADDRESS.lower()
    assert SECRET.hex() not in json.dumps(keystore.read_text())
