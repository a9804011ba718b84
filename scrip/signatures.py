"""Who signed a settled receipt, recovered from the transaction that brought it to the chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_abi.exceptions import DecodingError
from web3.exceptions import TransactionNotFound

from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash, recover
from scrip.errors import BadInput, ChainError, NodeUnavailable
from scrip.types import Receipt

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.jobs import Ending
    from scrip.types import ClassTerms
    from scrip.view import ChainView


@dataclass(frozen=True, slots=True)
class Signatures:
    """Signers of one receipt: the provider's oracle key and the members of the class's watcher set, of which
    `threshold` are needed from assurance 2 on."""

    provider: str
    watchers: tuple[str, ...]
    threshold: int

    def to_json(self) -> dict[str, Any]:
        """Addresses and counts."""
        return {"provider": self.provider, "watchers": list(self.watchers), "threshold": self.threshold}


def find(chain: Chain, job: bytes, ending: Ending, terms: ClassTerms) -> Signatures | None:
    """Signers of the receipt that ended `job`; None if they can't be told.

    That is so where the node has forgotten the transaction or its block's state, where another contract made
    the call, and where a number in it is too large for its type: the market hashes the words of a receipt as
    they come and doesn't look at all of them. Raises NodeUnavailable.
    """
    try:
        tx_hash, view = _submission(chain, job, ending, terms), chain.at(ending.block)
        tx = chain.w3.eth.get_transaction(tx_hash)  # type: ignore[arg-type]
        call, arguments = chain.contract("JobMarket").decode_function_input(tx["input"])
        message = _signed(chain, call.fn_name, arguments, ending.receipt_hash)
        return None if message is None else _signers(view, terms, message, arguments["attestation"])
    except NodeUnavailable:
        raise
    except (TransactionNotFound, DecodingError, ValueError, BadInput, ChainError):
        return None


def _submission(chain: Chain, job: bytes, ending: Ending, terms: ClassTerms) -> bytes:
    """The transaction with the receipt; with a challenge window another one than the settling one."""
    if terms.challenge_window:
        for event in chain.at().events("JobMarket", "JobSubmitted", jobId=job):
            return event.tx_hash
    return ending.tx_hash


def _signed(chain: Chain, function: str, arguments: Mapping[str, Any], wanted: bytes) -> bytes | None:
    """The digest that was signed, None if the call isn't one that brings the receipt with hash `wanted`."""
    verifier = chain.address("ReceiptVerifier")
    if function == "submit":
        receipt = _receipt(arguments["receipt"])
        if receipt_struct_hash(receipt) == wanted:
            return receipt_digest(receipt, chain.chain_id, verifier)
    if function == "submitBatch":
        hashes = [receipt_struct_hash(_receipt(row)) for row in arguments["receipts"]]
        if wanted in hashes:
            return batch_digest(hashes, chain.chain_id, verifier)
    return None


def _signers(view: ChainView, terms: ClassTerms, message: bytes, attestation: Any) -> Signatures:
    provider, watchers = attestation["provider"], attestation["watchers"]
    watcher_set = terms.watcher_set
    found = [recover(message, bytes(signature)) for signature in watchers]
    members = [who for who in found if view.read("ReceiptVerifier", "isWatcher", watcher_set, who)]
    threshold = int(view.read("ReceiptVerifier", "thresholdOf", watcher_set))
    return Signatures(recover(message, bytes(provider)), tuple(members), threshold)


def _receipt(row: Mapping[str, Any]) -> Receipt:
    return Receipt.from_abi(list(row.values()))
