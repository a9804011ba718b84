"""A provider and its watchers as processes on a shared chain, seen and disturbed from outside.

Nothing in the product knows of these tests: they read the node's store, hold its calls to the chain at a
gate, stop and kill its process, and pause the mining of blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.stack_config import Table, render
from demo.stack_node import Node
from scrip import deployments
from scrip.amounts import pay_out
from scrip.sender import Sender
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms, Receipt, Status
from tests.e2e import gate as gates
from tests.e2e.gate import Gate
from tests.integration.oracle_lab import PASSWORD, OracleLab
from tests.integration.system import System

PROVIDER: Final = "provider"
WAIT_SECONDS: Final = 60.0
SEED: Final = "0x" + "77" * 32
UNITS: Final = 30_000
BOUGHT: Final = 100 * UNITS
RPC_KEY: Final = "rpc-key-that-no-log-may-hold"  # a path of the node's URL, as hosted nodes have it


def hashes(steps: int) -> JobSpec:
    """A job of so many hashes, some two million a second."""
    return JobSpec("hash.chain", {"seed": SEED, "steps": steps})


SHORT, LONG = hashes(200_000), hashes(5_000_000)
"""Work for a moment, and for some seconds."""


def until(holds: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Poll until it holds. Fails with `what` if it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Books:
    """What a settlement in one class moves, in base units. `tokens` is all that the reserve holds."""

    held: int
    locked: int
    supply: int
    backing: int
    earned: int
    tokens: int

    def after(self, units: int) -> Books:
        """The books once exactly `units` have been settled."""
        paid = pay_out(units, self.backing, self.supply)
        return Books(
            self.held - units, self.locked, self.supply - units, self.backing - paid, self.earned + paid,
            self.tokens,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that a buyer has asked for, and the books before."""

    id: bytes
    terms: JobTerms
    spec: JobSpec
    quote: bytes
    books: Books


