"""A local Anvil node for demonstrations and tests: started on a free loopback port, never left behind.

with running(chain_id=31337) as anvil:
    Web3(HTTPProvider(anvil.url))
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from demo.processes import POLL_SECONDS, has_ended, spawn, stop_group
from scrip.errors import ChainError, NodeUnavailable, NotFound

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 5.0

MNEMONIC = "test test test test test test test test test test test junk"
"""Anvil's published mnemonic. Its accounts are funded on every Anvil, and refused off local chains."""

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain HTTP on this machine: trusts nobody. Without it, each request would load the CA certificates."""

_LISTENING = re.compile(rb"Listening on [\d.]+:(\d+)")


@dataclass(frozen=True, slots=True)
class Anvil:
    """A running node. `stop` ends it; calling that twice does no harm."""

    url: str
    chain_id: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def rpc(self, method: str, *params: object) -> Any:
        """Result of one JSON-RPC request. Raises ChainError with the node's own message."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = httpx.post(self.url, json=body, timeout=30, verify=NO_TLS, trust_env=False).json()
        except httpx.HTTPError as error:
            raise NodeUnavailable(HOST, type(error).__name__) from error
        if "error" in answer:
            raise ChainError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def set_balance(self, address: str, wei: int) -> None:
        """Give `address` exactly `wei` of the chain's coin."""
        self.rpc("anvil_setBalance", address, hex(wei))

    def mine(self, blocks: int = 1) -> None:
        """Mine `blocks` empty blocks."""
        self.rpc("anvil_mine", hex(blocks))

    def advance(self, seconds: int) -> None:
        """Move the chain's clock forward by `seconds` for good, and mine a block that shows it.

        It then runs ahead of this machine's: a job opened afterwards seems to start before it was opened.
        """
        self.rpc("evm_increaseTime", seconds)
        self.mine()

    def stop(self) -> None:
        """End the node and everything it started, and wait until it is gone."""
        stop_group(self.process, STOP_SECONDS)


@contextlib.contextmanager
def running(
    *, chain_id: int = 31337, port: int = 0, block_time: int | None = None, extra: Sequence[str] = ()
) -> Iterator[Anvil]:
    """A node that lives as long as the block. Same arguments as `start`."""
    anvil = start(chain_id=chain_id, port=port, block_time=block_time, extra=extra)
    try:
        yield anvil
    finally:
        anvil.stop()


def start(
    *, chain_id: int = 31337, port: int = 0, block_time: int | None = None, extra: Sequence[str] = ()
) -> Anvil:
    """Start a node on `port` of the loopback interface (0: a free one) and wait until it answers.

    It mines each transaction at once; with `block_time` (seconds) also an empty block at that interval, so
    that the chain's clock moves when nothing else does. `extra` are further arguments of Anvil.
    Raises NotFound if Anvil isn't installed, ChainError if it ends or stays silent.
    """
    command = [str(binary()), "--host", HOST, "--port", str(port), "--chain-id", str(chain_id)]
    if block_time is not None:
        command += ["--block-time", str(block_time), "--mixed-mining"]
    with tempfile.TemporaryFile() as log:
        process = spawn([*command, *extra], log)
        try:
            return Anvil(f"http://{HOST}:{_wait_for_port(process, log)}", chain_id, process)
        except BaseException:
            stop_group(process, STOP_SECONDS)
            raise


def binary() -> Path:
    """Anvil's own executable: npm's package in the checkout or in the current folder, or the one on PATH.

    npm's link to it is a Node program, one more to end, and only taken from PATH. Raises NotFound.
    """
    for folder in (ROOT, Path.cwd()):
        if found := sorted((folder / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil")):
            return found[0]
    if on_path := shutil.which("anvil"):
        return Path(on_path)
    raise NotFound("program", "anvil", "Install Foundry, or run here: npm install @foundry-rs/anvil")


def _wait_for_port(process: subprocess.Popen[bytes], log: IO[bytes]) -> int:
    """The port Anvil says it listens on. It binds before it says so: no port is guessed or raced for."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        # pread keeps its own offset: seeking here would move the one that Anvil writes at.
        text = os.pread(log.fileno(), 1 << 16, 0)
        if found := _LISTENING.search(text):
            return int(found[1])
        if has_ended(process):
            detail = text.decode(errors="replace").strip().splitlines()[:1] or ["no output"]
            raise ChainError(f"anvil ended with status {process.wait()}: {detail[0]}")
        if time.monotonic() >= deadline:
            raise ChainError(f"anvil did not listen within {START_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
