"""An MCP client as a process of its own, to be killed: starts the server and has one piece of work done."""

from __future__ import annotations

import json
import os
import sys

import anyio
from mcp import Client, StdioServerParameters


async def main(arguments: dict[str, object], options: list[str]) -> None:
    """Call redeem, with the server that this environment configures."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "scrip.cli.main", "agent", "mcp", *options],
        env=dict(os.environ),
    )
    async with Client(server) as client:
        await client.call_tool("redeem", arguments)


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]), sys.argv[2:])
