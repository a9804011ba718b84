"""Writes `docs/costs.md`: what operations cost on Ethereum, Base and Arbitrum, by bench/gas.json.

    python -m scripts.costs [--check]

The prices are parameters, stated on the page; they are examples and not what any market asks today.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.abi import collapse_if_tuple

from scrip.abi import abi

ROOT = Path(__file__).resolve().parents[1]
GAS = ROOT / "bench" / "gas.json"
PAGE = ROOT / "docs" / "costs.md"
GWEI: Final = 10**9
ENVELOPE: Final = 180
"""Bytes of a signed transaction beside its calldata: nonce, fees, gas, address, signature, list heads."""


_PAGE: Final = """# What it costs on chain

Made by `python -m scripts.costs` from the measured gas of `bench/gas.json`; a test keeps it fresh.

**The prices are parameters, not quotes.** Put in what holds when you read this (`Prices` in that script).

| parameter | value |
|---|---|
{stated}

| operation | gas | bytes | Ethereum | Base | Arbitrum |
|---|---:|---:|---:|---:|---:|
{rows}

A rollup charges for gas and for the data that it keeps on Ethereum; both are in its column. Bytes are the
transaction's: calldata with one item in each list, and about 180 for the rest of it.

- Base, as every OP-stack chain since [Fjord](https://specs.optimism.io/protocol/fjord/exec-engine.html):
  `estimatedSize * (16 * baseFeeScalar * l1BaseFee + blobFeeScalar * blobBaseFee) / 10^12`, with
  `estimatedSize = max(100 * 10^6, 836500 * compressed - 42585600)`. The upper bound of the compressed size is
  used, as in `GasPriceOracle.getL1FeeUpperBound`: the real fee is lower.
- [Arbitrum](https://docs.arbitrum.io/how-arbitrum-works/gas-fees): size * L1 fee per byte, which ArbOS adapts
  to what posting costs. Taken uncompressed: the real fee is lower.
- Gas is measured on Anvil. Execution gas on Arbitrum may differ slightly.
"""


@dataclass(frozen=True, slots=True)
class Prices:
    """Parameters of the page. Fees in wei; scalars as the chain's SystemConfig has them (times 10**6)."""

    dollars_per_ether: Decimal = Decimal(3000)
    ethereum_fee: int = 2 * GWEI
    base_fee: int = GWEI // 100
    arbitrum_fee: int = GWEI // 50
    blob_fee: int = GWEI // 10
    base_fee_scalar: int = 2269
    blob_fee_scalar: int = 1055762
    arbitrum_fee_per_byte: int = 16 * 2 * GWEI // 10


PRICES: Final = Prices()


@dataclass(frozen=True, slots=True)
class Operation:
    """A row: its name in bench/gas.json, and the call it is, for its calldata."""

    title: str
    key: str
    contract: str
    function: str


OPERATIONS: Final = (
    Operation("buy credits", "buy", "CreditReserve", "buy"),
    Operation("open a job", "open", "JobMarket", "open"),
    Operation("accept a job", "accept", "JobMarket", "accept"),
    Operation("submit a receipt", "submit", "JobMarket", "submit"),
    Operation("transfer credits", "transfer_1155", "ComputeCredits", "safeTransferFrom"),
)


def calldata_bytes(contract: str, function: str) -> int:
    """Length of the call's data, with one item in every list and 65 bytes, a signature, in every `bytes`."""
    (entry,) = (e for e in abi(contract) if e["type"] == "function" and e["name"] == function)
    kinds = [collapse_if_tuple(item) for item in entry["inputs"]]
    return 4 + len(encode(kinds, [_filled(item) for item in entry["inputs"]]))


def op_stack_fee(size: int, prices: Prices) -> int:
    """Wei for a transaction's data on an OP-stack chain: Fjord's formula, for data that doesn't compress.

    https://specs.optimism.io/protocol/fjord/exec-engine.html; the upper bound of the compressed size is
    GasPriceOracle.getL1FeeUpperBound's, size + size / 255 + 16.
    """
    scaled = prices.base_fee_scalar * prices.ethereum_fee * 16 + prices.blob_fee_scalar * prices.blob_fee
    compressed = size + size // 255 + 16
    estimated = max(100 * 10**6, -42_585_600 + 836_500 * compressed)
    return estimated * scaled // 10**12


def arbitrum_data_fee(size: int, prices: Prices) -> int:
    """Wei for a transaction's data on Arbitrum: its estimated size in bytes times the L1 fee per byte.

    https://docs.arbitrum.io/how-arbitrum-works/gas-fees; uncompressed here, so at most this.
    """
    return size * prices.arbitrum_fee_per_byte


def page(gas: dict[str, int], prices: Prices = PRICES) -> str:
    """The whole page."""
    rows = "\n".join(_row(each, gas[each.key], prices) for each in OPERATIONS)
    parameters = {
        "price of ether": f"${prices.dollars_per_ether}",
        "fee per gas on Ethereum": f"{_gwei(prices.ethereum_fee)} gwei",
        "fee per gas on Base": f"{_gwei(prices.base_fee)} gwei",
        "fee per gas on Arbitrum": f"{_gwei(prices.arbitrum_fee)} gwei",
        "fee per blob gas": f"{_gwei(prices.blob_fee)} gwei",
        "Base's scalars of base fee and blob fee": f"{prices.base_fee_scalar}, {prices.blob_fee_scalar}",
        "Arbitrum's L1 fee per byte": f"{_gwei(prices.arbitrum_fee_per_byte)} gwei",
    }
    stated = "\n".join(f"| {name} | {value} |" for name, value in parameters.items())
    return _PAGE.format(stated=stated, rows=rows)


def _row(operation: Operation, gas: int, prices: Prices) -> str:
    size = calldata_bytes(operation.contract, operation.function) + ENVELOPE
    base = gas * prices.base_fee + op_stack_fee(size, prices)
    arbitrum = gas * prices.arbitrum_fee + arbitrum_data_fee(size, prices)
    costs = (gas * prices.ethereum_fee, base, arbitrum)
    cells = (f"${Decimal(wei) * prices.dollars_per_ether / 10**18:.5f}" for wei in costs)
    return f"| {operation.title} | {gas:,} | {size} | {' | '.join(cells)} |"


def _gwei(wei: int) -> str:
    return f"{Decimal(wei) / GWEI:f}"


def _filled(item: dict[str, Any]) -> Any:
    kind: str = item["type"]
    if kind.endswith("[]"):
        return [_filled({**item, "type": kind.removesuffix("[]")})]
    if kind == "tuple":
        return tuple(_filled(part) for part in item["components"])
    if kind == "bytes":
        return b"\x01" * 65
    if kind.startswith("bytes"):
        return b"\x01" * int(kind.removeprefix("bytes"))
    return "0x" + "11" * 20 if kind == "address" else ("x" if kind == "string" else 1)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check say whether it is stale; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.costs", description="Write docs/costs.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the page is stale")
    wanted = page(json.loads(GAS.read_text("utf-8")))
    if not parser.parse_args(arguments).check:
        PAGE.write_text(wanted, "utf-8")
        return 0
    if PAGE.read_text("utf-8") == wanted:
        return 0
    print("docs/costs.md is stale: run `.venv/bin/python -m scripts.costs` and commit it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
