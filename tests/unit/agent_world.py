"""A market in memory, with all that can go wrong in it. Written from the contracts, not from the agent.

Only the node, the senders' transactions and the providers' HTTP are played: quotes are signed by real keys,
evidence is made and checked by the real code. `World.told` is the account of what really happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eth_account import Account

from scrip.eip712 import job_id as job_id_of
from scrip.eip712 import receipt_struct_hash
from scrip.errors import NodeUnavailable, Reverted
from scrip.evidence import Bundle
from scrip.logs import LogEvent
from scrip.spec import JobSpec
from scrip.types import ClassTerms, JobTerms, Receipt, Status
from tests.unit.agent_budgets import Budgets
from tests.unit.agent_node import SimChain
from tests.unit.agent_parties import AGENT, FAILED, OWNER, TICK, TOKEN, Kill
from tests.unit.evidence_factory import CHAIN_ID, MARKET, NOW, make_bundle, make_class


@dataclass
class Provider:
    """One provider and how it behaves. `price` is per million units of its own class."""

    number: int
    price: int
    reachable: bool = True
    quote: str = "signed"
    work: str = "done"
    evidence: str = "honest"
    said_seconds: int = 60

    def __post_init__(self) -> None:
        self.key = Account.from_key(bytes([self.number + 1]) * 32)
        self.address = str(self.key.address)


@dataclass
class Job:
    """A job on chain. `ended_at` is 0 while it goes on."""

    terms: JobTerms
    opened_at: int
    charge: int
    status: Status = Status.RUNNING
    ticks: int = 0
    ended_at: int = 0
    units: int = 0
    bundle: Bundle | None = None
    receipt: Receipt | None = None


@dataclass
class Tx:
    """A transaction that was sent and isn't mined. A `doomed` one never will be."""

    nonce: int
    label: str
    call: Any
    doomed: bool


