"""Who takes part in the market in memory, and what ends a process of it."""

from __future__ import annotations

from eth_account import Account

from scrip.evidence import Result
from scrip.structs import to_address

AGENT = Account.from_key(b"\x51" * 32)
OWNER = to_address("owner", "0x" + "0e" * 20)
TOKEN = "0x" + "11" * 20
TICK = 100
"""Seconds that pass while the agent sleeps once."""
MAKER = Account.from_key(b"\x61" * 32)
FAILED = Result(1, None, "failed")


class Kill(BaseException):
    """The agent's process dies here."""
