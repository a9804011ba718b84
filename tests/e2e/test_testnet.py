"""A deployment as on Sepolia: blocks at an interval, waits for confirmations, kills, a reorganisation.

The node is an Anvil with Sepolia's chain id that mines on its own every second and nothing in between; the
scripts run as processes. `docs/testnets.md` has the rehearsal with blocks of 12 seconds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from web3 import Web3

from demo.anvil import MNEMONIC, Anvil, running
from scrip import deployments, keys
from scrip.chain import Chain
from scrip.deploying.plan import CONTRACTS, DEMO_USD
from scripts.admin import REMAINS

ROOT = Path(__file__).resolve().parents[2]
SEPOLIA = 11155111
SECONDS = 240
ADDRESSES = (Web3.to_checksum_address("0x" + f"{number:02x}" * 20) for number in range(0xB1, 0xB5))
OTHER, OLD, NEW, MULTISIG = ADDRESSES
CONFIG = f"""
[roles]
issuers = ["{OTHER}"]
pausers = ["{OTHER}"]
[watchers]
members = ["{OLD}"]
[delays]
admin = 2
roles = 2
activation = 4
"""


@dataclass(frozen=True, slots=True)
class Place:
    """The chain, the deployer's key, and where the scripts keep their files."""

    anvil: Anvil
    folder: Path

    @property
    def deployer(self) -> str:
        return Web3.to_checksum_address(keys.address_of(self.folder / "key.json"))

    @property
    def chain(self) -> Chain:
        return Chain.connect(self.anvil.url, deployments.load(self.folder / "out", SEPOLIA))

    def nonce(self) -> int:
        return int(self.anvil.rpc("eth_getTransactionCount", self.deployer, "latest"), 16)

    def command(self, script: str, *arguments: str) -> list[str]:
        """A script with its key; where it isn't `deploy`, with the folders it works in."""
        command = [sys.executable, "-u", "-m", f"scripts.{script}", "--rpc", self.anvil.url]
        command += ["--keystore", str(self.folder / "key.json"), "--password-file", str(self.folder / "pw")]
        out = str(self.folder / "out")
        if script == "deploy":
            command += ["--out", out, "--config", str(self.folder / "deploy.toml")]
        else:
            command += ["--deployments", out, "--state", str(self.folder / "state")]
        return [*command, "--confirmations", "2", *arguments]

    def run(self, script: str, *arguments: str, status: int = 0) -> str:
        """Run it to its end; what it printed."""
        done = subprocess.run(
            self.command(script, *arguments),
            cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def until(self, script: str, words: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start it and yield the process once it has printed `words`; then read the rest."""
        process = subprocess.Popen(
            self.command(script, *arguments), cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process, process.stdout as lines:
            for line in lines:
                if words in line:
                    yield process

    def kill_after(self, script: str, words: str, *arguments: str) -> None:
        """Run it and kill -9 once it has printed `words`."""
        killed = None
        for process in self.until(script, words, *arguments):
            process.send_signal(signal.SIGKILL)
            killed = process
        assert killed is not None, f"it never said {words!r}"
        assert killed.returncode == -signal.SIGKILL


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SCRIP_")}


@pytest.fixture(scope="module")
def testnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("testnet")
    (folder / "pw").write_text("not a secret: the key guards nothing")
    (folder / "deploy.toml").write_text(CONFIG)
    keys.create(folder / "key.json", (folder / "pw").read_text(), work=keys.SCRYPT_WORK_LIGHT)
    with running(chain_id=SEPOLIA, extra=["--block-time", "1"]) as anvil:
        place = Place(anvil, folder)
        anvil.set_balance(place.deployer, 10**18)
        anvil.rpc("anvil_setCode", MULTISIG, "0x00")
        yield place


@pytest.fixture(scope="module")
def deployed(testnet: Place) -> tuple[Place, str, str]:
    """Deployed by a killed run and one that met a reorganisation: place, plan, what the second said."""
    plan = testnet.run("deploy", "--plan")
    assert testnet.nonce() == 0
    testnet.kill_after("deploy", "ReceiptVerifier created", "--yes")
    said, reorganised = [], False
    process = subprocess.Popen(
        testnet.command("deploy", "--yes"), cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            said.append(line)
            if "blocks on top" in line and not reorganised:
                # The newest blocks are replaced by empty ones: the last transactions never happened.
                testnet.anvil.rpc("anvil_reorg", 3, [])
                reorganised = True
    assert (process.returncode, reorganised) == (0, True), "".join(said)
    return testnet, plan, "".join(said)


def test_deploy__killed_then_reorganised__everything_is_there_once(
    deployed: tuple[Place, str, str],
) -> None:
    testnet, _, said = deployed
    assert "taking up an interrupted deployment" in said
    record = json.loads((testnet.folder / "out" / f"{SEPOLIA}.json").read_text())
    assert set(record["contracts"]) == {DEMO_USD, *CONTRACTS}
    # Contracts, roles, the first watcher set and seals: none of them twice, none lost.
    assert testnet.nonce() == len(record["contracts"]) + 5 + 2 + 4
    assert said.count("sealRoles done") > 4, "the reorganisation dropped nothing"
    for item in record["created"].values():
        receipt = testnet.anvil.rpc("eth_getTransactionReceipt", item["tx"])
        assert int(receipt["blockNumber"], 16) == item["block"]


def test_plan__compared_with_what_was_used__bounds_it_closely(deployed: tuple[Place, str, str]) -> None:
    testnet, plan, _ = deployed
    (planned,) = re.findall(r"in all at most ([\d,]+) gas in (\d+) transactions", plan)
    used = sum(
        int(testnet.anvil.rpc("eth_getTransactionReceipt", tx["hash"])["gasUsed"], 16)
        for number in range(int(testnet.anvil.rpc("eth_blockNumber"), 16) + 1)
        for tx in testnet.anvil.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]
        if Web3.to_checksum_address(tx["from"]) == testnet.deployer
    )
    gas = int(planned[0].replace(",", ""))
    assert used <= gas <= used * 1.3
    assert int(planned[1]) == testnet.nonce()


def test_deploy__again__sends_nothing(deployed: tuple[Place, str, str]) -> None:
    testnet, _, _ = deployed
    before = testnet.nonce()
    assert "already deployed" in testnet.run("deploy", "--yes")
    assert testnet.nonce() == before


def test_deploy__nobody_to_ask__refused_before_anything_is_sent(testnet: Place, tmp_path: Path) -> None:
    before = testnet.nonce()
    command = [*testnet.command("deploy"), "--force", "--out", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, testnet.nonce()) == (1, before)
    assert "run it again with --yes" in done.stderr


def test_rotate_watchers__killed_after_the_proposal__goes_on_and_then_has_nothing_to_do(
    deployed: tuple[Place, str, str],
) -> None:
    testnet, _, _ = deployed
    wanted = ("--set", "1", "--member", NEW, "--member", OLD, "--threshold", "2", "--yes")
    testnet.kill_after("rotate_watchers", "proposeSet done", *wanted, "--wait")
    assert testnet.chain.at().watcher_set(1).watchers == (OLD,)
    before = testnet.nonce()
    assert "in force" in testnet.run("rotate_watchers", *wanted, "--wait")
    assert testnet.nonce() == before + 1, "the proposal was sent again"
    now = testnet.chain.at().watcher_set(1)
    assert (set(now.watchers), now.threshold) == ({OLD, NEW}, 2)
    assert "nothing to do" in testnet.run("rotate_watchers", *wanted)


def test_hand_over__to_an_address_without_code__refused(deployed: tuple[Place, str, str]) -> None:
    testnet, _, _ = deployed
    assert "it is no multisig" in testnet.run("hand_over", "--to", OTHER, "--yes", status=1)


def test_hand_over__development_key__refused(deployed: tuple[Place, str, str], tmp_path: Path) -> None:
    from eth_account import Account

    testnet, _, _ = deployed
    Account.enable_unaudited_hdwallet_features()
    key = Account.from_mnemonic(MNEMONIC)
    keys.import_key(tmp_path / "key.json", bytes(key.key), "x", work=keys.SCRYPT_WORK_LIGHT)
    (tmp_path / "pw").write_text("x")
    chosen = ("--keystore", str(tmp_path / "key.json"), "--password-file", str(tmp_path / "pw"))
    assert "well-known development account" in testnet.run("hand_over", "--to", MULTISIG, *chosen, status=1)


def test_hand_over__killed_in_the_middle__ends_with_the_deployer_holding_nothing(
    deployed: tuple[Place, str, str],
) -> None:
    testnet, _, _ = deployed
    arguments = ("--to", MULTISIG, "--yes", "--wait")
    testnet.kill_after("hand_over", "grantRole", *arguments)
    said = testnet.run("hand_over", *arguments, status=REMAINS)
    assert "still holds: ComputeCredits.admin" in said
    assert "the multisig accepts" in said
    _accept(testnet, said)
    assert f"{testnet.deployer} holds nothing" in testnet.run("hand_over", *arguments)
    view = testnet.chain.at()
    for name, role in (("ReceiptVerifier", "WATCHER_ADMIN_ROLE"), ("CreditReserve", "FEE_ROLE")):
        assert view.read(name, "hasRole", view.read(name, role), MULTISIG)
        assert not view.read(name, "hasRole", view.read(name, role), testnet.deployer)
        assert view.read(name, "defaultAdmin") == MULTISIG


def _accept(testnet: Place, said: str) -> None:
    """What the multisig's owners do with the data that was printed."""
    printed = set(re.findall(r"accepts: to (0x\w{40}), data (0x\w+)", said))
    assert len(printed) == 4
    anvil = testnet.anvil
    anvil.set_balance(MULTISIG, 10**18)
    anvil.rpc("anvil_impersonateAccount", MULTISIG)
    anvil.advance(5)
    for to, data in printed:
        tx = anvil.rpc("eth_sendTransaction", {"from": MULTISIG, "to": to, "data": data})
        anvil.mine()
        assert anvil.rpc("eth_getTransactionReceipt", tx)["status"] == "0x1"
