"""What every command shares: the global options, and what is made from them on demand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scrip.cli.output import clean, console, print_json
from scrip.errors import BadInput, KeyProblem, NodeDeclined

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from rich.console import Console

    from scrip.chain import Chain

DEFAULT_RPC = "http://127.0.0.1:8545"
DEFAULT_DEPLOYMENT = Path("deployments")
PASSWORD_VARIABLE = "SCRIP_PASSWORD"  # noqa: S105 (a variable's name)


@dataclass(frozen=True, slots=True)
class Context:
    """The global options of one command line. `state` is the folder that remembers unfinished transactions.

    `password_set` says that `SCRIP_PASSWORD` holds the keystore's password; in a `dry_run` nothing is sent.
    """

    rpc: str
    deployment: Path
    keystore: Path | None
    password_file: Path | None
    password_set: bool
    state: Path
    as_json: bool
    dry_run: bool = False

    @classmethod
    def of(cls, ctx: typer.Context) -> Context:
        """The context of a running command."""
        found = ctx.find_object(cls)
        if found is None:
            raise TypeError("this command wasn't started by scrip")
        return found

    def chain(self) -> Chain:
        """The deployment on the node's chain. Raises NodeUnavailable, NotFound, WrongChain, BadInput."""
        from scrip import deployments
        from scrip.chain import Chain

        rpc = self.node_url()
        one_file = self.deployment.suffix == ".json" or self.deployment.is_file()
        chain_id = None if one_file else _chain_id(rpc)
        return Chain.connect(rpc, deployments.load(self._deployment(chain_id), chain_id))

    def node_url(self) -> str:
        """The node's URL. Raises BadInput."""
        if not self.rpc.startswith(("http://", "https://")):
            raise BadInput("--rpc", self.rpc, "an http or https URL")
        return self.rpc

    def chain_id(self) -> int:
        """Id of the node's chain. Raises NodeUnavailable, NodeDeclined, BadInput."""
        return _chain_id(self.node_url())

    def _deployment(self, chain_id: int | None) -> Path:
        # The file is named even where the folder is missing, so that an error says which one is.
        return self.deployment if chain_id is None else self.deployment / f"{chain_id}.json"

    def address(self) -> str:
        """The account of the keystore, read without its password. Raises KeyProblem."""
        from scrip import keys
        from scrip.structs import to_address

        keystore = self.need_keystore()
        stated = keys.address_of(keystore)
        if not stated:
            raise KeyProblem(f"{keystore} doesn't say its address; give the address on the command line")
        return to_address("keystore's address", stated)

    def account(self, chain_id: int) -> LocalAccount:
        """The unlocked account of the keystore, for use on a chain. Asks for the password at a terminal.

        Raises KeyProblem.
        """
        from scrip import keys

        keystore = self.need_keystore()
        if self.password_file is not None:
            return keys.load(keystore, chain_id=chain_id, password_file=self.password_file)
        if self.password_set:
            return keys.load(keystore, chain_id=chain_id, password_env=PASSWORD_VARIABLE)
        password = self.ask_secret(f"Password of {keystore}")
        with _as_file(password) as place:
            return keys.load(keystore, chain_id=chain_id, password_file=place)

    def need_keystore(self) -> Path:
        """The keystore's path. Raises KeyProblem."""
        if self.keystore is None:
            raise KeyProblem("no key: give --keystore or SCRIP_KEYSTORE. Make one with: scrip key create")
        return self.keystore

    def ask_secret(self, prompt: str, *, twice: bool = False) -> str:
        """A secret typed at the terminal, not shown. Raises KeyProblem where nobody could answer."""
        if not self.interactive:
            raise KeyProblem(f"no password: give --password-file, or put it in {PASSWORD_VARIABLE}")
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))

    @property
    def interactive(self) -> bool:
        """Whether a person can answer questions."""
        return sys.stdin.isatty() and not self.as_json

    def say(self, text: str) -> None:
        """A note on stderr, for people only."""
        if not self.as_json:
            console(stderr=True).print(clean(text), style="dim", soft_wrap=True)

    def emit(self, data: Mapping[str, Any], show: Callable[[Console], None]) -> None:
        """The command's result: `data` for programs, whatever `show` prints for people."""
        if self.as_json:
            print_json(data)
        else:
            show(console())


def default_state() -> Path:
    """Where the XDG base directories put a program's state."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # Not Path.expanduser, which fails where nobody knows a home.
    return Path(base or os.path.expanduser("~/.local/state")) / "scrip"


def _chain_id(rpc: str) -> int:
    from web3.exceptions import Web3RPCError

    from scrip.rpc import make_web3

    try:
        return make_web3(rpc).eth.chain_id
    except Web3RPCError as error:
        raise NodeDeclined(f"the node declines to name its chain: {error.message}") from None


@contextmanager
def _as_file(secret: str) -> Iterator[Path]:
    """A path that gives a secret once, through a pipe: it touches no disk and no variable."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(secret[:4096])
        yield Path(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
