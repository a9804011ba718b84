"""The examples of `scrip` that need running nodes, in the order in which a person would come to them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.anvil import NO_TLS
from demo.stack_config import Table, render
from oracle.catalogue import Catalogue
from scrip.chain import Chain
from scrip.identity import eas
from scrip.types import Resource, sku_id
from tests.integration import pipeline_place
from tests.integration.cli_stage import DOLLAR, PASSWORD, Stage, enter
from tests.integration.oracle_lab import PASSWORD as NODE_PASSWORD
from tests.integration.oracle_lab import OracleLab, lab
from tests.integration.scene import Scene
from tests.integration.system import System, account
from tests.integration.test_cli_examples import ELSEWHERE, SENDING, example_of
from tests.integration.test_eligibility import Issuer, pkh, published

SECONDS = 180
ROOT = str(Path(__file__).resolve().parents[2])
NODE = (
    "redeem", "job show", "verify", "session key create", "session key list", "session key revoke",
    "agent market", "agent ask", "agent mcp",
)  # fmt: skip
PIPELINE = ("pipeline quote", "pipeline run", "pipeline resume", "pipeline verify")
ORACLE = ("oracle check", "oracle once", "oracle run", "oracle migrate-state")
ELIGIBILITY = (
    "eligibility check", "eligibility list", "eligibility issue", "eligibility revoke", "eligibility prove",
    "eligibility accept-credential", "eligibility recheck",
)  # fmt: skip
NOT_RUN = {
    "demo": "it takes the chain's place; tests/e2e/test_wheel.py runs it",
    "oracle record": "it reads the driver of a GPU, which this machine may not have; tests/gpu runs it",
    "oracle admit": "it answers an orchestrator; test_admission_webhook.py runs the webhook",
    "oracle evictions": "it reads what an orchestrator runs; test_admission.py gives it that",
}


@pytest.fixture
def shell(system: System, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage on a chain without parties."""
    return enter(Scene(system, chain), tmp_path, monkeypatch)


@pytest.fixture
def place(shell: Stage, tmp_path: Path) -> Iterator[OracleLab]:
    """A provider that is registered and doesn't run."""
    with lab(shell.scene.system, shell.scene.chain, tmp_path / "lab", watchers=0) as made:
        yield made


