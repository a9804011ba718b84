"""Whether an operation costs more when the market is full.

Gas of what users do while 1, 100 and 10,000 other jobs and sessions are open, offers are part filled, and
classes exist. Figures are single transactions' `gasUsed`, as in `bench.gas`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from web3 import Web3

from bench.jobs import Jobs
from bench.lab import GAS, Lab
from bench.spending import CLAIMED, Spending
from demo import stack
from demo.stack_config import Options
from scrip import eip712
from scrip.eip712_credits import offer_digest
from scrip.structs import ZERO_ADDRESS
from scrip.types_spending import Offer, SessionTerms

RESULTS = Path(__file__).with_name("flat.json")
COUNTS = (1, 100, 10_000)
TOLERANCE = 200
"""Figures of one operation differ by at most one part in this many: hashes have more or fewer zero bytes."""
CHUNK = 250
OFFERED = 1_000_000
_MAKER = "stranger"
"""Account of the stack that sells in the exchange."""
Crowded = tuple[str, list[Any]]
"""A sender and its calls."""


@dataclass(slots=True)
class Crowd:
    """The others: a buyer with many jobs and sessions, a maker with many offers, an issuer of classes."""

    lab: Lab
    size: int = 0
    buyer: str = field(init=False)
    spending: Spending = field(init=False)
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        self.jobs, self.spending = Jobs(self.lab), Spending(self.lab)
        self.buyer = self.lab.holder(self.lab.plain)
        self.lab.buy(self.buyer, self.lab.plain, 50_000_000)
        _approve(self.lab, self.buyer)

    def grow(self, size: int) -> None:
        """Add to the crowd until it has `size` of everything."""
        kinds: tuple[Callable[[int], Crowded], ...] = (self._jobs, self._sessions, self._fills, self._classes)
        while self.size < size:
            count = min(CHUNK, size - self.size)
            for kind in kinds:
                _send_all(self.lab, *kind(count))
            self.size += count

    def _jobs(self, count: int) -> Crowded:
        open_job = self.lab.up.chain.contract("JobMarket").functions.open
        terms = self.jobs.terms(self.buyer, self.lab.plain)
        made = (replace(terms, salt=self.lab.number()) for _ in range(count))
        return self.buyer, [open_job(one.to_abi(), b"") for one in made]

    def _sessions(self, count: int) -> Crowded:
        lab = self.lab
        open_session = lab.up.chain.contract("MeteredSessions").functions.openSession
        terms = SessionTerms(
            payer=self.buyer, provider=lab.provider, class_id=lab.plain, key=self.buyer,
            expires_at=lab.now() + 86_400, budget_id=0, salt=0,
        )  # fmt: skip
        made = (replace(terms, salt=lab.number()) for _ in range(count))
        return self.buyer, [open_session(one.to_abi(), 10) for one in made]

    def _fills(self, count: int) -> Crowded:
        fill = self.lab.up.chain.contract("CreditExchange").functions.fill
        return self.buyer, [fill(order) for order in orders(self.lab, count)]

    def _classes(self, count: int) -> Crowded:
        create = self.lab.up.chain.contract("ComputeCredits").functions.createClass
        issuer = str(self.lab.up.accounts["issuer"].address)
        return issuer, [create(self.lab.terms.to_abi(), [])] * count


def measure() -> dict[str, list[int]]:
    """Gas of each operation at each of COUNTS."""
    with stack.running(Options()) as up:
        lab = Lab.on(up)
        _stock(lab)
        lab.up.anvil.rpc("evm_setBlockGasLimit", hex(2 * CHUNK * GAS))
        crowd, probe = Crowd(lab), Probe(lab)
        figures: dict[str, list[int]] = {}
        for count in COUNTS:
            crowd.grow(count)
            for name, gas in probe.run():
                figures.setdefault(name, []).append(gas)
            print(f"measured beside {count:,} others", flush=True)
        return figures


@dataclass(slots=True)
class Probe:
    """One buyer, warm in everything, who does one of each."""

    lab: Lab
    buyer: str = field(init=False)

    def __post_init__(self) -> None:
        self.buyer = self.lab.holder(self.lab.plain)
        self.lab.buy(self.buyer, self.lab.plain, 100_000)
        _approve(self.lab, self.buyer)
        list(self.run())

    def run(self) -> Iterator[tuple[str, int]]:
        """Gas by operation."""
        lab, jobs, spending = self.lab, Jobs(self.lab), Spending(self.lab)
        yield "buy", lab.buy(self.buyer, lab.plain, 1_000)
        terms = jobs.terms(self.buyer, lab.plain)
        yield "open", jobs.open(self.buyer, terms)
        yield "cancel", lab.send(self.buyer, lab.function("JobMarket", "cancel", terms.to_abi()))
        yield "submit", jobs.submit(jobs.running(self.buyer, lab.plain))
        session = spending.open()
        yield "claim", lab.send(lab.provider, spending.claim_call([spending.voucher(session, CLAIMED)]))
        yield "fill", lab.send(self.buyer, lab.function("CreditExchange", "fill", orders(lab, 1)[0]))
        issuer = str(lab.up.accounts["issuer"].address)
        yield (
            "create_class",
            lab.send(issuer, lab.function("ComputeCredits", "createClass", lab.terms.to_abi(), [])),
        )


def uneven(figures: dict[str, list[int]]) -> list[str]:
    """What costs more beside many than beside few; a line each."""
    return [
        f"{name}: from {min(gas):,} to {max(gas):,} gas"
        for name, gas in sorted(figures.items())
        if (max(gas) - min(gas)) * TOLERANCE > min(gas)
    ]


def write(figures: dict[str, list[int]]) -> None:
    """Write the figures to `bench/flat.json`."""
    rows = {name: dict(zip(map(str, COUNTS), gas, strict=True)) for name, gas in figures.items()}
    RESULTS.write_text(json.dumps(rows, indent=2, sort_keys=True) + "\n", "utf-8")


def show(figures: dict[str, list[int]]) -> None:
    """Print the figures, a column for each count."""
    table = Table(title="gas beside other jobs, sessions, offers and classes")
    for name in ("operation", *(f"{count:,}" for count in COUNTS)):
        table.add_column(name, justify="left" if name == "operation" else "right")
    for name, gas in sorted(figures.items()):
        table.add_row(name, *(f"{one:,}" for one in gas))
    Console().print(table)


def orders(lab: Lab, count: int) -> list[Any]:
    """Fills of one unit each, of as many fresh offers of the maker's."""
    account, exchange = lab.up.accounts[_MAKER], lab.address("CreditExchange")
    offer = Offer(
        maker=account.address, selling=True, class_id=lab.plain, units=10, token=lab.up.payment_token,
        price=1_000, taker=ZERO_ADDRESS, expiry=lab.now() + 86_400, epoch=0, salt=0,
    )  # fmt: skip
    made = [replace(offer, salt=(1 << 64) - lab.number()) for _ in range(count)]
    digests = [offer_digest(one, lab.chain_id, exchange) for one in made]
    return [
        (one.to_abi(), eip712.sign(digest, account), 1, 1_000)
        for one, digest in zip(made, digests, strict=True)
    ]


