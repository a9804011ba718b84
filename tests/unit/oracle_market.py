"""A JobMarket in memory, the reads of `Facts` on top of it and a sender into it, with faults on demand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from eth_abi.abi import decode
from eth_account import Account
from eth_utils.crypto import keccak

from oracle.facts import ClassFacts
from oracle.journal import SqlJournal
from oracle.receipt import JobFacts
from scrip.abi import abi
from scrip.calls import Call, signature
from scrip.eip712 import acceptance_digest, batch_digest, job_id, receipt_digest, receipt_struct_hash, recover
from scrip.errors import Reverted, TxUnknown
from scrip.jobs import Ending
from scrip.journal import TxOutcome, TxRecord
from scrip.logs import LogEvent
from scrip.sender import Reconciled
from scrip.types import (
    ClassTerms,
    Dispute,
    JobState,
    JobTerms,
    Outcome,
    Receipt,
    Resource,
    Status,
    sku_id,
)
from tests.unit.evidence_factory import make_class

CHAIN_ID = 31337
MARKET = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
VERIFIER = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
NOW = 1_760_000_000
ORACLE = Account.from_key("0x" + "11" * 32)
PAYER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
PROVIDER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
CPU_CLASS, WATCHED_CLASS, GRANT_CLASS = 1, 2, 3
EMPTY = JobState(Status.NONE, 0, 0)


class Killed(BaseException):
    """The process dies here, as by kill -9."""


def cpu_class(**changes: Any) -> ClassTerms:
    """A CPU-second class in milliseconds that any provider of SKU "cpu" serves."""
    terms = make_class(Resource.CPU_SECOND, 3, sku=sku_id("cpu"), watcher_set=0, min_assurance=1)
    return replace(terms, **changes)


class FakeMarket:
    """Jobs, time and blocks. Each call is a block of its own; `finality` blocks are not final yet."""

    def __init__(self) -> None:
        self.now, self.block, self.finality = NOW, 10, 0
        self.classes = {
            CPU_CLASS: cpu_class(),
            WATCHED_CLASS: cpu_class(watcher_set=1, min_assurance=2),
            GRANT_CLASS: cpu_class(),
        }
        self.backing = {CPU_CLASS: 10**9, WATCHED_CLASS: 10**9, GRANT_CLASS: 0}
        self.jobs: dict[bytes, JobState] = {}
        self.terms: dict[bytes, JobTerms] = {}
        self.ends: dict[bytes, Ending] = {}
        self.finalize_at: dict[bytes, int] = {}
        self.decide_by: dict[bytes, int] = {}
        self.events: list[LogEvent] = []
        self.history: dict[int, dict[bytes, JobState]] = {}
        self.receipts: dict[bytes, dict[str, Any]] = {}
        self.settled: dict[bytes, list[Receipt]] = {}
        self.balances: dict[str, int] = {PAYER: 10**9}
        self.watchers: dict[int, tuple[set[str], int]] = {1: (set(), 2)}
        self.skip: dict[bytes, str] = {}
        self.searched: list[tuple[bytes, int]] = []
        self.refuse: Callable[[str], Reverted | None] = lambda _: None

    def id_of(self, terms: JobTerms) -> bytes:
        return job_id(terms, CHAIN_ID, MARKET)

    def open(self, terms: JobTerms, quote: bytes = b"") -> bytes:
        """What a payer does."""
        job = self.id_of(terms)
        if quote:
            assert recover(acceptance_digest(job, CHAIN_ID, MARKET), quote) == ORACLE.address
        self.mine()
        self.jobs[job] = JobState(Status.RUNNING if quote else Status.OPEN, self.now, self.block)
        self.terms[job] = terms
        args = {name: value for name, value in zip(EVENT_ARGS, terms.to_abi(), strict=True)} | {"jobId": job}
        self.events.append(LogEvent("JobOpened", args, MARKET, self.block, b"", b"", 0))
        self.keep()
        return job

    def mine(self) -> None:
        self.block += 1
        self.keep()

    def keep(self) -> None:
        self.history[self.block] = dict(self.jobs)

    def set(self, job: bytes, status: Status) -> None:
        """Change a job's status. As on chain, a job that ends after its acceptBy leaves an empty slot."""
        self.jobs[job] = replace(self.jobs[job], status=status)
        if status.final:
            self.ends[job] = Ending(status, 0, b"", b"", self.block)
            if self.now > self.terms[job].accept_by:
                self.jobs[job] = EMPTY
        self.keep()

    def execute(self, function: str, args: tuple[Any, ...]) -> dict[str, Any]:
        """Run a call of the contract; returns a receipt. Raises Reverted."""
        refused = self.refuse(function)
        if refused is not None:
            raise refused
        logs: list[Any] = []
        if function == "submitBatch":
            terms, receipts, set_id, attestation = args
            self._verify([Receipt.from_abi(item) for item in receipts], set_id, attestation, batched=True)
            self.mine()
            for one, receipt in zip(terms, receipts, strict=True):
                reason = self._take(JobTerms.from_abi(one), Receipt.from_abi(receipt))
                if reason:
                    logs.append((self.id_of(JobTerms.from_abi(one)), reason))
        elif function == "submit":
            terms, receipt, attestation = args
            parsed = Receipt.from_abi(receipt)
            set_id = self.classes[terms[2]].watcher_set
            self._verify([parsed], set_id, attestation, batched=False)
            reason = self._fault(JobTerms.from_abi(terms), parsed)
            if reason:
                raise Reverted(reason, {"jobId": parsed.job_id, "given": 1, "limit": 0})
            self.mine()
            self._take(JobTerms.from_abi(terms), parsed)
        else:
            self._simple(function, JobTerms.from_abi(args[0]))
        self.keep()
        return {"blockNumber": self.block, "skipped": logs}

    def _simple(self, function: str, terms: JobTerms) -> None:
        job = self.id_of(terms)
        allowed, after = {
            "accept": ({Status.OPEN}, Status.RUNNING),
            "cancel": ({Status.OPEN, Status.RUNNING}, Status.CANCELLED),
            "finalize": ({Status.SUBMITTED, Status.DISPUTED}, Status.SETTLED),
        }[function]
        if self.jobs[job].status not in allowed:
            raise Reverted(
                "JobMarket_WrongStatus", {"jobId": job, "given": int(self.jobs[job].status), "limit": 0}
            )
        self.mine()
        self.set(job, after)

    def _fault(self, terms: JobTerms, receipt: Receipt) -> str:
        job = self.id_of(terms)
        if job in self.skip:
            return self.skip.pop(job)
        if self.jobs[job].status is not Status.RUNNING:
            return "JobMarket_WrongStatus"
        if self.now > terms.submit_by:
            return "JobMarket_DeadlinePassed"
        completed = receipt.outcome is Outcome.COMPLETED
        if completed and receipt.assurance < self.classes[terms.class_id].min_assurance:
            return "JobMarket_LowAssurance"
        return "JobMarket_TooManyUnits" if receipt.units > terms.max_units else ""

    def _take(self, terms: JobTerms, receipt: Receipt) -> str:
        job, reason = self.id_of(terms), self._fault(terms, receipt)
        if reason:
            return reason
        self.settled.setdefault(job, []).append(receipt)
        window = self.classes[terms.class_id].challenge_window
        if receipt.outcome is Outcome.FAILED:
            self.set(job, Status.REFUNDED)
        elif window:
            self.finalize_at[job] = self.now + window
            self.set(job, Status.SUBMITTED)
        else:
            self.set(job, Status.SETTLED)
        return ""

    def _verify(self, receipts: list[Receipt], set_id: int, attestation: Any, *, batched: bool) -> None:
        hashes = [receipt_struct_hash(receipt) for receipt in receipts]
        message = (
            batch_digest(hashes, CHAIN_ID, VERIFIER)
            if batched
            else receipt_digest(receipts[0], CHAIN_ID, VERIFIER)
        )
        provider, signatures = attestation
        assert recover(message, provider) == ORACLE.address
        if max(receipt.assurance for receipt in receipts) >= 2:
            members, threshold = self.watchers[set_id]
            signers = [recover(message, signature) for signature in signatures]
            assert len(signers) >= threshold
            assert set(signers) <= members
            assert signers == sorted(signers, key=lambda one: int(one, 16))


