"""The deploy script as a user runs it: a process, a node, files; a local chain and one posing as Sepolia."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from web3 import Web3

from demo.anvil import Anvil, running
from scrip import keys
from scrip.abi import abi
from scrip.deploying.config import TEST_CHAINS
from scrip.deploying.plan import CONTRACTS, DEMO_USD
from scripts import verification
from scripts.deployment_check import REFERENCES, references
from scripts.deployment_record import read_record
from tests.integration.deploy_place import (
    ADMIN,
    COIN,
    COLLECTOR,
    ISSUER,
    LOCAL,
    ONE,
    ROOT,
    SEPOLIA,
    THREE,
    TWO,
    UNHEARD_OF,
    WATCHER_ADMIN,
    Deployed,
    deploy,
    development_key,
    environment,
    keystore,
    refused,
    run,
)


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
    return deploy(local, folder, "--config", str(config))


@pytest.fixture(scope="module")
def on_sepolia(sepolia: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    folder = tmp_path_factory.mktemp("sepolia")
    key = keystore(folder)
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
    return deploy(sepolia, folder, *key, "--config", str(config))


def _tampered(deployed: Deployed, folder: Path, contract: str, address: str) -> Path:
    data = deployed.record
    data["contracts"][contract] = address
    (folder / f"{deployed.anvil.chain_id}.json").write_text(json.dumps(data))
    return folder


# Refusals


def test_deploy__development_key_off_local_chains__refused(sepolia: Anvil, tmp_path: Path) -> None:
    key = development_key()
    words = refused(sepolia, tmp_path, *keystore(tmp_path, key.key.hex()))
    assert f"{key.address} is a well-known development account, refused on chain {SEPOLIA}" in words


def test_deploy__no_keystore_off_local_chains__unlocked_accounts_of_the_node_are_not_used(
    sepolia: Anvil, tmp_path: Path
) -> None:
    assert sepolia.rpc("eth_accounts")
    assert f"chain {SEPOLIA} is not a local one" in refused(sepolia, tmp_path)


def test_deploy__wrong_password__refused_without_a_word_of_it(sepolia: Anvil, tmp_path: Path) -> None:
    key = keystore(tmp_path)
    (tmp_path / "password.txt").write_text("not the passphrase")
    words = refused(sepolia, tmp_path, *key)
    assert "wrong password" in words
    assert "not the passphrase" not in words


def test_deploy__no_coin__refused_before_anything_is_sent(sepolia: Anvil, tmp_path: Path) -> None:
    assert "has no coin on chain 11155111" in refused(sepolia, tmp_path, *keystore(tmp_path))


def test_deploy__unheard_of_chain_without_payment_token__refused(tmp_path: Path) -> None:
    with running(chain_id=UNHEARD_OF) as anvil:
        words = refused(anvil, tmp_path, *keystore(tmp_path))
    assert f"tokens.payment: missing on chain {UNHEARD_OF}" in words


def test_deploy__node_does_not_answer__its_url_is_not_shown(tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9/v2/secret-api-key", tmp_path)
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
    words = refused(on_local.anvil, _tampered(on_local, tmp_path, contract, address))
    assert problem.format(address) in words
    assert "--force" in words


def test_deploy__record_mixes_two_deployments__reference_is_detected(
    on_local: Deployed, tmp_path: Path
) -> None:
    # The right code, but of a registry that the market doesn't use.
    other = deploy(on_local.anvil, tmp_path / "other")
    address = other.record["contracts"]["ProviderRegistry"]
    words = refused(on_local.anvil, _tampered(on_local, tmp_path, "ProviderRegistry", address))
    assert f"JobMarket.REGISTRY is {on_local.record['contracts']['ProviderRegistry']}" in words


def test_deploy__record_without_a_contract__detected(on_local: Deployed, tmp_path: Path) -> None:
    data = on_local.record
    del data["contracts"]["JobMarket"]
    (tmp_path / f"{LOCAL}.json").write_text(json.dumps(data))
    assert "the record has no JobMarket" in refused(on_local.anvil, tmp_path)


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
    view, deployer = on_local.chain.at(), development_key().address
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
        key, config = keystore(tmp_path), tmp_path / "deploy.toml"
        anvil.set_balance(Web3.to_checksum_address(keys.address_of(key[1])), COIN)
        config.write_text(f'[tokens]\npayment = "{ONE}"\nstake = "{TWO}"\n[disputes]\nchallenge_bond = 7\n')
        done = deploy(anvil, tmp_path / "out", *key, "--config", str(config))
        assert set(done.record["contracts"]) == set(CONTRACTS)
        assert done.chain.at().read("ProviderRegistry", "STAKE_TOKEN") == TWO
        assert done.chain.at().read("ProviderRegistry", "CHALLENGE_BOND") == 7


# Again


def test_deploy__again__changes_nothing(on_local: Deployed) -> None:
    path = on_local.folder / f"{LOCAL}.json"
    before = (path.read_bytes(), path.stat().st_mtime_ns, on_local.anvil.rpc("eth_blockNumber"))
    again = deploy(on_local.anvil, on_local.folder)
    assert "already deployed" in again.output
    assert (path.read_bytes(), path.stat().st_mtime_ns, on_local.anvil.rpc("eth_blockNumber")) == before


def test_deploy__force__deploys_anew(on_local: Deployed, tmp_path: Path) -> None:
    (tmp_path / f"{LOCAL}.json").write_text(json.dumps(on_local.record))
    anew = deploy(on_local.anvil, tmp_path, "--force")
    assert set(anew.record["contracts"].values()).isdisjoint(on_local.record["contracts"].values())


def test_deploy__plan__sends_and_writes_nothing(on_local: Deployed, tmp_path: Path) -> None:
    head = on_local.anvil.rpc("eth_blockNumber")
    planned = run(on_local.anvil.url, tmp_path, "--plan")
    assert (planned.returncode, list(tmp_path.iterdir())) == (0, [])
    assert re.search(r"nonce \d+ +JobMarket +0x[0-9a-fA-F]{40}", planned.stdout)
    assert on_local.anvil.rpc("eth_blockNumber") == head


@pytest.mark.parametrize("name", ["Base Sepolia", "Arbitrum Sepolia"])
def test_deploy__rollups_test_chain__is_planned_as_one_by_its_id_alone(name: str, tmp_path: Path) -> None:
    (chain_id,) = (number for number, known in TEST_CHAINS.items() if known == name)
    with running(chain_id=chain_id) as anvil:
        key = keystore(tmp_path)
        anvil.set_balance(Web3.to_checksum_address(keys.address_of(key[1])), COIN)
        planned = run(anvil.url, tmp_path, *key, "--plan")
        assert planned.returncode == 0, planned.stderr
        assert f"chain {chain_id} (test)" in planned.stdout
        assert f"payment token {DEMO_USD}" in planned.stdout


def test_deploy__local_chain_started_anew__old_record_is_replaced(on_local: Deployed, tmp_path: Path) -> None:
    (tmp_path / f"{LOCAL}.json").write_text(json.dumps(on_local.record))
    with running(chain_id=LOCAL) as fresh:
        assert "deployed; addresses" in deploy(fresh, tmp_path).output


# Verification


def test_verify__written_input__compiles_to_the_code_on_the_chain(on_local: Deployed, tmp_path: Path) -> None:
    # One contract: compiling takes half a minute. It has immutables and constructor arguments.
    command = [sys.executable, "-m", "scripts.verify", "--rpc", on_local.anvil.url, "--out", str(tmp_path)]
    command += ["--deployments", str(on_local.folder), "--contract", "JobLens"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compiles to the very code on the chain" in done.stdout
    manifest = json.loads((tmp_path / str(LOCAL) / "manifest.json").read_text())["contracts"]
    assert {entry["name"] for entry in manifest} == {DEMO_USD, *CONTRACTS}
    (lens,) = (entry for entry in manifest if entry["name"] == "JobLens")
    assert lens["licence"] == "MIT"
    market = on_local.record["contracts"]["JobMarket"].removeprefix("0x").lower()
    assert market in lens["constructor_arguments"]
    assert (tmp_path / str(LOCAL) / "JobLens.json").is_file()


def test_verify__a_changed_comment__is_noticed(on_local: Deployed, tmp_path: Path) -> None:
    entries = verification.write(
        read_record(on_local.folder, LOCAL) or pytest.fail("no record"), on_local.chain.w3.eth, tmp_path
    )
    chosen, folder = [entry for entry in entries if entry.name == "JobLens"], tmp_path / str(LOCAL)
    file = folder / "JobLens.json"
    data = json.loads(file.read_text())
    data["sources"]["contracts/JobLens.sol"]["content"] += "// a comment changes the metadata's hash\n"
    file.write_text(json.dumps(data))
    (problem,) = verification.problems(chosen, on_local.chain.w3.eth, folder)
    assert "don't compile to the code on the chain" in problem
