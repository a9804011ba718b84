"""A payment token as ERC-3009 and ERC-5267 show it: its domain, and what became of an authorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak
from web3.types import BlockIdentifier, RPCEndpoint

from scrip.calls import Call, Signature
from scrip.chain import Chain
from scrip.errors import NodeDeclined, Refused, Reverted
from scrip.rpc import error_of
from scrip.structs import to_bytes


def _function(name: str, inputs: str, outputs: str = "") -> Signature:
    listed = [[{"name": "", "type": kind} for kind in types.split()] for types in (inputs, outputs)]
    return Signature.of({"name": name, "inputs": listed[0], "outputs": listed[1]})


DOMAIN: Final = _function(
    "eip712Domain", "", "bytes1 string string uint256 address bytes32 uint256[]"
)  # https://eips.ethereum.org/EIPS/eip-5267
STATE: Final = _function("authorizationState", "address bytes32", "bool")
TRANSFER: Final = _function("transfer", "address uint256", "bool")
APPROVE: Final = _function("approve", "address uint256", "bool")
TAKE: Final = _function(
    "transferWithAuthorization",
    "address address uint256 uint256 uint256 bytes32 uint8 bytes32 bytes32",
)  # https://eips.ethereum.org/EIPS/eip-3009
_USED: Final = "0x" + keccak(text="AuthorizationUsed(address,bytes32)").hex()
_MOVED: Final = "0x" + keccak(text="Transfer(address,address,uint256)").hex()


@dataclass(frozen=True, slots=True)
class Authorisation:
    """An ERC-3009 authorisation to transfer, as it was signed."""

    token: str
    payer: str
    to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes
    signature: bytes

    @property
    def payment_id(self) -> bytes:
        """What the token takes once: this payer's nonce."""
        return bytes(keccak(encode(["address", "address", "bytes32"], [self.token, self.payer, self.nonce])))

    def call(self) -> Call:
        """The transfer, which anyone may send."""
        r, s, v = self.signature[:32], self.signature[32:64], self.signature[64]
        span = (self.valid_after, self.valid_before)
        return Call(self.token, TAKE.encode((self.payer, self.to, self.value, *span, self.nonce, v, r, s)))


def domain(chain: Chain, token: str) -> tuple[str, str]:
    """Name and version that authorisations of the token are signed with. Raises Refused."""
    try:
        answer = chain.call(Call(token, DOMAIN.encode(())).params())
        _, name, version, *_ = DOMAIN.decode(answer)
    except (Reverted, DecodingError):
        raise Refused(f"the token {token} doesn't state its signing domain (ERC-5267)", "x402") from None
    return str(name), str(version)


def is_used(chain: Chain, asked: Authorisation, block: BlockIdentifier = "latest") -> bool:
    """Whether the token has seen this nonce by `block`: in a transfer, or cancelled."""
    call = Call(asked.token, STATE.encode((asked.payer, asked.nonce)))
    return bool(STATE.decode(chain.call(call.params(), block))[0])


def moved(chain: Chain, asked: Authorisation, since: int) -> bytes | None:
    """The transaction that moved the money as authorised, whoever sent it, from block `since` on.

    The nonce alone proves nothing: it may have been cancelled, or used to pay somebody else. The token says
    that it used the authorisation and right after it what it transferred.
    """
    topics = [_USED, "0x" + encode(["address"], [asked.payer]).hex(), "0x" + asked.nonce.hex()]
    query = {"address": asked.token, "topics": topics, "fromBlock": hex(since), "toBlock": "latest"}
    for log in _logs(chain, query):
        receipt = chain.receipt(to_bytes("transactionHash", log["transactionHash"], 32))
        if receipt is not None and _is_transfer(receipt["logs"], int(log["logIndex"], 16) + 1, asked):
            return bytes(receipt["transactionHash"])
    return None


def _is_transfer(logs: Any, index: int, asked: Authorisation) -> bool:
    for log in logs:
        if int(log["logIndex"]) != index:
            continue
        wanted = [_MOVED, *("0x" + encode(["address"], [one]).hex() for one in (asked.payer, asked.to))]
        topics = ["0x" + bytes(topic).hex() for topic in log["topics"]]
        paid = int.from_bytes(bytes(log["data"]), "big")
        return bool(
            log["address"].lower() == asked.token.lower() and topics == wanted and paid == asked.value
        )
    return False


def _logs(chain: Chain, query: dict[str, Any]) -> list[dict[str, Any]]:
    response = chain.w3.provider.make_request(RPCEndpoint("eth_getLogs"), [query])
    if (error := error_of(response)) is not None:
        raise NodeDeclined(f"the node declines eth_getLogs: {error}")
    found: list[dict[str, Any]] = response["result"]
    return found
