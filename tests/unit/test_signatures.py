"""Who signed a receipt, from the transaction alone."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3
from web3.exceptions import TransactionNotFound

from scrip import signatures
from scrip.abi import abi
from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash, sign
from scrip.errors import ChainError, NodeUnavailable
from scrip.jobs import Ending
from scrip.types import Attestation, Status
from tests.unit.cli_fakes import TX
from tests.unit.evidence_factory import CHAIN_ID, MARKET, make_bundle, make_class, make_terms

ORACLE, *WATCHERS, STRANGER = (Account.from_key(bytes([number]) * 32) for number in range(1, 5))
VERIFIER = "0x" + "22" * 20
TERMS = make_terms()
RECEIPT = replace(make_bundle().receipt, assurance=2)
OTHER = replace(RECEIPT, job_id=b"\x09" * 32)
CLASS = make_class(min_assurance=2)


class Chain:
    """One transaction at block 9, of the input `data`; `WATCHERS` are the watcher set."""

    chain_id = CHAIN_ID

    def __init__(self, data: str, asked: str = "") -> None:
        self.market: Any = Web3().eth.contract(address=Web3.to_checksum_address(MARKET), abi=abi("JobMarket"))
        self.data, self.asked = data, asked
        self.failure: Exception | None = None
        self.w3 = SimpleNamespace(eth=SimpleNamespace(get_transaction=self._transaction))

    def _transaction(self, tx_hash: bytes) -> dict[str, str]:
        self.asked = tx_hash.hex()
        if self.failure:
            raise self.failure
        return {"input": self.data}

    def contract(self, name: str) -> Any:
        return self.market

    def address(self, name: str) -> str:
        return VERIFIER

    def at(self, block: int | None = None) -> Any:
        return SimpleNamespace(
            read=self._read, events=lambda *_, **__: iter([SimpleNamespace(tx_hash=b"\x77")])
        )

    def _read(self, contract: str, function: str, set_id: int, *who: str) -> Any:
        if self.failure:
            raise self.failure
        return 2 if function == "thresholdOf" else who[0] in [item.address for item in WATCHERS]


def attested(digest: bytes, *watchers: Any) -> tuple[Any, ...]:
    return Attestation(sign(digest, ORACLE), tuple(sign(digest, item) for item in watchers)).to_abi()


def encoded(function: str, *args: Any) -> str:
    market: Any = Chain("").market
    return str(market.encode_abi(function, args=list(args)))


def submit(*watchers: Any) -> str:
    digest = receipt_digest(RECEIPT, CHAIN_ID, VERIFIER)
    return encoded("submit", TERMS.to_abi(), RECEIPT.to_abi(), attested(digest, *watchers))


def batch(*receipts: Any) -> str:
    digest = batch_digest([receipt_struct_hash(item) for item in receipts], CHAIN_ID, VERIFIER)
    rows = [item.to_abi() for item in receipts]
    terms = [TERMS.to_abi()] * len(receipts)
    return encoded("submitBatch", terms, rows, 1, attested(digest, *WATCHERS))


ENDING = Ending(Status.SETTLED, 9, receipt_struct_hash(RECEIPT), TX, 9)


def find(chain: Any, **terms: Any) -> signatures.Signatures | None:
    return signatures.find(chain, RECEIPT.job_id, ENDING, replace(CLASS, **terms))


@pytest.mark.parametrize(
    "data",
    ["0x", "0x12345678", encoded("expire", TERMS.to_abi()), batch(OTHER)],
    ids=["nothing", "unknown call", "another call", "without the receipt"],
)
def test_find__transaction_does_not_bring_the_receipt__not_known(data: str) -> None:
    assert find(Chain(data)) is None


@pytest.mark.parametrize("failure", [TransactionNotFound("pruned"), ChainError("no state")])
def test_find__node_has_forgotten__not_known(failure: Exception) -> None:
    chain = Chain(submit(*WATCHERS))
    chain.failure = failure
    assert find(chain) is None


def test_find__node_gone__raised() -> None:
    chain = Chain(submit(*WATCHERS))
    chain.failure = NodeUnavailable("x", "Timeout")
    with pytest.raises(NodeUnavailable):
        find(chain)


@pytest.mark.parametrize("word", [3, 4, 5], ids=["energy", "input tokens", "output tokens"])
def test_find__number_too_large_for_its_type__not_known(word: int) -> None:
    raw = bytearray.fromhex(submit(*WATCHERS)[2:])
    raw[4 + 32 * (10 + word)] = 0xFF  # the selector, ten words of terms, then the receipt's
    assert find(Chain("0x" + raw.hex())) is None


def test_find__malformed_signature__not_known() -> None:
    broken = Attestation(b"\x01" * 65, ()).to_abi()
    assert find(Chain(encoded("submit", TERMS.to_abi(), RECEIPT.to_abi(), broken))) is None


@pytest.mark.parametrize("data", [submit(*WATCHERS), batch(OTHER, RECEIPT)], ids=["single", "batch"])
def test_find__signed__provider_and_watchers_recovered(data: str) -> None:
    found = find(Chain(data))
    assert found == signatures.Signatures(ORACLE.address, tuple(w.address for w in WATCHERS), 2)


def test_find__signer_outside_the_watcher_set__not_counted() -> None:
    found = find(Chain(submit(WATCHERS[0], STRANGER)))
    assert found is not None
    assert found.watchers == (WATCHERS[0].address,)


def test_find__challenge_window__looks_at_the_submission_and_not_the_settlement() -> None:
    chain = Chain(submit(*WATCHERS))
    assert find(chain, challenge_window=60) is not None
    assert chain.asked == "77"