EVENT_ARGS = (
    "payer", "provider", "classId", "maxUnits", "resources", "acceptBy", "submitBy", "specHash",
    "budgetId", "salt"
)  # fmt: skip


class FakeView:
    """State at one block."""

    def __init__(self, market: FakeMarket, block: int) -> None:
        self._market, self.block = market, block

    def job_state(self, job: bytes) -> JobState:
        blocks = [number for number in self._market.history if number <= self.block]
        known = self._market.history[max(blocks)] if blocks else {}
        return known.get(job, EMPTY)

    def job_states(self, jobs: Sequence[bytes]) -> list[JobState]:
        return [self.job_state(job) for job in jobs]

    def job_statuses(self, jobs: Sequence[bytes]) -> list[Status]:
        return [self.job_state(job).status for job in jobs]

    def time(self) -> int:
        return self._market.now


def read_call(call: Call) -> tuple[str, tuple[Any, ...]]:
    """Function and arguments of a call of the market."""
    functions = [entry["name"] for entry in abi("JobMarket") if entry["type"] == "function"]
    known = {one.selector: one for one in (signature("JobMarket", name) for name in functions)}
    found = known[call.data[:4]]
    return found.name, tuple(decode(found.inputs, call.data[4:]))


class FakeFacts:
    """`oracle.facts.Facts` over a FakeMarket."""

    def __init__(self, market: FakeMarket) -> None:
        self.fake, self.market, self.verifier, self.local = market, MARKET, VERIFIER, True
        self.chain = SimpleNamespace(
            chain_id=CHAIN_ID,
            deployment=SimpleNamespace(block=0),
            errors={b"skip": {"name": "Skipped"}},
            head=lambda: market.block,
            finalized=lambda: market.block - market.finality,
            receipt=lambda tx_hash: market.receipts.get(tx_hash),
            mined_in=lambda tx_hash: market.receipts.get(tx_hash, {}).get("blockNumber"),
            address=lambda _: MARKET,
            contract=lambda _: SimpleNamespace(events=SimpleNamespace(RowSkipped=lambda: self)),
        )

    def process_receipt(self, receipt: dict[str, Any], errors: Any) -> list[dict[str, Any]]:
        return [
            {"args": {"jobId": job, "reason": b"skip", "given": 1, "limit": 0}}
            for job, _ in receipt["skipped"]
        ]

    def job_id(self, terms: JobTerms) -> bytes:
        return self.fake.id_of(terms)

    def now(self) -> int:
        return self.fake.now

    def time(self, view: FakeView) -> int:
        return view.time()

    def finalized(self) -> FakeView:
        return FakeView(self.fake, self.chain.finalized())

    def job(self, job: bytes, view: FakeView | None = None) -> JobState:
        return (view or FakeView(self.fake, self.fake.block)).job_state(job)

    def jobs(self, jobs: Sequence[bytes]) -> dict[bytes, JobState]:
        return {job: self.job(job) for job in jobs}

    def ending(self, job: bytes, view: FakeView, since: int) -> Ending | None:
        self.fake.searched.append((job, since))
        found = self.fake.ends.get(job)
        return found if found is not None and since <= found.block <= view.block else None

    def submission(self, job: bytes, view: FakeView) -> Any:
        return SimpleNamespace(finalize_at=self.fake.finalize_at[job])

    def dispute(self, job: bytes, view: FakeView) -> Dispute:
        return Dispute(PAYER, self.fake.decide_by[job])

    def class_terms(self, class_id: int) -> ClassTerms:
        return self.fake.classes[class_id]

    def class_facts(self, class_id: int, provider: str) -> ClassFacts:
        terms = self.class_terms(class_id)
        threshold = self.threshold(terms.watcher_set) if terms.watcher_set else 0
        backing = self.fake.backing[class_id]
        return ClassFacts(class_id, terms, backing, 10**9, False, ORACLE.address, threshold)

    def job_facts(self, terms: JobTerms, state: JobState) -> JobFacts:
        return JobFacts(CHAIN_ID, MARKET, terms, self.class_terms(terms.class_id), state, local=True)

    def available(self, holder: str, class_id: int) -> int:
        return self.fake.balances.get(holder, 0)

    def threshold(self, set_id: int) -> int:
        return self.fake.watchers[set_id][1]

    def is_watcher(self, set_id: int, account: str) -> bool:
        return account in self.fake.watchers[set_id][0]

    def provider_uri(self, provider: str) -> str:
        return "http://provider.test:8800/.well-known/agent-registration.json"


