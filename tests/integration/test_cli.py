"""The command line against real contracts: errors first, then money and jobs as the chain sees them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scrip import deployments, jobs, keys, signatures
from scrip.chain import Chain
from scrip.cli.main import app
from scrip.eip712 import batch_digest, job_id, receipt_digest, receipt_struct_hash, sign
from scrip.journal import InMemoryJournal
from scrip.sender import LOCAL_POLICY, Sender
from scrip.structs import ZERO_BYTES32
from scrip.types import Attestation, JobTerms, Outcome, Receipt, Status
from tests.integration.system import System, account

PASSWORD = "open sesame"  # noqa: S105
DOLLAR = 1_000_000
SECONDS = 30.0


@dataclass(frozen=True)
class Cli:
    """Commands of one account with 5 demonstration dollars. Class 1 costs 2 dollars a million CPU-seconds."""

    system: System
    chain: Chain
    folder: Path
    class_id: int

    @property
    def env(self) -> dict[str, str]:
        return {
            "SCRIP_RPC": self.system.anvil.url,
            "SCRIP_DEPLOYMENT": str(self.folder / "deployments"),
            "SCRIP_KEYSTORE": str(self.folder / "buyer.json"),
            "SCRIP_PASSWORD": PASSWORD,
            "SCRIP_PASSWORD_FILE": "",
            "SCRIP_STATE": str(self.folder / "state"),
        }

    def run(self, *args: str, **env: str) -> Any:
        return CliRunner().invoke(app, list(args), env={**self.env, **env})

    def json(self, *args: str, **env: str) -> Any:
        result = self.run(*args, "--json", **env)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return json.loads(result.stdout)

    def fails(self, *args: str, **env: str) -> str:
        result = self.run(*args, **env)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
        return str(result.stderr)

    def held(self) -> int:
        return self.chain.at().balance(account("buyer").address, self.class_id)

    def free(self) -> int:
        return self.chain.at().available(account("buyer").address, self.class_id)

    def process(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "scrip.cli.main", *args]
        env = {**os.environ, **self.env}
        return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def cli(system: System, chain: Chain, tmp_path: Path) -> Cli:
    class_id = system.create_class()
    for name in ("buyer", "stranger"):
        key = bytes(system.funded(name).key)
        keys.import_key(tmp_path / f"{name}.json", key, PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
    system.mint(account("buyer").address, 5 * DOLLAR)
    deployments.save(system.deployment, tmp_path / "deployments")
    return Cli(system, chain, tmp_path, class_id)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


# The way to the chain


def test_any_command__no_deployment_for_the_chain__names_the_file(cli: Cli, tmp_path: Path) -> None:
    line = cli.fails("class", "list", SCRIP_DEPLOYMENT=str(tmp_path / "none"))
    assert f"{tmp_path / 'none' / '31337.json'} not found" in line


def test_any_command__deployment_of_another_chain__refused(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    content = json.loads((tmp_path / "deployments" / "31337.json").read_text())
    path.write_text(json.dumps(content | {"chainId": 1}))
    line = cli.fails("class", "list", SCRIP_DEPLOYMENT=str(path))
    assert "serves chain 31337, the deployment is on chain 1. Name the right file with --deployment" in line


def test_any_command__nobody_listens__says_how_to_name_a_node(cli: Cli) -> None:
    assert "Name another with --rpc or SCRIP_RPC" in cli.fails(
        "class", "list", SCRIP_RPC="http://127.0.0.1:1"
    )
    assert "an http or https URL" in cli.fails("class", "list", SCRIP_RPC="127.0.0.1:8545")


# Classes and money


def test_class_show__unknown__says_where_to_look(cli: Cli) -> None:
    assert cli.fails("class", "show", "99") == "error: class 99 not found. See: scrip class list\n"


def test_class_show__on_chain_metadata__agrees_with_the_terms(cli: Cli) -> None:
    found = cli.json("class", "show", str(cli.class_id))
    properties = found["metadata"]["properties"]
    assert (found["metadata"]["name"], properties["sku"]) == (found["name"], found["terms"]["sku"])
    assert properties["pricePerMillion"] == found["terms"]["pricePerMillion"] == "2000000"
    assert (found["pricePerMillion"]["amount"], found["pricePerMillion"]["symbol"]) == ("2", "dUSD")
    assert found["payOutPerMillion"] is None


def test_buy__costs_more_than_is_held__nothing_happens(cli: Cli) -> None:
    assert "cost 5.000002 dUSD" in cli.fails("buy", str(cli.class_id), "2500001")
    assert cli.held() == 0


def test_buy__wrong_password__nothing_happens(cli: Cli) -> None:
    assert "wrong password" in cli.fails("buy", str(cli.class_id), "1", SCRIP_PASSWORD="no")  # noqa: S106
    assert cli.held() == 0


def test_buy__decimal_amount__exact_on_chain_and_in_every_list(cli: Cli) -> None:
    bought = cli.json("buy", str(cli.class_id), "1000000.001", "--max-cost", "2.000001")
    # 2 dollars a million, and the last millisecond rounds up.
    assert (bought["bought"]["units"], bought["cost"]["baseUnits"]) == ("1000000001", "2000001")
    assert cli.held() == 1_000_000_001
    assert cli.chain.receipt(bytes.fromhex(bought["transaction"][2:])) is not None
    balance = cli.json("balance")
    assert [item["credits"] for item in balance["credits"]][-1] == "1000000.001"
    assert balance["tokens"][0]["amount"] == "2.999999"
    (shown,) = [item for item in cli.json("class", "list")["classes"] if item["id"] == str(cli.class_id)]
    assert (shown["supply"]["units"], shown["backing"]["baseUnits"]) == ("1000000001", "2000001")
    assert shown["payOutPerMillion"]["baseUnits"] == "2000000"


def test_buy__killed_while_its_transaction_waits__happens_once(cli: Cli) -> None:
    cli.system.anvil.rpc("evm_setAutomine", False)
    buying = cli.process("buy", str(cli.class_id), "7")
    try:
        wait_until(lambda: int(cli.system.anvil.rpc("txpool_status")["pending"], 16) == 1)
    finally:
        buying.send_signal(signal.SIGKILL)
        buying.communicate()
    cli.system.anvil.rpc("evm_setAutomine", True)
    cli.system.anvil.mine()
    line = cli.run("buy", str(cli.class_id), "7").stderr.splitlines()[-1]
    assert line.startswith("error: an interrupted command has now gone through: buy 7000 of class")
    assert cli.held() == 7_000
    assert cli.json("buy", str(cli.class_id), "7")["balance"]["credits"] == "14"


def test_buy__two_at_once__both_happen(cli: Cli) -> None:
    both = [cli.process("buy", str(cli.class_id), amount) for amount in ("1", "2")]
    outcomes = [process.communicate(timeout=SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], outcomes
    assert cli.held() == 3_000


# Jobs


@pytest.fixture
def terms(cli: Cli) -> JobTerms:
    """A job of the buyer's that no provider has taken: 5 credits are locked."""
    provider = cli.system.funded("provider").address
    cli.system.register(provider, account("oracle").address)
    cli.json("buy", str(cli.class_id), "5")
    now = cli.chain.at().time()
    made = JobTerms(
        payer=account("buyer").address, provider=provider, class_id=cli.class_id, max_units=5_000,
        resources=1, accept_by=now + 600, submit_by=now + 1_200, spec_hash=b"\x01" * 32, budget_id=0, salt=1,
    )  # fmt: skip
    sender_of(cli, "buyer").send(
        cli.chain.contract("JobMarket").functions.open(made.to_abi(), b""), label="open"
    )
    return made


