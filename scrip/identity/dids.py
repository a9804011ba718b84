"""Keys and accounts behind decentralised identifiers: did:key (Ed25519, secp256k1) and did:pkh (eip155).

https://w3c-ccg.github.io/did-method-key/ and https://github.com/w3c-ccg/did-pkh. Neither needs a lookup.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scrip import curve
from scrip.eip712 import address_of
from scrip.errors import BadInput
from scrip.structs import to_address

EDDSA, ES256K = "EdDSA", "ES256K"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PKH: Final = re.compile(r"did:pkh:eip155:([1-9][0-9]{0,19}):(0x[0-9a-fA-F]{40})")
_ED25519, _SECP256K1 = b"\xed\x01", b"\xe7\x01"


def key_of(did: str, signing_input: bytes, signature: bytes) -> tuple[Any, str]:
    """The key that must have made a JWT's signature, and the algorithm it signs with. Raises BadInput.

    A did:pkh is an account's address: its key is the one that the signature recovers to, if that has it.
    """
    if did.startswith("did:key:"):
        prefix, raw = _multikey(did)
        if prefix == _ED25519:
            return ed25519.Ed25519PublicKey.from_public_bytes(raw), EDDSA
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), raw), ES256K
    wanted = account_of(did)
    for recovery in (0, 1):
        try:
            point = curve.recover(hashlib.sha256(signing_input).digest(), signature + bytes([recovery]))
        except ValueError:
            continue
        if address_of(point) == wanted:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), point), ES256K
    raise BadInput("signature", did, "of the key that the DID names")


def account_of(did: str, chain_id: int | None = None) -> str:
    """The account that a DID names: a did:pkh of `chain_id` (None: any), or the account of a secp256k1 key.

    Raises BadInput.
    """
    if found := _PKH.fullmatch(did):
        if chain_id is not None and int(found[1]) != chain_id:
            raise BadInput("subject", did, f"of chain {chain_id}")
        return to_address("subject", found[2])
    prefix, raw = _multikey(did)
    if prefix != _SECP256K1:
        raise BadInput("subject", did, "an account: did:pkh:eip155, or did:key of a secp256k1 key")
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), raw)
    except ValueError:
        raise BadInput("subject", did, "a point of the curve") from None
    return address_of(point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _multikey(did: str) -> tuple[bytes, bytes]:
    raw = _base58(did.removeprefix("did:key:z")) if did.startswith("did:key:z") and len(did) < 100 else b""
    prefix, key = raw[:2], raw[2:]
    if (prefix, len(key)) not in ((_ED25519, 32), (_SECP256K1, 33)):
        raise BadInput("did", did, "did:pkh:eip155:CHAIN:ADDRESS, or did:key of an Ed25519 or secp256k1 key")
    return prefix, key


def _base58(text: str) -> bytes:
    number = 0
    for letter in text:
        if letter not in _BASE58:
            return b""
        number = number * 58 + _BASE58.index(letter)
    return number.to_bytes((number.bit_length() + 7) // 8)
