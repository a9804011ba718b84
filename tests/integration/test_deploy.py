"""The deploy script as a user runs it: a process, a node, files; a local chain and one posing as Sepolia."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3

from demo.anvil import MNEMONIC, Anvil, running
from scrip import deployments, keys
from scrip.abi import abi
from scrip.chain import Chain
from scrip.deploying.plan import CONTRACTS, DEMO_USD
from scripts.brownie_local import environment
from scripts.deployment_check import REFERENCES, references

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


def _run(anvil_url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(anvil_url, folder, *arguments),
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def _command(anvil_url: str, folder: Path, *arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", "scripts.deploy", "--rpc", anvil_url, "--out", str(folder), *arguments]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SCRIP_")}


def _deploy(anvil: Anvil, folder: Path, *arguments: str) -> Deployed:
    done = _run(anvil.url, folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return Deployed(anvil, folder, done.stdout)


def _refused(anvil: Anvil, folder: Path, *arguments: str) -> str:
    """Run, expect a refusal in our own words and nothing sent, and return the words."""
    head = anvil.rpc("eth_blockNumber")
    done = _run(anvil.url, folder, *arguments)
    assert (done.returncode, anvil.rpc("eth_blockNumber")) == (1, head), done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def _keystore(folder: Path, key: str | None = None) -> tuple[str, ...]:
    """Options for a keystore in `folder` with `key`, by default a new one."""
    path, password = folder / "key.json", folder / "password.txt"
    password.write_text(PASSPHRASE + "\n")
    if key is None:
        keys.create(path, PASSPHRASE, work=keys.SCRYPT_WORK_LIGHT)
    else:
        keys.import_key(path, key, PASSPHRASE, work=keys.SCRYPT_WORK_LIGHT)
    return ("--keystore", str(path), "--password-file", str(password))


def _development_key() -> Any:
    Account.enable_unaudited_hdwallet_features()
    return Account.from_mnemonic(MNEMONIC)


@pytest.fixture(scope="module")
def local() -> Iterator[Anvil]:
    with running(chain_id=LOCAL) as anvil:
        yield anvil


@pytest.fixture(scope="module")
def sepolia() -> Iterator[Anvil]:
    with running(chain_id=SEPOLIA) as anvil:
        yield anvil


@pytest.fixture(scope="module")
def on_local(local: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    folder = tmp_path_factory.mktemp("local")
    config = folder / "deploy.toml"
    config.write_text(f'[watchers]\nmembers = ["{TWO}", "{ONE}", "{THREE}"]\nthreshold = 2\n')
    return _deploy(local, folder, "--config", str(config))


@pytest.fixture(scope="module")
def on_sepolia(sepolia: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    folder = tmp_path_factory.mktemp("sepolia")
    key = _keystore(folder)
    sepolia.set_balance(Web3.to_checksum_address(keys.address_of(key[1])), COIN)
    config = folder / "deploy.toml"
    config.write_text(
        f"""
        [roles]
        admin = "{ADMIN}"
        issuers = ["{ISSUER}"]
        watcher_admin = "{WATCHER_ADMIN}"
        fee_collector = "{COLLECTOR}"
        [watchers]
        members = ["{ONE}"]
        """
    )
    return _deploy(sepolia, folder, *key, "--config", str(config))


def _tampered(deployed: Deployed, folder: Path, contract: str, address: str) -> Path:
    data = deployed.record
    data["contracts"][contract] = address
    (folder / f"{deployed.anvil.chain_id}.json").write_text(json.dumps(data))
    return folder


# Refusals


def test_deploy__development_key_off_local_chains__refused(sepolia: Anvil, tmp_path: Path) -> None:
    key = _development_key()
    words = _refused(sepolia, tmp_path, *_keystore(tmp_path, key.key.hex()))
    assert f"{key.address} is a well-known development account, refused on chain {SEPOLIA}" in words


def test_deploy__no_keystore_off_local_chains__unlocked_accounts_of_the_node_are_not_used(
    sepolia: Anvil, tmp_path: Path
) -> None:
    assert sepolia.rpc("eth_accounts")
    assert f"chain {SEPOLIA} is not a local one" in _refused(sepolia, tmp_path)


def test_deploy__wrong_password__refused_without_a_word_of_it(sepolia: Anvil, tmp_path: Path) -> None:
    key = _keystore(tmp_path)
    (tmp_path / "password.txt").write_text("not the passphrase")
    words = _refused(sepolia, tmp_path, *key)
    assert "wrong password" in words
    assert "not the passphrase" not in words


def test_deploy__no_coin__refused_before_anything_is_sent(sepolia: Anvil, tmp_path: Path) -> None:
    assert "has no coin on chain 11155111" in _refused(sepolia, tmp_path, *_keystore(tmp_path))


def test_deploy__unheard_of_chain_without_payment_token__refused(tmp_path: Path) -> None:
    with running(chain_id=UNHEARD_OF) as anvil:
        words = _refused(anvil, tmp_path, *_keystore(tmp_path))
    assert f"tokens.payment: missing on chain {UNHEARD_OF}" in words


def test_deploy__node_does_not_answer__its_url_is_not_shown(tmp_path: Path) -> None:
    done = _run("http://127.0.0.1:9/v2/secret-api-key", tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: node 127.0.0.1: ConnectionError\n")


@pytest.mark.parametrize(
    ("contract", "target", "problem"),
    [
        ("JobMarket", "ReceiptVerifier", "JobMarket {}: its code is not the compiled one"),
        ("CreditReserve", None, "CreditReserve {}: no code there"),
    ],
    ids=["another contract", "no contract"],
)
def test_deploy__tampered_record__detected(
    on_local: Deployed, tmp_path: Path, contract: str, target: str | None, problem: str
) -> None:
    address = on_local.record["contracts"][target] if target else ONE
    words = _refused(on_local.anvil, _tampered(on_local, tmp_path, contract, address))
    assert problem.format(address) in words
    assert "--force" in words


def test_deploy__record_mixes_two_deployments__reference_is_detected(
    on_local: Deployed, tmp_path: Path
) -> None:
    # The right code, but of a registry that the market doesn't use.
    other = _deploy(on_local.anvil, tmp_path / "other")
    address = other.record["contracts"]["ProviderRegistry"]
    words = _refused(on_local.anvil, _tampered(on_local, tmp_path, "ProviderRegistry", address))
    assert f"JobMarket.REGISTRY is {on_local.record['contracts']['ProviderRegistry']}" in words


def test_deploy__record_without_a_contract__detected(on_local: Deployed, tmp_path: Path) -> None:
    data = on_local.record
    del data["contracts"]["JobMarket"]
    (tmp_path / f"{LOCAL}.json").write_text(json.dumps(data))
    assert "the record has no JobMarket" in _refused(on_local.anvil, tmp_path)


# What is deployed


def test_deploy__local_chain__contracts_refer_to_each_other(on_local: Deployed) -> None:
    contracts = on_local.record["contracts"]
    assert set(contracts) == {DEMO_USD, *CONTRACTS}
    view = on_local.chain.at()
    seen = set()
    for name in CONTRACTS:
        for getter, target in references(abi(name)).items():
            assert view.read(name, getter) == contracts[target], f"{name}.{getter}"
            seen.add(getter)
    assert seen == set(REFERENCES)
    assert view.read("ProviderRegistry", "STAKE_TOKEN") == contracts[DEMO_USD]
    assert on_local.record["paymentToken"] == on_local.record["stakeToken"] == contracts[DEMO_USD]


def test_deploy__local_chain__deployer_holds_the_roles_and_watchers_watch(on_local: Deployed) -> None:
    view, deployer = on_local.chain.at(), _development_key().address
    assert on_local.record["deployer"] == deployer
    for contract, role in (
        ("ComputeCredits", "ISSUER_ROLE"),
        ("ReceiptVerifier", "WATCHER_ADMIN_ROLE"),
        ("CreditReserve", "FEE_ROLE"),
    ):
        assert view.read(contract, "hasRole", view.read(contract, role), deployer)
        assert view.read(contract, "defaultAdmin") == deployer
    assert (view.watcher_set(1).watchers, view.watcher_set(1).threshold) == ((ONE, TWO, THREE), 2)
    assert on_local.record["watcherSets"] == [{"id": 1, "watchers": [ONE, TWO, THREE], "threshold": 2}]


def test_deploy__record__names_the_block_and_transaction_of_each_contract(on_local: Deployed) -> None:
    w3, record = on_local.chain.w3, on_local.record
    assert record["block"] == min(item["block"] for item in record["created"].values())
    for name, item in record["created"].items():
        receipt = w3.eth.get_transaction_receipt(item["tx"])
        assert (receipt["contractAddress"], receipt["blockNumber"]) == (
            record["contracts"][name],
            item["block"],
        )
    assert [path.name for path in on_local.folder.glob("*.json")] == [f"{LOCAL}.json"]


def test_deploy__keystore_on_a_test_chain__roles_are_where_the_file_puts_them(on_sepolia: Deployed) -> None:
    view, deployer = on_sepolia.chain.at(), on_sepolia.record["deployer"]
    assert on_sepolia.record["chainId"] == SEPOLIA
    assert deployer == Web3.to_checksum_address(keys.address_of(on_sepolia.folder / "key.json"))
    for contract, role, holder in (
        ("ComputeCredits", "ISSUER_ROLE", ISSUER),
        ("ReceiptVerifier", "WATCHER_ADMIN_ROLE", WATCHER_ADMIN),
        ("CreditReserve", "FEE_ROLE", COLLECTOR),
    ):
        assert view.read(contract, "hasRole", view.read(contract, role), holder)
        assert not view.read(contract, "hasRole", view.read(contract, role), deployer)
        assert view.read(contract, "pendingDefaultAdmin")[0] == ADMIN
    # The deployer proposed the first set itself, and gave up the role for it.
    assert view.watcher_set(1).watchers == (ONE,)
    assert view.read("ReceiptVerifier", "ACTIVATION_DELAY") > 0


def test_deploy__live_chain_with_payment_token__nothing_of_the_demo_is_deployed(tmp_path: Path) -> None:
    with running(chain_id=UNHEARD_OF) as anvil:
        key, config = _keystore(tmp_path), tmp_path / "deploy.toml"
        anvil.set_balance(Web3.to_checksum_address(keys.address_of(key[1])), COIN)
        config.write_text(f'[tokens]\npayment = "{ONE}"\nstake = "{TWO}"\n[disputes]\nchallenge_bond = 7\n')
        done = _deploy(anvil, tmp_path / "out", *key, "--config", str(config))
        assert set(done.record["contracts"]) == set(CONTRACTS)
        assert done.chain.at().read("ProviderRegistry", "STAKE_TOKEN") == TWO
        assert done.chain.at().read("ProviderRegistry", "CHALLENGE_BOND") == 7


# Again


def test_deploy__again__changes_nothing(on_local: Deployed) -> None:
    path = on_local.folder / f"{LOCAL}.json"
    before = (path.read_bytes(), path.stat().st_mtime_ns, on_local.anvil.rpc("eth_blockNumber"))
    again = _deploy(on_local.anvil, on_local.folder)
    assert "already deployed" in again.output
    assert (path.read_bytes(), path.stat().st_mtime_ns, on_local.anvil.rpc("eth_blockNumber")) == before


def test_deploy__force__deploys_anew(on_local: Deployed, tmp_path: Path) -> None:
    (tmp_path / f"{LOCAL}.json").write_text(json.dumps(on_local.record))
    anew = _deploy(on_local.anvil, tmp_path, "--force")
    assert set(anew.record["contracts"].values()).isdisjoint(on_local.record["contracts"].values())


def test_deploy__plan__sends_and_writes_nothing(on_local: Deployed, tmp_path: Path) -> None:
    head = on_local.anvil.rpc("eth_blockNumber")
    planned = _run(on_local.anvil.url, tmp_path, "--plan")
    assert (planned.returncode, list(tmp_path.iterdir())) == (0, [])
    assert re.search(r"nonce \d+ +JobMarket +0x[0-9a-fA-F]{40}", planned.stdout)
    assert on_local.anvil.rpc("eth_blockNumber") == head


def test_deploy__local_chain_started_anew__old_record_is_replaced(on_local: Deployed, tmp_path: Path) -> None:
    (tmp_path / f"{LOCAL}.json").write_text(json.dumps(on_local.record))
    with running(chain_id=LOCAL) as fresh:
        assert "deployed; addresses" in _deploy(fresh, tmp_path).output


def _kill_after(anvil: Anvil, folder: Path, words: str) -> None:
    """Run and kill -9 once it has printed `words`."""
    process = subprocess.Popen(
        _command(anvil.url, folder), cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        for line in lines:
            if words in line:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL


def _wait_mined(anvil: Anvil, hashes: Sequence[str]) -> None:
    """Until these transactions are in blocks, and so are all of their sender's before them: Anvil answers
    before it mines.
    """
    deadline = time.monotonic() + RUN_SECONDS
    while not all(anvil.rpc("eth_getTransactionReceipt", each) for each in hashes):
        assert time.monotonic() < deadline, "never mined"
        time.sleep(0.02)


@pytest.mark.parametrize("words", ["ReceiptVerifier created", "ReceiptVerifier.grantRole done"])
def test_deploy__killed__next_run_goes_on(tmp_path: Path, words: str) -> None:
    with running(chain_id=LOCAL) as anvil:
        _kill_after(anvil, tmp_path, words)
        assert [path.name for path in tmp_path.glob("*.json")] == [f"{LOCAL}.partial.json"]
        done = _deploy(anvil, tmp_path)
        assert "taking up an interrupted deployment" in done.output
        nonce = int(anvil.rpc("eth_getTransactionCount", _development_key().address, "latest"), 16)
        # Every contract, five roles and four seals, none of them twice.
        assert (nonce, set(done.record["contracts"])) == (11 + 5 + 4, {DEMO_USD, *CONTRACTS})
        assert [path.name for path in tmp_path.iterdir()] == [f"{LOCAL}.json"]


def test_deploy__nonce_taken_in_between__refused_until_forced(tmp_path: Path) -> None:
    with running(chain_id=LOCAL) as anvil:
        _kill_after(anvil, tmp_path, "ProviderRegistry created")
        deployer = _development_key().address
        # Whatever was on its way when it was killed, the last contract's nonce is gone.
        payment = {"from": deployer, "to": ONE, "value": "0x1"}
        _wait_mined(anvil, [anvil.rpc("eth_sendTransaction", payment) for _ in CONTRACTS])
        words = _refused(anvil, tmp_path)
        assert "can't be finished" in words
        assert re.search(r"JobMarket 0x\w+: no code there", words)
        assert set(_deploy(anvil, tmp_path, "--force").record["contracts"]) == {DEMO_USD, *CONTRACTS}


def test_main__brownie_run_with_another_home__deploys_to_the_network_it_is_connected_to(
    tmp_path: Path,
) -> None:
    networks, home = tmp_path / ".brownie" / "network-config.yaml", str(tmp_path)
    networks.parent.mkdir()
    with running(chain_id=LOCAL) as anvil:
        port = int(anvil.url.rpartition(":")[2])
        entry = {"name": "Anvil", "id": "anvil", "cmd": "anvil", "host": "http://127.0.0.1"}
        # Brownie's own file has port 8545, which may be somebody else's. JSON is YAML.
        anvil_network = {**entry, "cmd_settings": {"port": port}}
        networks.write_text(json.dumps({"development": [anvil_network], "live": []}))
        brownie = str(Path(sys.executable).with_name("brownie"))
        done = subprocess.run(
            [brownie, "run", "deploy", "main", "", str(tmp_path / "out"), "--network", "anvil"],
            cwd=ROOT,
            env={**environment(_environment()), "HOME": home},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(Deployed(anvil, tmp_path / "out", done.stdout).chain.deployment.contracts) == {
            DEMO_USD,
            *CONTRACTS,
        }
