"""A provider node on a FakeMarket: real store, desk, worker, settler and dispatcher; fake executor and
meters.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from oracle import reconcile
from oracle.catalogue import Catalogue
from oracle.desk import Desk
from oracle.dispatch import SEND, SETTLE, WORK, Dispatcher
from oracle.evidence import EvidenceStore
from oracle.executors.base import LOCAL, Exit, Left, Work
from oracle.executors.engines import Engines
from oracle.intake import Policy
from oracle.jobs.names import OUTPUT
from oracle.journal import SqlJournal
from oracle.metrics import Metrics
from oracle.outbox import Outbox
from oracle.quorum import Outcome, Quorum
from oracle.reconcile import Reconciler
from oracle.reports import GpuReports
from oracle.retention import PRUNE, Retention
from oracle.settings import Settings
from oracle.settle import Settler
from oracle.states import State
from oracle.store import Store
from oracle.tasks import Tasks
from oracle.telemetry.base import Reading
from oracle.worker import Worker
from scrip.logs import Page
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms
from tests.unit.oracle_market import (
    CPU_CLASS,
    ORACLE,
    PAYER,
    PROVIDER,
    FakeFacts,
    FakeMarket,
    FakeSender,
    Killed,
)

SPEC = JobSpec("hash.chain", {"seed": "0x" + "ab" * 32, "steps": 1000})
SECONDS = 20.0


def terms(market: FakeMarket, **changes: Any) -> JobTerms:
    """Terms that the factory's provider accepts."""
    made = JobTerms(
        payer=PAYER, provider=PROVIDER, class_id=CPU_CLASS, max_units=20_000, resources=1,
        accept_by=market.now + 120, submit_by=market.now + 900, spec_hash=spec_hash(SPEC), budget_id=0,
        salt=1,
    )  # fmt: skip
    return replace(made, **changes)


class FakeMeter:
    """400 ms of CPU time."""

    name, simulated = "cpu", False

    def start(self, lease: Any) -> list[Reading]:
        return [Reading("cpu-rusage", "cpu", "cpu_us", 0)]

    def tick(self) -> list[Reading]:
        return []

    def end(self, finished: Any) -> list[Reading]:
        return [Reading("cpu-rusage", "cpu", "cpu_us", 400_000)]

    def notes(self) -> tuple[Any, ...]:
        return ()


class FakeRunning:
    """A job that ends when told to."""

    pid = pgid = 4_000_000
    born_ns = 77
    remote = None

    def __init__(
        self, executor: FakeExecutor, reason: str, code: int | None, gpus: tuple[str, ...] = ()
    ) -> None:
        self._executor, self._reason, self._code, self.gpus = executor, reason, code, gpus
        self.started_mono_ns, self.started_wall_ms = time.monotonic_ns(), time.time_ns() // 1_000_000
        self.killed = threading.Event()

    def poll(self) -> Exit | None:
        return self._exit() if self._executor.may_end.is_set() or self.killed.is_set() else None

    def wait(self, timeout: float | None = None) -> Exit:
        deadline = time.monotonic() + (timeout or SECONDS)
        while (found := self.poll()) is None:
            if self._executor.killed:
                raise Killed
            if time.monotonic() > deadline:
                raise TimeoutError
            self._executor.may_end.wait(0.01)
        return found

    def kill(self) -> None:
        self.killed.set()

    def _exit(self) -> Exit:
        started, spent = self.started_wall_ms, time.monotonic_ns() - self.started_mono_ns
        code, reason = (None, "killed") if self.killed.is_set() else (self._code, self._reason)
        ended = started + spent // 1_000_000
        return Exit(code, None, reason, started, ended, spent, (1, 1, 1), "log of the job")  # type: ignore[arg-type]