class FakeSender:
    """Sends into a FakeMarket through a real journal. `faults` are what happens to the next sends.

    "die_before": recorded, and the process dies before any node sees it. "die_after": it is mined, and the
    process dies. "unknown": it is neither mined nor dead. "hold": as "unknown", and `release` mines it.
    """

    _hashes = itertools.count(1)

    def __init__(self, market: FakeMarket, journal: SqlJournal) -> None:
        self.market, self.journal = market, journal
        self.faults: list[str] = []
        self.sent: list[str] = []
        self.held: dict[str, tuple[bytes, int, str, tuple[Any, ...]]] = {}

    def send(self, call: Any, *, label: str) -> Any:
        function, args = read_call(call)
        before = self.market.refuse(function)
        if before is not None:
            raise before
        number = next(self._hashes)
        record = TxRecord(
            label,
            CHAIN_ID,
            ORACLE.address,
            number,
            keccak(number.to_bytes(32, "big")),
            b"raw",
            MARKET,
            b"",
            0,
            1,
            1,
            1,
        )
        self.journal.record(record)
        self.sent.append(label)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "die_before":
            self.journal.resolve(
                CHAIN_ID, ORACLE.address, number, TxOutcome.LOST
            )  # what reconcile would find
            raise Killed
        if fault in ("unknown", "hold"):
            self.held[label] = (record.tx_hash, number, function, args)
            raise TxUnknown(label, number, [record.tx_hash])
        try:
            receipt = self.market.execute(function, args)
        except Reverted:
            self.journal.resolve(CHAIN_ID, ORACLE.address, number, TxOutcome.REJECTED)
            raise
        return self._mined(record.tx_hash, number, receipt, fault)

    def _mined(self, tx_hash: bytes, number: int, receipt: dict[str, Any], fault: str) -> Any:
        self.market.receipts[tx_hash] = receipt | {"transactionHash": tx_hash}
        if fault == "die_after":
            self.held["dead"] = (tx_hash, number, "", ())
            raise Killed
        self.journal.resolve(CHAIN_ID, ORACLE.address, number, TxOutcome.MINED, tx_hash)
        return self.market.receipts[tx_hash]

    def release(self, label: str) -> None:
        """The held transaction is mined after all."""
        tx_hash, number, function, args = self.held.pop(label)
        self._mined(tx_hash, number, self.market.execute(function, args), "")

    def reconcile(self) -> list[Reconciled]:
        found = []
        for record in self.journal.open_records(CHAIN_ID, ORACLE.address):
            receipt = self.market.receipts.get(record.tx_hash)
            outcome = TxOutcome.PENDING if receipt is None else TxOutcome.MINED
            if receipt is not None:
                self.journal.resolve(CHAIN_ID, ORACLE.address, record.nonce, outcome, record.tx_hash)
            found.append(Reconciled(record.label, record.nonce, outcome, (record.tx_hash,)))
        return found

    def follow(self, nonce: int) -> Any:
        raise TxUnknown("followed", nonce, [])
