"""Parties at work on a deployment: who they are, what they sign and send, and what the contracts answer.

Everybody goes by name (`system.account`). Nobody but those in FUNDED has ether: what the others want done, a
relayer sends. Prices are such that a base unit of credits costs UNIT_PRICE base units of the token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from web3.logs import DISCARD

from scrip import eip712, eip712_sessions
from scrip.calls import Call
from scrip.chain import Chain
from scrip.errors import Reverted
from scrip.structs import ZERO_ADDRESS, to_address
from scrip.types import Attestation, JobTerms, Outcome, Receipt
from scrip.types_spending import NO_CAP, Claim, Limits, Offer, SessionTerms
from tests.integration.system import System, account, signed

UNIT_PRICE = 1_000
"""Token base units for one base unit of credits: a dollar a credit."""
PRICE = UNIT_PRICE * 10**9
"""The same for 1,000,000 credits of 10**3 base units."""
FUNDED = ("relayer", "sponsor", "agent", "buyer", "seller", "provider", "challenger")
WATCHERS = ("watcher 0", "watcher 1", "watcher 2")
Refusal = tuple[Any, ...]


@dataclass(slots=True)
class Scene:
    """A deployment with a provider that serves `class_id`, and watcher set 1 (two of WATCHERS)."""

    system: System
    chain: Chain
    class_id: int = 0
    salt: int = 0

    # Who and when

    def at(self, name: str) -> str:
        """Address of a contract, or of the account of this name."""
        contracts = self.system.deployment.contracts
        return contracts[name] if name in contracts else account(name).address

    def domain(self, contract: str) -> tuple[int, str]:
        """What a digest of this contract is bound to: the last arguments of all digest functions."""
        return self.chain.chain_id, self.at(contract)

    def number(self, name: str) -> int:
        """The address as errors of jobs and sessions carry it."""
        return int(self.at(name), 16)

    @property
    def now(self) -> int:
        """Unix seconds of the newest block, which calls see as well."""
        return int(self.system.w3.eth.get_block("latest")["timestamp"])

    # Doing

    def send(self, who: str, contract: str, function: str, *args: Any) -> Any:
        """A transaction by `who`; its receipt."""
        return self.system.send(contract, function, *args, sender=self.at(who))

    def refusal(self, who: str, contract: str, function: str, *args: Any) -> Refusal:
        """Name and values of the error that such a transaction would revert with."""
        call = Call.of(self.system.contract(contract).functions[function](*args))
        with pytest.raises(Reverted) as caught:
            self.chain.call(call.params(self.at(who)))
        return caught.value.name, *map(_plain, caught.value.params.values())

    def read(self, contract: str, function: str, *args: Any) -> Any:
        """What a view answers."""
        return self.chain.at().read(contract, function, *args)

    def event(self, receipt: Any, contract: str, name: str) -> dict[str, Any]:
        """Arguments of the one event of this name in a transaction."""
        (only,) = self.events(receipt, contract, name)
        return only

    def events(self, receipt: Any, contract: str, name: str) -> list[dict[str, Any]]:
        """Arguments of all events of this name in a transaction, in order."""
        handle = self.system.contract(contract)
        found = handle.events[name]().process_receipt(receipt, errors=DISCARD)
        return [dict(one["args"]) for one in found if one["address"] == handle.address]

    def sign(self, who: str, digest: bytes) -> bytes:
        """Signature of `who`."""
        return eip712.sign(digest, account(who))

    # Money

    def give(self, who: str, units: int, class_id: int = 0) -> None:
        """Buy credits for an account, which needs neither ether nor tokens for it."""
        cost = units * UNIT_PRICE
        admin = self.system.admin
        self.system.mint(admin, cost)
        self.system.send("DemoUSD", "approve", self.at("CreditReserve"), cost)
        self.system.send("CreditReserve", "buy", class_id or self.class_id, units, self.at(who), cost)

    def credits(self, who: str, class_id: int = 0) -> int:
        """Units that `who` can use: its balance less what is locked."""
        return self.chain.at().available(self.at(who), class_id or self.class_id)

    def locked(self, who: str) -> int:
        """Units of `who` that jobs have locked."""
        return self.chain.at().locked(self.at(who), self.class_id)

    def tokens(self, who: str) -> int:
        """Token base units of an account or a contract."""
        return self.chain.at().token_balance(self.at("DemoUSD"), self.at(who))

    def earned(self, who: str) -> int:
        """Token base units that the reserve owes a provider."""
        return self.chain.at().earnings(self.at(who), self.at("DemoUSD"))

    # Jobs

    def job(self, payer: str, **changes: Any) -> JobTerms:
        """Terms of a new job: ten minutes to accept it, an hour to submit."""
        self.salt += 1
        values = {
            "payer": self.at(payer), "provider": self.at("provider"), "class_id": self.class_id,
            "max_units": 10_000, "resources": 1, "accept_by": self.now + 600, "submit_by": self.now + 3_600,
            "spec_hash": b"\x07" * 32, "budget_id": 0, "salt": self.salt,
        } | changes  # fmt: skip
        return JobTerms(**values)

    def job_id(self, terms: JobTerms) -> bytes:
        """Id of the job with these terms."""
        return eip712.job_id(terms, *self.domain("JobMarket"))

    def quote(self, terms: JobTerms) -> bytes:
        """The provider's acceptance in advance."""
        digest = eip712.acceptance_digest(self.job_id(terms), *self.domain("JobMarket"))
        return self.sign("oracle", digest)

    def receipt(self, terms: JobTerms, units: int, **changes: Any) -> Receipt:
        """Receipt of a job that was opened: as quick as work can be."""
        job = self.job_id(terms)
        opened = self.chain.at().job_state(job).opened_at
        values = {
            "job_id": job, "outcome": Outcome.COMPLETED, "units": units, "gpu_millijoules": 5,
            "input_tokens": 6, "output_tokens": 7, "started_at": opened, "ended_at": opened,
            "output_hash": b"\x01" * 32, "evidence_root": b"\x02" * 32, "assurance": 1,
        } | changes  # fmt: skip
        return Receipt(**values)

    def attest(self, digest: bytes, watchers: int = 0) -> Attestation:
        """Signatures of the oracle key and of so many watchers."""
        watching = tuple(signed(digest, WATCHERS)[:watchers])
        return Attestation(self.sign("oracle", digest), watching)

    def submit(self, terms: JobTerms, receipt: Receipt) -> Any:
        """Submit a receipt, signed by the oracle key alone; the transaction's receipt."""
        attestation = self.attest(eip712.receipt_digest(receipt, *self.domain("ReceiptVerifier")))
        return self.send(
            "relayer", "JobMarket", "submit", terms.to_abi(), receipt.to_abi(), attestation.to_abi()
        )

    # Sessions, budgets and offers

    def session(self, payer: str, key: str = "key", **changes: Any) -> SessionTerms:
        """Terms of a new session of a day."""
        self.salt += 1
        values = {
            "payer": self.at(payer), "provider": self.at("provider"), "class_id": self.class_id,
            "key": self.at(key), "expires_at": self.now + 86_400, "budget_id": 0, "salt": self.salt,
        } | changes  # fmt: skip
        return SessionTerms(**values)

    def session_id(self, terms: SessionTerms) -> bytes:
        """Id of the session with these terms."""
        return eip712_sessions.session_id(terms, *self.domain("MeteredSessions"))

    def claim(
        self, terms: SessionTerms, units: int, key: str = "key", *, authorised: int | None = None
    ) -> tuple[Any, ...]:
        """A claim of `units` in all, by a voucher over as much, or over `authorised`, signed by the key."""
        most = units if authorised is None else authorised
        digest = eip712_sessions.voucher_digest(self.session_id(terms), most, *self.domain("MeteredSessions"))
        return Claim(terms, units, most, self.sign(key, digest)).to_abi()

    def limits(self, spender: str, **changes: Any) -> Limits:
        """What a budget allows: everything, unless changed."""
        values = {
            "spender": self.at(spender), "per_action": NO_CAP, "per_period": NO_CAP, "lifetime": NO_CAP,
            "period": 0, "expiry": 0, "listed": False,
        } | changes  # fmt: skip
        return Limits(**values)

    def budget(self, owner: str, limits: Limits) -> int:
        """Create a root budget; its id. The owner pays the gas."""
        self.send(owner, "SpendingBudgets", "createBudget", self.at("DemoUSD"), limits.to_abi(), [])
        return int(self.read("SpendingBudgets", "budgetCount"))

    def child(self, controller: str, parent: int, limits: Limits) -> int:
        """Create a budget below another; its id."""
        self.send(controller, "SpendingBudgets", "createChild", parent, limits.to_abi(), [])
        return int(self.read("SpendingBudgets", "budgetCount"))

    def offer(self, maker: str, units: int, price: int, **changes: Any) -> Offer:
        """An offer to sell, for anyone and an hour."""
        self.salt += 1
        values = {
            "maker": self.at(maker), "selling": True, "class_id": self.class_id, "units": units,
            "token": self.at("DemoUSD"), "price": price, "taker": ZERO_ADDRESS, "expiry": self.now + 3_600,
            "epoch": 0, "salt": self.salt,
        } | changes  # fmt: skip
        return Offer(**values)


def stage(system: System, chain: Chain) -> Scene:
    """Register the provider, activate the watcher set, create the class and a feed of the watchers."""
    scene = Scene(system, chain)
    for name in FUNDED:
        system.funded(name)
    system.register(scene.at("provider"), scene.at("oracle"))
    assert system.watcher_set(WATCHERS, 2) == 1
    scene.class_id = system.create_class(price_per_million=PRICE, max_rate=10**9, watcher_set=1)
    return _with(scene, "PriceFeed", scene.at("ReceiptVerifier"), 1, 8, "CPU seconds in dollars", 1_000)


def _with(scene: Scene, name: str, *args: Any) -> Scene:
    """Deploy one more contract, and know it by its name."""
    deployment = scene.system.deployment
    address = scene.system.create(name, *args).address
    deployment = replace(deployment, contracts={**deployment.contracts, name: address})
    chain = Chain(scene.chain.w3, deployment)
    return replace(scene, system=replace(scene.system, deployment=deployment), chain=chain)


def _plain(value: Any) -> Any:
    is_address = isinstance(value, str) and len(value) == 42 and value.startswith("0x")
    return to_address("value", value) if is_address else value
