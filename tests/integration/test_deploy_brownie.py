"""The deploy script run by Brownie, on the networks that Brownie knows."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

from web3 import Web3

from demo.anvil import running
from scrip import keys
from scrip.deploying.plan import CONTRACTS, DEMO_USD
from scripts import brownie_local
from tests.integration.deploy_place import COIN, LOCAL, ROOT, RUN_SECONDS, Deployed, environment, keystore

BASE_SEPOLIA = 84532


def brownie(home: Path, *arguments: str, typed: str = "", **variables: str) -> str:
    """Run Brownie with a home of its own, at a terminal where something is `typed`; what it printed."""
    program = str(Path(sys.executable).with_name("brownie"))
    ours, its = pty.openpty()
    try:
        os.write(ours, typed.encode())
        done = subprocess.run(
            [program, *arguments], cwd=ROOT, stdin=its, capture_output=True, text=True, timeout=RUN_SECONDS,
            env={**brownie_local.environment(environment()), "HOME": str(home), **variables}, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(its)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documented(page: str, begins: str) -> list[str]:
    """Brownie's arguments in the only line of a page that begins so."""
    (line,) = (line for line in (ROOT / page).read_text().splitlines() if line.startswith(begins))
    return shlex.split(line)[3:]


def test_main__brownie_run_with_another_home__deploys_to_the_network_it_is_connected_to(
    tmp_path: Path,
) -> None:
    networks = tmp_path / ".brownie" / "network-config.yaml"
    networks.parent.mkdir()
    with running(chain_id=LOCAL) as anvil:
        port = int(anvil.url.rpartition(":")[2])
        entry = {"name": "Anvil", "id": "anvil", "cmd": "anvil", "host": "http://127.0.0.1"}
        # Brownie's own file has port 8545, which may be somebody else's. JSON is YAML.
        anvil_network = {**entry, "cmd_settings": {"port": port}}
        networks.write_text(json.dumps({"development": [anvil_network], "live": []}))
        said = brownie(tmp_path, "run", "deploy", "main", "", str(tmp_path / "out"), "--network", "anvil")
        made = Deployed(anvil, tmp_path / "out", said).chain.deployment.contracts
        assert set(made) == {DEMO_USD, *CONTRACTS}


def test_main__public_network_added_as_the_page_says__is_deployed_to_after_a_yes(tmp_path: Path) -> None:
    add = documented("docs/testnets.md", "python -m scripts.brownie_local networks add")
    run = documented("docs/testnets.md", "python -m scripts.brownie_local run")
    key, password = keystore(tmp_path)[1::2]
    config, out = tmp_path / "deploy.toml", tmp_path / "out"
    config.write_text("")
    with running(chain_id=BASE_SEPOLIA, block_time=1) as anvil:
        anvil.set_balance(Web3.to_checksum_address(keys.address_of(key)), COIN)
        assert f"chainid={BASE_SEPOLIA}" in add
        brownie(tmp_path, *add)
        run = [str(config) if part == "deploy.toml" else part for part in run]
        said = brownie(
            tmp_path, *run[:4], str(out), *run[4:], typed="yes\n",
            SCRIP_RPC_URL=anvil.url, SCRIP_KEYSTORE=key, SCRIP_PASSWORD_FILE=password,
        )  # fmt: skip
        assert f"chain {BASE_SEPOLIA} (test)" in said
        assert set(Deployed(anvil, out, said).chain.deployment.contracts) == {DEMO_USD, *CONTRACTS}
    # Nothing of it is kept where Brownie would find it when the chain is another one.
    assert list((ROOT / "build" / "brownie" / "deployments" / str(BASE_SEPOLIA)).glob("*.json")) == []
