"""Signatures and recovery, by libsecp256k1 and by the arithmetic that stands in for it: the same answers."""

from __future__ import annotations

import hashlib

import pytest
from eth_account import Account
from eth_keys.constants import SECPK1_N, SECPK1_Gx, SECPK1_Gy
from hypothesis import given, settings
from hypothesis import strategies as st

from scrip import curve
from scrip.eip712 import recover, sign
from scrip.errors import BadSignature

SECRETS = st.integers(1, SECPK1_N - 1).map(lambda number: number.to_bytes(32))
DIGESTS = st.binary(min_size=32, max_size=32)
KEY, DIGEST = b"\x46" * 32, hashlib.sha256(b"scrip").digest()
HALF = (SECPK1_N - 1) // 2


@pytest.fixture(params=[True, False], ids=["libsecp256k1", "eth_keys"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    chosen: bool = request.param
    monkeypatch.setattr(curve, "FAST", chosen)
    return chosen


@given(SECRETS, DIGESTS)
@settings(max_examples=25)
def test_both_ways__same_signature_same_key(secret: bytes, digest: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = []
        for fast in (True, False):
            patch.setattr(curve, "FAST", fast)
            signature = curve.sign(secret, digest)
            found.append((signature, curve.recover(digest, signature)))
    assert found[0] == found[1]
    assert found[0][1][1:] == Account.from_key(secret)._key_obj.public_key.to_bytes()


@pytest.mark.usefixtures("way")
def test_sign__is_eth_accounts_own() -> None:
    account = Account.from_key(KEY)
    assert sign(DIGEST, account) == bytes(account.unsafe_sign_hash(DIGEST).signature)
    assert recover(DIGEST, sign(DIGEST, account)) == account.address


def signature(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32) + b"\x00"


@pytest.mark.parametrize(
    "made",
    [
        signature(0, 1),
        signature(1, 0),
        signature(SECPK1_N, 1),
        signature(5, 1),  # no point of the curve has this x
        signature(SECPK1_Gx, int.from_bytes(DIGEST) % SECPK1_N),  # recovers to the point at infinity
    ],
    ids=["r-zero", "s-zero", "r-not-below-n", "x-not-on-curve", "infinity"],
)
@pytest.mark.usefixtures("way")
def test_recover__no_key__said(made: bytes) -> None:
    parity = bytes((SECPK1_Gy % 2,))
    with pytest.raises(ValueError, match="recovers to no key"):
        curve.recover(DIGEST, made[:64] + parity)
    low = made if int.from_bytes(made[32:64]) <= HALF else made[:32] + b"\x00" * 32 + b"\x00"
    with pytest.raises(BadSignature):
        recover(DIGEST, low[:64] + bytes((27 + SECPK1_Gy % 2,)))