@dataclass
class FakeExecutor:
    """Runs nothing. `ends` are (reason, code) of the next jobs, by default ok."""

    ends: list[tuple[str, int | None]] = field(default_factory=list)
    started: list[Work] = field(default_factory=list)
    may_end: threading.Event = field(default_factory=threading.Event)
    killed: bool = False
    confinement: str = "none"
    places_gpus: bool = False
    kills: list[tuple[int, int]] = field(default_factory=list)

    def end_stale(self, left: Left) -> int:
        if not left.pgid or not left.born_ns:
            return 0
        self.kills.append((left.pgid, left.born_ns))
        return 1

    def start(self, work: Work, given_up: Callable[[], bool]) -> FakeRunning:
        work.workdir.mkdir(parents=True)
        (work.workdir / OUTPUT).write_bytes(b"the output")
        self.started.append(work)
        reason, code = self.ends.pop(0) if self.ends else ("ok", 0)
        return FakeRunning(self, reason, code, work.gpus)


class FakeQuorum(Quorum):
    """Answers from a list instead of asking watchers; signs with the keys given."""

    def __init__(self, market: FakeMarket, signers: Sequence[Any] = ()) -> None:
        self.market, self.signers = market, list(signers)
        self.answers: list[Callable[[Sequence[Any]], Outcome | None]] = []
        self.asked: list[list[bytes]] = []

    def collect(self, rows: Sequence[Any], watcher_set: int, *, batched: bool, signature: bytes) -> Outcome:
        from oracle.quorum import digest
        from scrip.eip712 import sign
        from tests.unit.oracle_market import CHAIN_ID, VERIFIER

        self.asked.append([row.receipt.job_id for row in rows])
        threshold = self.market.watchers[watcher_set][1]
        answer = self.answers.pop(0)(rows) if self.answers else None
        if answer is not None:
            return answer
        message = digest([row.receipt for row in rows], CHAIN_ID, VERIFIER, batched=batched)
        ordered = sorted(self.signers, key=lambda one: int(one.address, 16))
        return Outcome(tuple(sign(message, one) for one in ordered[:threshold]), threshold, {}, ())


