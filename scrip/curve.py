"""secp256k1: signatures of digests, and the keys they recover to (SEC 1, 4.1; nonces by RFC 6979).

By libsecp256k1 where coincurve is installed, which the extras for nodes and agents bring; else by eth_keys'
own arithmetic: the same results, a recovery in 3 ms instead of 0.4, good enough for a buyer's receipts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from eth_keys.backends.native.main import NativeECCBackend
from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature as NativeBadSignature
from eth_utils.exceptions import ValidationError

try:
    import coincurve

    FAST = True
except ImportError:
    FAST = False

_UNCOMPRESSED = b"\x04"


def sign(secret: bytes, digest: bytes) -> bytes:
    """Signature of a 32-byte digest: r, s in the lower half, and 0 or 1 for the point's parity, 65 bytes."""
    key = _key(secret, FAST)
    if FAST:
        return bytes(key.sign_recoverable(digest, hasher=None))
    return bytes(key.sign_msg_hash(digest).to_bytes())


def recover(digest: bytes, signature: bytes) -> bytes:
    """Public key that signed, 65 bytes, uncompressed. Raises ValueError if there is none."""
    if FAST:
        try:
            found = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
        except Exception as error:  # coincurve raises bare Exception and ValueError here
            raise ValueError("recovers to no key") from error
        return bytes(found.format(compressed=False))
    try:
        made = Signature(signature, backend=NativeECCBackend())
        return _UNCOMPRESSED + made.recover_public_key_from_msg_hash(digest).to_bytes()
    except (NativeBadSignature, ValidationError) as error:
        raise ValueError("recovers to no key") from error


@lru_cache(maxsize=16)
def _key(secret: bytes, fast: bool) -> Any:
    """Kept, because making one takes longer than signing."""
    return coincurve.PrivateKey(secret) if fast else PrivateKey(secret, backend=NativeECCBackend())
