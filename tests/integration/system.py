"""All contracts on a test chain, deployed without Brownie: the plan is the deploy script's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.contract import Contract

from demo.anvil import Anvil
from scrip.deploying import local
from scrip.deploying.config import for_chain
from scrip.eip712 import sign
from scrip.structs import ZERO_ADDRESS
from scrip.types import ClassTerms, Deployment, Funding, Resource, region_bytes, sku_id

ARTIFACTS = Path(__file__).resolve().parents[2] / "build" / "brownie" / "contracts"
ETHER = 10**18
SKU = sku_id("test-cpu")
REGION = region_bytes("lab")


def account(name: str) -> LocalAccount:
    """The same account for the same name, never one of Anvil's own."""
    made: LocalAccount = Account.from_key(keccak(text=f"scrip test {name}"))
    return made


def signed(digest: bytes, names: Sequence[str]) -> list[bytes]:
    """Signatures of the accounts of these names, as the verifier wants them: by ascending address."""
    signers = sorted(map(account, names), key=lambda one: int(one.address, 16))
    return [sign(digest, signer) for signer in signers]


@dataclass(frozen=True, slots=True)
class System:
    """A deployment and its administrator, one of Anvil's unlocked accounts."""

    anvil: Anvil
    w3: Web3
    deployment: Deployment
    admin: str

    def contract(self, name: str) -> Contract:
        """Handle on a deployed contract."""
        return _handle(self.w3, self.deployment.address(name), name)

    def funded(self, name: str) -> LocalAccount:
        """The account of this name, with 100 ether."""
        made = account(name)
        self.anvil.set_balance(made.address, 100 * ETHER)
        return made

    def send(self, contract: str, function: str, *args: Any, sender: str | None = None) -> Any:
        """A transaction by an unlocked or impersonated account; its receipt."""
        origin = self.admin if sender is None else sender
        if origin != self.admin:
            self.anvil.rpc("anvil_impersonateAccount", origin)
        call = self.contract(contract).functions[function](*args)
        receipt = self.mined(call.transact({"from": origin}))
        assert receipt["status"] == 1
        return receipt

    def mined(self, sent: HexBytes) -> Any:
        """Receipt of a transaction. The chain mines at once: most of the wait would be web3's own tenth of a
        second.
        """
        return self.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)

    def mint(self, to: str, amount: int) -> None:
        """Demonstration dollars for `to`."""
        self.send("DemoUSD", "mint", to, amount)

    def terms(self, **changes: Any) -> ClassTerms:
        """Terms of a CPU class that anyone may hold and any provider of SKU and REGION may serve."""
        base = ClassTerms(
            issuer=self.admin, resource=Resource.CPU_SECOND, decimals=3, funding=Funding.SALE,
            transferable=True, capacity_bound=False, min_assurance=0, watcher_set=0, challenge_window=0,
            max_rate=1_000, expiry=0, max_supply=10**15, max_per_holder=0, sku=SKU, region=REGION,
            payment_token=self.deployment.address("DemoUSD"), price_per_million=2_000_000,
            price_feed=ZERO_ADDRESS, max_price_age=0, eligibility=ZERO_ADDRESS, arbiter_set=0,
            stake_per_million=0, max_deviation_bps=0, name="CPU seconds",
        )  # fmt: skip
        return replace(base, **changes)

    def buy(self, class_id: int, name: str, units: int) -> str:
        """Let the account of this name buy units of a class; its address."""
        who, most = self.funded(name).address, 10**12
        self.mint(who, most)
        self.send("DemoUSD", "approve", self.deployment.address("CreditReserve"), most, sender=who)
        self.send("CreditReserve", "buy", class_id, units, who, most, sender=who)
        return who

    def stake(self, provider: str, amount: int) -> None:
        """Stake of a registered provider."""
        self.mint(provider, amount)
        registry = self.deployment.address("ProviderRegistry")
        self.send("DemoUSD", "approve", registry, amount, sender=provider)
        self.send("ProviderRegistry", "stake", amount, sender=provider)

    def watcher_set(self, names: Sequence[str], threshold: int) -> int:
        """Activate a set of the accounts of these names; its id."""
        members = sorted((account(name).address for name in names), key=lambda one: int(one, 16))
        self.send("ReceiptVerifier", "proposeSet", 0, members, threshold)
        set_id = int(self.contract("ReceiptVerifier").functions.setCount().call())
        self.send("ReceiptVerifier", "activateSet", set_id, members, threshold)
        return set_id

    def create(self, name: str, *args: Any) -> Contract:
        """Deploy one more contract."""
        built = artifact(name)
        factory = self.w3.eth.contract(abi=built["abi"], bytecode=built["bytecode"])
        sent = factory.constructor(*args).transact({"from": self.admin})
        address = self.mined(sent)["contractAddress"]
        made: Any = self.w3.eth.contract
        return cast(Contract, made(address=address, abi=built["abi"]))

    def create_class(self, providers: Sequence[str] = (), **changes: Any) -> int:
        """Create a class; its id."""
        self.send("ComputeCredits", "createClass", self.terms(**changes).to_abi(), list(providers))
        return int(self.contract("ComputeCredits").functions.classCount().call())

    def register(self, provider: str, oracle: str) -> None:
        """Register a provider of SKU in REGION."""
        self.send("ProviderRegistry", "register", oracle, REGION, "http://127.0.0.1/", [SKU], sender=provider)


@cache
def artifact(name: str) -> Any:
    """What Brownie compiled: ABI and bytecode. Read once: such a file has megabytes."""
    return json.loads((ARTIFACTS / f"{name}.json").read_text("utf-8"))


@cache
def _handle(w3: Web3, address: str, name: str) -> Contract:
    """Made once: it has an object for every function of the ABI."""
    made: Any = w3.eth.contract
    return cast(Contract, made(address=address, abi=artifact(name)["abi"]))


def deploy(anvil: Anvil) -> System:
    """Deploy everything by Anvil's first account and let it create classes and watcher sets."""
    w3 = Web3(Web3.HTTPProvider(anvil.url))
    admin = w3.eth.accounts[0]
    system = System(anvil, w3, local.create(w3, for_chain(anvil.chain_id, admin)), admin)
    for contract, role in (("ComputeCredits", "ISSUER_ROLE"), ("ReceiptVerifier", "WATCHER_ADMIN_ROLE")):
        system.send(contract, "grantRole", keccak(text=role), admin)
    return system
