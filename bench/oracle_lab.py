"""The chain and the load of the oracle's benchmark: jobs opened by a buyer with the provider's quotes.

The work of these jobs is the smallest the catalogue has. Where a figure is not about running jobs, `NoWork`
stands in for the executor and its meters: everything else, from the sealing of samples to the stored receipt,
is the oracle's own code.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
from eth_typing import HexStr

from bench.lab import GAS, MONEY
from demo import stack
from demo.anvil import NO_TLS
from demo.classes import CPU, create_class, terms_of
from demo.processes import free_ports
from demo.stack_config import ORACLE, PROVIDER, Options, node_tables, provider_tables, render
from demo.stack_node import Node
from oracle.executors.base import Exit, GivenUp, Left, Work, never
from oracle.jobs.names import OUTPUT
from oracle.telemetry.base import Finished, Lease, Note, Reading, Remote
from scrip import eip712
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms

SPEC: Final = JobSpec("hash.chain", {"seed": "0x" + "5c" * 32, "steps": 1_000})
UNITS: Final = 5_000
"""Milliseconds of CPU that a job may use."""
CHUNK: Final = 250
ACCEPT_SECONDS, SUBMIT_SECONDS = 86_000, 86_400
STOP_SECONDS: Final = 30.0


@dataclass(slots=True)
class OracleLab:
    """A stack without nodes, a class of CPU time that settles on the provider's signature, and a buyer."""

    up: stack.Stack
    class_id: int
    buyer: str
    opened: int = 0
    folders: int = 0

    @classmethod
    def on(cls, up: stack.Stack) -> OracleLab:
        """Create the class and give the buyer credits."""
        issuer, buyer = up.sender("issuer"), str(up.accounts["buyer"].address)
        terms = terms_of(CPU, issuer=issuer.address, payment_token=up.payment_token, watcher_set=1)
        # A run of the benchmark lasts no time: no rate may bind.
        terms = replace(terms, min_assurance=1, watcher_set=0, max_rate=10**9, name="bench")
        made = cls(up, create_class(up.chain, issuer, terms), buyer)
        reserve, money = up.chain.contract("CreditReserve"), up.chain.contract("DemoUSD")
        sender = up.sender("buyer")
        sender.send(money.functions.mint(buyer, MONEY), label="mint")
        sender.send(money.functions.approve(reserve.address, 2**256 - 1), label="approve")
        sender.send(reserve.functions.buy(made.class_id, 20_000 * UNITS, buyer, MONEY), label="buy")
        up.anvil.rpc("anvil_setBalance", buyer, hex(10**24))
        up.anvil.rpc("anvil_impersonateAccount", buyer)
        up.anvil.rpc("evm_setBlockGasLimit", hex(2 * CHUNK * GAS))
        return made

    def open(self, count: int) -> None:
        """Open `count` jobs, each with the provider's quote, so that they run at once."""
        left = count
        while left:
            size = min(CHUNK, left)
            self._send_all([self._open_call() for _ in range(size)])
            left -= size

    def open_one(self) -> bytes:
        """Open one job and return its id."""
        terms = self._terms()
        self._send_all([self._open_call(terms)])
        return self._id(terms)

    def _terms(self) -> JobTerms:
        self.opened += 1
        now = self.up.chain.at().time()
        return JobTerms(
            payer=self.buyer, provider=self.up.provider, class_id=self.class_id, max_units=UNITS, resources=1,
            accept_by=now + ACCEPT_SECONDS, submit_by=now + SUBMIT_SECONDS, spec_hash=spec_hash(SPEC),
            budget_id=0, salt=(1 << 64) - self.opened,
        )  # fmt: skip

    def _id(self, terms: JobTerms) -> bytes:
        return eip712.job_id(terms, self.up.chain.chain_id, self.up.chain.address("JobMarket"))

    def _open_call(self, terms: JobTerms | None = None) -> Any:
        given = terms or self._terms()
        market = self.up.chain.address("JobMarket")
        digest = eip712.acceptance_digest(self._id(given), self.up.chain.chain_id, market)
        quote = eip712.sign(digest, self.up.accounts[ORACLE])
        return self.up.chain.contract("JobMarket").functions.open(given.to_abi(), quote)

    def _send_all(self, calls: Sequence[Any]) -> None:
        """Mine all calls of the buyer, nearly always in one block."""
        anvil = self.up.anvil
        anvil.rpc("evm_setAutomine", False)
        sent = self.post([(call.address, call._encode_transaction_data()) for call in calls], 400_000)
        while anvil.rpc("eth_getTransactionReceipt", sent[-1]) is None:
            anvil.mine()  # a busy node takes a moment to let a batch into its pool
        anvil.rpc("evm_setAutomine", True)
        self.check(sent)

    def post(self, calls: Sequence[tuple[str, str]], gas: int) -> list[str]:
        """Send calls (address, data) of the buyer in one request. Returns their hashes."""
        nonce = self.up.chain.nonce(self.buyer)
        body = [
            {
                "jsonrpc": "2.0", "id": number, "method": "eth_sendTransaction",
                "params": [
                    {
                        "from": self.buyer, "to": to, "data": data, "gas": hex(gas),
                        "nonce": hex(nonce + number),
                    }
                ],
            }
            for number, (to, data) in enumerate(calls)
        ]  # fmt: skip
        url = self.up.anvil.url
        answers = httpx.post(url, json=body, timeout=300, verify=NO_TLS, trust_env=False).json()
        refused = [answer["error"]["message"] for answer in answers if "error" in answer]
        if refused:
            raise AssertionError(f"{len(refused)} transactions refused: {refused[0]}")
        return [answer["result"] for answer in answers]

    def check(self, sent: Sequence[str]) -> None:
        """Raise if the first or the last of these transactions reverted."""
        for tx_hash in (sent[0], sent[-1]):
            mined = self.up.chain.w3.eth.wait_for_transaction_receipt(HexStr(tx_hash), poll_latency=0.01)
            if mined["status"] != 1:
                raise AssertionError(f"{tx_hash} reverted")

    # Nodes

    def provider(self, **sections: Any) -> Provider:
        """A provider's node with a state folder of its own; `sections` replace its settings."""
        up = self.up
        self.folders += 1
        name = f"provider-{self.folders}"
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        base = node_tables(up.options, up.layout, up.rpc_url, name, ORACLE, url)
        tables = provider_tables(up.options, base, up.provider, ())
        tables = {part: {**table, **sections.get(part, {})} for part, table in tables.items()}
        tables[""] = {**tables[""], "log_level": "WARNING", **sections.get("top", {})}
        path = up.layout.config(name)
        path.write_text(render(tables), "utf-8")
        command = (*up.nodes[PROVIDER].command[:-1], str(path))
        return Provider(Node(name, url, command, up.layout.log(name)), path, up.layout.state(name))


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's process, its settings file and its state folder."""

    node: Node
    config: Path
    state: Path

    def start(self) -> None:
        """Start the process; it may not be ready yet."""
        self.node.start()

    def stop(self) -> None:
        """End the process, and wait until it is gone."""
        self.node.stop()

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query on the node's database, read beside it; none while there is no database."""
        try:
            with closing(sqlite3.connect(f"file:{self.state / 'oracle.db'}?mode=ro", uri=True)) as store:
                return store.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            return []

    def count(self, state: str) -> int:
        """How many jobs are in `state`."""
        rows = self.ask("SELECT count(*) FROM jobs WHERE state = ?", state)
        return int(rows[0][0]) if rows else 0

    def check(self) -> None:
        """Raise if the process has ended."""
        if not self.node.is_running:
            raise AssertionError(f"the node ended: {self.node.log.read_text()[-2000:]}")

    def peak_mb(self) -> float:
        """The most memory the process has held, in MiB."""
        status = Path(f"/proc/{self.node.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)

    def wait(self, state: str, count: int, seconds: float = 1_800.0) -> None:
        """Wait until `count` jobs are in `state`. Raises if the process ends before."""
        deadline = time.monotonic() + seconds
        while self.count(state) < count:
            self.check()
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.count(state)} of {count} jobs {state} in {seconds:.0f} s")
            time.sleep(0.05)