@dataclass
class Site:
    """One provider, its watchers, one buyer. `state` is where the provider keeps everything."""

    lab: OracleLab
    gate: Gate
    state: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    buyers: dict[int, Sender] = field(default_factory=dict)

    @property
    def system(self) -> System:
        """The contracts."""
        return self.lab.system

    @property
    def provider(self) -> Node:
        """The provider's process."""
        return self.nodes[PROVIDER]

    # Processes

    def configure(self, name: str, tables: Mapping[str, Table], env: Mapping[str, str] | None = None) -> Node:
        """Write a node's settings; its process, not started yet. `env` is added to its environment."""
        path = self.lab.folder / f"{name}.toml"
        path.write_text(render(tables))
        command = [sys.executable, "-m", "scrip.cli.main", "oracle", "run", "--config", str(path)]
        if env:
            command = ["/usr/bin/env", *(f"{key}={value}" for key, value in env.items()), *command]
        self.nodes[name] = Node(
            name, str(tables["api"]["public_url"]), command, self.lab.folder / f"{name}.log"
        )
        return self.nodes[name]

    def configure_provider(
        self, changes: Mapping[str, Table] | None = None, env: Mapping[str, str] | None = None
    ) -> Node:
        """The provider with `changes` to its tables."""
        tables = self.provider_tables()
        for name, table in (changes or {}).items():
            tables[name] = {**tables.get(name, {}), **table}
        return self.configure(PROVIDER, tables, env)

    def provider_tables(self) -> dict[str, Table]:
        """The provider's usual settings."""
        return {
            **self._tables("oracle", self.lab.url, f"{self.gate.url}/{RPC_KEY}"),
            "": {
                "role": "provider", "state_dir": str(self.state), "poll_ms": 100, "reconcile_s": 1,
                "log_level": "DEBUG",
            },
            "provider": {
                "address": self.lab.provider, "cpu_sku": "test-cpu", "submit_margin_s": 5, "slots": 1,
                "tick_ms": 200, "accept_margin_s": 5, "drain_s": 1,
            },
            "quorum": {"watchers": list(self.lab.watcher_urls), "timeout_s": 15},
            "settle": {"retry_s": 1, "max_age_s": 1},
        }  # fmt: skip

    def configure_watchers(self) -> None:
        """Every watcher. They reach the chain directly."""
        for number, url in enumerate(self.lab.watcher_urls):
            tables = self._tables(f"watcher {number}", url, self.system.anvil.url)
            state = str(self.lab.folder / f"watcher-{number}")
            tables[""] = {"role": "watcher", "state_dir": state, "poll_ms": 500, "log_level": "INFO"}
            self.configure(f"watcher-{number}", tables)

    def _tables(self, key: str, url: str, rpc_url: str) -> dict[str, Table]:
        folder = self.lab.folder
        return {
            "chain": {
                "rpc_url": rpc_url, "chain_id": self.system.anvil.chain_id,
                "deployment": str(folder / "deployments"), "rpc_timeout_s": 5,
            },
            "key": {"keystore": str(folder / f"{key}.json"), "password_file": str(folder / "password")},
            "api": {"port": int(url.rpartition(":")[2]), "public_url": url},
        }  # fmt: skip

    def start(self, *names: str) -> None:
        """Start these nodes, by default all that don't run, and wait until they are ready."""
        chosen = [self.nodes[name] for name in (names or self.nodes)]
        for node in chosen:
            node.start()
        for node in chosen:
            node.wait_ready()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Signal the provider, wait until it is gone, let the chain answer again. Its exit status."""
        status = self.provider.kill(number)
        self.gate.release()
        return status

    def watchers(self, number: signal.Signals) -> None:
        """Signal every watcher: SIGSTOP cuts them off, SIGCONT lets them work again."""
        for name in self.nodes:
            if name != PROVIDER:
                self.send_signal(name, number)

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Signal one node, if it runs."""
        if self.nodes[name].is_running:
            os.kill(self.nodes[name].pid, number)

    def stop(self) -> None:
        """End everything."""
        for node in self.nodes.values():
            if node.is_running:
                os.kill(node.pid, signal.SIGCONT)
            node.stop()

    # The provider's store and log

    def row(self, job: bytes) -> dict[str, Any]:
        """The job's row, {} without one."""
        rows = self._query("SELECT * FROM jobs WHERE job_id = ?", "0x" + job.hex())
        return rows[0] if rows else {}

    def state_of(self, job: bytes) -> str:
        """The job's state, "" if the node doesn't know it."""
        return str(self.row(job).get("state", ""))

    def steps(self, job: bytes) -> list[str]:
        """Every state the job has been in, in order."""
        found = self._query("SELECT state FROM steps WHERE job_id = ? ORDER BY id", "0x" + job.hex())
        return [str(step["state"]) for step in found]

    def mined(self, label: str) -> bool:
        """Whether the node has seen a transaction with this label in a block."""
        wanted = "SELECT 1 FROM transactions WHERE label LIKE ? AND outcome = 'mined'"
        return bool(self._query(wanted, label))

    def _query(self, sql: str, *values: str) -> list[dict[str, Any]]:
        path = self.state / "oracle.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as store:
            store.row_factory = sqlite3.Row
            return [dict(row) for row in store.execute(sql, values)]

    def log(self, name: str = PROVIDER, since: int = 0) -> str:
        """What a node has logged, from byte `since` on."""
        path = self.nodes[name].log
        return path.read_bytes()[since:].decode(errors="replace") if path.exists() else ""

    def log_size(self) -> int:
        """Where the provider's log ends now."""
        return len(self.log().encode())

    def wait_log(self, pattern: str, since: int = 0) -> None:
        """Until the provider's log says so."""
        until(lambda: re.search(pattern, self.log(since=since)), f"{pattern!r} in the log")

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """The provider's log as objects; every line must be one."""
        lines = self.log(since=since).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    # Jobs

    def now(self) -> int:
        """Chain time, of a block mined for it: an idle chain's newest one is old."""
        self.system.anvil.mine()
        return self.lab.chain.at().time()

    def books(self, class_id: int) -> Books:
        """The chain's books of a class."""
        view, buyer = self.lab.chain.at(), self.buyer(class_id).address
        token = self.lab.chain.address("DemoUSD")
        return Books(
            view.balance(buyer, class_id), view.locked(buyer, class_id), view.supply(class_id),
            view.backing(class_id), view.earnings(self.lab.provider, token),
            view.token_balance(token, self.lab.chain.address("CreditReserve")),
        )  # fmt: skip

    def buyer(self, class_id: int) -> Sender:
        """The buyer, with credits of the class."""
        if class_id not in self.buyers:
            self.buyers[class_id] = self.lab.buy(class_id, BOUGHT)
        return self.buyers[class_id]

    def ask(self, class_id: int, spec: JobSpec = SHORT, *, quoted: bool = True, **terms: Any) -> Asked:
        """Terms of a new job, with the provider's quote unless it is to be accepted on chain."""
        buyer = self.buyer(class_id)
        books = self.books(class_id)
        made = self.lab.terms(buyer, class_id, **{"spec_hash": spec_hash(spec), "max_units": UNITS, **terms})
        quote = self.lab.quote(made, spec) if quoted else b""
        return Asked(self.lab.id_of(made), made, spec, quote, books)

    def open(self, asked: Asked) -> Asked:
        """Open it on chain."""
        self.lab.open(self.buyer(asked.terms.class_id), asked.terms, asked.quote)
        return asked

    def wait_state(self, job: bytes, *states: str) -> None:
        """Until the provider's store says so."""
        try:
            until(lambda: self.state_of(job) in states, f"job is {states}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.row(job)}\n{self.log()[-6000:]}") from error

    def settled(self, asked: Asked, also: Sequence[Asked] = ()) -> Receipt:
        """Wait until the provider knows the job as settled; the chain must hold exactly one settlement of
        it, and the books must be exact to the unit.
        """
        jobs = (asked, *also)
        for each in jobs:
            self.wait_state(each.id, "settled")
        assert [self.times_settled(each.id) for each in jobs] == [1] * len(jobs)
        receipts = [self.receipt(each.id) for each in jobs]
        expected = asked.books
        for event in self._settlements(jobs):
            expected = expected.after(event)
        assert self.books(asked.terms.class_id) == expected
        return receipts[0]

    def _settlements(self, jobs: Sequence[Asked]) -> list[int]:
        """Units settled, in the chain's order, of these jobs alone."""
        wanted = {job.id for job in jobs}
        found = self.lab.chain.at().events("JobMarket", "JobSettled")
        return [int(event.args["units"]) for event in found if bytes(event.args["jobId"]) in wanted]

    def given_back(self, asked: Asked, status: Status) -> None:
        """Wait until the job has ended without being paid; nothing may have moved."""
        self.wait_state(asked.id, status.name.lower())
        assert self.lab.status(asked.id) is status
        assert self.times_settled(asked.id) == 0
        assert self.books(asked.terms.class_id) == asked.books

    def times_settled(self, job: bytes) -> int:
        """How many settlements of the job the chain holds."""
        return len(list(self.lab.chain.at().events("JobMarket", "JobSettled", jobId=job)))

    def receipt(self, job: bytes) -> Receipt:
        """The receipt in the provider's store."""
        return Receipt.from_json(self.lab.show(job)["receipt"])


@contextlib.contextmanager
def running(system: System, lab: OracleLab) -> Iterator[Site]:
    """A site whose nodes are still to be configured; ends what was started."""
    (lab.folder / "password").write_text(PASSWORD)
    (lab.folder / "deployments").mkdir(exist_ok=True)
    deployments.save(system.deployment, lab.folder / "deployments")
    with gates.running(system.anvil.url) as gate:
        site = Site(lab, gate, lab.folder / "state")
        try:
            yield site
        finally:
            site.stop()


@contextlib.contextmanager
def mining_paused(system: System) -> Iterator[None]:
    """No block is mined in the meantime."""
    anvil = system.anvil
    anvil.rpc("evm_setAutomine", False)
    try:
        yield
    finally:
        anvil.rpc("evm_setAutomine", True)
        anvil.mine()
