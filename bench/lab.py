"""The chain that benchmarks run on: a whole Scrip, accounts the node sends for, and two classes.

Accounts, keys and salts are counted, not drawn, so that a figure is the same on every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3.logs import DISCARD

from demo import stack
from demo.classes import LLM, create_class, terms_of
from demo.stack_config import ORACLE, PROVIDER
from scrip import eip712
from scrip.types import ClassTerms

FUNDED_WEI = hex(10**20)
GAS = 16_700_000
"""What a transaction may take at most: EIP-7825's cap, rounded down."""
MONEY = 10**12


@dataclass(frozen=True, slots=True)
class Lab:
    """A chain with two classes: one that settles on the provider's signature, one that needs two watchers."""

    up: stack.Stack
    terms: ClassTerms
    plain: int
    watched: int
    numbers: Iterable[int] = field(default_factory=lambda: count(1))

    @classmethod
    def on(cls, up: stack.Stack) -> Lab:
        """Create the classes on a stack that has just come up."""
        terms = terms_of(
            LLM, issuer=up.accounts["issuer"].address, payment_token=up.payment_token, watcher_set=1
        )
        # A receipt of the benchmark covers less than a second: no rate may bind.
        terms = replace(terms, min_assurance=1, name="plain", max_rate=10**6)
        issuer = up.sender("issuer")
        plain = create_class(up.chain, issuer, terms)
        watched = create_class(up.chain, issuer, replace(terms, min_assurance=2, name="watched"))
        return cls(up, terms, plain, watched)

    @property
    def provider(self) -> str:
        """Address of the provider."""
        return str(self.up.accounts[PROVIDER].address)

    @property
    def chain_id(self) -> int:
        """Id of the chain."""
        return self.up.chain.chain_id

    def now(self) -> int:
        """Unix seconds of the latest block."""
        return self.up.chain.at().time()

    def number(self) -> int:
        """The next unused number: 32 bytes of it make keys, salts and hashes of full width."""
        return next(iter(self.numbers))

    def word(self) -> bytes:
        """32 bytes nobody else has."""
        return bytes(keccak(self.number().to_bytes(32, "big")))

    def signer(self) -> LocalAccount:
        """A fresh funded account that can sign and send."""
        made: LocalAccount = Account.from_key(self.word())
        self.up.anvil.rpc("anvil_setBalance", made.address, FUNDED_WEI)
        self.up.anvil.rpc("anvil_impersonateAccount", made.address)
        return made

    def account(self) -> str:
        """Address of a fresh funded account."""
        return str(self.signer().address)

    def sign(self, name: str, digest: bytes) -> bytes:
        """Signature of one of the stack's accounts, by name."""
        return eip712.sign(digest, self.up.accounts[name])

    def oracle(self, digest: bytes) -> bytes:
        """Signature of the provider's oracle key."""
        return self.sign(ORACLE, digest)

    def watchers(self, digest: bytes) -> list[bytes]:
        """Signatures of all watchers, by ascending address."""
        accounts = self.up.accounts
        names = sorted(self.up.options.watcher_names, key=lambda name: int(accounts[name].address, 16))
        return [self.sign(name, digest) for name in names]

    def function(self, contract: str, name: str, *args: object) -> Any:
        """A bound call of one of the contracts."""
        return self.up.chain.contract(contract).functions[name](*args)

    def address(self, contract: str) -> str:
        """Address of one of the contracts."""
        return self.up.chain.address(contract)

    def send(self, sender: str, call: Any) -> int:
        """Gas of the mined transaction. Raises if it reverted."""
        return int(self.mine(sender, call)["gasUsed"])

    def mine(self, sender: str, call: Any) -> Any:
        """Receipt of the mined transaction. Raises if it reverted."""
        self.up.anvil.rpc("anvil_impersonateAccount", sender)
        sent = call.transact({"from": sender, "gas": GAS})
        mined = self.up.chain.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.005)
        if mined["status"] != 1:
            call.call({"from": sender})
            raise AssertionError(f"{call.fn_name} reverted")
        return mined

    def events(self, contract: str, event: str, mined: Any) -> Sequence[Any]:
        """The receipt's events of this name."""
        found: Sequence[Any] = (
            self.up.chain.contract(contract).events[event]().process_receipt(mined, errors=DISCARD)
        )
        return found

    def fund(self, buyer: str) -> None:
        """Give the account dUSD that the reserve may take."""
        self.send(buyer, self.function("DemoUSD", "mint", buyer, MONEY))
        self.send(buyer, self.function("DemoUSD", "approve", self.address("CreditReserve"), 2**256 - 1))

    def buy(self, buyer: str, class_id: int, units: int) -> int:
        """Gas of a purchase by a funded account."""
        return self.send(buyer, self.function("CreditReserve", "buy", class_id, units, buyer, MONEY))

    def holder(self, class_id: int) -> str:
        """A fresh account that holds units of the class."""
        made = self.account()
        self.fund(made)
        self.buy(made, class_id, 10_000)
        return made