def sender_of(cli: Cli, name: str) -> Sender:
    return Sender(cli.chain, account(name), InMemoryJournal(), LOCAL_POLICY)


def id_of(cli: Cli, terms: JobTerms) -> str:
    return "0x" + job_id(terms, cli.chain.chain_id, cli.chain.address("JobMarket")).hex()


def test_job__unknown_id__not_found(cli: Cli) -> None:
    for name in ("show", "cancel", "expire"):
        assert "See: scrip job list" in cli.fails("job", name, "0x" + "12" * 32)


def test_job_expire__before_its_deadline__says_when(cli: Cli, terms: JobTerms) -> None:
    line = cli.fails("job", "expire", id_of(cli, terms))
    assert "only after that can it be expired" in line
    assert (cli.held(), cli.free()) == (5_000, 0)
    (shown,) = cli.json("balance")["credits"]
    assert (shown["credits"], shown["locked"]["credits"]) == ("5", "5")


def test_job_cancel__by_a_stranger__refused(cli: Cli, terms: JobTerms) -> None:
    line = cli.fails("job", "cancel", id_of(cli, terms), SCRIP_KEYSTORE=str(cli.folder / "stranger.json"))
    assert "Only its payer" in line


def test_job_show__open__terms_and_next_step(cli: Cli, terms: JobTerms) -> None:
    found = cli.json("job", "show", id_of(cli, terms))
    assert (found["status"], found["terms"]) == ("OPEN", terms.to_json())
    assert "scrip job cancel" in cli.run("job", "show", id_of(cli, terms)).stdout
    assert [item["jobId"] for item in cli.json("job", "list")["jobs"]] == [id_of(cli, terms)]


