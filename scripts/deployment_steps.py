"""The steps of a deployment. Each sends what is still missing and returns objects; none is an entry point."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scrip.deploying.config import DeployConfig
from scrip.deploying.plan import FIRST_SET, ROLED, Step, roles
from scrip.errors import Refused, ScripError
from scrip.types import WatcherSet
from scripts import brownie_node
from scripts.deployment_record import Created


class DeploymentMismatch(ScripError):
    """A deployment, its record or its progress doesn't agree with the chain. `problems` says in what."""

    def __init__(self, what: str, problems: Sequence[str], hint: str) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{what}:" + "".join(f"\n  - {problem}" for problem in problems) + f"\n{hint}")


POLL_SECONDS = 0.5
PENDING_SECONDS = 600
"""How long transactions of an earlier run are waited for: fifty blocks of Ethereum."""

Contracts = Mapping[str, Any]
"""The deployed contracts as Brownie objects, by name."""


def deploy_contracts(
    project: Any, deployer: Any, steps: Sequence[Step], remember: Callable[[str, Created], None]
) -> Contracts:
    """Deploy what isn't there yet, in order, and tell `remember` of each creation.

    Raises DeploymentMismatch if an address turns out to be another than predicted.
    """
    handles: dict[str, Any] = {}
    for step in steps:
        if brownie_node.has_code(step.address):
            handles[step.name] = project[step.name].at(step.address)
            continue
        contract = deployer.deploy(project[step.name], *step.args, nonce=step.nonce, silent=True)
        if str(contract.address) != step.address:
            problem = f"{step.name} is at {contract.address}, predicted was {step.address}"
            raise DeploymentMismatch(
                "a contract was created elsewhere", [problem], "Don't use this deployment"
            )
        print(f"  {step.name} created", flush=True)
        remember(step.name, Created(int(contract.tx.block_number), str(contract.tx.txid)))
        handles[step.name] = contract
    return handles


def grant_roles(contracts: Contracts, deployer: Any, config: DeployConfig) -> None:
    """Give each role to its configured accounts, where they don't hold it yet.

    Raises DeploymentMismatch if the set-up is over already: then the rest must be announced first.
    """
    for name, role, accounts in roles(config):
        for account in accounts:
            _grant(contracts[name], role, account, deployer)


def activate_watchers(contracts: Contracts, deployer: Any, config: DeployConfig) -> tuple[WatcherSet, ...]:
    """Propose and activate the first watcher set. It needs no delay, because nobody relies on it yet."""
    if not config.watchers:
        return ()
    verifier, members = contracts["ReceiptVerifier"], list(config.watchers)
    if verifier.thresholdOf(FIRST_SET) == 0:
        _grant(verifier, "WATCHER_ADMIN_ROLE", config.deployer, deployer)
        proposed = FIRST_SET if verifier.setCount() else 0
        _send(deployer, verifier, "proposeSet", proposed, members, config.threshold)
        _send(deployer, verifier, "activateSet", FIRST_SET, members, config.threshold)
    role = verifier.WATCHER_ADMIN_ROLE()
    if config.watcher_admin != config.deployer and verifier.hasRole(role, config.deployer):
        _send(deployer, verifier, "renounceRole", role, config.deployer)
    return (WatcherSet(FIRST_SET, config.watchers, config.threshold),)


def seal_roles(contracts: Contracts, deployer: Any) -> None:
    """End the set-up: from now on a role is granted only after it was announced, `ROLE_DELAY` before."""
    for name in ROLED:
        if not contracts[name].rolesSealed():
            _send(deployer, contracts[name], "sealRoles")


def hand_over(contracts: Contracts, deployer: Any, config: DeployConfig) -> None:
    """Offer the administration to the configured admin, who takes it with `acceptDefaultAdminTransfer`."""
    if config.admin == config.deployer:
        return
    for contract in (contracts[name] for name in ROLED):
        pending = str(contract.pendingDefaultAdmin()[0])
        if str(contract.defaultAdmin()) == config.deployer and pending != config.admin:
            _send(deployer, contract, "beginDefaultAdminTransfer", config.admin)


def wait_for_pending(account: str, clock: Callable[[], float] = time.monotonic) -> None:
    """Wait until no transaction of `account` is on its way, such as the one a killed run had just sent: until
    then nobody knows which nonce is the next, nor whether a contract is there.

    Raises Refused after `PENDING_SECONDS`: then they take a higher fee to be mined at all, or to be replaced.
    """
    end = clock() + PENDING_SECONDS
    said = 0
    while (first := brownie_node.nonce(account)) < (after := brownie_node.nonce(account, pending=True)):
        if after - first != said:
            said = after - first
            print(f"waiting for {said} of {account}'s transactions, from nonce {first} on", flush=True)
        if clock() >= end:
            raise Refused(
                f"{account}: nonce {first} is still on its way after {PENDING_SECONDS} s. If its fee is too "
                "low, replace it from a wallet at a higher one. Then run this again: it goes on from there"
            )
        time.sleep(POLL_SECONDS)


def wait_for_blocks(depth: int) -> None:
    """Wait until `depth` more blocks are there."""
    target = brownie_node.head() + depth
    if depth:
        print(f"  waiting for {depth} blocks on top", flush=True)
    while brownie_node.head() < target:
        time.sleep(POLL_SECONDS)


def _grant(contract: Any, role_name: str, account: str, deployer: Any) -> None:
    role = getattr(contract, role_name)()
    if contract.hasRole(role, account):
        return
    if contract.rolesSealed():
        problem = f"{contract._name}: {account} has no {role_name}, and its roles are sealed"
        raise DeploymentMismatch(
            "roles are missing", [problem], "Announce them: scheduleRole, then grantRole"
        )
    _send(deployer, contract, "grantRole", role, account)


def _send(deployer: Any, contract: Any, function: str, *args: Any) -> None:
    # Brownie's own report is off: it is coloured even in a file.
    # The nonce is the chain's: Brownie's own count has those that a reorganisation dropped as well.
    sent = {"from": deployer, "nonce": brownie_node.nonce(str(deployer.address))}
    getattr(contract, function)(*args, sent, silent=True)
    print(f"  {contract._name}.{function} done", flush=True)
