"""Brownie's connection to a node given by URL, on any chain, and the account that deploys there."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from web3.exceptions import TransactionNotFound, Web3Exception

from scrip import keys
from scrip.deploying.config import ChainKind, kind_of
from scrip.errors import ChainError, KeyProblem, NodeUnavailable
from scripts.deployment_record import Created

NETWORK: Final = "scrip-deploy"
GAS_BUFFER: Final = 1.2


def connect(rpc_url: str) -> None:
    """Connect Brownie to the node at `rpc_url`. Needs no entry in a network file and leaves none.

    To Brownie it is a "development" network, whatever the chain: for "live" ones it caches reads across runs
    by chain id alone, and loads contracts of earlier runs by address. Both are wrong for a chain that was
    started anew.
    """
    brownie = _brownie()
    config = importlib.import_module("brownie._config").CONFIG
    entry = {"id": NETWORK, "name": NETWORK, "host": rpc_url, "cmd": "", "cmd_settings": {}, "timeout": 60}
    config.networks[NETWORK] = entry
    if brownie.network.is_connected():
        brownie.network.disconnect(kill_rpc=False)
    brownie.network.connect(NETWORK, launch_rpc=False)
    eth().chain_id  # noqa: B018  Brownie connects to nobody without a word; this fails if nobody answers


def reconnect() -> None:
    """The same for the node that `brownie run --network` has connected to: a name in Brownie's list of
    networks says where a node is, and nothing else that counts here.
    """
    connect(_brownie().network.web3.provider.endpoint_uri)


def set_fees() -> None:
    """Estimate gas and ask the node for fees, instead of Brownie's free gas for development networks."""
    settings = importlib.import_module("brownie._config").CONFIG.active_network["settings"]
    # Without a gas limit for them, transactions that would revert are not sent.
    settings |= {"gas_limit": "auto", "gas_buffer": GAS_BUFFER, "reverting_tx_gas_limit": False}
    settings |= {"gas_price": None, "priority_fee": "auto"}


def account(keystore: Path | None, password_file: Path | None, password_env: str | None) -> Any:
    """The Brownie account to deploy from: of `keystore`, or on a local chain the node's first one.

    Raises KeyProblem if a keystore is missing, can't be opened, or holds a development key off local chains.
    """
    accounts, chain_id = _brownie().accounts, chain()
    if keystore is not None:
        key = keys.load(keystore, chain_id=chain_id, password_file=password_file, password_env=password_env)
        return accounts.add(key.key.hex())
    if kind_of(chain_id) is not ChainKind.LOCAL:
        raise KeyProblem(
            f"chain {chain_id} is not a local one ({sorted(keys.LOCAL_CHAINS)}): give --keystore and "
            "--password-file. The node's own and well-known accounts are used on local chains only"
        )
    if not len(accounts):
        raise KeyProblem("the node holds no account: give --keystore and --password-file")
    return accounts[0]


def eth() -> Any:
    """web3's `eth` on Brownie's connection."""
    return _brownie().network.web3.eth


def chain() -> int:
    """Chain id of the node."""
    return int(eth().chain_id)


def has_code(address: str) -> bool:
    """Whether there is a contract at `address`."""
    return bool(bytes(eth().get_code(address)))


def balance(address: str) -> int:
    """Coin of `address`, in wei."""
    return int(eth().get_balance(address))


def head() -> int:
    """Number of the newest block."""
    return int(eth().block_number)


def nonce(address: str, *, pending: bool = False) -> int:
    """Transactions of `address` so far; with `pending` those on their way too."""
    return int(eth().get_transaction_count(address, "pending" if pending else "latest"))


def created(tx: str) -> Created | None:
    """The block that holds a transaction by now; None if none does."""
    try:
        return Created(int(eth().get_transaction_receipt(tx)["blockNumber"]), tx)
    except TransactionNotFound:
        return None


def loaded_project() -> Any:
    """The project that `brownie run` loaded."""
    return importlib.import_module("brownie.project").get_loaded_projects()[0]


@contextlib.contextmanager
def node_errors(rpc_url: str) -> Iterator[None]:
    """Turn what Brownie and web3 raise into our errors, without the node's URL, which may hold a key."""
    try:
        yield
    except requests.RequestException as error:
        raise NodeUnavailable(urlsplit(rpc_url).hostname or "?", type(error).__name__) from None
    except Web3Exception as error:
        raise ChainError(f"the node declines: {error}") from None
    except Exception as error:
        if not type(error).__module__.startswith("brownie."):
            raise
        raise ChainError(f"{type(error).__name__}: {error}") from error


def _brownie() -> Any:
    return sys.modules["brownie"]
