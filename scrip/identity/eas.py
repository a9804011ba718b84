"""The part of the Ethereum Attestation Service (EAS v1) that issuing and revoking need.

https://github.com/ethereum-attestation-service/eas-contracts, contracts/IEAS.sol and ISchemaRegistry.sol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from scrip.calls import Call, Signature
from scrip.chain import Chain
from scrip.errors import ChainError, Refused
from scrip.hashing import keccak
from scrip.logs import scan
from scrip.sender import Sender
from scrip.structs import ZERO_ADDRESS, ZERO_BYTES32, to_address, to_bytes
from scrip.view import ChainView

SCHEMA: Final = "bytes32 credential"
"""What Scrip's attestations hold: keccak256 of the credential that they rest on, zero for none."""


def _tuple(*members: str) -> dict[str, Any]:
    return {"type": "tuple", "components": [{"type": kind} for kind in members]}


def _function(name: str, inputs: list[Any], outputs: list[Any]) -> Signature:
    def typed(items: list[Any]) -> list[Any]:
        return [item if isinstance(item, dict) else {"type": item} for item in items]

    return Signature.of({"name": name, "inputs": typed(inputs), "outputs": typed(outputs)})


def _request(*members: str) -> dict[str, Any]:
    return {"type": "tuple", "components": [{"type": "bytes32"}, _tuple(*members)]}


_ATTEST = _function(
    "attest", [_request("address", "uint64", "bool", "bytes32", "bytes", "uint256")], ["bytes32"]
)
_REVOKE = _function("revoke", [_request("bytes32", "uint256")], [])
_GET = _function(
    "getAttestation",
    ["bytes32"],
    [
        _tuple(
            "bytes32",
            "bytes32",
            "uint64",
            "uint64",
            "uint64",
            "bytes32",
            "address",
            "address",
            "bool",
            "bytes",
        )
    ],
)
_REGISTRY = _function("getSchemaRegistry", [], ["address"])
_GET_SCHEMA = _function("getSchema", ["bytes32"], [_tuple("bytes32", "address", "bool", "string")])
_REGISTER = _function("register", ["string", "address", "bool"], ["bytes32"])
_ATTESTED: Final = {
    "type": "event", "name": "Attested", "anonymous": False,
    "inputs": [
        {"name": "recipient", "type": "address", "indexed": True},
        {"name": "attester", "type": "address", "indexed": True},
        {"name": "uid", "type": "bytes32", "indexed": False},
        {"name": "schemaUID", "type": "bytes32", "indexed": True},
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attested:
    """An attestation on EAS. Times are unix seconds, 0 for never."""

    uid: bytes
    schema: bytes
    expires: int
    revoked: int
    recipient: str
    attester: str

    def holds(self, now: int) -> bool:
        """Whether it counts at a time."""
        return not self.revoked and not self.expired(now)

    def expired(self, now: int) -> bool:
        """Whether its time is over."""
        return self.expires != 0 and now >= self.expires

    @property
    def end(self) -> int:
        """When it ends; beyond any time for never."""
        return self.expires or 1 << 64


def schema_uid(schema: str = SCHEMA, resolver: str = ZERO_ADDRESS, revocable: bool = True) -> bytes:
    """What EAS calls a schema: keccak256 of its packed parts."""
    packed = schema.encode() + bytes.fromhex(resolver[2:]) + bytes([revocable])
    return keccak(packed)


def ask(view: ChainView, at: str, function: Signature, *arguments: object) -> Any:
    """What a view function of any contract answers. Raises ChainError."""
    answer = view.chain.call(Call(at, function.encode(arguments)).params(), view.block)
    try:
        return function.decode(answer)[0]
    except Exception as error:  # eth_abi raises several unrelated types
        raise ChainError(f"{at} doesn't answer {function.name}: another contract?") from error


def attestation(view: ChainView, eas: str, uid: bytes) -> Attested | None:
    """An attestation, None if there is none with this uid."""
    found = ask(view, eas, _GET, uid)
    if bytes(found[0]) == ZERO_BYTES32:
        return None
    recipient, attester = to_address("recipient", found[6]), to_address("attester", found[7])
    return Attested(bytes(found[0]), bytes(found[1]), int(found[3]), int(found[4]), recipient, attester)


def attestations(view: ChainView, eas: str, account: str, attester: str, schema: bytes) -> Iterator[Attested]:
    """Attestations of an account since the deployment's first block, the oldest first."""
    chain = view.chain
    filters = {"recipient": account, "attester": attester, "schemaUID": schema}
    for event in scan(
        chain, _events(chain, eas), "Attested", chain.deployment.block, view.block, filters=filters
    ):
        found = attestation(view, eas, bytes(event.args["uid"]))
        if found is not None:
            yield found


@lru_cache(maxsize=8)
def _events(chain: Chain, eas: str) -> Any:
    return chain.w3.eth.contract(address=eas, abi=[_ATTESTED])  # type: ignore[call-overload]


def ensure_schema(chain: Chain, sender: Sender, eas: str, schema: bytes) -> None:
    """Register Scrip's schema if EAS doesn't know it. Raises Refused for another unknown schema."""
    view = chain.at()
    registry = to_address("registry", ask(view, eas, _REGISTRY))
    if bytes(ask(view, registry, _GET_SCHEMA, schema)[0]) != ZERO_BYTES32:
        return
    if schema != schema_uid():
        raise Refused(
            f"EAS doesn't know the schema 0x{schema.hex()}, and it isn't Scrip's. Register it first"
        )
    sender.send(Call(registry, _REGISTER.encode([SCHEMA, ZERO_ADDRESS, True])), label="register EAS schema")


def attest(
    chain: Chain, sender: Sender, eas: str, schema: bytes, account: str, expires: int, credential: bytes
) -> bytes:
    """Attest an account as the sender until `expires` (0: for good); the attestation's uid."""
    data = to_bytes("credential", credential, 32)
    request = schema, (account, expires, True, ZERO_BYTES32, data, 0)
    label = f"attest {account} until {expires}"
    receipt = sender.send(Call(eas, _ATTEST.encode([request])), label=label)
    for log in _events(chain, eas).events.Attested().process_receipt(receipt):
        if log["address"] == eas and log["args"]["recipient"] == account:
            return bytes(log["args"]["uid"])
    raise ChainError(f"{eas} made no attestation in 0x{bytes(receipt['transactionHash']).hex()}: is it EAS?")


def revoke(sender: Sender, eas: str, found: Attested) -> None:
    """Revoke an attestation of the sender's."""
    request = found.schema, (found.uid, 0)
    sender.send(Call(eas, _REVOKE.encode([request])), label=f"revoke attestation 0x{found.uid.hex()}")
