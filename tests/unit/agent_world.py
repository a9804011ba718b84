"""A market in memory, with all that can go wrong in it. Written from the contracts, not from the agent.

Only the node, the senders' transactions and the providers' HTTP are played: quotes are signed by real keys,
evidence is made and checked by the real code. `World.told` is the account of what really happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from eth_account import Account
from web3.exceptions import TransactionNotFound

from scrip.eip712 import VERIFIER_DOMAIN, acceptance_digest, domain_separator, receipt_struct_hash, sign
from scrip.eip712 import job_id as job_id_of
from scrip.errors import (
    ChainError,
    NodeUnavailable,
    NotFound,
    Refused,
    Reverted,
    TxLost,
    TxRejected,
    TxUnknown,
)
from scrip.evidence import Bundle, Result
from scrip.journal import TxOutcome
from scrip.logs import LogEvent
from scrip.provider_client import Offer, ProviderUnreachable
from scrip.sender import Reconciled
from scrip.spec import JobSpec, spec_hash
from scrip.structs import camel, to_address
from scrip.types import ClassInfo, ClassTerms, JobState, JobTerms, ProviderInfo, Receipt, Status, Submission
from tests.unit.agent_budgets import Budgets
from tests.unit.evidence_factory import CHAIN_ID, MARKET, NONCE, NOW, change, make_bundle, make_class

AGENT = Account.from_key(b"\x51" * 32)
OWNER = to_address("owner", "0x" + "0e" * 20)
TOKEN = "0x" + "11" * 20
TICK = 100
"""Seconds that pass while the agent sleeps once."""
FAILED = Result(1, None, "failed")


class Kill(BaseException):
    """The agent's process dies here."""


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


