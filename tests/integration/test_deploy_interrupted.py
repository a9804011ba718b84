"""A deployment that is killed: what the next run makes of it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.anvil import Anvil, running
from scrip.deploying.plan import CONTRACTS, DEMO_USD
from tests.integration.deploy_place import (
    LOCAL,
    ONE,
    ROOT,
    RUN_SECONDS,
    command,
    deploy,
    development_key,
    environment,
    refused,
)


def started(anvil: Anvil, folder: Path) -> subprocess.Popen[str]:
    """A run under way, whose output can be read."""
    return subprocess.Popen(
        command(anvil.url, folder), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )


def kill_after(anvil: Anvil, folder: Path, words: str) -> None:
    """Run and kill -9 once it has printed `words`."""
    with started(anvil, folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if words in line:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL


def until(what: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + RUN_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@pytest.mark.parametrize("words", ["ReceiptVerifier created", "ReceiptVerifier.grantRole done"])
def test_deploy__killed__next_run_goes_on(tmp_path: Path, words: str) -> None:
    with running(chain_id=LOCAL) as anvil:
        kill_after(anvil, tmp_path, words)
        assert [path.name for path in tmp_path.glob("*.json")] == [f"{LOCAL}.partial.json"]
        done = deploy(anvil, tmp_path)
        assert "taking up an interrupted deployment" in done.output
        nonce = int(anvil.rpc("eth_getTransactionCount", development_key().address, "latest"), 16)
        # Every contract, five roles and four seals, none of them twice.
        assert (nonce, set(done.record["contracts"])) == (11 + 5 + 4, {DEMO_USD, *CONTRACTS})
        assert [path.name for path in tmp_path.iterdir()] == [f"{LOCAL}.json"]


def test_deploy__killed_with_a_transaction_on_its_way__next_run_waits_for_it_and_goes_on(
    tmp_path: Path,
) -> None:
    with running(chain_id=LOCAL) as anvil:
        anvil.rpc("evm_setAutomine", False)
        with started(anvil, tmp_path) as first:
            until(lambda: int(anvil.rpc("txpool_status")["pending"], 16) == 1)
            first.send_signal(signal.SIGKILL)
        (waits,) = anvil.rpc("txpool_content")["pending"][development_key().address.lower()].values()
        with started(anvil, tmp_path) as second:
            assert second.stdout is not None
            said = second.stdout.readline()
            assert said == f"waiting for 1 of {development_key().address}'s transactions, from nonce 0 on\n"
            anvil.rpc("evm_setAutomine", True)
            anvil.mine()
            said += second.stdout.read()
        assert second.returncode == 0, said
        assert "taking up an interrupted deployment" in said
        assert anvil.rpc("eth_getTransactionReceipt", waits["hash"])["status"] == "0x1"
        nonce = int(anvil.rpc("eth_getTransactionCount", development_key().address, "latest"), 16)
        assert nonce == 11 + 5 + 4, "something was sent twice"
        assert [path.name for path in tmp_path.iterdir()] == [f"{LOCAL}.json"]


def test_deploy__nonce_taken_in_between__refused_until_forced(tmp_path: Path) -> None:
    with running(chain_id=LOCAL) as anvil:
        kill_after(anvil, tmp_path, "ProviderRegistry created")
        deployer = development_key().address
        # Whatever was on its way when it was killed, the last contract's nonce is gone.
        payment = {"from": deployer, "to": ONE, "value": "0x1"}
        sent = [anvil.rpc("eth_sendTransaction", payment) for _ in CONTRACTS]
        # Anvil answers before it mines.
        until(lambda: all(anvil.rpc("eth_getTransactionReceipt", each) for each in sent))
        words = refused(anvil, tmp_path)
        assert "can't be finished" in words
        assert re.search(r"JobMarket 0x\w+: no code there", words)
        assert set(deploy(anvil, tmp_path, "--force").record["contracts"]) == {DEMO_USD, *CONTRACTS}
