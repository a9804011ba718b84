"""What the page's payments are tried on: price feeds, a token without permits, wallets that are contracts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from demo.classes import CPU, create_class, terms_of
from demo.stack import USD, Stack
from scrip.eip712 import sign
from scrip.eip712_watchers import answer_digest
from tests.integration.system import artifact
from tests.integration.web_place import Refusal, Wallet

WATCHERS = 1
"""Id of the stack's watcher set."""

PRICE = CPU.price_per_million
MAX_AGE = 600
UNSUPPORTED = 4200

# Answers any call with its own selector: what ERC-1271 and ERC-1155's receivers say for yes.
CONSENTING = "0x5f3560e01c60e01b5f5260205ff3"
PERMIT_SELECTORS = ("d505accf", "7ecebe00", "3644e515", "84b0196e")
"""Of `permit`, `nonces`, `DOMAIN_SEPARATOR` and `eip712Domain`."""


def deploy(stack: Stack, bytecode: str, abi: Any, *args: Any) -> Any:
    """A contract of this bytecode, created by Anvil's first account."""
    w3 = stack.chain.w3
    sent = (
        w3.eth.contract(abi=abi, bytecode=bytecode).constructor(*args).transact({"from": w3.eth.accounts[0]})
    )
    address = w3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
    made: Any = w3.eth.contract
    return made(address=address, abi=abi)


@dataclass
class Feed:
    """A price feed of the stack's watchers."""

    stack: Stack
    contract: Any

    def post(self, answer: int, age: int) -> None:
        """One more round, observed `age` seconds before now."""
        chain = self.stack.chain
        self.stack.anvil.mine()
        round_id, observed = int(self.contract.functions.latestRound().call()) + 1, chain.at().time() - age
        digest = answer_digest(round_id, answer, observed, chain.chain_id, self.contract.address)
        signers = sorted(
            (self.stack.accounts[name] for name in self.stack.options.watcher_names),
            key=lambda one: int(one.address, 16),
        )
        signatures = [sign(digest, one) for one in signers]
        call = self.contract.functions.post(round_id, answer, observed, signatures)
        self.stack.sender("stranger").send(call, label="post")


def feed_of(stack: Stack) -> Feed:
    """A new feed in the payment token's decimals, without a round."""
    built = artifact("PriceFeed")
    verifier = stack.chain.address("ReceiptVerifier")
    args = (verifier, WATCHERS, 6, "CPU-seconds", 5_000)
    return Feed(stack, deploy(stack, built["bytecode"], built["abi"], *args))


def class_with(stack: Stack, **changes: Any) -> int:
    """A class as that of CPU-seconds, but for `changes`; its id."""
    issuer = stack.sender("issuer")
    terms = terms_of(CPU, issuer=issuer.address, payment_token=stack.payment_token, watcher_set=WATCHERS)
    return create_class(stack.chain, issuer, replace(terms, **changes))


def class_by(stack: Stack, feed: Feed) -> int:
    """A class that the feed prices: at most `MAX_AGE` old, within a tenth of `PRICE`."""
    address = feed.contract.address
    return class_with(
        stack, price_feed=address, max_price_age=MAX_AGE, max_deviation_bps=1_000, name="By feed"
    )


def plain_token(stack: Stack, holder: str) -> Any:
    """DemoUSD without ERC-2612: nothing of its code answers to those selectors. `holder` has 100 dollars."""
    built = artifact("DemoUSD")
    code = str(built["bytecode"])
    for selector in PERMIT_SELECTORS:
        assert code.count("63" + selector) == 1
        code = code.replace("63" + selector, "63" + selector[:-1] + ("0" if selector[-1] != "0" else "1"))
    token = deploy(stack, code, built["abi"])
    stack.sender("stranger").send(token.functions.mint(holder, 100 * USD), label="mint")
    return token


class NoPermits(Wallet):
    """A wallet that can't sign typed data."""

    def _answer(self, method: str, params: list[Any]) -> Any:
        if method == "eth_signTypedData_v4":
            raise Refusal(UNSUPPORTED, "The requested method is not supported by this provider.")
        return super()._answer(method, params)


class ContractWallet(Wallet):
    """The account is a contract, which agrees to whatever its owner's wallet asks (ERC-1271)."""

    def install(self) -> None:
        """Put the contract where the account is."""
        self.anvil.rpc("anvil_setCode", self.account.address, CONSENTING)
        self.anvil.rpc("anvil_impersonateAccount", self.account.address)

    def _answer(self, method: str, params: list[Any]) -> Any:
        if method == "eth_signTypedData_v4":
            return "0x" + "11" * 96  # of no key: what it means, its contract says
        return super()._answer(method, params)

    def _send(self, call: dict[str, str]) -> str:
        fields = {"from": self.account.address, "to": call["to"], "data": call["data"]}
        return str(self._rpc("eth_sendTransaction", fields))