class SimView:
    """The state now. Every read is a step."""

    def __init__(self, world: World) -> None:
        self.world, self.chain, self.block = world, world.chain, len(world.times) - 1

    def time(self) -> int:
        return self.world.time

    def class_ids(self) -> list[int]:
        return [item.number for item in self.world.providers]

    def class_terms(self, class_id: int) -> ClassTerms:
        return self.world.class_terms(class_id)

    def class_info(self, class_id: int) -> ClassInfo:
        return ClassInfo(class_id, self.class_terms(class_id), 0, 0, False, False)

    def cost(self, class_id: int, units: int) -> int:
        return -(-units * self.class_terms(class_id).price_per_million // 10**6)

    def available(self, holder: str, class_id: int) -> int:
        return self.world.free(holder, class_id)

    def token_balance(self, token: str, holder: str) -> int:
        return self.world.tokens if holder == AGENT.address else self.world.budgets.owner_tokens

    def token_allowance(self, token: str, owner: str, spender: str) -> int:
        return 10**18

    def provider(self, address: str) -> ProviderInfo:
        self.world.by_address(address)
        return ProviderInfo(address, address, b"eu".ljust(12, b"\0"), "http://p", 5, 0, 0)

    def providers(self) -> tuple[ProviderInfo, ...]:
        return tuple(self.provider(item.address) for item in self.world.providers)

    def can_serve(self, provider: str, class_id: int) -> bool:
        return self.world.by_address(provider).number == class_id

    def oracle_of(self, provider: str) -> str:
        return provider

    def is_valid_signature(self, account: str, message: bytes, signature: bytes) -> bool:
        return False

    def budget(self, budget_id: int) -> Any:
        return self.world.budgets.view(budget_id)

    def job_state(self, job: bytes) -> JobState:
        self.world.step()
        known = self.world.jobs.get(job)
        # The slot of a job that ended after its acceptBy is emptied.
        if known is None or known.ended_at > known.terms.accept_by:
            return JobState(Status.NONE, 0, 0)
        return JobState(known.status, known.opened_at, NONCE, known.charge)

    def submission(self, job: bytes) -> Submission:
        raise AssertionError("no class here has a window")

    def read(self, contract: str, function: str, *args: Any) -> Any:
        self.world.step()
        if function == "domainSeparator":
            return domain_separator(VERIFIER_DOMAIN, CHAIN_ID, MARKET)
        return self.world.budgets.read(function, *args)

    def events(
        self, contract: str, event: str | Sequence[str], *, since: int | None = None, **filters: Any
    ) -> Iterator[LogEvent]:
        self.world.step()
        names = [event] if isinstance(event, str) else event
        if "JobOpened" in names:
            yield from self._openings(filters["jobId"])
        for found in self.world.log:
            if found.name in names and found.args["jobId"] in filters["jobId"]:
                yield found

    def _openings(self, job: bytes) -> Iterator[LogEvent]:
        if job in self.world.jobs:
            terms = self.world.jobs[job].terms
            named = {camel(name): getattr(terms, name) for name in JobTerms.__dataclass_fields__}
            args = named | {"jobId": job, "nonce": NONCE}
            yield LogEvent("JobOpened", args, MARKET, 0, bytes(32), bytes(32), 0)


class SimChain:
    """The node. What it says can be an error."""

    chain_id = CHAIN_ID
    deployment = SimpleNamespace(block=0)

    def __init__(self, world: World) -> None:
        self.world = world
        self.w3 = SimpleNamespace(eth=SimpleNamespace(get_transaction=self._forgotten))

    @property
    def at_once(self) -> Any:
        """A view that no fault strikes."""
        return SimView(self.world)

    def at(self, block: int | None = None) -> Any:
        self.world.step()
        return SimView(self.world)

    def head(self) -> int:
        return len(self.world.times) - 1

    def block_time(self, block: int) -> int:
        return self.world.times[block]

    def address(self, name: str) -> str:
        return MARKET

    def call(self, *_: Any) -> bytes:
        raise ChainError("this token has no permit")

    def erc20(self, token: str) -> Any:
        return self.contract("ERC20")

    def contract(self, name: str) -> Any:
        return SimpleNamespace(functions=Functions(), events=Events())

    def _forgotten(self, *_: Any) -> None:
        raise TransactionNotFound("gone")


class Functions:
    """Calls by name, not encoded."""

    def __getitem__(self, name: str) -> Any:
        return lambda *args: SimpleNamespace(function=name, args=args)

    __getattr__ = __getitem__


class Events:
    """Events of a receipt by name."""

    def __getattr__(self, name: str) -> Any:
        def read(receipt: Any, errors: Any = None) -> list[Any]:
            return [{"address": MARKET, "args": args} for found, args in receipt["logs"] if found == name]

        return lambda: SimpleNamespace(process_receipt=read)


class SimSender:
    """The account's sender. Its journal is the world's, which survives the process."""

    def __init__(self, world: World) -> None:
        self.world, self.address = world, AGENT.address
        self._reconciled = False

    def send(self, call: Any, *, label: str, value: int = 0) -> Any:
        world = self.world
        if not self._reconciled:
            self.reconcile()
        world.step()
        fate = world.sends.pop(0) if world.sends else "mined"
        if fate == "node":
            raise NodeUnavailable("sim", "Timeout")
        if fate == "rejected":
            raise TxRejected(label, "insufficient funds")
        if fate == "kill before":
            raise Kill
        world.note_purchase(call)
        self._in_order()
        tx = Tx(world.next_nonce, label, call, doomed=fate.endswith("lost"))
        world.next_nonce += 1
        if fate.startswith(("unknown", "kill pending")):
            world.pending.append(tx)
            if fate.startswith("kill"):
                raise Kill
            raise TxUnknown(label, tx.nonce, [bytes(32)])
        if fate == "reverts":
            raise Reverted("Unknown", {}, b"\x01" * 32)
        found = self._run(call)
        if fate == "kill after":
            raise Kill
        return {"logs": found, "transactionHash": b"\x07" * 32, "status": 1}

    def reconcile(self) -> list[Reconciled]:
        self.world.step()
        self._reconciled = True
        return [Reconciled(tx.label, tx.nonce, TxOutcome.PENDING, ()) for tx in self.world.pending]

    def follow(self, nonce: int) -> Any:
        self.world.step()
        tx = next((item for item in self.world.pending if item.nonce == nonce), None)
        if tx is None:
            raise NotFound("open transaction with nonce", nonce)
        if self.world.sends and self.world.sends[0] == "unknown":
            self.world.sends.pop(0)
            raise TxUnknown(tx.label, nonce, [bytes(32)])
        self.world.pending.remove(tx)
        if tx.doomed:
            raise TxLost(tx.label, nonce, [bytes(32)])
        return {"logs": self._run(tx.call), "transactionHash": b"\x07" * 32, "status": 1}

    def _in_order(self) -> None:
        """A later nonce is mined after those before it."""
        for tx in list(self.world.pending):
            self.world.pending.remove(tx)
            if not tx.doomed:
                try:
                    self._run(tx.call)
                except Reverted:
                    continue

    def _run(self, call: Any) -> Any:
        try:
            return self.world.execute(call)
        except Reverted as error:
            self.world.refusals += error.name.startswith("SpendingBudgets_")
            raise


class SimClient:
    """HTTP of one provider."""

    def __init__(self, world: World, endpoint: str) -> None:
        self.world, self.provider = world, world.by_address(endpoint)

    def __enter__(self) -> SimClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put_spec(self, spec: JobSpec) -> bytes:
        self._up()
        if self.provider.quote == "refused":
            raise Refused("never")
        return spec_hash(spec)

    def quote(self, terms: JobTerms, spec: JobSpec) -> bytes:
        self._up()
        self.world.specs[terms.spec_hash] = dict(spec.params)
        if self.provider.quote in ("refused", "full"):
            raise Refused("no place")
        signer = AGENT if self.provider.quote == "forged" else self.provider.key
        return sign(acceptance_digest(self.world.id_of(terms), CHAIN_ID, MARKET), signer)

    def bundle(self, job: bytes) -> Bundle:
        self._up()
        found = self.world.jobs[job].bundle
        assert found is not None
        return _shown(self.world, self.provider.evidence, found)

    def _up(self) -> None:
        self.world.step()
        if not self.provider.reachable:
            raise ProviderUnreachable("http://p", "refused")


def _shown(world: World, how: str, real: Bundle) -> Bundle:
    """What a provider shows as the evidence of a job that was settled as in `real`."""
    if how == "missing":
        raise NotFound("resource", "evidence")
    if how == "kept back":
        raise Refused("not for you")
    if how == "garbled":
        return Bundle.decode(b"{}")
    if how == "other output":
        return replace(real, output=b"Something else.")
    if how == "other receipt":
        return make_bundle(terms=real.terms, spec=real.spec, output=b"Something else.")
    if how == "other job":
        others = [job.bundle for job in world.jobs.values() if job.bundle and job.bundle != real]
        return others[0] if others else replace(real, nonce=1)
    if how == "other samples":
        return replace(real, samples=change(real.samples, 1, value=5))
    return real


def discovered(world: World, info: ProviderInfo) -> Offer:
    """A provider's registration file."""
    world.step()
    provider = world.by_address(info.address)
    if not provider.reachable:
        raise ProviderUnreachable("http://p", "refused")
    details = {"llm.generate": {"name": "llm.generate", "seconds": provider.said_seconds}}
    return Offer("p", info.address, ("llm.generate",), False, details)
