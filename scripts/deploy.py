"""Deploy Scrip's contracts to any chain.

    python -m scripts.deploy --rpc http://127.0.0.1:8545 [--config deploy.toml]
    python -m scripts.deploy --rpc $URL --keystore key.json --password-file password.txt --config deploy.toml
    brownie run deploy main [deploy.toml [folder]] --network anvil

The chain is whatever the node says it is; no file names it. On a local chain the node's first account deploys
where no keystore is given; elsewhere a keystore is required and well-known development accounts are refused.
The plan comes first: addresses, transactions, gas, cost and roles; off local chains it is sent after a yes,
or with --yes. The result is written to `deployments/<chainId>.json` once it is `--confirmations` blocks deep.
A second run finds it on the chain and changes nothing; an interrupted run is taken up where it stopped, once
the transaction that it had on its way is in a block.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scrip.deploying.config import ChainKind, DeployConfig, Overrides, for_chain
from scrip.deploying.plan import DEMO_USD, plan
from scrip.errors import ChainError, Refused, ScripError
from scrip.types import Deployment
from scripts import brownie_node
from scripts.admin import CONFIRMATIONS, FOLDER, ROOT, confirmed
from scripts.brownie_local import load_project
from scripts.deployment_check import code_problem, is_absent, problems
from scripts.deployment_cost import Costs, costs
from scripts.deployment_plan import print_plan
from scripts.deployment_record import (
    Created,
    Progress,
    Record,
    progress_path,
    read_progress,
    read_record,
    record_path,
    write,
)
from scripts.deployment_steps import (
    DeploymentMismatch,
    activate_watchers,
    deploy_contracts,
    grant_roles,
    hand_over,
    seal_roles,
    wait_for_blocks,
    wait_for_pending,
)

REORGANISATIONS = 5
"""How often a deployment is mended after the chain dropped a part of it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where records are kept, whether to ignore an earlier deployment, whether to stop after the plan or to
    send it unasked, and how many blocks deep it has to be (None: by kind of chain).
    """

    folder: Path = FOLDER
    force: bool = False
    plan_only: bool = False
    yes: bool = False
    confirmations: int | None = None


def deploy(
    project: Any, deployer: Any, config: DeployConfig, folder: Path, progress: Progress, depth: int
) -> Record:
    """Deploy, or go on with the deployment that `progress` describes; check the result and write its record
    once it is `depth` blocks deep. What a reorganisation of the chain drops meanwhile is sent again.

    Raises DeploymentMismatch if the chain doesn't hold in the end what it should, ChainError if it keeps
    dropping transactions.
    """
    made, path = dict(progress.created), progress_path(folder, config.chain_id)

    def remember(name: str, item: Created) -> None:
        made[name] = item
        write(path, replace(progress, created=made).to_json())

    steps = plan(config, predictor(deployer), progress.first_nonce)
    write(path, progress.to_json())
    for _ in range(REORGANISATIONS):
        before = brownie_node.nonce(config.deployer)
        contracts = deploy_contracts(project, deployer, steps, remember)
        grant_roles(contracts, deployer, config)
        watcher_sets = activate_watchers(contracts, deployer, config)
        seal_roles(contracts, deployer)
        hand_over(contracts, deployer, config)
        # What was missing was sent, at first everything, later what a reorganisation dropped.
        if brownie_node.nonce(config.deployer) == before:
            break
        wait_for_blocks(depth)
    else:
        raise ChainError(f"chain {config.chain_id} keeps dropping transactions: run this again later")

    addresses = {step.name: step.address for step in steps}
    record = Record(
        deployment=Deployment(config.chain_id, progress.block + 1, addresses),
        deployer=config.deployer,
        payment_token=config.payment_token or addresses[DEMO_USD],
        stake_token=config.stake_token or addresses[DEMO_USD],
        created={name: brownie_node.created(item.tx) or item for name, item in made.items()},
        watcher_sets=watcher_sets,
        commit=_commit(),
    )
    _check(project, record, "the new deployment is wrong")
    write(record_path(folder, config.chain_id), record.to_json())
    path.unlink()
    return record


def existing(project: Any, config: DeployConfig, folder: Path) -> Record | None:
    """The recorded deployment if the chain holds it, None if there is none or a local chain was started anew.

    Raises DeploymentMismatch if the record and the chain disagree.
    """
    record = read_record(folder, config.chain_id)
    if record is None or (config.kind is ChainKind.LOCAL and is_absent(brownie_node.eth(), record)):
        return None
    _check(project, record, f"{record_path(folder, config.chain_id)} doesn't agree with the chain")
    return record


def resumable(
    project: Any, config: DeployConfig, folder: Path, predict: Callable[[int], str]
) -> Progress | None:
    """The progress of an interrupted deployment, None if there is none or nothing of it is on the chain.

    Raises DeploymentMismatch if it can't be finished: another account, other code, or a nonce taken by
    another transaction.
    """
    progress = read_progress(folder, config.chain_id)
    if progress is None:
        return None
    steps = plan(replace(config, deployer=progress.deployer), predict, progress.first_nonce)
    if not any(brownie_node.has_code(step.address) for step in steps):
        return None
    reasons = []
    if progress.deployer != config.deployer:
        reasons.append(f"{progress.deployer} began it, this is {config.deployer}")
    else:
        used = [step for step in steps if step.nonce < brownie_node.nonce(config.deployer)]
        found = [code_problem(project, brownie_node.eth(), step.name, step.address) for step in used]
        reasons += [problem for problem in found if problem]
    if reasons:
        where = progress_path(folder, config.chain_id)
        raise DeploymentMismatch(f"the deployment in {where} can't be finished", reasons, _FORCE)
    return progress


def run(project: Any, deployer: Any, config: DeployConfig, options: Options) -> Record | None:
    """Find, finish or make the deployment, and say so on standard output. None after a plan only."""
    if not options.force and (record := existing(project, config, options.folder)):
        _say(f"already deployed on chain {config.chain_id}, code and references are right: nothing to do")
        _say(f"  {record_path(options.folder, config.chain_id)}")
        return record
    wait_for_pending(config.deployer)
    predict = predictor(deployer)
    begun = None if options.force else resumable(project, config, options.folder, predict)
    progress = begun or Progress(
        config.chain_id, config.deployer, brownie_node.nonce(config.deployer), brownie_node.head()
    )
    steps = plan(config, predict, progress.first_nonce)
    missing = [step for step in steps if not brownie_node.has_code(step.address)]
    price = costs(project, brownie_node.eth(), missing, config)
    print_plan(config, steps, price, resumed=begun is not None)
    if options.plan_only:
        return None
    _require_coin(config, price, resumed=begun is not None)
    confirmed(config.chain_id, yes=options.yes)
    depth = CONFIRMATIONS[config.kind] if options.confirmations is None else options.confirmations
    record = deploy(project, deployer, config, options.folder, progress, depth)
    _say(f"deployed; addresses, references and code checked: {record_path(options.folder, config.chain_id)}")
    return record


def predictor(deployer: Any) -> Callable[[int], str]:
    """Addresses that a Brownie account creates, by nonce."""
    return lambda nonce: str(deployer.get_deployment_address(nonce))


# Entry points


def main(config_file: str = "", folder: str = "") -> None:
    """`brownie run deploy main [deploy.toml [folder]] --network <id>`: on the network Brownie connected to.

    SCRIP_KEYSTORE and SCRIP_PASSWORD_FILE name the key off local chains. "" stands for the default.
    """
    brownie_node.reconnect()
    keystore, password = (os.environ.get(name) for name in ("SCRIP_KEYSTORE", "SCRIP_PASSWORD_FILE"))
    deployer = brownie_node.account(
        Path(keystore) if keystore else None, Path(password) if password else None, None
    )
    options = Options(Path(folder) if folder else FOLDER)
    _deploy_from(brownie_node.loaded_project(), deployer, config_file, options)


def cli(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status. See the top of this file."""
    options = _parser().parse_args(arguments)
    if not options.rpc:
        print("error: give --rpc or set SCRIP_RPC_URL", file=sys.stderr)
        return 2
    try:
        with brownie_node.node_errors(options.rpc):
            project = load_project()
            brownie_node.connect(options.rpc)
            deployer = brownie_node.account(options.keystore, options.password_file, options.password_env)
            how = Options(options.out, options.force, options.plan, options.yes, options.confirmations)
            _deploy_from(project, deployer, options.config, how)
    except ScripError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _deploy_from(project: Any, deployer: Any, config_file: str, options: Options) -> None:
    overrides = Overrides.read(Path(config_file)) if config_file else None
    config = for_chain(brownie_node.chain(), str(deployer.address), overrides)
    brownie_node.set_fees()
    run(project, deployer, config, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.deploy", description="Deploy Scrip to any chain."
    )
    env = os.environ.get
    parser.add_argument("--rpc", default=env("SCRIP_RPC_URL"), help="URL of a node (SCRIP_RPC_URL)")
    parser.add_argument("--keystore", type=Path, help="encrypted key; optional on a local chain")
    parser.add_argument("--password-file", type=Path, help="file with the keystore's password")
    parser.add_argument("--password-env", help="name of a variable with the keystore's password")
    parser.add_argument("--config", default="", help="TOML file: roles, watchers, tokens, delays")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the records (deployments)")
    parser.add_argument("--force", action="store_true", help="deploy anew whatever was deployed before")
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    parser.add_argument("--yes", action="store_true", help="don't ask before sending")
    parser.add_argument("--confirmations", type=int, help="blocks on top before the deployment counts")
    return parser


_FORCE = "Check the node and the file. To leave that deployment and make a new one: --force"


def _check(project: Any, record: Record, what: str) -> None:
    if found := list(problems(project, brownie_node.eth(), record)):
        raise DeploymentMismatch(what, found, _FORCE)


def _require_coin(config: DeployConfig, price: Costs, *, resumed: bool) -> None:
    """Off local chains, where coin is scarce. A resumed deployment has paid for a part already."""
    held = brownie_node.balance(config.deployer)
    if held == 0:
        raise Refused(
            f"{config.deployer} has no coin on chain {config.chain_id} to pay for gas: send it some"
        )
    if held < price.now and not resumed and config.kind is not ChainKind.LOCAL:
        raise Refused(
            f"{config.deployer} has {held} wei, the plan takes about {price.now} at the present fee: send it "
            f"{price.needed - held} more, which lasts even if the base fee doubles"
        )


def _commit() -> str | None:
    """The checkout's commit if `contracts/` is as committed there."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        return git("rev-parse", "HEAD") if git("status", "--porcelain", "--", "contracts") == "" else None
    except FileNotFoundError:
        return None


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(cli(sys.argv[1:]))
