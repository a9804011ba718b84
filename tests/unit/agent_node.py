"""The node of the market in memory: views, contracts by name, events. Every read may fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from web3.exceptions import TransactionNotFound

from scrip.eip712 import VERIFIER_DOMAIN, domain_separator
from scrip.errors import ChainError
from scrip.logs import LogEvent
from scrip.structs import camel
from scrip.types import ClassInfo, ClassTerms, JobState, JobTerms, ProviderInfo, Status, Submission
from tests.unit.agent_parties import AGENT
from tests.unit.evidence_factory import CHAIN_ID, MARKET, NONCE

if TYPE_CHECKING:
    from tests.unit.agent_world import World


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
