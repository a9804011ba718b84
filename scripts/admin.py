"""What scripts that administer a deployment share: connection, key, journalled sender, waits for delays."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from web3.contract.contract import ContractFunction

from scrip import deployments, keys
from scrip.chain import Chain
from scrip.deploying.config import ChainKind, kind_of
from scrip.errors import BadInput, Refused, ScripError
from scrip.journal_file import FileJournal
from scrip.rpc import make_web3
from scrip.sender import LOCAL_POLICY, Sender, SendPolicy

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deployments"
CONFIRMATIONS = {ChainKind.LOCAL: 0, ChainKind.TEST: 3, ChainKind.LIVE: 12}
"""Blocks on top of a transaction's before it counts, by kind of chain."""
POLL_SECONDS = 1.0
REMAINS = 3
"""Exit status when something is left to do, by somebody else or later."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A deployment, and the account that administers it."""

    chain: Chain
    sender: Sender

    @property
    def me(self) -> str:
        """The account's address."""
        return self.sender.address

    def send(self, what: str, call: ContractFunction) -> None:
        """Send one transaction and say so once it is confirmed. Raises as `Sender.send`."""
        self.sender.send(call, label=what)
        print(f"  {what} done", flush=True)

    def wait_until(self, due: int, what: str) -> None:
        """Wait until a block of the chain has the time `due`."""
        print(f"  waiting for {what}, due at {moment(due)}", flush=True)
        while self.chain.at().time() < due:
            time.sleep(POLL_SECONDS)


@contextmanager
def opened(given: argparse.Namespace) -> Iterator[Desk]:
    """The desk that the command line asks for; what a killed run left open is finished first.

    Raises KeyProblem for a missing key, or for a development key off local chains.
    """
    if not given.rpc:
        raise BadInput("--rpc", "nothing", "the URL of a node, here or in SCRIP_RPC_URL")
    if given.keystore is None:
        raise BadInput("--keystore", "nothing", "an encrypted key; scripts take no other")
    chain_id = int(make_web3(given.rpc).eth.chain_id)
    chain = Chain.connect(given.rpc, deployments.load(given.deployments, chain_id))
    account = keys.load(
        given.keystore,
        chain_id=chain_id,
        password_file=given.password_file,
        password_env=given.password_env,
    )
    kind = kind_of(chain_id)
    depth = CONFIRMATIONS[kind] if given.confirmations is None else given.confirmations
    policy = LOCAL_POLICY if kind is ChainKind.LOCAL else SendPolicy(confirmations=depth)
    given.state.mkdir(parents=True, exist_ok=True)
    sender = Sender(chain, account, FileJournal(given.state / f"admin-{chain_id}.sqlite3"), policy)
    for item in sender.reconcile():
        print(f"  an earlier transaction: {item.label}: {item.outcome}", flush=True)
        if item.receipt is None and item.outcome == "pending":
            sender.follow(item.nonce)
    yield Desk(chain, sender)


def parser(prog: str, text: str) -> argparse.ArgumentParser:
    """Options that all these scripts have."""
    made = argparse.ArgumentParser(prog=f"python -m {prog}", description=text)
    made.add_argument("--rpc", default=os.environ.get("SCRIP_RPC_URL"), help="URL of a node (SCRIP_RPC_URL)")
    made.add_argument("--deployments", type=Path, default=FOLDER, help="folder of the records")
    made.add_argument("--keystore", type=Path, help="encrypted key of the administrator")
    made.add_argument("--password-file", type=Path, help="file with the keystore's password")
    made.add_argument("--password-env", help="name of a variable with the keystore's password")
    made.add_argument(
        "--state", type=Path, default=ROOT / ".scrip", help="folder of the transactions' journal"
    )
    made.add_argument("--confirmations", type=int, help="blocks on top of a transaction's before it counts")
    made.add_argument("--wait", action="store_true", help="wait for delays instead of stopping at them")
    made.add_argument("--plan", action="store_true", help="say what would be done and stop")
    made.add_argument("--yes", action="store_true", help="don't ask before sending")
    return made


def agreed(given: argparse.Namespace, chain_id: int) -> bool:
    """Whether to send what was shown. Not after --plan; off local chains only after a yes. Raises Refused."""
    return not given.plan and confirmed(chain_id, yes=given.yes)


def confirmed(chain_id: int, *, yes: bool) -> bool:
    """Ask at a terminal, off local chains. Raises Refused if nobody can be asked, or the answer isn't yes."""
    if yes or kind_of(chain_id) is ChainKind.LOCAL:
        return True
    if not sys.stdin.isatty():
        raise Refused("this sends transactions: look at the plan, then run it again with --yes")
    if input(f"send this on chain {chain_id}? type yes: ").strip() != "yes":
        raise Refused("nothing was sent")
    return True


def guarded(action: Callable[[], int]) -> int:
    """Run a script's action; what it refuses becomes one line and status 1."""
    try:
        return action()
    except ScripError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def moment(seconds: int) -> str:
    """A time of the chain, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