def test_job_cancel__by_its_payer__credits_are_back(cli: Cli, terms: JobTerms) -> None:
    done = cli.json("job", "cancel", id_of(cli, terms))
    assert (done["status"], done["returned"]["credits"], cli.free()) == ("CANCELLED", "5", 5_000)
    assert "The job is cancelled" in cli.fails("job", "cancel", id_of(cli, terms))


def test_job_expire__by_a_stranger_after_the_deadline__credits_are_back(cli: Cli, terms: JobTerms) -> None:
    cli.system.anvil.advance(601)
    done = cli.json("job", "expire", id_of(cli, terms), SCRIP_KEYSTORE=str(cli.folder / "stranger.json"))
    assert (done["status"], done["payer"], cli.free()) == ("EXPIRED", account("buyer").address, 5_000)
    # It ended after its acceptBy: the chain keeps no slot of it, and its events tell.
    assert cli.chain.at().job_state(bytes.fromhex(id_of(cli, terms)[2:])).status is Status.NONE
    shown = cli.json("job", "show", id_of(cli, terms))
    assert (shown["status"], shown["terms"]) == ("EXPIRED", terms.to_json())
    assert [item["status"] for item in cli.json("job", "list")["jobs"]] == ["EXPIRED"]
    assert "The job is over" in cli.fails("job", "expire", id_of(cli, terms))


@pytest.mark.parametrize("batched", [False, True], ids=["single", "batch"])
def test_job_show__settled__signer_is_read_from_the_transaction(
    cli: Cli, terms: JobTerms, batched: bool
) -> None:
    job = bytes.fromhex(id_of(cli, terms)[2:])
    market, oracle = cli.chain.contract("JobMarket").functions, account("oracle")
    provider = sender_of(cli, "provider")
    provider.send(market.accept(terms.to_abi()), label="accept")
    cli.system.anvil.advance(10)
    receipt = receipt_of(cli, job)
    where = (cli.chain.chain_id, cli.chain.address("ReceiptVerifier"))
    if batched:
        digest = batch_digest([receipt_struct_hash(receipt)], *where)
        rows = ([terms.to_abi()], [receipt.to_abi()], 0, Attestation(sign(digest, oracle), ()).to_abi())
        provider.send(market.submitBatch(*rows), label="submit")
    else:
        attestation = Attestation(sign(receipt_digest(receipt, *where), oracle), ())
        provider.send(market.submit(terms.to_abi(), receipt.to_abi(), attestation.to_abi()), label="submit")
    ending = jobs.ending(cli.chain.at(), job)
    assert ending is not None
    assert (ending.status, ending.units, cli.held(), cli.free()) == (Status.SETTLED, 1_000, 4_000, 4_000)
    found = signatures.find(cli.chain, job, ending, cli.chain.at().class_terms(cli.class_id))
    assert found == signatures.Signatures(oracle.address, (), 0)
    shown = cli.json("job", "show", "0x" + job.hex())
    assert (shown["status"], "receipt" in shown) == ("SETTLED", False)
    assert "No receipt shown" in shown["problem"]


def receipt_of(cli: Cli, job: bytes) -> Receipt:
    opened_at = cli.chain.at().job_state(job).opened_at
    return Receipt(
        job_id=job, outcome=Outcome.COMPLETED, units=1_000, gpu_millijoules=0, input_tokens=0,
        output_tokens=0, started_at=opened_at, ended_at=opened_at + 2, output_hash=ZERO_BYTES32,
        evidence_root=b"\x02" * 32, assurance=0,
    )  # fmt: skip


def test_provider_show__registered__record_and_what_it_earned(cli: Cli, terms: JobTerms) -> None:
    found = cli.json("provider", "show", terms.provider)
    assert (found["oracle"], found["region"], found["reachable"]) == (account("oracle").address, "lab", False)
    assert (found["stake"]["symbol"], found["earnings"][0]["amount"]) == ("dUSD", "0")
    assert str(cli.class_id) in found["classes"]
    assert [item["address"] for item in cli.json("provider", "list")["providers"]] == [terms.provider]
