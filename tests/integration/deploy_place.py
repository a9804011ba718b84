"""The deploy script run as a process: with which key, against which node, and what it left."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from web3 import Web3

from demo.anvil import MNEMONIC, Anvil
from scrip import deployments, keys
from scrip.chain import Chain

ROOT = Path(__file__).resolve().parents[2]
LOCAL, SEPOLIA, UNHEARD_OF = 31337, 11155111, 987_654_321
COIN = 10**18
PASSPHRASE = secrets.token_urlsafe(16)
ADMIN, ISSUER, WATCHER_ADMIN, COLLECTOR, ONE, TWO, THREE = (
    Web3.to_checksum_address("0x" + f"{number:02x}" * 20) for number in range(0xA1, 0xA8)
)
RUN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Deployed:
    """A finished run: where, into which folder, what it printed."""

    anvil: Anvil
    folder: Path
    output: str

    @property
    def record(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.folder / f"{self.anvil.chain_id}.json").read_text())
        return data

    @property
    def chain(self) -> Chain:
        return Chain.connect(self.anvil.url, deployments.load(self.folder, self.anvil.chain_id))


def run(anvil_url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(anvil_url, folder, *arguments),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def command(anvil_url: str, folder: Path, *arguments: str) -> Sequence[str]:
    command = [sys.executable, "-m", "scripts.deploy", "--rpc", anvil_url, "--out", str(folder)]
    return [*command, "--yes", "--confirmations", "0", *arguments]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SCRIP_")}


def deploy(anvil: Anvil, folder: Path, *arguments: str) -> Deployed:
    done = run(anvil.url, folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return Deployed(anvil, folder, done.stdout)


def refused(anvil: Anvil, folder: Path, *arguments: str) -> str:
    """Run, expect a refusal in our own words and nothing sent, and return the words."""
    head = anvil.rpc("eth_blockNumber")
    done = run(anvil.url, folder, *arguments)
    assert (done.returncode, anvil.rpc("eth_blockNumber")) == (1, head), done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def keystore(folder: Path, key: str | None = None) -> tuple[str, ...]:
    """Options for a keystore in `folder` with `key`, by default a new one."""
    path, password = folder / "key.json", folder / "password.txt"
    password.write_text(PASSPHRASE + "\n")
    if key is None:
        keys.create(path, PASSPHRASE, work=keys.SCRYPT_WORK_LIGHT)
    else:
        keys.import_key(path, key, PASSPHRASE, work=keys.SCRYPT_WORK_LIGHT)
    return ("--keystore", str(path), "--password-file", str(password))


def development_key() -> Any:
    Account.enable_unaudited_hdwallet_features()
    return Account.from_mnemonic(MNEMONIC)
