"""Gas of what users and providers do, from the receipts of transactions on Anvil.

Each figure is one transaction's `gasUsed`: cold storage, intrinsic cost, calldata and refunds included.
Balances, supply and earnings are non-zero before and after, and another job of the class stays open, as in
daily use. Rows of a batch belong to distinct buyers; a batch is signed once by the provider and once by each
of two watchers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak
from rich.console import Console
from rich.table import Table
from web3.logs import DISCARD

from scrip import eip712
from scrip.types import JobTerms, Outcome, Receipt
from scripts import stack
from scripts.classes import LLM, create_class, terms_of
from scripts.stack_config import ORACLE, PROVIDER, Options

RESULTS = Path(__file__).with_name("gas.json")
GOALS = {"open": 70_000, "submit": 95_000, "submit_batch_100": 22_000}
"""Most gas that each may take, by the plan for this stage."""
PEERS = {"job_whole": 233_674, "submit_batch_100": 65_910, "transfer_1155": 40_048}
"""The best others were measured at on similar work (commerce-payments, x402, plain OpenZeppelin)."""
BATCHES = (1, 10, 100)
MAX_UNITS, USED_UNITS = 100, 60
FUNDED_WEI = hex(10**20)
GAS = 16_000_000
_SALTS = count(1)


def measure() -> dict[str, int]:
    """Bring a chain up, do everything once and return gas by operation; batches per job."""
    with stack.running(Options()) as up:
        bench = _Bench.on(up)
        figures = dict(bench.singles())
        for size in BATCHES:
            figures[f"submit_batch_{size}"] = bench.batch(size) // size
    return figures


def write(figures: dict[str, int]) -> None:
    """Write the figures to `bench/gas.json`, whole or not at all."""
    draft = RESULTS.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", "utf-8")
    draft.replace(RESULTS)


def show(figures: dict[str, int]) -> None:
    """Print the figures beside the goals and the peers."""
    table = Table(title="gas by operation (receipts on Anvil)")
    for name in ("operation", "gas", "goal", "best peer"):
        table.add_column(name, justify="left" if name == "operation" else "right")
    for name, gas in sorted(figures.items()):
        goal, peer = GOALS.get(name), PEERS.get(name)
        table.add_row(name, f"{gas:,}", f"{goal:,}" if goal else "", f"{peer:,}" if peer else "")
    Console().print(table)


@dataclass(frozen=True, slots=True)
class _Bench:
    """A chain with two classes: one that settles on the provider's signature, one that needs two watchers."""

    up: stack.Stack
    plain: int
    watched: int

    @classmethod
    def on(cls, up: stack.Stack) -> _Bench:
        made = []
        for name, assurance in (("plain", 1), ("watched", 2)):
            # A receipt of the benchmark covers less than a second: no rate may bind.
            terms = terms_of(
                LLM, issuer=up.accounts["issuer"].address, payment_token=up.payment_token, watcher_set=1
            )
            changed = {"min_assurance": assurance, "name": name, "watcher_set": 1}
            fields = {key: getattr(terms, key) for key in terms.__dataclass_fields__} | changed
            made.append(create_class(up.chain, up.sender("issuer"), type(terms)(**fields)))
        return cls(up, *made)

    def singles(self) -> Iterator[tuple[str, int]]:
        """One of each operation by a buyer who has done all of them before."""
        buyer, friend = self._account(), self._account()
        self._buy(buyer, self.plain, 10_000)
        yield "buy", self._buy(buyer, self.plain, 10_000)
        self._run(buyer, self.plain)
        self._open(buyer, self._terms(buyer, self.plain))  # stays open
        terms = self._terms(buyer, self.plain)
        yield "open", self._open(buyer, terms)
        accept = self._market.accept(terms.to_abi())
        yield "accept", self._send(self._provider, accept)
        yield "submit", self._submit(terms)
        yield "job_whole", self._run(buyer, self.plain)
        move = self._function("ComputeCredits", "safeTransferFrom", buyer, friend, self.plain, 5, b"")
        self._send(buyer, move)
        yield "transfer_1155", self._send(buyer, move)

    def batch(self, size: int) -> int:
        """Gas of one `submitBatch` of `size` jobs. Raises if a row was skipped."""
        if self.up.chain.at().balance(self._provider, self.watched) == 0:
            self._warm()
        jobs = [self._running_job(self._account()) for _ in range(size)]
        receipts = [self._receipt(terms, 2) for terms in jobs]
        digest = eip712.batch_digest(
            [eip712.receipt_struct_hash(receipt) for receipt in receipts], self._chain_id, self._verifier
        )
        call = self._market.submitBatch(
            [terms.to_abi() for terms in jobs],
            [receipt.to_abi() for receipt in receipts],
            1,
            (self._sign(ORACLE, digest), self._watchers(digest)),
        )
        mined = self._mine(self._provider, call)
        settled = (
            self.up.chain.contract("JobMarket").events.JobSettled().process_receipt(mined, errors=DISCARD)
        )
        if len(settled) != size:
            raise AssertionError(f"{len(settled)} of {size} rows settled")
        return int(mined["gasUsed"])

    def _warm(self) -> None:
        """Give the watched class supply, earnings and an open job."""
        buyer = self._account()
        self._buy(buyer, self.watched, 10_000)
        self._send(
            buyer,
            self._function("ComputeCredits", "safeTransferFrom", buyer, self._provider, self.watched, 1, b""),
        )
        self._run(buyer, self.watched)
        self._open(buyer, self._terms(buyer, self.watched))

    def _running_job(self, buyer: str) -> JobTerms:
        self._buy(buyer, self.watched, 1_000)
        terms = self._terms(buyer, self.watched)
        self._open(buyer, terms, self._quote(terms))
        return terms

    def _run(self, buyer: str, class_id: int) -> int:
        terms = self._terms(buyer, class_id)
        return self._open(buyer, terms, self._quote(terms)) + self._submit(terms)

    def _buy(self, buyer: str, class_id: int, units: int) -> int:
        self._send(buyer, self._function("DemoUSD", "mint", buyer, 10**12))
        self._send(
            buyer, self._function("DemoUSD", "approve", self.up.chain.address("CreditReserve"), 2**256 - 1)
        )
        return self._send(buyer, self._function("CreditReserve", "buy", class_id, units, buyer, 10**12))

    def _open(self, buyer: str, terms: JobTerms, quote: bytes = b"") -> int:
        return self._send(buyer, self._market.open(terms.to_abi(), quote))

    def _submit(self, terms: JobTerms) -> int:
        assurance = 2 if terms.class_id == self.watched else 1
        receipt = self._receipt(terms, assurance)
        digest = eip712.receipt_digest(receipt, self._chain_id, self._verifier)
        watchers = self._watchers(digest) if assurance >= 2 else []
        call = self._market.submit(terms.to_abi(), receipt.to_abi(), (self._sign(ORACLE, digest), watchers))
        return self._send(self._provider, call)

    def _terms(self, buyer: str, class_id: int) -> JobTerms:
        now, salt = self.up.chain.at().time(), next(_SALTS)
        return JobTerms(
            payer=buyer, provider=self._provider, class_id=class_id, max_units=MAX_UNITS, resources=1,
            accept_by=now + 3600, submit_by=now + 7200, spec_hash=keccak(salt.to_bytes(32, "big")),
            budget_id=0,
            # As wide as the SDK's random salts, without their chance of a cheap zero byte.
            salt=(1 << 64) - salt,
        )  # fmt: skip

    def _receipt(self, terms: JobTerms, assurance: int) -> Receipt:
        job = eip712.job_id(terms, self._chain_id, self.up.chain.address("JobMarket"))
        view = self.up.chain.at()
        return Receipt(
            job_id=job, outcome=Outcome.COMPLETED, units=USED_UNITS, gpu_millijoules=123_456,
            input_tokens=200, output_tokens=USED_UNITS,
            started_at=view.job_state(job).opened_at, ended_at=view.time(),
            output_hash=keccak(b"output" + job), evidence_root=keccak(b"evidence" + job), assurance=assurance,
        )  # fmt: skip

    def _quote(self, terms: JobTerms) -> bytes:
        market = self.up.chain.address("JobMarket")
        job = eip712.job_id(terms, self._chain_id, market)
        return self._sign(ORACLE, eip712.acceptance_digest(job, self._chain_id, market))

    def _watchers(self, digest: bytes) -> list[bytes]:
        names = sorted(
            self.up.options.watcher_names, key=lambda name: int(self.up.accounts[name].address, 16)
        )
        return [self._sign(name, digest) for name in names]

    def _sign(self, name: str, digest: bytes) -> bytes:
        return eip712.sign(digest, self.up.accounts[name])

    def _account(self) -> str:
        """A fresh funded account that the node sends for."""
        address = str(Account.create().address)
        self.up.anvil.rpc("anvil_impersonateAccount", address)
        self.up.anvil.rpc("anvil_setBalance", address, FUNDED_WEI)
        return address

    def _send(self, sender: str, call: Any) -> int:
        return int(self._mine(sender, call)["gasUsed"])

    def _mine(self, sender: str, call: Any) -> Any:
        self.up.anvil.rpc("anvil_impersonateAccount", sender)
        sent = call.transact({"from": sender, "gas": GAS})
        mined = self.up.chain.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.02)
        if mined["status"] != 1:
            call.call({"from": sender})
            raise AssertionError(f"{call.fn_name} reverted")
        return mined

    def _function(self, contract: str, name: str, *args: object) -> Any:
        return self.up.chain.contract(contract).functions[name](*args)

    @property
    def _market(self) -> Any:
        return self.up.chain.contract("JobMarket").functions

    @property
    def _provider(self) -> str:
        return str(self.up.accounts[PROVIDER].address)

    @property
    def _chain_id(self) -> int:
        return self.up.chain.chain_id

    @property
    def _verifier(self) -> str:
        return self.up.chain.address("ReceiptVerifier")
