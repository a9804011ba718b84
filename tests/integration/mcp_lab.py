"""An MCP server as a real process before a real provider, and the official client in front of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from demo.processes import spawn, stop_group
from tests.integration.oracle_lab import PASSWORD, USD, OracleLab
from tests.integration.system import account

ROOT = Path(__file__).resolve().parents[2]
AGENT = "mcp agent"
SECONDS = 120.0
HASHES = {"template": "hash.chain", "params": {"seed": "0x" + "ab" * 32, "steps": 20_000}}
_T = TypeVar("_T")


@dataclass(frozen=True)
class McpLab:
    """A provider that runs, a class of CPU-seconds it serves, and an agent with 5 demonstration dollars."""

    lab: OracleLab
    class_id: int

    @property
    def address(self) -> str:
        return str(account(AGENT).address)

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "scrip.cli.main", "agent", "mcp", *options]

    def env(self, state: Path) -> dict[str, str]:
        """Only what it needs: no password of this process gets to a client's log."""
        return {
            "SCRIP_RPC": self.lab.system.anvil.url,
            "SCRIP_DEPLOYMENT": str(self.lab.folder / "deployments"),
            "SCRIP_KEYSTORE": str(self.lab.folder / f"{AGENT}.json"),
            "SCRIP_PASSWORD_FILE": str(self.lab.folder / "password"),
            "SCRIP_STATE": str(state),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
        }

    def stdio(self, state: Path, *options: str) -> StdioServerParameters:
        """How an MCP client starts the server."""
        program, *args = self.command(*options)
        return StdioServerParameters(command=program, args=args, env=self.env(state), cwd=state)

    def footprint(self) -> tuple[int, int, int, int]:
        """What any transaction of the agent's would change: nonce, wei, dollars, credits."""
        view, chain = self.lab.chain.at(), self.lab.chain
        token = chain.address("DemoUSD")
        return (
            chain.nonce(self.address, "pending"),
            chain.balance(self.address, view.block),
            view.token_balance(token, self.address),
            view.balance(self.address, self.class_id),
        )

    def jobs(self) -> list[bytes]:
        """Jobs that the agent has opened."""
        events = self.lab.chain.at().events("JobMarket", "JobOpened", payer=self.address)
        return [bytes(event.args["jobId"]) for event in events]


def prepare(lab: OracleLab) -> McpLab:
    """Start the provider, create the class, fund the agent."""
    lab.funded_keystore(AGENT)
    lab.system.mint(account(AGENT).address, 5 * USD)
    class_id = lab.system.create_class(min_assurance=1)
    lab.start("provider", lab.provider_settings())
    assert (lab.folder / "password").read_text() == PASSWORD
    return McpLab(lab, class_id)


def run(body: Callable[[], Awaitable[_T]]) -> _T:
    """Run an async test body, never longer than a test may take."""

    async def limited() -> _T:
        with anyio.fail_after(SECONDS):
            return await body()

    return anyio.run(limited)


@asynccontextmanager
async def over_stdio(place: McpLab, state: Path, *options: str) -> AsyncIterator[Client]:
    """The official client with the server as its child."""
    async with Client(place.stdio(state, *options)) as client:
        yield client


@asynccontextmanager
async def over_http(url: str, token: str) -> AsyncIterator[Client]:
    """The official client with a token."""
    import httpx2

    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@dataclass(frozen=True)
class Served:
    """A server over HTTP."""

    url: str
    token: str
    log: Path


@contextmanager
def http_server(place: McpLab, state: Path, *options: str) -> Iterator[Served]:
    """A server process on a free port, stopped afterwards."""
    log = state / "server.log"
    with log.open("wb") as sink:
        command = place.command("--transport", "http", "--port", "0", *options)
        process = spawn(command, sink, cwd=state, env=place.env(state))
        try:
            url = _announced(process, log)
            yield Served(url, (state / "mcp.token").read_text().strip(), log)
        finally:
            stop_group(process, 15.0)


def _announced(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while True:
        found = re.search(r"MCP at (http://\S+)", log.read_text())
        if found:
            return found.group(1)
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def data(result: CallToolResult) -> dict[str, Any]:
    """A tool's structured answer; fails the test if it is an error."""
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return dict(result.structured_content)


def error(result: CallToolResult) -> tuple[str, dict[str, Any]]:
    """A tool's error: its text, and the same for programs."""
    assert result.is_error, result.structured_content
    assert result.structured_content is not None
    text = "".join(getattr(item, "text", "") for item in result.content)
    assert "Traceback" not in text
    assert "\n" not in text
    return text, dict(result.structured_content["error"])
