"""Reads of contract state, all at one block. Events are read up to that block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from eth_abi.abi import encode
from eth_abi.exceptions import DecodingError

from scrip import bulk, words
from scrip.abi import ERC20
from scrip.calls import Call, Signature, signature
from scrip.errors import ChainError, NotFound, Reverted
from scrip.logs import LogEvent, scan
from scrip.structs import ZERO_ADDRESS, to_address, to_bytes
from scrip.types import (
    ClassInfo,
    ClassTerms,
    Dispute,
    JobState,
    JobTerms,
    ProviderInfo,
    ServingTerms,
    Status,
    Submission,
    WatcherSet,
)
from scrip.types_spending import Budget, SessionState
from scrip.words import WORD

if TYPE_CHECKING:
    from scrip.chain import Chain

TOKEN: Final = {entry["name"]: Signature.of(entry) for entry in ERC20}
"""What we read of any payment token."""

_ERC1271 = bytes.fromhex("1626ba7e")
"""Selector of `isValidSignature(bytes32,bytes)`, and what it answers for yes."""
_ERC1271_GAS = 1_000_000
"""Whoever names the contract chose its code: it must not keep the node busy."""


class ChainView:
    """State of a deployment at block `block`. Amounts are base units, times unix seconds."""

    def __init__(self, chain: Chain, block: int) -> None:
        self.chain, self.block = chain, block

    def read(self, contract: str, function: str, *args: object) -> Any:
        """Result of a view function. Raises Reverted, or ChainError if the node can't answer."""
        return self._call(self.chain.address(contract), signature(contract, function), args)

    def events(
        self, contract: str, event: str | Sequence[str], *, since: int | None = None, **filters: object
    ) -> Iterator[LogEvent]:
        """Events from block `since`, by default the deployment's, up to this one.

        `filters` are values of indexed arguments; see `scrip.logs.scan`.
        """
        first = self.chain.deployment.block if since is None else since
        return scan(self.chain, contract, event, first, self.block, filters=filters)

    def time(self) -> int:
        """Unix seconds of this block."""
        return self.chain.block_time(self.block)

    # Jobs

    def job_state(self, job_id: bytes) -> JobState:
        """The job's slot. It is empty, status NONE, if the job was never opened or ended after its acceptBy:
        `scrip.jobs` tells which.
        """
        return JobState.from_abi(self.read("JobMarket", "jobs", to_bytes("job_id", job_id, 32)))

    def job_states(self, job_ids: Sequence[bytes]) -> list[JobState]:
        """`job_state` of each, with a request for some hundreds of them."""
        types = JobState.abi_types()
        slots = self._jobs(job_ids, WORD * len(types))
        return [JobState.from_abi(words.decode(types, slot)) for slot in slots]

    def job_statuses(self, job_ids: Sequence[bytes]) -> list[Status]:
        """Only the status of each: the first word of its slot, so that four times as many fit a request."""
        return [Status(int.from_bytes(slot)) for slot in self._jobs(job_ids, WORD)]

    def _jobs(self, job_ids: Sequence[bytes], size: int) -> Iterator[bytes]:
        return self._slots("JobMarket", "jobs", job_ids, size)

    def _slots(self, contract: str, function: str, ids: Sequence[bytes], size: int) -> Iterator[bytes]:
        """The first `size` bytes of what `function` returns for each id."""
        keys = [to_bytes("id", one, 32) for one in ids]
        selector = signature(contract, function).selector
        return bulk.read(self.chain, self.chain.address(contract), selector, keys, size, self.block)

    def submission(self, job_id: bytes) -> Submission:
        """The receipt waiting for its window; all zero if there is none."""
        return Submission.from_abi(self.read("JobMarket", "submissions", to_bytes("job_id", job_id, 32)))

    def dispute(self, job_id: bytes) -> Dispute:
        """The challenge that arbiters are to decide; all zero if there is none."""
        return Dispute.from_abi(self.read("JobMarket", "disputes", to_bytes("job_id", job_id, 32)))

    def job_terms(self, job_id: bytes) -> JobTerms:
        """The terms of a job, from its opening event. Raises NotFound."""
        for event in self.events("JobMarket", "JobOpened", jobId=to_bytes("job_id", job_id, 32)):
            return terms_of(event)
        raise NotFound("job", job_id, "No such job was opened by this block")

    # Classes

    def class_ids(self) -> range:
        """Ids of all classes, ascending; they are numbered from 1."""
        return range(1, int(self.read("ComputeCredits", "classCount")) + 1)

    def class_terms(self, class_id: int) -> ClassTerms:
        """Terms of a class, which never change. Raises NotFound."""
        try:
            return ClassTerms.from_abi(self.read("ComputeCredits", "classTerms", class_id))
        except Reverted as error:
            if error.name == "ComputeCredits_UnknownClass":
                raise NotFound("class", class_id, "See: scrip class list") from error
            raise

    def class_info(self, class_id: int) -> ClassInfo:
        """Terms and money of a class. Raises NotFound."""
        return ClassInfo(
            class_id=class_id,
            terms=self.class_terms(class_id),
            supply=self.supply(class_id),
            backing=self.backing(class_id),
            closed=bool(self.read("ComputeCredits", "isClosed", class_id)),
            wound_down=bool(self.read("ComputeCredits", "isWoundDown", class_id)),
        )

    def supply(self, class_id: int) -> int:
        """Units of the class in existence, locked and deposited ones included."""
        return int(self.read("ComputeCredits", "totalSupply", class_id))

    def balance(self, holder: str, class_id: int) -> int:
        """Units of the class that `holder` holds, those locked in jobs included."""
        return int(self.read("ComputeCredits", "balanceOf", to_address("holder", holder), class_id))

    def locked(self, holder: str, class_id: int) -> int:
        """Units of the class that are locked in jobs of `holder`, part of its balance."""
        return int(self.read("ComputeCredits", "lockedOf", to_address("holder", holder), class_id))

    def available(self, holder: str, class_id: int) -> int:
        """Units of the class that `holder` can lock, deposit or send: its balance less what is locked."""
        return int(self.read("ComputeCredits", "availableOf", to_address("holder", holder), class_id))

    def serving_terms(self, class_id: int, provider: str) -> ServingTerms:
        """What the class asks of a provider, and whether its own list admits this one."""
        where = (class_id, to_address("provider", provider))
        return ServingTerms.from_abi(self.read("ComputeCredits", "providerTerms", *where))

    # Sessions and budgets

    def session(self, session_id: bytes) -> SessionState:
        """The session's slot; all zero if there is no such session."""
        where = to_bytes("session_id", session_id, 32)
        return SessionState.from_abi(self.read("MeteredSessions", "sessions", where))

    def sessions(self, session_ids: Sequence[bytes]) -> list[SessionState]:
        """`session` of each, with a request for some hundreds of them."""
        types = SessionState.abi_types()
        slots = self._slots("MeteredSessions", "sessions", session_ids, WORD * len(types))
        return [SessionState.from_abi(words.decode(types, slot)) for slot in slots]

    def penalty(self, session_id: bytes) -> int:
        """Stake-token base units that verdicts about the session took of its provider."""
        where = to_bytes("session_id", session_id, 32)
        return int(self.read("MeteredSessions", "penaltyOf", where))

    def free_stake(self, provider: str) -> int:
        """Stake-token base units of the provider behind no job or credits: what such verdicts can take."""
        return int(self.read("ProviderRegistry", "freeStakeOf", to_address("provider", provider)))

    def budget(self, budget_id: int) -> Budget:
        """A budget with what is spent of it. Raises NotFound."""
        try:
            return Budget.from_abi(self.read("SpendingBudgets", "budgetOf", budget_id))
        except Reverted as error:
            if error.name == "SpendingBudgets_UnknownBudget":
                raise NotFound("budget", budget_id) from error
            raise

    # Money

    def backing(self, class_id: int) -> int:
        """Payment-token base units held for the class."""
        return int(self.read("CreditReserve", "backingOf", class_id))

    def cost(self, class_id: int, units: int) -> int:
        """Payment-token base units that `units` cost now, rounded up by the reserve."""
        return int(self.read("CreditReserve", "costOf", class_id, units))

    def earnings(self, account: str, token: str) -> int:
        """What `account` has earned of `token` and not withdrawn, in base units; the fee comes out of it."""
        where = (to_address("account", account), to_address("token", token))
        return int(self.read("CreditReserve", "earningsOf", *where))

    def fees(self, token: str) -> int:
        """Fees of `token` that the reserve holds, in its base units."""
        return int(self.read("CreditReserve", "feesOf", to_address("token", token)))

    def fee_bps(self) -> int:
        """What the reserve keeps of earnings as they are withdrawn, in hundredths of a percent."""
        return int(self.read("CreditReserve", "feeBps"))

    def token_balance(self, token: str, holder: str) -> int:
        """`holder`'s balance of an ERC-20, in its base units."""
        return int(self._token(token, "balanceOf", to_address("holder", holder)))

    def token_allowance(self, token: str, owner: str, spender: str) -> int:
        """What `spender` may take of `owner`'s `token`, in its base units."""
        pair = (to_address("owner", owner), to_address("spender", spender))
        return int(self._token(token, "allowance", *pair))

    def token_decimals(self, token: str) -> int:
        """Decimals an ERC-20 states."""
        return int(self._token(token, "decimals"))

    def token_symbol(self, token: str) -> str:
        """Symbol an ERC-20 states."""
        return str(self._token(token, "symbol"))

    # Providers and watchers

    def oracle_of(self, provider: str) -> str:
        """Key that signs for `provider`; the zero address if it isn't registered."""
        return str(self.read("ProviderRegistry", "oracleNowServing", to_address("provider", provider)))

    def serves(self, provider: str, sku: bytes) -> bool:
        """Whether `provider` says it serves the SKU."""
        where = (to_address("provider", provider), to_bytes("sku", sku, 32))
        return bool(self.read("ProviderRegistry", "serves", *where))

    def oracle_for(self, provider: str, class_id: int) -> str | None:
        """Key that signs for `provider` in jobs of the class; None if it can't serve it.

        Its SKU, its region and the class's own list must fit.
        """
        serving = self.serving_terms(class_id, provider)
        where = (to_address("provider", provider), serving.requirement)
        oracle = str(self.read("ProviderRegistry", "trustedOracleIfItQualifies", *where))
        return oracle if serving.listed and oracle != ZERO_ADDRESS else None

    def can_serve(self, provider: str, class_id: int) -> bool:
        """Whether `provider` may take jobs of the class."""
        return self.oracle_for(provider, class_id) is not None

    def provider(self, provider: str) -> ProviderInfo:
        """A provider's record. Raises NotFound if it isn't registered."""
        address = to_address("provider", provider)
        oracle = self.oracle_of(address)
        if oracle == ZERO_ADDRESS:
            raise NotFound("provider", address, "See: scrip provider list")
        unbonding, unbonding_at = self.read("ProviderRegistry", "unbondingOf", address)
        return ProviderInfo(
            address=address,
            oracle=oracle,
            region=bytes(self.read("ProviderRegistry", "regionOf", address)),
            uri=str(self.read("ProviderRegistry", "uriOf", address)),
            stake=int(self.read("ProviderRegistry", "stakeOf", address)),
            unbonding=int(unbonding),
            unbonding_at=int(unbonding_at),
        )

    def providers(self) -> tuple[ProviderInfo, ...]:
        """All registered providers, in the order they registered."""
        registered = self.events("ProviderRegistry", "ProviderRegistered")
        return tuple(self.provider(event.args["provider"]) for event in registered)

    def watcher_set(self, set_id: int) -> WatcherSet:
        """Members and threshold in force. Raises NotFound if the set was never activated."""
        last = None
        for event in self.events("ReceiptVerifier", "SetActivated", setId=set_id):
            last = event
        if last is None:
            raise NotFound("watcher set", set_id, "It doesn't exist, or its proposal isn't activated yet")
        return WatcherSet(set_id, tuple(last.args["watchers"]), int(last.args["threshold"]))

    def is_valid_signature(self, account: str, message: bytes, signature: bytes) -> bool:
        """Whether the contract `account` takes `signature` for a 32-byte digest (ERC-1271)."""
        data = _ERC1271 + encode(["bytes32", "bytes"], [message, signature])
        try:
            answer = self.chain.call({**Call(account, data).params(), "gas": _ERC1271_GAS}, self.block)
        except Reverted:
            return False
        return answer[:4] == _ERC1271 and len(answer) == 32

    def _token(self, token: str, function: str, *args: object) -> Any:
        return self._call(to_address("token", token), TOKEN[function], args)

    def _call(self, at: str, function: Signature, args: Sequence[object]) -> Any:
        answer = self.chain.call(Call(at, function.encode(args)).params(), self.block)
        try:
            decoded = function.decode(answer)
        except DecodingError:
            where = f"{at} at block {self.block}"
            raise ChainError(
                f"{function.name} gives no {', '.join(function.outputs)}: another contract at {where}?"
            ) from None
        values = tuple(_normal(kind, value) for kind, value in zip(function.outputs, decoded, strict=True))
        return values[0] if len(values) == 1 else values


def terms_of(event: LogEvent) -> JobTerms:
    """JobTerms as a JobOpened event carries them."""
    args = event.args
    return JobTerms(
        payer=args["payer"],
        provider=args["provider"],
        class_id=args["classId"],
        max_units=args["maxUnits"],
        resources=args["resources"],
        accept_by=args["acceptBy"],
        submit_by=args["submitBy"],
        spec_hash=args["specHash"],
        budget_id=args["budgetId"],
        salt=args["salt"],
    )


def _normal(kind: str, value: Any) -> Any:
    """Checksummed addresses, as everywhere else."""
    if kind == "address":
        return to_address("address", value)
    if kind == "address[]":
        return tuple(to_address("address", item) for item in value)
    return value
