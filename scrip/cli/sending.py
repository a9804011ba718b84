"""Sending from the command line: one process at a time per account, and nothing twice after a kill.

The journal outlives the process. Before a command sends anything it settles what an earlier one left open; if
that was the same kind of command and it went through, this one stops and says so instead of doing it again.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scrip.cli.context import Context
from scrip.cli.waiting import patience
from scrip.errors import ScripError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from scrip.chain import Chain
    from scrip.sender import Sender


class AlreadyDone(ScripError):
    """An interrupted command of the same kind has gone through. Nothing new was sent."""

    def __init__(self, label: str, tx_hash: bytes) -> None:
        self.label, self.tx_hash = label, tx_hash
        super().__init__(
            f"an interrupted command has now gone through: {label} in transaction 0x{tx_hash.hex()}. "
            "Nothing new was sent; run this again if you want it once more"
        )


@contextmanager
def sending(context: Context, chain: Chain, kind: str) -> Iterator[tuple[Sender, LocalAccount]]:
    """The keystore's account and its sender, for a command whose transactions' labels begin with `kind`.

    In a dry run the sender only simulates, and what it would have sent is shown in place of a result.

    Raises KeyProblem, AlreadyDone, JournalProblem, and as `Sender.reconcile` and `follow`.
    """
    account = context.account(chain.chain_id)
    if context.dry_run:
        with _rehearsing(context, chain, account) as dry:
            yield dry, account
        return
    sender = sender_of(context, chain, account)
    with _alone(context, lock_of(context, chain, account.address)):
        _finish_earlier(context, sender, kind)
        try:
            yield sender, account
        except KeyboardInterrupt as stop:
            if str(stop) or not sender.journal.open_records(chain.chain_id, sender.address):
                raise
            raise KeyboardInterrupt(
                "interrupted; a transaction is on its way. The next command that sends finishes it first"
            ) from None


@contextmanager
def _rehearsing(context: Context, chain: Chain, account: LocalAccount) -> Iterator[Sender]:
    from scrip.cli import rehearsal

    sender = rehearsal.DrySender(chain, account)
    try:
        yield sender
        steps = tuple(sender.steps())
    except rehearsal.Rehearsed as done:
        steps = done.steps
    rehearsal.show(context, chain, sender.address, steps)
    raise typer.Exit


def sender_of(context: Context, chain: Chain, account: LocalAccount) -> Sender:
    """The account's sender, with the journal that all commands share. Raises JournalProblem."""
    from scrip.journal_file import FileJournal
    from scrip.keys import LOCAL_CHAINS
    from scrip.sender import LOCAL_POLICY, Sender, SendPolicy

    journal = FileJournal(context.state / f"transactions-{_chain_name(chain)}.sqlite3")
    policy = LOCAL_POLICY if chain.chain_id in LOCAL_CHAINS else SendPolicy()
    sleep = patience(context)
    if sleep is None:
        return Sender(chain, account, journal, policy)
    return Sender(chain, account, journal, policy, sleep=sleep)


def lock_of(context: Context, chain: Chain, address: str) -> Path:
    """The file that a process locks while it sends from the account."""
    return context.state / f"{_chain_name(chain)}-{address}.lock"


def _chain_name(chain: Chain) -> str:
    """The chain's id; for a local chain its first block too, because each restart is another chain."""
    from scrip.keys import LOCAL_CHAINS

    if chain.chain_id not in LOCAL_CHAINS:
        return str(chain.chain_id)
    return f"{chain.chain_id}-{bytes(chain.w3.eth.get_block(0)['hash']).hex()[:16]}"


def _finish_earlier(context: Context, sender: Sender, kind: str) -> None:
    from scrip.errors import Reverted, TxLost
    from scrip.journal import TxOutcome

    done = None
    for item in sender.reconcile():
        receipt = item.receipt
        if item.outcome is TxOutcome.PENDING:
            context.say(f"waiting for an earlier transaction: {item.label}")
            try:
                receipt = sender.follow(item.nonce)
            except (Reverted, TxLost) as error:
                context.say(f"an earlier transaction came to nothing: {item.label}: {error}")
                continue
        if receipt is None or receipt["status"] != 1:
            context.say(f"an earlier transaction came to nothing: {item.label}")
            continue
        context.say(f"an earlier transaction has gone through: {item.label}")
        if item.label.split(" ", 1)[0] == kind:
            done = AlreadyDone(item.label, bytes(receipt["transactionHash"]))
    if done is not None:
        raise done


@contextmanager
def _alone(context: Context, path: Path) -> Iterator[None]:
    """Hold the lock at `path`. Two processes would take each other's nonces, and each other's records."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            context.say("waiting for another scrip command that sends from this account")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
