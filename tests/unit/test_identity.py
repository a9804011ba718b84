"""Keys behind DIDs and status lists, by what their specifications publish."""

from __future__ import annotations

import gzip
import importlib.util
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from scrip.cli.main import app
from scrip.errors import BadInput
from scrip.identity import dids, status_lists
from scrip.identity.credentials import Credential, CredentialInvalid, read
from scrip.identity.eas import SCHEMA, schema_uid
from scrip.identity.status_lists import StatusLists, StatusUnavailable

# Examples of https://w3c-ccg.github.io/did-method-key/
ED25519 = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
SECP256K1 = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"
P256 = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169"
EMPTY_LIST = "H4sIAAAAAAAAA-3BMQEAAADCoPVPbQwfoAAAAAAAAAAAAAAAAAAAAIC3AYbSVKsAQAAA"
"""131,072 zeros, of https://www.w3.org/TR/2023/WD-vc-status-list-20230427/"""


def test_key_of__published_identifiers__keys_of_their_kind() -> None:
    key, algorithm = dids.key_of(ED25519, b"", b"")
    assert (isinstance(key, ed25519.Ed25519PublicKey), algorithm) == (True, "EdDSA")
    key, algorithm = dids.key_of(SECP256K1, b"", b"")
    assert (isinstance(key, ec.EllipticCurvePublicKey), algorithm) == (True, "ES256K")
    assert dids.account_of(SECP256K1).startswith("0x")


@pytest.mark.parametrize(
    "did",
    ["", "did:web:example.org", P256, "did:key:z", "did:key:z0OIl", "did:key:z" + "1" * 2_000,
     "did:pkh:eip155:1:0x12", "did:pkh:solana:1:0x" + "11" * 20, "did:pkh:eip155:01:0x" + "11" * 20],
)  # fmt: skip
def test_key_of__anything_else__refused(did: str) -> None:
    with pytest.raises(BadInput):
        dids.key_of(did, b"x", b"\x01" * 64)


def test_account_of__ed25519_or_another_chain__is_no_account_here() -> None:
    with pytest.raises(BadInput):
        dids.account_of(ED25519)
    here = "did:pkh:eip155:5:0x" + "11" * 20
    assert dids.account_of(here, 5) == "0x" + "11" * 20
    with pytest.raises(BadInput):
        dids.account_of(here, 6)


def entry(index: object) -> dict[str, Any]:
    return {"statusListIndex": index, "statusPurpose": "revocation"}


def packed(bits: bytes) -> str:
    return "u" + urlsafe_b64encode(gzip.compress(bits, mtime=0)).decode().rstrip("=")


def test_unpack__published_empty_list__all_zero() -> None:
    assert status_lists._unpack(EMPTY_LIST, "x") == bytes(16_384)


@given(st.sets(st.integers(0, 799)), st.integers(0, 799))
def test_bit__any_list__set_where_it_was_set(revoked: set[int], index: int) -> None:
    text = "".join("1" if place in revoked else "0" for place in range(800))
    bits = int(text, 2).to_bytes(100)
    assert status_lists._bit(status_lists._unpack(packed(bits), "x"), entry(str(index))) == (index in revoked)


@pytest.mark.parametrize("index", ["800", "-1", "", "1.0", "1e2", None, "9" * 30])
def test_bit__no_place_in_the_list__invalid(index: object) -> None:
    with pytest.raises(CredentialInvalid, match="isn't in a list"):
        status_lists._bit(bytes(100), entry(index))


@pytest.mark.parametrize(
    "encoded", ["", "u", "u!!!", "uAAAA", packed(bytes(100))[:-8], packed(bytes(status_lists.MAX_LIST + 1))]
)
def test_unpack__cut_off_damaged_or_a_bomb__invalid(encoded: str) -> None:
    with pytest.raises(CredentialInvalid):
        status_lists._unpack(encoded, "x")


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: httpx.Response(404),
        lambda request: httpx.Response(200, content=b"x" * (status_lists.MAX_LIST_JWT + 1)),
        lambda request: (_ for _ in ()).throw(httpx.ConnectError("down")),
    ],
)
def test_lists__that_cannot_be_had__are_unavailable_not_invalid(answer: Any) -> None:
    status = entry("1") | {"type": "BitstringStatusListEntry", "statusListCredential": "https://x.example/1"}
    found = Credential("t", ED25519, "s", (), 0, 0, (status,), {})
    with pytest.raises(StatusUnavailable):
        StatusLists(transport=httpx.MockTransport(answer)).check(found, 0)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,90}"))
def test_read__no_credential__invalid_and_nothing_else(token: str) -> None:
    with pytest.raises(CredentialInvalid):
        read(token)


@pytest.mark.parametrize("module", ["jwt", "cryptography"])
def test_credential_commands__library_missing__say_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    result = CliRunner().invoke(app, ["eligibility", "recheck", "1", "--issuer", ED25519])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"need {module}" in result.stderr
    assert "scrip[identity]" in result.stderr


def test_schema_uid__as_eas_packs_it() -> None:
    assert SCHEMA == "bytes32 credential"
    assert schema_uid() != schema_uid(revocable=False) != schema_uid("bytes32 other", revocable=False)
