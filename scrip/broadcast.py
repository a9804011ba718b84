"""Handing a signed transaction to a node, and what the node's answer means."""

from __future__ import annotations

import re
from enum import Enum

from web3 import Web3
from web3.types import RPCEndpoint

from scrip.errors import NodeUnavailable
from scrip.rpc import error_of


class Answer(Enum):
    """What is known about a transaction after handing it over."""

    ACCEPTED = "accepted"
    """The node has it."""
    STALE = "stale"
    """Its nonce is used: by itself, mined meanwhile, or by another. The chain tells which."""
    UNDERPRICED = "underpriced"
    """Valid, but this node wants a higher fee. It may still be in other nodes' pools."""
    REFUSED = "refused"
    """The node won't have it and says why."""
    UNKNOWN = "unknown"
    """No answer, or one we can't read: it may have arrived."""


_KNOWN = re.compile(r"already.?(known|imported)|known transaction|same hash", re.IGNORECASE)
_STALE = re.compile(r"nonce.{0,10}(too low|too small)|old.?nonce|nonce.{0,20}already", re.IGNORECASE)
_UNDERPRICED = re.compile(
    r"underpriced|fee.{0,20}too low|price too low|tip.{0,20}(too low|below)|less than block base fee"
    r"|fee cap less",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"insufficient (funds|balance)|doesn't have enough|intrinsic gas|gas.?limit|gas too low"
    r"|exceeds the configured cap|invalid (sender|signature|chain)|chain ?id|type not supported"
    r"|oversized|size.{0,10}exceed|tx ?type|max (fee|priority).{0,40}(higher|greater)",
    re.IGNORECASE,
)


def broadcast(w3: Web3, raw: bytes) -> tuple[Answer, str]:
    """Hand signed bytes to the node, once. Returns what its answer means and the answer's text."""
    try:
        response = w3.provider.make_request(RPCEndpoint("eth_sendRawTransaction"), ["0x" + raw.hex()])
    except NodeUnavailable as error:
        return Answer.UNKNOWN, error.detail
    text = error_of(response)
    return (Answer.ACCEPTED, "") if text is None else (read_answer(text), text)


def read_answer(message: str) -> Answer:
    """What a node's error message means (Geth, Reth, Erigon, Nethermind, Besu, Anvil and hosted services)."""
    for pattern, answer in (
        (_KNOWN, Answer.ACCEPTED),
        (_STALE, Answer.STALE),
        (_UNDERPRICED, Answer.UNDERPRICED),
        (_REFUSED, Answer.REFUSED),
    ):
        if pattern.search(message):
            return answer
    return Answer.UNKNOWN