@dataclass(slots=True)
class NoWork:
    """Stands in for the executor: no process, an output of 32 bytes, at once."""

    confinement: str = "none: a stand-in of the benchmark"
    places_gpus: bool = False

    def start(self, work: Work, given_up: GivenUp = never) -> Ended:
        """A job that has ended already."""
        work.workdir.mkdir(parents=True)
        (work.workdir / OUTPUT).write_bytes(work.job_id)
        return Ended()

    def end_stale(self, left: Left) -> int:
        """Nothing is ever left."""
        return 0


@dataclass(slots=True)
class Ended:
    """A run of `NoWork`."""

    pid: int = 1
    pgid: int = 1
    born_ns: int = 1
    gpus: tuple[str, ...] = ()
    remote: Remote | None = None
    started_mono_ns: int = field(default_factory=time.monotonic_ns)
    started_wall_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    def poll(self) -> Exit:
        """It ended as it started."""
        return Exit(0, None, "ok", self.started_wall_ms, self.started_wall_ms, 1_000, (1_000, 0, 1), "")

    def wait(self, timeout: float | None = None) -> Exit:
        """As `poll`."""
        return self.poll()

    def kill(self) -> None:
        """There is nothing to end."""


class NoMeter:
    """Stands in for the CPU meter beside `NoWork`: one millisecond."""

    name, simulated = "cpu", False

    def start(self, lease: Lease) -> list[Reading]:
        """Nothing used yet."""
        return [Reading("cpu-rusage", "cpu", "cpu_us", 0)]

    def tick(self) -> list[Reading]:
        """Nothing in between."""
        return []

    def end(self, finished: Finished) -> list[Reading]:
        """A millisecond."""
        return [Reading("cpu-rusage", "cpu", "cpu_us", 1_000)]

    def notes(self) -> tuple[Note, ...]:
        """Nothing odd."""
        return ()


@contextmanager
def running() -> Iterator[OracleLab]:
    """A lab on a stack of its own, which mines each transaction at once."""
    with stack.running(Options(poll_ms=1_000)) as up:
        yield OracleLab.on(up)