def _stock(lab: Lab) -> None:
    """Give the maker units to sell, and the exchange the right to move them."""
    seller = str(lab.up.accounts[_MAKER].address)
    lab.up.anvil.rpc("anvil_impersonateAccount", seller)
    lab.fund(seller)
    lab.buy(seller, lab.plain, OFFERED)
    exchange = lab.address("CreditExchange")
    lab.send(seller, lab.function("ComputeCredits", "setApprovalForAll", exchange, True))


def _approve(lab: Lab, buyer: str) -> None:
    exchange = lab.address("CreditExchange")
    lab.send(buyer, lab.function("DemoUSD", "approve", exchange, 2**256 - 1))


def _send_all(lab: Lab, sender: str, calls: list[Any]) -> None:
    """Mine all calls of one sender in one block. Raises if the first or last one reverted."""
    lab.up.anvil.rpc("anvil_impersonateAccount", sender)
    lab.up.anvil.rpc("anvil_setBalance", sender, hex(10**24))
    nonce = lab.up.chain.w3.eth.get_transaction_count(Web3.to_checksum_address(sender))
    body = [
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "eth_sendTransaction",
            "params": [
                {
                    "from": sender,
                    "to": call.address,
                    "data": call._encode_transaction_data(),
                    "gas": hex(GAS),
                    "nonce": hex(nonce + number),
                }
            ],
        }
        for number, call in enumerate(calls)
    ]
    # Anvil hashes its whole state for each block: blocks of one transaction would take it an hour.
    lab.up.anvil.rpc("evm_setAutomine", False)
    answers = httpx.post(lab.up.anvil.url, json=body, timeout=120).json()
    lab.up.anvil.mine()
    lab.up.anvil.rpc("evm_setAutomine", True)
    refused = [answer["error"]["message"] for answer in answers if "error" in answer]
    if refused:
        raise AssertionError(f"{len(refused)} of the crowd refused: {refused[0]}")
    for answer in (answers[0], answers[-1]):
        mined = lab.up.chain.w3.eth.wait_for_transaction_receipt(answer["result"], poll_latency=0.01)
        if mined["status"] != 1:
            raise AssertionError(f"{calls[0].fn_name} of the crowd reverted")
