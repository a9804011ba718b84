"""Deploys on a development chain from an account that its node has unlocked. Elsewhere: `scripts.deploy`."""

from __future__ import annotations

from typing import Any, cast

from web3 import Web3
from web3.contract import Contract
from web3.types import Nonce
from web3.utils.address import get_create_address

from scrip.abi import abi
from scrip.bytecode import bytecode
from scrip.deploying.config import ChainKind, DeployConfig
from scrip.deploying.plan import FIRST_SET, ROLED, plan, roles
from scrip.errors import ChainError, Refused
from scrip.structs import to_address
from scrip.types import Deployment


def deploy(w3: Web3, config: DeployConfig) -> Deployment:
    """Create the contracts, grant the roles, activate the first watcher set and seal the roles.

    Raises Refused off development chains, ChainError if the chain doesn't do what was planned.
    """
    deployment = create(w3, config)
    handles = {name: _handle(w3, name, at) for name, at in deployment.contracts.items()}
    for name, role, holders in roles(config):
        role_id = handles[name].functions[role]().call()
        for holder in holders:
            _send(w3, config, handles[name].functions.grantRole(role_id, holder))
    if config.watchers:
        _watch(w3, config, handles["ReceiptVerifier"])
    for name in ROLED:
        _send(w3, config, handles[name].functions.sealRoles())
    return deployment


def create(w3: Web3, config: DeployConfig) -> Deployment:
    """Create the contracts and nothing else: the deployer administers them. Raises as `deploy`."""
    if config.kind is not ChainKind.LOCAL:
        raise Refused(f"chain {config.chain_id} is not a development chain: use scripts.deploy")
    deployer = Web3.to_checksum_address(config.deployer)
    first, block = w3.eth.get_transaction_count(deployer), int(w3.eth.block_number)
    steps = plan(config, lambda nonce: str(get_create_address(deployer, Nonce(nonce))), first)
    for step in steps:
        factory = w3.eth.contract(abi=abi(step.name), bytecode="0x" + bytecode(step.name))
        created = _send(w3, config, factory.constructor(*step.args))["contractAddress"]
        if created != step.address:
            raise ChainError(f"{step.name} is at {created}, predicted was {step.address}")
    return Deployment(config.chain_id, block + 1, {step.name: step.address for step in steps})


def _watch(w3: Web3, config: DeployConfig, verifier: Contract) -> None:
    """Propose and activate the first set. The deployer keeps the role for it only if it is to have it."""
    functions, members = verifier.functions, list(config.watchers)
    role = functions.WATCHER_ADMIN_ROLE().call()
    borrowed = config.watcher_admin != config.deployer
    if borrowed:
        _send(w3, config, functions.grantRole(role, config.deployer))
    _send(w3, config, functions.proposeSet(0, members, config.threshold))
    _send(w3, config, functions.activateSet(FIRST_SET, members, config.threshold))
    if borrowed:
        _send(w3, config, functions.renounceRole(role, config.deployer))


def _send(w3: Web3, config: DeployConfig, call: Any) -> Any:
    sent = call.transact({"from": config.deployer})
    receipt = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.02)
    if receipt["status"] != 1:
        raise ChainError(
            f"{receipt['transactionHash'].to_0x_hex()} reverted while the contracts were deployed"
        )
    return receipt


def _handle(w3: Web3, name: str, address: str) -> Contract:
    made: Any = w3.eth.contract
    return cast(Contract, made(address=to_address(name, address), abi=abi(name)))