@dataclass
class Node:
    """The parts of one process of the node."""

    market: FakeMarket
    settings: Settings
    store: Store
    facts: Any
    desk: Desk
    worker: Worker
    executor: FakeExecutor
    evidence: EvidenceStore
    reconciler: Reconciler
    settler: Settler
    dispatcher: Dispatcher
    outbox: Outbox
    sender: FakeSender
    quorum: FakeQuorum
    tasks: Tasks
    kills: list[tuple[int, int]]
    retention: Retention

    def cycle(self) -> None:
        """One pass of the daemon, with a full reconciliation."""
        self.reconciler.scan()
        self.reconciler.reconcile()
        self.dispatcher.follow_open()
        self.dispatcher.dispatch()
        self.tasks.check()

    def until(self, condition: Callable[[], Any], seconds: float = SECONDS) -> None:
        """Cycle until `condition` holds; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.dump()
            self.cycle()
            time.sleep(0.005)

    def at(self, job: bytes) -> State | None:
        found = self.store.find(job)
        return None if found is None else found.at

    def until_at(self, job: bytes, state: State) -> None:
        self.until(lambda: self.at(job) is state)

    def path(self, job: bytes) -> list[str]:
        return [step.state for step in self.store.steps(job)]

    def dump(self) -> str:
        jobs = [(row.label, row.state, row.reason) for row in self.store.oldest(list(State))]
        return f"{jobs} {[(one.id, one.stage, one.reason) for one in self.store.settlements()]}"

    def close(self) -> None:
        self.executor.may_end.set()
        self.worker.abort_all()
        self.tasks.close(wait=True)
        self.store.close()


class Lab:
    """One market, one state folder; `start` begins a process of the node, `crash` ends it without
    cleaning up.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, database: str = "") -> None:
        self.folder, self.database, self.market = folder, database, FakeMarket()
        self.signers: list[Any] = []
        self.collect: Any = None
        """What GPUs answer when asked for reports; None: they sign none."""
        self._nodes: list[Node] = []
        monkeypatch.setattr(reconcile, "pages", self._pages)

    def _pages(self, chain: Any, contract: str, event: str, start: int, end: int, filters: Any) -> Any:
        provider = filters["provider"]
        found = [
            item
            for item in self.market.events
            if start <= item.block <= end and item.args["provider"] == provider
        ]
        if start <= end:
            yield Page(start, end, found)

    def settings(self, **provider: Any) -> Settings:
        sections = {name: provider.pop(name) for name in ("settle", "quorum", "evidence") if name in provider}
        return Settings.model_validate(
            {
                "role": "provider", "state_dir": self.folder, "database": {"url": self.database},
                "chain": {"rpc_url": "http://127.0.0.1:1", "chain_id": 31337},
                "provider": {"address": PROVIDER, "tick_ms": 60_000, **provider},
                **sections,
            }
        )  # fmt: skip

    def start(self, *, held: bool = False, dry: bool = False, **settings: Any) -> Node:
        """A process of the node. `held` jobs run until `executor.may_end` is set."""
        wanted = self.settings(**settings)
        store = Store.open(wanted.database_url)
        metrics, facts = Metrics(store), FakeFacts(self.market)
        account = None if dry else ORACLE
        policy = Policy(
            wanted.of_provider(), Catalogue.load(), None if dry else ORACLE.address,
            watchers=len(wanted.quorum.watchers), simulated=False, attests=self.collect is not None,
        )  # fmt: skip
        executor = FakeExecutor()
        if not held:
            executor.may_end.set()
        evidence = EvidenceStore(self.folder / "evidence")
        retention = Retention(store, facts, evidence, wanted.evidence, metrics, threading.Event())  # type: ignore[arg-type]
        desk = Desk(store, facts, policy, account, metrics, retention.room)  # type: ignore[arg-type]
        worker = Worker(
            store=store, facts=facts, desk=desk, engines=Engines({LOCAL: executor}),  # type: ignore[arg-type,dict-item]
            meters=lambda _: [FakeMeter()], evidence=evidence, workroot=self.folder / "work", metrics=metrics,
            reports=GpuReports(facts, policy.key, self.collect),  # type: ignore[arg-type]
        )  # fmt: skip
        journal = SqlJournal(store)
        sender = FakeSender(self.market, journal)
        outbox = Outbox(facts.chain, journal, None if dry else sender)  # type: ignore[arg-type]
        reconciler = Reconciler(
            store,
            facts,
            PROVIDER,
            metrics,
            outstanding=outbox.outstanding,
            ended=worker.abort,  # type: ignore[arg-type]
        )
        quorum = FakeQuorum(self.market, self.signers)
        settler = Settler(
            store=store, facts=facts, outbox=outbox, quorum=quorum, evidence=evidence, signer=account,  # type: ignore[arg-type]
            settings=wanted, decided=reconciler.reconcile_jobs,
        )  # fmt: skip
        tasks = Tasks(metrics, {WORK: wanted.of_provider().slots, SEND: 2, SETTLE: 2, PRUNE: 1})
        dispatcher = Dispatcher(
            store=store, facts=facts, desk=desk, worker=worker, settler=settler, outbox=outbox, tasks=tasks,  # type: ignore[arg-type]
            reconcile_jobs=reconciler.reconcile_jobs, dry=dry,
        )  # fmt: skip
        node = Node(
            self.market, wanted, store, facts, desk, worker, executor, evidence, reconciler, settler,
            dispatcher, outbox, sender, quorum, tasks, executor.kills, retention,
        )  # fmt: skip
        self._nodes.append(node)
        return node

    def crash(self, node: Node) -> None:
        """End a process as kill -9 would: its threads stop where they are, nothing is tidied up."""
        node.executor.killed = True
        node.tasks.close(wait=True)
        node.store.close()
        self._nodes.remove(node)

    def close(self) -> None:
        for node in self._nodes:
            node.close()