@dataclass
class World:
    """Chain, providers and faults. `faults` are (steps until it strikes, "node" or "kill"), `sends` what
    happens to the next transactions.
    """

    providers: list[Provider]
    held: int = 0
    tokens: int = 10**9
    time: int = NOW
    faults: list[tuple[int, str]] = field(default_factory=list)
    sends: list[str] = field(default_factory=list)
    jobs: dict[bytes, Job] = field(default_factory=dict)
    credits: dict[tuple[str, int], int] = field(default_factory=dict)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    pending: list[Tx] = field(default_factory=list)
    log: list[LogEvent] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    next_nonce: int = 0
    refusals: int = 0

    def __post_init__(self) -> None:
        self.times = [self.time]
        self.budgets = Budgets(self)
        self.chain: Any = SimChain(self)
        for provider in self.providers:
            self.credits[OWNER, provider.number] = self.held

    # Faults

    def step(self, *, disk: bool = False) -> None:
        """One interaction with the outside, or the disk: here a fault may strike."""
        if not self.faults or (disk and self.faults[0][1] != "kill"):
            return
        left, kind = self.faults[0]
        if left > 0:
            self.faults[0] = (left - 1, kind)
            return
        self.faults.pop(0)
        if kind == "kill":
            raise Kill
        raise NodeUnavailable("sim", "ConnectionError")

    # Time

    def mine(self, seconds: int = 1) -> None:
        """A block later."""
        self.time += seconds
        self.times.append(self.time)

    def tick(self, _: float = 0) -> None:
        """What happens while the agent sleeps."""
        self.mine(TICK)
        for job in self.jobs.values():
            if job.status is Status.RUNNING:
                job.ticks += 1
                self._work(job)

    def _work(self, job: Job) -> None:
        how = self.by_address(job.terms.provider).work
        if how == "done" or (how == "slow" and job.ticks >= 3):
            self._end(job, Status.SETTLED)
        elif how == "fails":
            self._end(job, Status.REFUNDED)
        elif how == "drops":
            self._end(job, Status.CANCELLED)

    def _end(self, job: Job, status: Status) -> None:
        if self.time > job.terms.submit_by and status is not Status.EXPIRED:
            return
        job.status, job.ended_at = status, self.time
        names = {
            Status.SETTLED: "JobSettled",
            Status.REFUNDED: "JobRefunded",
            Status.CANCELLED: "JobCancelled",
            Status.EXPIRED: "JobExpired",
        }
        job_id, args = self.id_of(job.terms), {}
        if status in (Status.SETTLED, Status.REFUNDED):
            job.bundle = self._bundle(job, status)
            job.receipt = job.bundle.receipt
            args = {"receiptHash": receipt_struct_hash(job.receipt)}
        if status is Status.SETTLED:
            assert job.receipt
            job.units = args["units"] = job.receipt.units
        self.told.append(("ended", job.terms.spec_hash, status))
        payer, class_id = job.terms.payer, job.terms.class_id
        self.credits[payer, class_id] += job.terms.max_units - job.units
        if job.charge:
            rest = job.charge * (job.terms.max_units - job.units) // job.terms.max_units
            self.budgets.release(job.terms.budget_id, rest)
        self.emit(names[status], jobId=job_id, **args)

    def _bundle(self, job: Job, status: Status) -> Bundle:
        spec = JobSpec("llm.generate", self.specs[job.terms.spec_hash])
        if status is Status.REFUNDED:
            return make_bundle(terms=job.terms, spec=spec, output=b"", result=FAILED)
        return make_bundle(terms=job.terms, spec=spec)

    # What is known of

    specs: dict[bytes, Any] = field(default_factory=dict)

    def by_address(self, address: str) -> Provider:
        return next(item for item in self.providers if item.address == address)

    def id_of(self, terms: JobTerms) -> bytes:
        return job_id_of(terms, CHAIN_ID, MARKET)

    def free(self, holder: str, class_id: int) -> int:
        return self.credits.get((holder, class_id), 0)

    def class_terms(self, class_id: int) -> ClassTerms:
        price = next(item.price for item in self.providers if item.number == class_id)
        return make_class(payment_token=TOKEN, price_per_million=price, min_assurance=1, watcher_set=0)

    def emit(self, name: str, **args: Any) -> None:
        self.log.append(
            LogEvent(name, args, MARKET, len(self.times) - 1, bytes(32), b"\x07" * 32, len(self.log))
        )

    # The contracts

    def execute(self, call: Any) -> list[tuple[str, dict[str, Any]]]:
        """Run a transaction of the agent's; its events. Raises Reverted with nothing changed."""
        found: list[tuple[str, dict[str, Any]]] = getattr(self, f"_{call.function}")(*call.args)
        self.mine()
        return found

    def note_purchase(self, call: Any) -> None:
        """Tell what the payer will have free if this purchase, and those under way, go through."""
        if call.function not in ("buy", "fillFor"):
            return
        sent = [tx.call for tx in self.pending] + [call]
        ordered = [_ordered(one) for one in sent if one.function == call.function]
        class_id = ordered[-1][0]
        payer = AGENT.address if call.function == "buy" else OWNER
        units = sum(units for bought, units in ordered if bought == class_id)
        self.told.append(("orders", self.free(payer, class_id) + units))

    def _buy(self, class_id: int, units: int, to: str, most: int) -> list[tuple[str, dict[str, Any]]]:
        price = self.chain.at_once.cost(class_id, units)
        if price > most or price > self.tokens:
            raise Reverted("CreditReserve_OverLimit", {"given": price, "limit": most})
        self.tokens -= price
        self.credits[to, class_id] = self.free(to, class_id) + units
        self.told.append(("bought", price))
        return [("Bought", {"cost": price})]

    def _approve(self, *_: Any) -> list[tuple[str, dict[str, Any]]]:
        return []

    def _open(self, terms: tuple[Any, ...], quote: bytes) -> list[tuple[str, dict[str, Any]]]:
        return self._start(JobTerms.from_abi(terms), quote)

    def _openFor(self, terms: tuple[Any, ...], quote: bytes) -> list[tuple[str, dict[str, Any]]]:
        return self._start(JobTerms.from_abi(terms), quote)

    def _start(self, terms: JobTerms, quote: bytes) -> list[tuple[str, dict[str, Any]]]:
        job_id, provider = self.id_of(terms), self.by_address(terms.provider)
        if self.time > terms.accept_by:
            raise Reverted("JobMarket_DeadlinePassed", {"jobId": job_id})
        if job_id in self.jobs:
            raise Reverted("JobMarket_WrongStatus", {"jobId": job_id})
        if provider.quote == "stale":
            raise Reverted("JobMarket_CannotServe", {"jobId": job_id})
        if self.free(terms.payer, terms.class_id) < terms.max_units:
            raise Reverted("ComputeCredits_TooFew", {"given": terms.max_units})
        value = self.chain.at_once.cost(terms.class_id, terms.max_units)
        charge = 0
        if terms.budget_id:
            charge = self.budgets.charge(terms.budget_id, AGENT.address, terms.payer, terms.provider, value)
        elif terms.payer != AGENT.address:
            raise Reverted("JobMarket_NotPayer", {"jobId": job_id})
        self.credits[terms.payer, terms.class_id] -= terms.max_units
        self.told.append(("opened", terms.spec_hash))
        self.jobs[job_id] = Job(terms, self.time, charge)
        return []

    def _fillFor(self, budget_id: int, order: Any) -> list[tuple[str, dict[str, Any]]]:
        return self.budgets.fill(budget_id, order)

    def _expire(self, terms: tuple[Any, ...]) -> list[tuple[str, dict[str, Any]]]:
        found = JobTerms.from_abi(terms)
        job = self.jobs[self.id_of(found)]
        if job.status is not Status.RUNNING or self.time <= found.submit_by:
            raise Reverted("JobMarket_DeadlineNotReached", {})
        self._end(job, Status.EXPIRED)
        return []


def _ordered(call: Any) -> tuple[int, int]:
    """Class and units of a purchase."""
    if call.function == "buy":
        return call.args[0], call.args[1]
    order = call.args[1]
    return order[0][2], order[2]
