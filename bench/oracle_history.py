"""A long past for a provider to catch up with: openings of jobs that ended long ago.

Once a job has ended after its acceptBy, the chain holds nothing of it but its events. Opening and settling
100,000 jobs would take Anvil the better part of an hour, so their openings are written by a stand-in at the
market's address, which emits what it is given; then the market is put back. What the node reads, how it asks
and what it finds are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eth_utils.crypto import keccak

from bench.lab import GAS
from bench.oracle_lab import OracleLab
from scrip import eip712, words
from scrip.types import JobTerms

EVENT: Final = (
    "JobOpened(bytes32,address,address,uint256,uint128,uint32,uint40,uint40,bytes32,uint256,uint256,uint96)"
)
TYPES: Final = (
    "bytes32", "address", "address", "uint256", "uint128", "uint32", "uint40", "uint40", "bytes32", "uint256",
    "uint256", "uint96",
)  # fmt: skip
PER_BLOCK: Final = 100
POSTED: Final = 20
"""Transactions in a request."""

_DATA: Final = 9 * words.WORD
_RECORD: Final = 3 * words.WORD + _DATA


@dataclass(frozen=True, slots=True)
class History:
    """Openings of jobs of the lab's provider, `PER_BLOCK` of them in each block."""

    lab: OracleLab

    def write(self, count: int) -> None:
        """Add `count` openings. Raises if a transaction of theirs reverted."""
        lab, anvil, market = self.lab, self.lab.up.anvil, self.lab.up.chain.address("JobMarket")
        real = anvil.rpc("eth_getCode", market, "latest")
        anvil.rpc("anvil_setCode", market, "0x" + emitter().hex())
        try:
            batch: list[tuple[str, str]] = []
            for number in range(0, count, PER_BLOCK):
                size = min(PER_BLOCK, count - number)
                batch.append((market, "0x" + b"".join(self._records(number, size)).hex()))
                if len(batch) == POSTED or number + size == count:
                    lab.check(lab.post(batch, GAS))
                    batch = []
        finally:
            anvil.rpc("anvil_setCode", market, real)

    def _records(self, first: int, count: int) -> Iterator[bytes]:
        up = self.lab.up
        past = up.chain.at().time() - 1_000_000
        for number in range(first, first + count):
            terms = JobTerms(
                payer=self.lab.buyer, provider=up.provider, class_id=self.lab.class_id, max_units=5_000,
                resources=1, accept_by=past, submit_by=past + 600, spec_hash=bytes(keccak(b"past")),
                budget_id=0, salt=(1 << 128) - number,
            )  # fmt: skip
            job = eip712.job_id(terms, up.chain.chain_id, up.chain.address("JobMarket"))
            yield words.encode(TYPES, (job, *terms.to_abi(), number))


def emitter() -> bytes:
    """Code that emits a JobOpened for each record of its calldata: three topics, then nine words of data."""
    data, record = _DATA.to_bytes(2), _RECORD.to_bytes(2)
    topic = bytes(keccak(text=EVENT))
    return b"".join(
        (
            b"\x60\x00",  # at = 0
            b"\x5b",  # again (at 2):
            b"\x61" + data + b"\x81\x60\x60\x01\x60\x00\x37",  # mem[0..] = calldata[at + 96 ..]
            b"\x80\x60\x40\x01\x35",  # provider = calldata[at + 64]
            b"\x81\x60\x20\x01\x35",  # payer = calldata[at + 32]
            b"\x82\x35",  # job id = calldata[at]
            b"\x7f" + topic + b"\x61" + data + b"\x60\x00\xa4",  # log4
            b"\x61" + record + b"\x01\x36\x81\x10\x60\x02\x57",  # at += record, again while at < calldatasize
            b"\x00",
        )
    )