def typed(text: str, *more: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command line as a process of its own: a node of this process would write among what it prints."""
    words = [os.path.expandvars(word) for word in shlex.split(text)]
    assert words[0] == "scrip"
    assert "" not in words, words
    return subprocess.run(
        [sys.executable, "-m", "scrip.cli.main", *words[1:], *more], env={**os.environ, "PYTHONPATH": ROOT},
        input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def ran(name: str, *more: str) -> Any:
    """The example of a command, which must work; its JSON if `--json` is among `more`."""
    return _worked(typed(example_of(name), *more), "--json" in more)


def done(text: str) -> Any:
    """The JSON of a command that a test needs besides."""
    return _worked(typed(text, "--json"), True)


def _worked(result: subprocess.CompletedProcess[str], as_json: bool) -> Any:
    assert result.returncode == 0, (result.args, result.stdout, result.stderr)
    return json.loads(result.stdout) if as_json else result.stdout


def test_elsewhere__all__are_run_here_or_named_with_a_reason() -> None:
    assert sorted((*NODE, *PIPELINE, *ORACLE, *ELIGIBILITY, *NOT_RUN)) == sorted(ELSEWHERE)


def test_examples__provider_that_runs__all_work(shell: Stage, place: OracleLab) -> None:
    model = Catalogue.load().template("llm.generate").sku
    system = shell.scene.system
    place.serve(model)
    assert system.create_class(min_assurance=1) == 1
    tokens = system.create_class(
        resource=Resource.OUTPUT_TOKEN, decimals=0, max_rate=10**9, min_assurance=1, sku=sku_id(model)
    )
    rates = [{"model": "smol", "class_id": tokens, "input": DOLLAR, "output": DOLLAR}]
    place.start("provider", place.provider_settings(gateway={"rates": rates, "claim_units": 10**6}))
    buyer = shell.by("buyer")
    system.mint(buyer.address, 1_000 * DOLLAR)
    done("scrip --keystore key.json buy 1 1000")
    done(f"scrip --keystore key.json buy {tokens} 1000")

    planned = ran("redeem", "--dry-run", "--json")
    assert [row["function"] for row in planned["transactions"]] == ["open"]
    redeemed = ran("redeem", "--json")
    os.environ["JOB"] = redeemed["jobId"]
    assert "Receipt" in ran("job show")
    assert (shell.folder / "answer.txt").read_bytes()
    url = f"{place.url}/jobs/{redeemed['jobId']}/evidence"
    done(f"scrip --keystore key.json verify {url} --save bundle.json")
    assert "checks passed" in ran("verify")

    session = done(f"scrip --keystore key.json session open {place.provider} {tokens} 100")
    os.environ["SESSION"] = session["session"]
    os.environ["KEY"] = ran("session key create", "--json")["keyId"]
    assert [one["keyId"] for one in ran("session key list", "--json")["keys"]] == [os.environ["KEY"]]
    assert "is revoked" in ran("session key revoke")

    assert place.provider in ran("agent market")
    before = shell.blocks()
    assert place.provider in ran("agent ask", "--dry-run")
    assert shell.blocks() == before
    assert "Receipt" in ran("agent ask")
    (shell.folder / "pw").write_text(PASSWORD)
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }  # fmt: skip
    served = typed(example_of("agent mcp"), stdin=json.dumps(hello) + "\n")
    assert json.loads(served.stdout.splitlines()[0])["result"]["serverInfo"], served.stderr


def test_redeem__under_a_budget__owner_pays_and_the_budget_counts_what_was_used(
    shell: Stage, place: OracleLab
) -> None:
    system, view = shell.scene.system, shell.scene.chain.at
    assert system.create_class(min_assurance=1) == 1
    place.start("provider", place.provider_settings())
    owner = shell.by("buyer").address
    system.mint(owner, 10 * DOLLAR)
    done("scrip --keystore key.json buy 1 1000")
    done(f"scrip --keystore key.json budget create {account('agent').address} --lifetime 1")
    shell.by("agent")
    ask = "scrip --keystore key.json redeem 1 hash.chain --param steps=20000 --param seed=$SEED --yes"
    refused = typed(ask, "--max", "10")
    assert (refused.returncode, "you have 0 free" in refused.stderr) == (1, True), refused.stderr
    before = view().balance(owner, 1)
    redeemed = done(f"{ask} --budget 1 --max 10")
    used = before - view().balance(owner, 1)
    assert (redeemed["status"], used > 0, view().locked(owner, 1)) == ("SETTLED", True, 0)
    # Two dollars a million credits, of a thousand units each, rounded up.
    assert view().budget(1).spent == -(-used * 2_000_000 // (10**6 * 10**3))


def test_examples__pipeline_of_two_providers__all_work(shell: Stage, tmp_path: Path) -> None:
    with pipeline_place.place(shell.scene.system, shell.scene.chain, tmp_path / "lab") as site:
        site.start()
        site.lab.funded_keystore("agent")
        agent = shell.by("agent")
        shell.scene.system.mint(agent.address, 10 * DOLLAR)
        (shell.folder / "plan.toml").write_text(pipeline_place.PLAN)
        (shell.folder / "README.md").write_text(pipeline_place.TEXT)
        assert ran("pipeline quote", "--json")
        ran("pipeline run", "--run-dir", "runs/summary")
        ran("pipeline resume")
        assert "checks passed" in ran("pipeline verify")


def node_file(shell: Stage, place: OracleLab) -> None:
    """`node.toml` of the provider."""
    (place.folder / "password").write_text(NODE_PASSWORD)
    tables: dict[str, Table] = {
        "": {"role": "provider", "state_dir": str(shell.folder / "state-of-node"), "poll_ms": 100},
        "chain": {
            "rpc_url": shell.scene.system.anvil.url, "chain_id": shell.scene.chain.chain_id,
            "deployment": str(shell.folder / "deployments"),
        },
        "key": {
            "keystore": str(place.folder / "oracle.json"), "password_file": str(place.folder / "password"),
        },
        "api": {"port": place.port, "public_url": place.url},
        "provider": {"address": place.provider, "cpu_sku": "test-cpu"},
    }  # fmt: skip
    (shell.folder / "node.toml").write_text(render(tables))


def test_examples__node_of_a_provider__all_work(
    shell: Stage, place: OracleLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_file(shell, place)
    for name in [name for name in os.environ if name.startswith("SCRIP_")]:
        monkeypatch.delenv(name)
    ran("oracle check")
    ran("oracle once")
    command = [sys.executable, "-m", "scrip.cli.main", *example_of("oracle run").split()[1:]]
    node = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": ROOT}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        place.wait(lambda: _ready(place.url))
    finally:
        node.send_signal(signal.SIGTERM)
        status = node.wait(SECONDS)
    assert status == 0
    assert re.search(r"moved [0-9]+ rows", ran("oracle migrate-state"))


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, verify=NO_TLS).status_code == 200
    except httpx.HTTPError:
        return False


def test_examples__attester_and_issuer__all_work(shell: Stage) -> None:
    system, issuer = shell.scene.system, Issuer()
    assert system.create_class() == 1
    registry = published(system, "SchemaRegistry")
    service = published(system, "EAS", registry)
    attester = account("attester").address
    gate = system.create("AttestationEligibility", service, eas.schema_uid(), attester).address
    assert system.create_class(eligibility=gate) == 2
    os.environ |= {"ISSUER": issuer.did, "ACCOUNT": account("holder").address}
    (shell.folder / "credential.jwt").write_text(issuer.credential(pkh(account("holder").address)))
    status = shell.folder / "list.jwt"
    status.write_text(issuer.status_list())

    def ran(name: str, *more: str) -> Any:
        if name in SENDING:
            before = shell.blocks()
            rehearsed = shell.done(example_of(name), *more, "--dry-run")
            assert (rehearsed["dryRun"], shell.blocks()) == (True, before)
        return shell.done(example_of(name), *more)

    shell.by("holder")
    ran("eligibility prove")
    shell.by("attester")
    assert not ran("eligibility check")["eligible"]
    assert ran("eligibility accept-credential", "--status-list", str(status))["eligible"]
    assert [one["eligible"] for one in ran("eligibility list")["accounts"]] == [True]
    issuer.revoked.add(7)
    status.write_text(issuer.status_list())
    (one,) = ran("eligibility recheck", "--status-list", str(status))["credentials"]
    assert one["outcome"] == "revoked"
    assert ran("eligibility issue")["eligible"]
    assert not ran("eligibility revoke")["eligible"]
