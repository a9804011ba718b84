"""A chain, its node and a signer in memory: just what the sender uses, with faults on demand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from eth_utils.crypto import keccak

from scrip.errors import NodeUnavailable, Reverted

SENDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TARGET = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


class Crash(BaseException):
    """The process dies here."""


class FakeSigner:
    """Signs by writing the transaction out as JSON."""

    address = SENDER

    def sign_transaction(self, transaction_dict: dict[str, Any]) -> Any:
        fields = {**transaction_dict, "data": transaction_dict["data"].hex()}
        raw = json.dumps(fields, sort_keys=True).encode()
        return SimpleNamespace(raw_transaction=raw, hash=keccak(raw))


@dataclass(frozen=True)
class Mined:
    """One used nonce: our transaction, or None for one of somebody else's."""

    tx_hash: bytes
    data: bytes | None
    block: int
    status: int = 1


class FakeChain:
    """Mines only when told to. `answers` are what the node says to the next broadcasts, "" for the truth.

    Besides error messages an answer can be "cut" (arrives, but we hear nothing), "void" (never arrives, and
    we hear nothing) and "crash" (arrives, and our process dies).
    """

    chain_id = 31337

    def __init__(self) -> None:
        self.w3 = SimpleNamespace(provider=self)
        self.pool: dict[int, dict[str, Any]] = {}
        self.mined: list[Mined] = []
        self.counts = [0]  # nonce at each block
        self.base, self.tip = 100, 10
        self.answers: list[str] = []
        self.broadcasts: list[dict[str, Any]] = []
        self.revert: Reverted | None = None
        self.fail_on_chain = False
        self.replay: Reverted | None = None
        self.gas, self.gas_used = 100_000, 50_000
        self.down = 0
        self.depth = 0

    # What the sender reads

    def _up(self) -> None:
        if self.down > 0:
            self.down -= 1
            raise NodeUnavailable("fake", "ConnectionError")

    def head(self) -> int:
        self._up()
        return len(self.counts) - 1

    def finalized(self) -> int:
        return max(0, self.head() - self.depth)

    def nonce(self, address: str, block: Any = "latest") -> int:
        self._up()
        assert address == SENDER
        if isinstance(block, int):
            return self.counts[block]
        count = len(self.mined)
        while block == "pending" and count in self.pool:
            count += 1
        return count

    def receipt(self, tx_hash: bytes) -> Any:
        self._up()
        for item in self.mined:
            if item.tx_hash == tx_hash:
                return {
                    "transactionHash": tx_hash,
                    "blockNumber": item.block,
                    "status": item.status,
                    "gasUsed": self.gas_used,
                }
        return None

    def base_fee(self) -> int:
        self._up()
        return self.base

    def suggested_tip(self) -> int:
        return self.tip

    def call(self, params: Any, block: Any = "latest") -> bytes:
        self._up()
        failure = self.revert if block == "pending" else self.replay
        if failure is not None:
            raise failure
        return b""

    def estimate_gas(self, params: Any) -> int:
        self._up()
        return self.gas

    # What it sends

    def make_request(self, method: str, params: Any) -> Any:
        assert method == "eth_sendRawTransaction"
        raw = bytes.fromhex(params[0][2:])
        answer = self.answers.pop(0) if self.answers else ""
        if answer in ("", "cut", "crash"):
            truth = self._take(raw)
            answer = answer or truth
        if answer == "crash":
            raise Crash
        if answer in ("cut", "void"):
            raise NodeUnavailable("fake", "ReadTimeout", too_slow=True)
        return {"error": {"code": -32000, "message": answer}} if answer else {"result": "0x"}

    def _take(self, raw: bytes) -> str:
        tx = json.loads(raw)
        tx["hash"] = keccak(raw)
        self.broadcasts.append(tx)
        if tx["nonce"] < len(self.mined):
            return "nonce too low"
        other = self.pool.get(tx["nonce"])
        if other is not None and other["hash"] == tx["hash"]:
            return "already known"
        if other is not None and tx["maxFeePerGas"] * 10 < other["maxFeePerGas"] * 11:
            return "replacement transaction underpriced"
        self.pool[tx["nonce"]] = tx
        return ""

    # What happens meanwhile

    def mine(self) -> None:
        block = len(self.counts)
        while (tx := self.pool.get(len(self.mined))) and tx["maxFeePerGas"] >= self.base:
            del self.pool[tx["nonce"]]
            status = 0 if self.fail_on_chain else 1
            self.mined.append(Mined(tx["hash"], bytes.fromhex(tx["data"]), block, status))
        self.counts.append(len(self.mined))

    def take_nonce(self) -> None:
        """Somebody else's transaction of the same account is mined with the next nonce."""
        self.pool.pop(len(self.mined), None)
        self.mined.append(Mined(keccak(b"other" + bytes([len(self.mined)])), None, len(self.counts)))
        self.counts.append(len(self.mined))

    def times_mined(self, data: bytes) -> int:
        return sum(item.data == data for item in self.mined)
